//! Options that several commands share.

use crate::config;
use crate::error::{Error, Result};
use std::slice::Iter;
use std::time::Duration;

/// The value of the option `name` if `word` is that option: the rest of `name=VALUE`, or else the next word.
///
/// # Errors
/// There is no next word.
pub fn value<'a>(word: &'a str, name: &str, words: &mut Iter<'a, String>) -> Result<Option<&'a str>> {
    match word.strip_prefix(name) {
        Some("") => match words.next() {
            Some(value) => Ok(Some(value)),
            None => Err(Error::usage(format!("{name} needs a value"))),
        },
        Some(rest) => Ok(rest.strip_prefix('=')),
        None => Ok(None),
    }
}

/// Whether `-o json` was asked for, not `-o text`.
///
/// # Errors
/// It is another word.
pub fn is_json(word: &str) -> Result<bool> {
    match word {
        "json" => Ok(true),
        "text" => Ok(false),
        _ => Err(Error::usage(format!("-o is json or text, not {word:?}"))),
    }
}

/// A time such as `2s`, `500ms`, `0.5` (seconds) or `1m`: more than nothing, up to an hour.
///
/// # Errors
/// It is none.
pub fn duration(word: &str) -> Result<Duration> {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(3600);
    config::duration(word)
        .filter(|time| allowed.contains(time))
        .ok_or_else(|| Error::usage(format!("{word:?} is no time from 1ms to 60m, such as 2s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_behind_a_blank_or_an_equals_sign() {
        let words = ["-o", "json", "-o=text", "-ojson", "--other", "-o"].map(str::to_owned);
        let mut rest = words.iter();
        let mut next = || value(rest.next().unwrap(), "-o", &mut rest);
        assert_eq!(next().unwrap(), Some("json"));
        assert_eq!(next().unwrap(), Some("text"));
        assert_eq!(next().unwrap(), None);
        assert_eq!(next().unwrap(), None);
        assert!(next().unwrap_err().to_string().starts_with("-o needs a value"));
    }

    #[test]
    fn times_have_their_units() {
        for (text, milliseconds) in
            [("2s", 2000), ("500ms", 500), ("0.5", 500), ("1m", 60_000), ("60m", 3_600_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "s", "0", "-1s", "inf", "nan", "61m", "2h", "0.0001ms"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
