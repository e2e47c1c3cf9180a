//! The words of a command line and the numbers in them, read as iproute2's tc reads them (its manual pages
//! tc(8), tc-netem(8); units in "PARAMETERS" of tc(8)).

/// Why the command ends: what to print and the exit code, as tc's: 1 for options that mean nothing and for an
/// absent device, 2 when the kernel refused, 255 when the command line itself cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Stop {
    /// The exit code.
    pub code: u8,
    /// One line for the error output, without its newline.
    pub text: String,
}

impl Stop {
    /// Options of a qdisc, filter or action that mean nothing.
    pub fn options(text: impl Into<String>) -> Stop {
        Stop { code: 1, text: text.into() }
    }

    /// A command line that cannot be read.
    pub fn line(text: impl Into<String>) -> Stop {
        Stop { code: 255, text: text.into() }
    }

    /// A word that stands where it cannot be understood.
    pub fn unknown(word: &str) -> Stop {
        Stop::options(format!("What is \"{word}\"?"))
    }

    /// A value that does not fit its key.
    pub fn wrong(key: &str, value: &str) -> Stop {
        Stop::options(format!("Error: argument \"{value}\" is wrong: invalid \"{key}\""))
    }
}

/// What the parsers return.
pub type Parsed<T> = Result<T, Stop>;

/// The words not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a [String]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

impl<'a> Words<'a> {
    /// The next word without taking it; empty at the end.
    pub fn peek(&self) -> &'a str {
        self.0.first().map_or("", String::as_str)
    }

    /// The next word, which must be there.
    pub fn need(&mut self) -> Parsed<&'a str> {
        self.next().ok_or_else(|| Stop::line("Command line is not complete. Try option \"help\""))
    }

    /// The next word if it begins like a number.
    pub fn number(&mut self) -> Option<&'a str> {
        let digit = self.peek().starts_with(|first: char| first.is_ascii_digit());
        if digit { self.next() } else { None }
    }

    /// The next word if it begins like a number or a minus.
    pub fn signed(&mut self) -> Option<&'a str> {
        if self.peek().starts_with('-') { self.next() } else { self.number() }
    }

    /// Takes the next word if it is `word`.
    pub fn accept(&mut self, word: &str) -> bool {
        let same = self.peek() == word;
        if same {
            self.next();
        }
        same
    }

    /// The value of `key`: the next word, as `parse` understands it. A function pointer, so that there is one
    /// copy of this for each type and not for each parser.
    #[inline(never)]
    pub fn value<T>(&mut self, key: &str, parse: fn(&str) -> Option<T>) -> Parsed<T> {
        let word = self.need()?;
        parse(word).ok_or_else(|| Stop::wrong(key, word))
    }

    /// [`Words::value`] where it stands before the kind: tc cannot read the line then.
    pub fn place<T>(&mut self, key: &str, parse: fn(&str) -> Option<T>) -> Parsed<T> {
        self.value(key, parse).map_err(|stop| Stop { code: 255, ..stop })
    }
}

/// The first of `table` that `word` abbreviates, as tc allows; `word` itself where none is.
pub fn keyword<'w>(word: &'w str, table: &[&'static str]) -> &'w str {
    table.iter().find(|entry| !word.is_empty() && entry.starts_with(word)).copied().unwrap_or(word)
}

/// Splits "10.5ms" into 10.5 and "ms", as strtod(3) does for decimal numbers.
fn split(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(usize::from(text.starts_with(['-', '+'])));
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    // An exponent counts only with digits behind it.
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let after = digits((end + 1 + sign).min(bytes.len()));
        end = if after > end + 1 + sign { after } else { end };
    }
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// Scales by the unit's entry; a bare number is multiplied by `bare`.
fn scaled(text: &str, bare: f64, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Some(number * bare);
    }
    let known = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    known.map(|(_, scale)| number * scale)
}

const SECONDS: [(&str, f64); 12] = [
    ("s", 1e9),
    ("sec", 1e9),
    ("secs", 1e9),
    ("ms", 1e6),
    ("msec", 1e6),
    ("msecs", 1e6),
    ("us", 1e3),
    ("usec", 1e3),
    ("usecs", 1e3),
    ("ns", 1.),
    ("nsec", 1.),
    ("nsecs", 1.),
];

/// A time in nanoseconds; a bare number is in microseconds (`delay`, `latency`).
pub fn time(text: &str) -> Option<i64> {
    nanoseconds(scaled(text, 1e3, &SECONDS)?)
}

/// A time in nanoseconds; a bare number is in nanoseconds (`slot`).
pub fn time64(text: &str) -> Option<i64> {
    nanoseconds(scaled(text, 1., &SECONDS)?)
}

/// Up to 146 years, half of what an i64 holds, so that sums do not overflow.
fn nanoseconds(value: f64) -> Option<i64> {
    (0. ..4.6e18).contains(&value).then(|| value.round() as i64)
}

/// Bytes (or packets): "b", "k" = 1024, "kbit" = 128 and so on.
pub fn size(text: &str) -> Option<u32> {
    const K: f64 = 1024.;
    let units = [
        ("b", 1.),
        ("k", K),
        ("kb", K),
        ("m", K * K),
        ("mb", K * K),
        ("g", K * K * K),
        ("gb", K * K * K),
        ("kbit", K / 8.),
        ("mbit", K * K / 8.),
        ("gbit", K * K * K / 8.),
    ];
    let value = scaled(text, 1., &units)?;
    (0. ..4294967296.).contains(&value).then_some(value as u32)
}

/// A rate in bytes a second; a bare number is in bits a second.
pub fn rate(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = unit.to_ascii_lowercase();
    let (unit, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
        (Some(prefix), _) => (prefix, 1.),
        (_, Some(prefix)) => (prefix, 8.),
        _ if unit.is_empty() => ("", 1.),
        _ => return None,
    };
    let (prefix, base) = unit.strip_suffix('i').map_or((unit, 1000f64), |prefix| (prefix, 1024.));
    let power = ["", "k", "m", "g", "t"].iter().position(|name| *name == prefix)?;
    if prefix.is_empty() && base != 1000. {
        return None;
    }
    let value = number * bits * base.powi(power as i32) / 8.;
    (0. ..1.8e19).contains(&value).then_some(value as u64)
}

/// A percentage as the share of `u32::MAX`, the kernel's scale for probabilities.
pub fn percent(text: &str) -> Option<u32> {
    fraction(text).map(share)
}

/// A percentage as a number from 0 to 1.
pub fn fraction(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let fraction = number / 100.;
    ((0. ..=1.).contains(&fraction) && matches!(unit, "" | "%")).then_some(fraction)
}

/// 0 to 1 on the kernel's scale.
pub fn share(fraction: f64) -> u32 {
    (fraction * f64::from(u32::MAX)).round_ties_even() as u32
}

/// An unsigned number: decimal, 0x hexadecimal or 0 octal, as strtoul(3) with base 0.
pub fn unsigned(text: &str) -> Option<u64> {
    match (text.strip_prefix("0x").or(text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(digits), _) => hex(digits),
        (_, Some("") | None) => decimal(text),
        (_, Some(digits)) => plain(digits).then(|| u64::from_str_radix(digits, 8).ok())?,
    }
}

/// Without a sign, which `from_str_radix` would take.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An unsigned number in base 10.
pub fn decimal(text: &str) -> Option<u64> {
    plain(text).then(|| text.parse().ok())?
}

/// An unsigned number in base 16, with or without 0x.
pub fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    plain(digits).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// [`unsigned`] that fits 32 bits.
pub fn u32(text: &str) -> Option<u32> {
    unsigned(text)?.try_into().ok()
}

/// [`hex`] that fits 32 bits.
pub fn hex32(text: &str) -> Option<u32> {
    hex(text)?.try_into().ok()
}

/// A signed number, base as in [`unsigned`].
pub fn i32(text: &str) -> Option<i32> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = i64::try_from(unsigned(digits)?).ok()?;
    i32::try_from(if negative { -value } else { value }).ok()
}

/// A qdisc handle, "ca05:" or "ca05" (hexadecimal); the minor part is zero.
pub fn handle(text: &str) -> Option<u32> {
    let major = text.split_once(':').map_or(text, |(major, _)| major);
    let major: u16 = if text == "none" { 0 } else { hex(major)?.try_into().ok()? };
    Some(u32::from(major) << 16)
}

/// A class or qdisc, "ca05:1", "ca05:", ":1", "root" or "none".
pub fn classid(text: &str) -> Option<u32> {
    match (text, text.split_once(':')) {
        ("root", _) => Some(u32::MAX),
        ("none", _) => Some(0),
        (_, None) => hex32(text),
        (_, Some((major, minor))) => {
            let part = |part: &str| if part.is_empty() { Some(0) } else { u16::try_from(hex(part)?).ok() };
            Some(u32::from(part(major)?) << 16 | u32::from(part(minor)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sizes_rates_and_shares_as_tc_reads_them() {
        let times = [("100ms", 100_000_000), ("1.5s", 1_500_000_000), ("250", 250_000), ("7USEC", 7_000)];
        for (text, value) in times {
            assert_eq!(time(text), Some(value), "{text}");
        }
        assert_eq!((time64("250"), time64("3ns"), time64("1e3")), (Some(250), Some(3), Some(1000)));
        assert_eq!((size("1.5k"), size("10mbit"), size("4g")), (Some(1536), Some(1_310_720), None));
        let rates = [("1mbit", 125_000), ("8", 1), ("1Kibit", 128), ("2MBps", 2_000_000), ("1tbps", 1 << 40)];
        for (text, value) in rates.iter().take(4) {
            assert_eq!(rate(text), Some(*value), "{text}");
        }
        assert_eq!(rate("1tbps"), Some(1_000_000_000_000));
        assert_eq!(
            (percent("100%"), percent("50"), percent("0.1")),
            (Some(u32::MAX), Some(2_147_483_648), Some(4_294_967))
        );
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "x", "1x", "1e", "ms", "-5ms", "nan", "inf", "1e400s", ".", "+", "１"] {
            assert_eq!(time(text), None, "{text}");
            assert_eq!(rate(text), None, "{text}");
        }
        for text in ["101%", "-1", "5 %", "5%%", "%", "NaN"] {
            assert_eq!(percent(text), None, "{text}");
        }
        for text in ["", "+1", "-1", "0x", "08", "4294967296", "1 "] {
            assert_eq!(u32(text), None, "{text}");
        }
        assert_eq!(
            (u32("0x1f"), u32("010"), u32("0"), i32("-0x10")),
            (Some(31), Some(8), Some(0), Some(-16))
        );
        assert_eq!((i32("2147483648"), i32("--1"), rate("1ibit"), rate("1kb")), (None, None, None, None));
    }

    #[test]
    fn handles() {
        assert_eq!(
            (handle("ca05:"), handle("1"), handle("10000:")),
            (Some(0xca05_0000), Some(0x10000), None)
        );
        let ids = [("1:3", Some(0x10003)), (":a", Some(10)), ("root", Some(u32::MAX)), ("1:10000", None)];
        for (text, id) in ids {
            assert_eq!(classid(text), id, "{text}");
        }
        assert_eq!(
            (classid("ffff:fff2"), classid("x:"), classid("12345")),
            (Some(0xffff_fff2), None, Some(0x12345))
        );
    }

    #[test]
    fn keywords_may_be_cut_short() {
        let table = ["limit", "latency", "delay"];
        assert_eq!((keyword("l", &table), keyword("lat", &table)), ("limit", "latency"));
        assert_eq!((keyword("delayed", &table), keyword("", &table)), ("delayed", ""));
    }
}
