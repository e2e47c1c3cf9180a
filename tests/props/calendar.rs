//! Dates, and schedules beside a clock that goes minute by minute.

use chaos_agent::dice::schedule::{Cron, Offset};
use chaos_agent::text::civil::Civil;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Minutes of 400,000 years around 1970: all that is far from the end of the numbers.
const FAR: i64 = 400_000 / 2 * 366 * 1440;
/// 2020-01-01 to 2040, as minutes.
const YEARS: std::ops::Range<i64> = 26_297_280..36_817_920;
const DAY: i64 = 1440;

/// Any minute, and those around the ends of centuries and eras, where a calendar goes wrong if it does.
fn minute() -> impl Strategy<Value = i64> {
    // 0000-03-01; an era has 400 years, and the last of its centuries a day more.
    let edge = (-500..500i64, 0..4i64, -2 * DAY..2 * DAY)
        .prop_map(|(era, century, minute)| (era * 146_097 + century * 36_524 - 719_468) * DAY + minute);
    prop_oneof![-FAR..FAR, edge]
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn a_date_leads_back_to_its_minute(minute in minute()) {
        let date = Civil::from_minute(minute);
        prop_assert_eq!(date.to_minute(), minute);
        prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day) && date.weekday < 7);
        let next = Civil::from_minute(minute + DAY);
        prop_assert_eq!(next.weekday, (date.weekday + 1) % 7);
        let first_of_next = next.day == 1 && (next.year * 12 + i64::from(next.month)) == date.year * 12 + i64::from(date.month) + 1;
        prop_assert!(first_of_next || (next.year, next.month, next.day) == (date.year, date.month, date.day + 1));
    }

    #[test]
    fn any_text_is_a_schedule_or_a_sentence(text in any::<String>(), field in "[0-9*/,\\-a-zA-Z#?@+ ]{0,20}") {
        for text in [&text, &field, &format!("{field} * * * *"), &format!("* * {field} {field} {field}")] {
            prop_assert!(Cron::parse(text).is_ok() || Cron::parse(text).is_err_and(|why| !why.is_empty()));
            prop_assert!(Offset::parse(text).is_ok() || Offset::parse(text).is_err_and(|why| !why.is_empty()));
        }
    }

    #[test]
    fn an_offset_is_hours_and_minutes_of_at_most_14_hours(
        west in any::<bool>(), hours in 0..20i64, minutes in 0..70i64, colon in any::<bool>(),
    ) {
        let (sign, colon) = (if west { "-" } else { "+" }, if colon { ":" } else { "" });
        let total = hours * 60 + minutes;
        let expected = (minutes < 60 && total <= 14 * 60).then_some(if west { -total } else { total });
        let read = Offset::parse(&format!("{sign}{hours:02}{colon}{minutes:02}"));
        prop_assert_eq!(read.ok().map(Offset::minutes), expected);
    }
}

/// One item of a field by its meaning: the text, and the values that it stands for.
fn item(low: u8, high: u8) -> impl Strategy<Value = (String, BTreeSet<u8>)> {
    let value = low..=high;
    let step = 1..=high - low;
    prop_oneof![
        value.clone().prop_map(|at| (at.to_string(), BTreeSet::from([at]))),
        step.clone().prop_map(move |step| (format!("*/{step}"), (low..=high).step_by(step.into()).collect())),
        (value.clone(), step.clone())
            .prop_map(move |(at, step)| (format!("{at}/{step}"), (at..=high).step_by(step.into()).collect())),
        (value.clone(), value, step).prop_filter_map("a range of one value is refused", |(a, b, step)| {
            let (from, to) = (a.min(b), a.max(b));
            (from < to).then(|| (format!("{from}-{to}/{step}"), (from..=to).step_by(step.into()).collect()))
        }),
    ]
}

/// A field: the text, the values, and whether it begins with a star, which says nothing about the day.
fn field(low: u8, high: u8) -> impl Strategy<Value = (String, BTreeSet<u8>, bool)> {
    let star = Just(("*".to_owned(), (low..=high).collect(), true));
    let list = proptest::collection::vec(item(low, high), 1..4).prop_map(|items| {
        let (texts, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let text = texts.join(",");
        let star = text.starts_with('*');
        (text, values.into_iter().flatten().collect(), star)
    });
    prop_oneof![1 => star, 2 => list]
}

proptest! {
    #![proptest_config(crate::cases(200))]

    /// The oracle: each minute is looked at by what the five fields say in words, one after the other.
    #[test]
    fn the_next_match_is_the_one_that_a_walk_through_the_minutes_meets(
        minutes in field(0, 59),
        hours in field(0, 23),
        days in field(1, 31),
        months in field(1, 12),
        weekdays in field(0, 6),
        start in YEARS,
        local in -14 * 60..=14 * 60i64,
    ) {
        let text = format!("{} {} {} {} {}", minutes.0, hours.0, days.0, months.0, weekdays.0);
        let sign = if local < 0 { '-' } else { '+' };
        let offset = Offset::parse(&format!("{sign}{:02}:{:02}", local.abs() / 60, local.abs() % 60)).unwrap();
        let Ok(cron) = Cron::parse(&text) else {
            prop_assert!(Cron::parse(&text).is_err_and(|why| why.contains("never comes")), "{}", text);
            return Ok(());
        };
        let meets = |at: &Civil| {
            let (day, weekday) = (days.1.contains(&at.day), weekdays.1.contains(&at.weekday));
            // Either of the two, where both say something.
            let day = if days.2 || weekdays.2 { day && weekday } else { day || weekday };
            minutes.1.contains(&at.minute) && hours.1.contains(&at.hour) && months.1.contains(&at.month) && day
        };
        let end = start + 40 * DAY;
        let walked = (start + 1..=end).find(|minute| meets(&Civil::from_minute(minute + local)));
        let found = cron.next_match(start, offset);
        match walked {
            Some(minute) => prop_assert_eq!(found, Some(minute), "{}", text),
            None => prop_assert!(found.is_none_or(|found| found > end), "{}: {:?}", text, found),
        }
    }
}
