//! Cron expressions of five fields with a fixed offset from UTC: in which minutes the dice are rolled. Pure: the
//! time is a parameter.
//!
//! The language is crontab(5)'s without what crons disagree about, which is refused. An offset, not the name of
//! a zone: a scratch image has no zone database, and a fixed offset has no hour that comes twice or never.

use crate::text::civil::Civil;

/// One of the five fields.
struct Field {
    name: &'static str,
    /// The lowest and the highest value that `*` stands for.
    low: u8,
    high: u8,
    /// The names of the values from `low` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day of the month", low: 1, high: 31, names: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "weekday", low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const DAY: usize = 2;
const MONTH: usize = 3;
const WEEKDAY: usize = 4;

/// The words that stand for a whole expression.
const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The longest time without a 29 February is eight years (1896 to 1904, 2096 to 2104).
const SEARCH_DAYS: i64 = 8 * 366 + 1;

/// A cron expression that comes again and again: minute, hour, day of the month, month, weekday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    /// For each field a bit a value.
    masks: [u64; 5],
    /// Whether day of the month and weekday are both restricted: then one of the two is enough.
    either: bool,
}

impl Cron {
    /// Reads `*/5 9-17 * * mon-fri`: in each field `*`, a value, a range (`22-6` goes past the end), any of
    /// these but a value with a step (`*/5`, `10/5` for 10 to the end), or a list with commas. Months and
    /// weekdays have names of three letters; Sunday is 0 or 7. Also `@hourly`, `@daily` and the like.
    ///
    /// Where day of the month and weekday are both restricted, a day matches that fits either; else it must fit both.
    /// Not restricted is a field that begins with `*`, so `*/2 * mon` means Mondays with an odd date: the rule of Vixie's
    /// cron (crontab(5)), which croniter follows with `implement_cron_bug`.
    ///
    /// # Errors
    /// The field, what stands there and what is allowed; or that no day fits (30 February).
    pub fn parse(text: &str) -> Result<Cron, String> {
        let word = WORDS.iter().find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
        let fields: Vec<&str> = word.map_or(text, |(_, meaning)| meaning).split_ascii_whitespace().collect();
        if let [word] = fields.as_slice()
            && word.starts_with('@')
        {
            let known = WORDS.map(|(word, _)| word).join(", ");
            return Err(format!("{word:?} is not allowed: one of {known}, or five fields"));
        }
        if fields.len() != FIELDS.len() {
            return Err(format!(
                "it has {} fields, not five: minute, hour, day of the month, month, weekday; for example \
                 \"*/5 9-17 * * mon-fri\"",
                fields.len()
            ));
        }
        let mut masks = [0; 5];
        for (index, field) in FIELDS.iter().enumerate() {
            masks[index] = field.parse(fields[index])?;
        }
        let either = ![DAY, WEEKDAY].iter().any(|index| fields[*index].starts_with('*'));
        let cron = Cron { masks, either };
        match cron.next_match(0, Offset::UTC) {
            Some(_) => Ok(cron),
            None => Err("it never comes: none of these months has such a day".to_owned()),
        }
    }

    /// Whether it comes in this minute of local time.
    pub fn matches(&self, at: &Civil) -> bool {
        self.has(0, at.minute) && self.has(1, at.hour) && self.matches_day(at)
    }

    /// The first minute after `after` that matches, both in minutes since 1970-01-01 00:00 UTC. `None` if there
    /// is none in eight years, which [`Cron::parse`] has ruled out.
    pub fn next_match(&self, after: i64, offset: Offset) -> Option<i64> {
        let first = after + 1 + offset.minutes();
        for day in first.div_euclid(1440)..=first.div_euclid(1440) + SEARCH_DAYS {
            let midnight = day * 1440;
            if !self.matches_day(&Civil::from_minute(midnight)) {
                continue;
            }
            for hour in (0..24).filter(|hour| self.has(1, *hour)) {
                let start = midnight + i64::from(hour) * 60;
                // Minutes of this hour that have passed.
                let past = (first - start).clamp(0, 60);
                let left = self.masks[0] >> past << past;
                if left != 0 {
                    return Some(start + i64::from(left.trailing_zeros()) - offset.minutes());
                }
            }
        }
        None
    }

    fn has(&self, field: usize, value: u8) -> bool {
        self.masks[field] >> value & 1 == 1
    }

    fn matches_day(&self, at: &Civil) -> bool {
        let (day, weekday) = (self.has(DAY, at.day), self.has(WEEKDAY, at.weekday));
        self.has(MONTH, at.month) && if self.either { day || weekday } else { day && weekday }
    }
}

impl Field {
    /// The bits of the values.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut mask = 0;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(item, step)?)),
                None => (item, None),
            };
            let (mut low, mut high) = match range.split_once('-') {
                _ if range == "*" => (self.low, self.high),
                Some((low, high)) => (self.value(item, low)?, self.value(item, high)?),
                None => {
                    let value = self.value(item, range)?;
                    (value, if step.is_some() { self.high } else { value })
                }
            };
            let same = low == high;
            // Sunday ends the week as well as it begins it.
            if self.is_week() && low == 7 {
                (low, high) = (0, if same { 0 } else { high });
            } else if self.is_week() && high == 0 && low > 0 {
                high = 7;
            }
            if low == high && range.contains('-') {
                // One value in crontab(5), the whole cycle in others.
                return Err(self.refuse(item, "a range of one value; write the value alone, or *"));
            }
            if low > high {
                if step.is_some() {
                    return Err(self.refuse(item, "a range past the end has no step; write a list"));
                }
                mask |= bits(low, self.high, 1) | bits(self.low, high, 1);
            } else {
                mask |= bits(low, high, step.unwrap_or(1));
            }
        }
        // Sunday as 7.
        if self.is_week() {
            mask = (mask | mask >> 7) & self.all();
        }
        Ok(mask)
    }

    /// Whether 7 is one more name of 0.
    fn is_week(&self) -> bool {
        self.names.len() == 7
    }

    /// All values.
    fn all(&self) -> u64 {
        bits(self.low, self.high, 1)
    }

    fn value(&self, item: &str, word: &str) -> Result<u8, String> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return Ok(self.low + index as u8);
        }
        match number(word) {
            Some(7) if self.is_week() => Ok(7),
            Some(value) if (self.low..=self.high).contains(&value) => Ok(value),
            _ => Err(self.refuse(item, "")),
        }
    }

    fn step(&self, item: &str, word: &str) -> Result<u8, String> {
        let most = self.high - self.low;
        let step = number(word).filter(|step| (1..=most).contains(step));
        step.ok_or_else(|| self.refuse(item, &format!("a step from 1 to {most}")))
    }

    /// The sentence about an item; by default with the values that the field takes.
    fn refuse(&self, item: &str, why: &str) -> String {
        let Field { name, low, .. } = self;
        let mut said = format!("{name}: {item:?} is not allowed: {why}");
        if why.is_empty() {
            let high = self.high + u8::from(self.is_week());
            said += &format!("values from {low} to {high}");
            if let [first, .., last] = self.names {
                said += &format!(" or {first} to {last}");
            }
            said += ", ranges (low-high), steps (/step), lists with commas, or *";
        }
        said
    }
}

/// Digits alone; `parse` would take a sign too.
fn number(word: &str) -> Option<u8> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

fn bits(low: u8, high: u8, step: u8) -> u64 {
    (low..=high).step_by(step.into()).fold(0, |mask, value| mask | 1 << value)
}

/// A fixed distance of local time from UTC, in minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset(i16);

impl Offset {
    /// None.
    pub const UTC: Offset = Offset(0);

    /// Reads `+02:00`, `-0330`, `+02`, `Z` or `UTC`: what ISO 8601 writes, from -14:00 to +14:00.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Offset, String> {
        let read = || {
            if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
                return Some(0);
            }
            let sign = if text.strip_prefix('-').is_some() { -1 } else { 1 };
            let digits = text.strip_prefix(['+', '-'])?;
            let (hours, minutes) = match digits.len() {
                2 => (digits, "00"),
                4 => digits.split_at_checked(2)?,
                _ => digits.split_once(':').filter(|(hours, minutes)| hours.len() + minutes.len() == 4)?,
            };
            let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
            let total = i16::from(hours) * 60 + i16::from(minutes);
            (total <= 14 * 60).then_some(sign * total)
        };
        read().map(Offset).ok_or_else(|| {
            format!(
                "{text:?} is not allowed: a fixed offset from -14:00 to +14:00 such as \"+02:00\", or Z; names of \
                 zones would need a database"
            )
        })
    }

    /// Minutes that local time is ahead of UTC.
    pub fn minutes(self) -> i64 {
        self.0.into()
    }
}

/// When something may happen: a cron expression and the offset of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// In local time.
    pub cron: Cron,
    /// Of local time from UTC.
    pub offset: Offset,
}

impl Schedule {
    /// Whether a Unix time in seconds is in a minute that matches.
    pub fn matches(&self, unix_seconds: i64) -> bool {
        self.cron.matches(&Civil::from_minute(Schedule::minute(unix_seconds) + self.offset.minutes()))
    }

    /// The minute of a Unix time in seconds: what is the same for all ticks of one match.
    pub fn minute(unix_seconds: i64) -> i64 {
        unix_seconds.div_euclid(60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        Cron::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    /// The values of a field, by its index.
    fn values(text: &str, field: usize) -> Vec<u8> {
        let cron = cron(text);
        (0..64).filter(|value| cron.has(field, *value)).collect()
    }

    /// The next matches after a date, as dates.
    fn next(text: &str, after: (i64, u8, u8, u8, u8), count: usize) -> Vec<String> {
        let (year, month, day, hour, minute) = after;
        let mut at = Civil { year, month, day, hour, minute, weekday: 0 }.to_minute();
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron(text).next_match(at, Offset::UTC).unwrap();
            found.push(Civil::from_minute(at).to_string());
        }
        found
    }

    #[test]
    fn values_ranges_steps_lists_and_names_are_read() {
        assert_eq!(values("*/20 * * * *", 0), [0, 20, 40]);
        assert_eq!(values("50/4 * * * *", 0), [50, 54, 58]);
        assert_eq!(values("59/4,05 * * * *", 0), [5, 59]);
        assert_eq!(values("1,10-12,30-40/5 * * * *", 0), [1, 10, 11, 12, 30, 35, 40]);
        assert_eq!(values("0 22-2 * * *", 1), [0, 1, 2, 22, 23]);
        assert_eq!(values("0 0 */10 * *", DAY), [1, 11, 21, 31]);
        assert_eq!(values("0 0 1 JAN,nov-Feb *", MONTH), [1, 2, 11, 12]);
        assert_eq!(values("0 0 1 * Fri-Mon", WEEKDAY), [0, 1, 5, 6]);
        for sunday in ["0", "7", "sun", "SUN", "0,7", "sun,7"] {
            assert_eq!(values(&format!("0 0 * * {sunday}"), WEEKDAY), [0], "{sunday}");
        }
        for (text, days) in [
            ("5-7", &[0, 5, 6][..]),
            ("7-2", &[0, 1, 2]),
            ("mon-sun", &[0, 1, 2, 3, 4, 5, 6]),
            ("mon-sun/2", &[0, 1, 3, 5]),
            ("1-7/3", &[0, 1, 4]),
            ("7/3", &[0, 3, 6]),
            ("*", &[0, 1, 2, 3, 4, 5, 6]),
            ("0-7", &[0, 1, 2, 3, 4, 5, 6]),
            ("sun-7", &[0, 1, 2, 3, 4, 5, 6]),
            ("0-7/2", &[0, 2, 4, 6]),
            ("0-7/6", &[0, 6]),
            ("7-2/2", &[0, 2]),
            ("6-7", &[0, 6]),
        ] {
            assert_eq!(values(&format!("0 0 * * {text}"), WEEKDAY), days, "{text}");
        }
        assert_eq!(cron(" @Daily "), cron("0\t0  * * *"));
    }

    #[test]
    fn what_crons_disagree_about_or_no_cron_takes_is_refused_in_words() {
        let values = "ranges (low-high), steps (/step), lists with commas, or *";
        for (text, said) in [
            ("60 * * * *", format!("minute: \"60\" is not allowed: values from 0 to 59, {values}")),
            ("* 24 * * *", format!("hour: \"24\" is not allowed: values from 0 to 23, {values}")),
            ("* * 0 * *", format!("day of the month: \"0\" is not allowed: values from 1 to 31, {values}")),
            ("* * * janu *", format!("month: \"janu\" is not allowed: values from 1 to 12 or jan to dec, {values}")),
            ("* * * * 8", format!("weekday: \"8\" is not allowed: values from 0 to 7 or sun to sat, {values}")),
            ("+5 * * * *", format!("minute: \"+5\" is not allowed: values from 0 to 59, {values}")),
            ("1,,2 * * * *", format!("minute: \"\" is not allowed: values from 0 to 59, {values}")),
            ("*-5 * * * *", format!("minute: \"*-5\" is not allowed: values from 0 to 59, {values}")),
            ("*/0 * * * *", "minute: \"*/0\" is not allowed: a step from 1 to 59".to_owned()),
            ("*/90 * * * *", "minute: \"*/90\" is not allowed: a step from 1 to 59".to_owned()),
            ("1/2/3 * * * *", "minute: \"1/2/3\" is not allowed: a step from 1 to 59".to_owned()),
            ("5-5 * * * *", "minute: \"5-5\" is not allowed: a range of one value; write the value alone, or *".to_owned()),
            ("* 22-6/3 * * *", "hour: \"22-6/3\" is not allowed: a range past the end has no step; write a list".to_owned()),
            ("@reboot", "\"@reboot\" is not allowed: one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields".to_owned()),
            ("* * * *", "it has 4 fields, not five: minute, hour, day of the month, month, weekday; for example \"*/5 9-17 * * mon-fri\"".to_owned()),
            ("0 0 30 feb *", "it never comes: none of these months has such a day".to_owned()),
            ("0 0 31 2,4,6,9,11 *", "it never comes: none of these months has such a day".to_owned()),
        ] {
            assert_eq!(Cron::parse(text), Err(said), "{text}");
        }
        for text in [
            "",
            "* * * * * *",
            "L * * * *",
            "? * * * *",
            "* * * * 5#3",
            "* * 15W * *",
            "* * * * sun-0",
            "* * * * 7-0",
            "* * * * 7-7",
        ] {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_that_begins_with_a_star_restricts_no_day() {
        // Mondays with an odd date; 2026-11-23 is a Monday.
        let start = (2026, 11, 1, 0, 0);
        assert_eq!(next("0 0 */2 * mon", start, 2), ["2026-11-09T00:00", "2026-11-23T00:00"]);
        // The 13th, if it is a Sunday, Tuesday, Thursday or Saturday.
        assert_eq!(next("0 0 13 * */2", start, 2), ["2026-12-13T00:00", "2027-02-13T00:00"]);
        assert_eq!(next("0 0 *,5 * mon", start, 2), ["2026-11-02T00:00", "2026-11-09T00:00"]);
        // All values, but no star: either is enough, so every day.
        assert_eq!(next("0 0 1-31 * mon", start, 2), ["2026-11-02T00:00", "2026-11-03T00:00"]);
        assert_eq!(next("0 0 13 * 0-7", start, 2), ["2026-11-02T00:00", "2026-11-03T00:00"]);
        assert_eq!(next("0 0 13 * 5", start, 2), ["2026-11-06T00:00", "2026-11-13T00:00"]);
    }

    #[test]
    fn no_text_panics() {
        let mut random = fastrand::Rng::with_seed(9);
        let letters: Vec<char> = "0123456789*/-,, \t@janmonLW#?é+".chars().collect();
        for _ in 0..50_000 {
            let text: String =
                (0..random.usize(..20)).map(|_| letters[random.usize(..letters.len())]).collect();
            _ = Cron::parse(&text);
            _ = Cron::parse(&format!("{text} * * * *"));
            _ = Offset::parse(&text);
        }
    }

    #[test]
    fn the_next_match_passes_the_ends_of_hours_days_months_and_centuries() {
        assert_eq!(
            next("59 23 31 12 *", (2024, 12, 31, 23, 58), 2),
            ["2024-12-31T23:59", "2025-12-31T23:59"]
        );
        assert_eq!(next("* * * * *", (2024, 2, 28, 23, 59), 1), ["2024-02-29T00:00"]);
        assert_eq!(next("0 0 29 2 *", (2096, 2, 29, 0, 0), 2), ["2104-02-29T00:00", "2108-02-29T00:00"]);
        assert_eq!(
            next("30 4 1,15 * 5", (2026, 11, 12, 0, 0), 3),
            [
                "2026-11-13T04:30", // a Friday
                "2026-11-15T04:30",
                "2026-11-20T04:30"
            ]
        );
        assert_eq!(next("0 12 13 * *", (2026, 11, 13, 12, 0), 1), ["2026-12-13T12:00"]);
        // A day that never comes beside a weekday that does.
        assert_eq!(next("0 0 30 2 mon", (2026, 3, 1, 0, 0), 1), ["2027-02-01T00:00"]);
    }

    #[test]
    fn an_offset_moves_the_clock() {
        for (text, minutes) in [
            ("Z", 0),
            ("utc", 0),
            ("+02:00", 120),
            ("-0330", -210),
            ("+14:00", 840),
            ("-14", -840),
            ("-00:30", -30),
        ] {
            assert_eq!(Offset::parse(text).map(Offset::minutes), Ok(minutes), "{text}");
        }
        for text in [
            "",
            "+",
            "2",
            "02:00",
            "+2:00",
            "+02:60",
            "+14:01",
            "-15",
            "+ 2:00",
            "+0:200",
            "++200",
            "+020",
            "+é0",
            "Europe/Berlin",
            "CET",
        ] {
            assert!(Offset::parse(text).is_err_and(|why| why.contains("+02:00")), "{text}");
        }
        let schedule = Schedule { cron: cron("0 9 * * mon"), offset: Offset::parse("+02:00").unwrap() };
        // 2026-11-23 is a Monday.
        let seven = Civil { year: 2026, month: 11, day: 23, hour: 7, minute: 0, weekday: 1 }.to_minute();
        assert!(schedule.matches(seven * 60) && schedule.matches(seven * 60 + 59));
        assert!(!schedule.matches(seven * 60 - 1) && !schedule.matches(seven * 60 + 60));
        assert_eq!(schedule.cron.next_match(seven, schedule.offset), Some(seven + 7 * 1440));
        assert_eq!(schedule.cron.next_match(seven - 1, schedule.offset), Some(seven));
        assert_eq!((Schedule::minute(119), Schedule::minute(-1)), (1, -1));
    }
}
