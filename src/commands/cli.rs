//! The command line: which command is meant, and carrying it out.

use super::words::{self, Parsed};
use super::{help, table, tc};
use crate::error::{Error, Result};
use crate::settings::nearest;
use crate::text::output;
use std::ffi::OsString;
use std::path::Path;

/// Carries out a command line (`args[0]` is the program) and returns the exit code.
///
/// # Errors
/// Whatever the command says; a command line that cannot be used is [`Error::Usage`].
pub fn run(args: impl Iterator<Item = OsString>) -> Result<u8> {
    let mut words = Vec::new();
    for word in args {
        words.push(word.into_string().map_err(|word| Error::usage(format!("{word:?} is not valid UTF-8")))?);
    }
    let name =
        words.first().map_or("", |name| Path::new(name).file_name().map_or("", |n| n.to_str().unwrap_or("")));
    // A link or copy of the binary named `tc` is the built-in tc.
    if name == "tc" {
        return tc::run(&words[1..]);
    }
    let Some(word) = words.get(1) else { return Err(Error::usage("a command is missing")) };
    let word = match word.as_str() {
        "-h" | "--help" => "help",
        "-V" | "--version" => "version",
        other => other,
    };
    let command = table::find(word).ok_or_else(|| unknown(word))?;
    let rest = words.get(2..).unwrap_or_default();
    if !command.is_raw() && words::asks_help(rest) {
        output::print(&help::of(command, rest));
        return Ok(0);
    }
    let wrong = |why: String| {
        let see = if why.ends_with('?') { " See" } else { "; see" };
        Error::Usage(format!("{why}{see} chaos-agent {} --help", command.name))
    };
    (command.run)(&words::parse(command, rest).map_err(wrong)?)
}

fn unknown(word: &str) -> Error {
    let names = || table::shown().map(|command| command.name);
    let meant = match nearest(word, names()) {
        Some(meant) => format!("did you mean {meant}? There are "),
        None => "there are ".to_owned(),
    };
    Error::usage(format!("{word:?} is not a command; {meant}{}", names().collect::<Vec<_>>().join(", ")))
}

/// `chaos-agent version`.
///
/// # Errors
/// None.
pub fn version(_: &Parsed<'_>) -> Result<u8> {
    output::print(concat!("chaos-agent ", env!("CARGO_PKG_VERSION"), "\n"));
    Ok(0)
}
