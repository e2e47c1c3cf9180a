//! One error type, divided by what the reader must do about it.

use std::fmt::{self, Display};
use std::io;

/// `Result` with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Exit code of a wrong command line or configuration (EX_USAGE of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code of everything else that failed.
pub const EXIT_FAILED: u8 = 1;

/// What went wrong. Sentences read "cannot VERB OBJECT: REASON [CALL]; HINT", lower case, without a full stop.
#[derive(Debug)]
pub enum Error {
    /// The command line cannot be used; the reader looks at `--help`.
    Usage(String),
    /// The configuration cannot be used. The text holds every problem, a line each.
    Config(String),
    /// The operating system said no.
    Io {
        /// The verb: `read`, `open`, `signal`.
        doing: &'static str,
        /// The object: a path, an interface, a process.
        on: String,
        /// The system call with its arguments, as strace(1) shows it; empty where the standard library made it.
        call: String,
        /// The system's own words.
        source: io::Error,
        /// What the reader can do, where that is known.
        hint: Option<String>,
    },
    /// The agent itself said no, or the thing needed is not here: a whole sentence, with its hint.
    Refused(String),
}

impl Error {
    /// A refusal, from a whole sentence.
    pub fn refused(why: impl Into<String>) -> Error {
        Error::Refused(why.into())
    }

    /// A wrong command line, with where to look.
    pub fn usage(why: impl Display) -> Error {
        Error::Usage(format!("{why}; see chaos-agent help"))
    }

    /// The process exit code that stands for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) => EXIT_USAGE,
            Error::Io { .. } | Error::Refused(_) => EXIT_FAILED,
        }
    }

    /// The errno behind this error, if the operating system gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The same error with advice for the reader; replaces earlier advice.
    #[must_use]
    pub fn hint(self, advice: impl Into<String>) -> Error {
        match self {
            Error::Io { doing, on, call, source, .. } => {
                Error::Io { doing, on, call, source, hint: Some(advice.into()) }
            }
            Error::Refused(why) => Error::Refused(format!("{why}; {}", advice.into())),
            other => other,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Config(text) | Error::Refused(text) => f.write_str(text),
            Error::Io { doing, on, call, source, hint } => {
                write!(f, "cannot {doing} {on}: {}", os_text(source))?;
                if !call.is_empty() {
                    write!(f, " [{call}]")?;
                }
                match hint {
                    Some(hint) => write!(f, "; {hint}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's words without Rust's " (os error N)", which says nothing to the reader.
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) if error.raw_os_error().is_some() => text[..end].to_owned(),
        _ => text,
    }
}

/// Adds verb and object to an [`io::Error`].
pub trait Context<T> {
    /// `file.read(..).doing("read", path.display())?`
    fn doing(self, verb: &'static str, on: impl Display) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn doing(self, verb: &'static str, on: impl Display) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing: verb,
            on: on.to_string(),
            call: String::new(),
            source,
            hint: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_names_verb_object_reason_and_hint() {
        let error =
            Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM)).doing("signal", "process 7 (redis)");
        let error = error.unwrap_err().hint("the container lacks CAP_KILL");
        assert_eq!(
            error.to_string(),
            "cannot signal process 7 (redis): Operation not permitted; the container lacks CAP_KILL"
        );
        assert_eq!((error.exit_code(), error.errno()), (1, Some(libc::EPERM)));
    }
}
