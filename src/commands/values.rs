//! The kinds of value that options and words take: what is allowed, in words for the help and for errors, and reading it.

use super::table;
use crate::client::Url;
use crate::config;
use crate::dice::schedule::Offset;
use crate::failures::KINDS;
use crate::settings::nearest;
use crate::text::civil::Civil;
use std::time::Duration;

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is none: the option is given or not.
    Flag,
    /// The path of a file.
    File,
    /// A whole number, from the first to the second.
    Number(u64, u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// The name of a type of failure.
    Failure,
    /// The name of a sub-command.
    Command,
    /// A time above 0.
    Time,
    /// A time that somebody waits for: 1 ms to 1 h.
    Timeout,
    /// A time of day and its date.
    Moment,
    /// A plain http URL.
    Url,
    /// `key=value`.
    Pair,
    /// Whatever stands there, `-h` and `--` too: the words are the command's own.
    Raw,
}

/// A value that was read.
#[derive(Debug)]
pub enum Value<'a> {
    /// A file, a word, a pair.
    Text(&'a str),
    /// A whole number.
    Number(u64),
    /// A length of time, or the time since 1970 (UTC).
    Time(Duration),
    /// An address.
    Url(Url),
}

impl Kind {
    /// The words that can be told beforehand.
    pub fn choices(self) -> Vec<&'static str> {
        match self {
            Kind::Words(words) => words.to_vec(),
            Kind::Failure => KINDS.iter().map(|kind| kind.name).collect(),
            Kind::Command => table::shown().map(|command| command.name).collect(),
            _ => Vec::new(),
        }
    }

    /// What is allowed, such as "a whole number from 1 to 10"; empty where nearly everything is.
    pub fn allowed(self) -> String {
        let text = match self {
            Kind::Flag | Kind::File | Kind::Url | Kind::Raw => "",
            Kind::Number(least, u64::MAX) => return format!("a whole number from {least} to 2^64-1"),
            Kind::Number(least, most) => return format!("a whole number from {least} to {most}"),
            Kind::Words(_) | Kind::Failure | Kind::Command => {
                return "one of ".to_owned() + &self.choices().join(", ");
            }
            Kind::Time => "a time above 0 such as 500ms, 30s, 5m, 1h or 2d",
            Kind::Timeout => "a time from 1ms to 60m, such as 2s",
            Kind::Moment => "a time such as 2026-11-24T09:00, 2026-11-24T09:00:30Z or 2026-11-24T09:00+02:00",
            Kind::Pair => "key=value, such as cores=2",
        };
        text.to_owned()
    }

    /// Reads a value; `name` is the option that it was given to, or nothing.
    ///
    /// # Errors
    /// It is not allowed: what is, and which word was probably meant.
    pub fn read<'a>(self, name: &str, text: &'a str) -> Result<Value<'a>, String> {
        let limits = Duration::from_millis(1)..=Duration::from_secs(3600);
        let value = match self {
            Kind::Flag | Kind::File | Kind::Raw => Some(Value::Text(text)),
            Kind::Number(least, most) => {
                text.parse().ok().filter(|number| (least..=most).contains(number)).map(Value::Number)
            }
            Kind::Words(_) | Kind::Failure | Kind::Command => {
                self.choices().contains(&text).then_some(Value::Text(text))
            }
            Kind::Time => config::duration(text).filter(|time| !time.is_zero()).map(Value::Time),
            Kind::Timeout => config::duration(text).filter(|time| limits.contains(time)).map(Value::Time),
            Kind::Moment => moment(text).map(Value::Time),
            Kind::Url => Some(Value::Url(Url::parse(text).map_err(|why| format!("{text:?} {why}"))?)),
            Kind::Pair => text.find('=').is_some_and(|at| at > 0).then_some(Value::Text(text)),
        };
        value.ok_or_else(|| {
            let blank = if name.is_empty() { "" } else { " " };
            let mut why = format!("{name}{blank}{text:?} is not allowed: {}", self.allowed());
            if let Some(word) = nearest(text, self.choices().into_iter()) {
                why += "; did you mean ";
                why += word;
                why += "?";
            }
            why
        })
    }
}

/// RFC 3339, of which seconds and offset may be left out (UTC); from 1970 on.
fn moment(text: &str) -> Option<Duration> {
    let (clock, offset) = match text.get(16..)?.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..16 + at], Offset::parse(&text[16 + at..]).ok()?),
        None => (text, Offset::UTC),
    };
    // The digits up to an index, and the character that follows them.
    let mut from = 0;
    let mut part = |to: usize, ends: &[char]| {
        let digits = clock.get(from..to).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        from = to + 1;
        let good = clock[to..].chars().next().is_none_or(|letter| ends.contains(&letter));
        good.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (year, month, day) = (part(4, &['-'])?, part(7, &['-'])?, part(10, &['T', 't', ' '])?);
    let (hour, minute) = (part(13, &[':'])?, part(16, &[':'])?);
    let seconds: f64 = match clock.get(17..) {
        Some(text) if text.starts_with(|letter: char| letter.is_ascii_digit()) => text.parse().ok()?,
        Some(_) => return None,
        None => 0.0,
    };
    let [month, day, hour, minute] = [month, day, hour, minute].map(|number| number as u8);
    let read = Civil { year: year.into(), month, day, hour, minute, weekday: 0 };
    let local = read.to_minute();
    let real = Civil { weekday: 0, ..Civil::from_minute(local) } == read;
    let whole = u64::try_from((local - offset.minutes()) * 60).ok()?;
    (real && (0.0..60.0).contains(&seconds))
        .then(|| Duration::from_secs(whole) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_units_and_limits() {
        let read = |text| match Kind::Timeout.read("--timeout", text) {
            Ok(Value::Time(time)) => Some(time.as_millis()),
            _ => None,
        };
        for (text, milliseconds) in
            [("2s", 2000), ("500ms", 500), ("0.5", 500), ("1m", 60_000), ("60m", 3_600_000)]
        {
            assert_eq!(read(text), Some(milliseconds), "{text}");
        }
        for text in ["", "s", "0", "-1s", "inf", "nan", "61m", "2h", "0.0001ms"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named_with_what_is() {
        let why = |kind: Kind, name, text| kind.read(name, text).unwrap_err();
        for (kind, name, text, said) in [
            (Kind::Number(1, 9), "-n", "10", "-n \"10\" is not allowed: a whole number from 1 to 9"),
            (
                Kind::Number(0, u64::MAX),
                "--seed",
                "-1",
                "--seed \"-1\" is not allowed: a whole number from 0 to 2^64-1",
            ),
            (Kind::Words(&["text", "json"]), "-o", "jsno", "one of text, json; did you mean json?"),
            (Kind::Failure, "", "network2", "\"network2\" is not allowed: one of cpu, "),
            (Kind::Command, "", "pln", "did you mean plan?"),
            (Kind::Pair, "", "=1", "\"=1\" is not allowed: key=value"),
            (Kind::Url, "", "https://a", "TLS"),
        ] {
            let error = why(kind, name, text);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_start_is_a_real_time() {
        for (text, seconds) in [
            ("1970-01-01T00:00", 0.0),
            ("2026-11-24T09:00:30Z", 1_795_510_830.0),
            ("2026-11-24 11:00:30.5+02:00", 1_795_510_830.5),
            ("2024-02-29T00:00-01:30", 1_709_170_200.0),
        ] {
            assert_eq!(moment(text).map(|time| time.as_secs_f64()), Some(seconds), "{text}");
        }
        for text in [
            "",
            "now",
            "2026-11-24",
            "2026-02-29T00:00",
            "2026-13-01T00:00",
            "2026-11-24T24:00",
            "2026-11-24T09:60",
            "2026-11-24T09:00:60",
            "2026-11-24T09:00:nan",
            "2026-1-24T09:00",
            "1969-12-31T23:59",
            "2026-11-24T09:00X",
            "2026-11-24T09",
            "2026-11-24-01T09:00",
            "2026-11-24T09:00:+1",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
