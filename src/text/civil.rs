//! The civil calendar: minutes since 1970 to dates and back, in the proleptic Gregorian calendar, without time
//! zones and leap seconds, as Unix time counts. Pure.
//!
//! Both ways after Howard Hinnant, "chrono-compatible low-level date algorithms" (civil_from_days,
//! days_from_civil): eras of 400 years whose years start on 1 March, so that the leap day is the last.

use std::fmt::{self, Display};
use std::time::{SystemTime, UNIX_EPOCH};

/// From 0000-03-01, where the first era starts, to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of an era.
const ERA: i64 = 146_097;

/// A minute of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// Of the month, 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 is Sunday, 6 is Saturday.
    pub weekday: u8,
}

impl Civil {
    /// The date of a minute, counted from 1970-01-01 00:00. For a date that is not in UTC, count local minutes.
    pub fn from_minute(minute: i64) -> Civil {
        let (days, in_day) = (minute.div_euclid(1440), minute.rem_euclid(1440));
        let shifted = days + EPOCH;
        let (era, day) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        Civil {
            year: era * 400 + year + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (in_day / 60) as u8,
            minute: (in_day % 60) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }

    /// Minutes since 1970-01-01 00:00; the weekday is not looked at.
    pub fn to_minute(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = self.year - i64::from(month <= 2);
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let day = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let days = era * ERA + 365 * year + year / 4 - year / 100 + day - EPOCH;
        days * 1440 + i64::from(self.hour) * 60 + i64::from(self.minute)
    }
}

/// `2026-11-23T12:00`, as RFC 3339 begins.
impl Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}")
    }
}

/// RFC 3339 in UTC with milliseconds. A clock before 1970 counts as 1970.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as i64;
    format!("{}:{:02}.{:03}Z", Civil::from_minute(seconds / 60), seconds % 60, since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_agree_with_the_calendar() {
        // From `date -u -d @N`.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
            (253_402_300_799, "9999-12-31T23:59:59.007Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7)), date);
        }
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        let old = Civil::from_minute(-1);
        assert_eq!((old.to_string().as_str(), old.weekday), ("1969-12-31T23:59", 3));
    }

    /// Every day of two eras: the next date follows the last one by the rules of the calendar that everybody
    /// knows, and leads back to its number.
    #[test]
    fn every_day_follows_the_day_before_and_leads_back() {
        let start = Civil { year: 1600, month: 1, day: 1, hour: 0, minute: 0, weekday: 6 };
        let mut expected = start;
        for day in 0..2 * ERA {
            let found = Civil::from_minute(start.to_minute() + day * 1440);
            assert_eq!(found, expected);
            assert_eq!(found.to_minute(), start.to_minute() + day * 1440);
            let year = expected.year;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [31, 28 + u8::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            expected.weekday = (expected.weekday + 1) % 7;
            expected.day += 1;
            if expected.day > days[usize::from(expected.month) - 1] {
                (expected.day, expected.month) = (1, expected.month + 1);
            }
            if expected.month > 12 {
                (expected.month, expected.year) = (1, year + 1);
            }
        }
    }
}
