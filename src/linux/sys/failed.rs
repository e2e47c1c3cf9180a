//! A system call that failed, kept with its arguments, so that an error can show it as strace(1) would:
//! `pidfd_send_signal(7, SIGTERM, NULL, 0)`.

use super::signal;
use crate::error::{Context, Error};
use std::fmt::{self, Display, Write};
use std::io;

/// `Result` with the call that failed.
pub type Result<T> = std::result::Result<T, Failed>;

/// What failed. A pointer, so that a `Result` fits into registers; nothing is put into words before somebody wants to
/// read it.
#[derive(Debug)]
pub struct Failed(Box<Parts>);

#[derive(Debug)]
struct Parts {
    /// The call as strace(1) shows it, with a `%` for each number, a `#` for an address, a `$` for a signal
    /// and an `@` for the text; empty where the standard library made the call.
    call: &'static str,
    numbers: [i64; 3],
    text: Box<[u8]>,
    source: io::Error,
}

impl Failed {
    /// The present errno as the failure of this call. Numbers that have no place in it are passed over.
    #[cold]
    #[inline(never)]
    pub fn last(call: &'static str, first: i64, second: i64) -> Failed {
        Failed::new(call, [first, second, 0], io::Error::last_os_error())
    }

    fn new(call: &'static str, numbers: [i64; 3], source: io::Error) -> Failed {
        Failed(Box::new(Parts { call, numbers, text: Box::default(), source }))
    }

    /// With the path or name that the call was given.
    #[cold]
    pub fn about(mut self, text: &[u8]) -> Failed {
        self.0.text = text.into();
        self
    }

    /// With a third number.
    #[cold]
    pub fn and(mut self, third: i64) -> Failed {
        self.0.numbers[2] = third;
        self
    }

    /// The errno; `None` if the kernel gave none.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.raw_os_error()
    }

    /// The standard library's word for the errno.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.source.kind()
    }

    /// The sentence: "cannot VERB OBJECT: REASON [CALL]".
    pub fn doing(self, doing: &'static str, on: String) -> Error {
        let call = self.call();
        Error::Io { doing, on, call, source: self.0.source, hint: None }
    }

    /// The call with its arguments.
    pub fn call(&self) -> String {
        let mut out = String::new();
        let mut numbers = self.0.numbers.iter();
        let mut next = || numbers.next().copied().unwrap_or_default();
        for letter in self.0.call.chars() {
            match letter {
                '%' => _ = write!(out, "{}", next()),
                '#' => _ = write!(out, "{:#x}", next()),
                '$' => match next() as i32 {
                    number if signal::is_named(number) => out += signal::label(number)[0],
                    number => _ = write!(out, "{number}"),
                },
                '@' => _ = write!(out, "{:?}", String::from_utf8_lossy(&self.0.text)),
                letter => out.push(letter),
            }
        }
        out
    }
}

impl Display for Failed {
    /// In the standard library's words, the call behind them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source.fmt(f)?;
        if self.0.call.is_empty() { Ok(()) } else { write!(f, " [{}]", self.call()) }
    }
}

impl From<io::Error> for Failed {
    fn from(source: io::Error) -> Failed {
        Failed::new("", [0; 3], source)
    }
}

impl From<Failed> for io::Error {
    /// The errno alone, for those who only look at that.
    fn from(failed: Failed) -> io::Error {
        failed.0.source
    }
}

impl From<std::ffi::NulError> for Failed {
    fn from(error: std::ffi::NulError) -> Failed {
        io::Error::from(error).into()
    }
}

impl<T> Context<T> for Result<T> {
    fn doing(self, verb: &'static str, on: impl Display) -> crate::error::Result<T> {
        self.map_err(|failed| failed.doing(verb, on.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_as_strace_would_show_it() {
        let failed = |call, first, second| {
            let source = io::Error::from_raw_os_error(libc::EPERM);
            Failed::new(call, [first, second, 0], source)
        };
        let shown = |call, first, second| failed(call, first, second).call();
        assert_eq!(
            shown("pidfd_send_signal(%, $, NULL, 0)", 5, 15),
            "pidfd_send_signal(5, SIGTERM, NULL, 0)"
        );
        assert_eq!(shown("kill(%, $)", 7, 0), "kill(7, 0)");
        assert_eq!(shown("kill(%, $)", 7, 40), "kill(7, 40)");
        assert_eq!(shown("eventfd2(0, EFD_CLOEXEC)", 1, 2), "eventfd2(0, EFD_CLOEXEC)");
        assert_eq!(failed("f(#, %, %)", 4096, 2).and(3).call(), "f(0x1000, 2, 3)");
        let open = failed("openat(%, @, O_RDONLY)", -100, 0).about(b"a \"b\"\n");
        assert_eq!(open.call(), r#"openat(-100, "a \"b\"\n", O_RDONLY)"#);
        let error = failed("kill(%, $)", 7, 9).doing("signal", "process 7 (redis)".to_owned());
        let wanted = "cannot signal process 7 (redis): Operation not permitted [kill(7, SIGKILL)]; ask";
        assert_eq!((error.errno(), error.hint("ask").to_string().as_str()), (Some(libc::EPERM), wanted));
        let plain: Result<()> = Err(io::Error::from_raw_os_error(libc::ENOENT).into());
        let plain = plain.doing("open", "/a").unwrap_err();
        assert_eq!(plain.to_string(), "cannot open /a: No such file or directory");
    }
}
