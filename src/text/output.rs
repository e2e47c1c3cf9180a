//! Printing for people: never panics, never ends the program, and steers no terminal.

use crate::linux::sys::poll;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, RawFd};

/// Writes to standard output; a reader that has gone away or a full disk is no reason to end.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let fd = out.as_raw_fd();
    put(&mut out, fd, tame(text).as_bytes());
}

/// Writes a line to standard error, likewise.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let fd = out.as_raw_fd();
    put(&mut out, fd, format!("{}\n", tame(text)).as_bytes());
}

/// Writes all, or what there is to write before an error. Whoever else has the same pipe may have made it one that refuses
/// what does not fit (`O_NONBLOCK`, which is the pipe's and not the process's): then its reader is waited for all the same.
fn put(out: &mut dyn Write, fd: RawFd, mut bytes: &[u8]) {
    loop {
        let done = if bytes.is_empty() { out.flush().map(|()| 0) } else { out.write(bytes) };
        match done {
            Ok(count @ 1..) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if poll::poll(&mut [poll::row(fd, libc::POLLOUT)], None).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
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
