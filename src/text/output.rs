//! Printing for people: never panics, never ends the program.

use std::io::Write;

/// Writes to standard output; a reader that has gone away or a full disk is no reason to end.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, likewise.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
