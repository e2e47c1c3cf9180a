//! Printing for people: never panics, never ends the program, and steers no terminal.

use std::borrow::Cow;
use std::io::Write;

/// Writes to standard output; a reader that has gone away or a full disk is no reason to end.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(tame(text).as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, likewise.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{}\n", tame(text)).as_bytes());
}

/// Control characters but line ends and tabs, which names of files, entries and processes may hold, as `\u{1b}`.
fn tame(text: &str) -> Cow<'_, str> {
    let wild = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !text.contains(wild) {
        return Cow::Borrowed(text);
    }
    let mut tame = String::new();
    for letter in text.chars() {
        match wild(letter) {
            true => tame.extend(letter.escape_unicode()),
            false => tame.push(letter),
        }
    }
    Cow::Owned(tame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert!(matches!(tame("a\tb\n<é>\n"), Cow::Borrowed(_)));
        assert_eq!(tame("a\x1b[2J\r\n\u{9b}b\0"), "a\\u{1b}[2J\\u{d}\n\\u{9b}b\\u{0}");
    }
}
