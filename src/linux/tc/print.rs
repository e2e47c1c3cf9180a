//! Output in tc's two forms: text, or JSON with iproute2's field names. One call writes a field in either, so
//! that the two cannot drift apart.

use std::fmt::{Arguments, Display, Write};

/// Collects the output of one command.
#[derive(Debug, Default)]
pub struct Printer {
    /// `-j`: JSON instead of text.
    pub json: bool,
    /// `-s`: counters too.
    pub stats: bool,
    text: String,
    comma: bool,
}

// Writing to a String cannot fail: results are dropped. Every call stays a call: there are a hundred.
impl Printer {
    /// For one command: as JSON or text, with counters or without.
    pub fn new(json: bool, stats: bool) -> Printer {
        Printer { json, stats, ..Printer::default() }
    }

    /// What was written.
    pub fn finish(mut self) -> String {
        if self.json {
            self.text.push('\n');
        }
        self.text
    }

    /// Text only.
    #[inline(never)]
    pub fn text(&mut self, text: Arguments<'_>) {
        if !self.json {
            let _ = self.text.write_fmt(text);
        }
    }

    /// JSON only: a number, or what is JSON already.
    #[inline(never)]
    pub fn json(&mut self, key: &str, value: &dyn Display) {
        if self.json {
            self.key(key);
            let _ = write!(self.text, "{value}");
        }
    }

    /// A number: `value` under `key` in JSON, `text` in text.
    #[inline(never)]
    pub fn number(&mut self, key: &str, value: &dyn Display, text: Arguments<'_>) {
        self.json(key, value);
        self.text(text);
    }

    /// `true` under `key` in JSON, the word in text.
    #[inline(never)]
    pub fn flag(&mut self, key: &str) {
        self.json(key, &true);
        self.text(format_args!("{key} "));
    }

    /// A string, in text between `before` and a blank.
    #[inline(never)]
    pub fn string(&mut self, key: &str, value: &str, before: &str) {
        self.text(format_args!("{before}{value} "));
        self.json_string(key, value);
    }

    /// JSON only: a string.
    #[inline(never)]
    pub fn json_string(&mut self, key: &str, value: &str) {
        if self.json {
            self.key(key);
            self.quoted(value);
        }
    }

    /// JSON only: opens an object (`{`) or array (`[`); no key inside an array.
    #[inline(never)]
    pub fn open(&mut self, key: &str, bracket: char) {
        if self.json {
            self.key(key);
            self.text.push(bracket);
            self.comma = false;
        }
    }

    /// JSON only: closes it.
    #[inline(never)]
    pub fn close(&mut self, bracket: char) {
        if self.json {
            self.text.push(bracket);
            self.comma = true;
        }
    }

    fn key(&mut self, key: &str) {
        if self.comma {
            self.text.push(',');
        }
        self.comma = true;
        if !key.is_empty() {
            self.quoted(key);
            self.text.push(':');
        }
    }

    fn quoted(&mut self, value: &str) {
        self.text.push('"');
        for letter in value.chars() {
            match letter {
                '"' | '\\' => self.text.extend(['\\', letter]),
                letter if letter < ' ' => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(letter));
                }
                letter => self.text.push(letter),
            }
        }
        self.text.push('"');
    }
}

/// `%g` of printf(3): `digits` significant digits, trailing zeros dropped.
pub fn general(value: f64, digits: i32) -> String {
    // The exponent after rounding to the digits wanted, from Rust's own "d.ddde-N".
    let exponential = format!("{value:.*e}", digits.unsigned_abs() as usize - 1);
    let (mantissa, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{value:.*}", (digits - 1 - exponent).unsigned_abs() as usize))
}

/// A time in nanoseconds with three digits: "1.5s", "100ms", "20us", "5ns".
pub fn time64(nanoseconds: i64) -> String {
    match nanoseconds {
        1_000_000_000.. => general(nanoseconds as f64 / 1e9, 3) + "s",
        1_000_000.. => general(nanoseconds as f64 / 1e6, 3) + "ms",
        1_000.. => general(nanoseconds as f64 / 1e3, 3) + "us",
        _ => format!("{nanoseconds}ns"),
    }
}

/// A time in whole microseconds with three digits: "1.5s", "100ms", "20us".
pub fn time(microseconds: u32) -> String {
    match microseconds {
        1_000.. => time64(i64::from(microseconds) * 1000),
        _ => format!("{microseconds}us"),
    }
}

/// A rate in bytes a second, in bits: "1Mbit", "1500Kbit".
pub fn rate(bytes: u64) -> String {
    let mut bits = bytes.wrapping_mul(8);
    let mut unit = 0;
    while unit < 4 && bits >= 1000 && (bits.is_multiple_of(1000) || bits >= 1_000_000) {
        bits /= 1000;
        unit += 1;
    }
    format!("{bits}{}bit", ["", "K", "M", "G", "T"].get(unit).unwrap_or(&""))
}

/// A size in bytes: "5Kb", "1514b"; rounded to a unit when it is close to it.
pub fn size(bytes: u32) -> String {
    let near = |unit: u32, slack: u32| {
        let count = (f64::from(bytes) / f64::from(unit)).round_ties_even();
        let close = (count * f64::from(unit) - f64::from(bytes)).abs() < f64::from(slack);
        (bytes >= unit && close).then(|| general(count, 6))
    };
    match (near(1 << 20, 1024), near(1 << 10, 16)) {
        (Some(count), _) => count + "Mb",
        (_, Some(count)) => count + "Kb",
        _ => format!("{bytes}b"),
    }
}

/// A class or qdisc: "1:3", "ca05:", ":1", "root", "none".
pub fn classid(id: u32) -> String {
    match (id, id >> 16, id & 0xffff) {
        (u32::MAX, ..) => "root".to_owned(),
        (0, ..) => "none".to_owned(),
        (_, 0, minor) => format!(":{minor:x}"),
        (_, major, 0) => format!("{major:x}:"),
        (_, major, minor) => format!("{major:x}:{minor:x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_is_the_g_of_printf() {
        let table = [
            (0.1, "0.1"),
            (1.0, "1"),
            (99.99999, "100"),
            (0.009_999_999_78, "0.01"),
            (1e-5, "1e-05"),
            (0.000_123_456_7, "0.000123457"),
            (123_456.7, "123457"),
            (1_234_567., "1.23457e+06"),
            (2.5e10, "2.5e+10"),
            (0., "0"),
            (33.333_333, "33.3333"),
            (-0.5, "-0.5"),
        ];
        for (value, text) in table {
            assert_eq!(general(value, 6), text);
        }
        assert_eq!((general(999.6, 3), general(1234., 3)), ("1e+03".into(), "1.23e+03".into()));
    }

    #[test]
    fn units() {
        assert_eq!((time(99), time(1_500), time(1_000_000)), ("99us".into(), "1.5ms".into(), "1s".into()));
        assert_eq!((time64(5), time64(20_000), time64(-1)), ("5ns".into(), "20us".into(), "-1ns".into()));
        assert_eq!(
            (rate(125_000), rate(187_500), rate(1)),
            ("1Mbit".into(), "1500Kbit".into(), "8bit".into())
        );
        assert_eq!((size(5120), size(1514), size(1 << 20)), ("5Kb".into(), "1514b".into(), "1Mb".into()));
        assert_eq!((classid(0xca05_0003), classid(0x10000)), ("ca05:3".into(), "1:".into()));
    }

    #[test]
    fn json_is_quoted_and_separated() {
        let mut printer = Printer { json: true, ..Printer::default() };
        printer.open("", '[');
        printer.open("", '{');
        printer.string("a\"b", "c\\\u{1}é", "");
        printer.number("n", &-3, format_args!("never"));
        printer.close('}');
        printer.open("", '{');
        printer.flag("root");
        printer.close('}');
        printer.close(']');
        assert_eq!(printer.finish(), "[{\"a\\\"b\":\"c\\\\\\u0001é\",\"n\":-3},{\"root\":true}]\n");
    }
}
