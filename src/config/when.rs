//! The settings that say when something may happen: schedules, time zones and the end of it all.

use super::model::{Agent, Entry};
use crate::dice::decide::StopAfter;
use crate::dice::schedule::{Cron, Offset, Schedule};
use crate::settings::{Node, Report, Scalar, Section, Value};
use std::time::Duration;

/// The longest interval that meets every minute, in seconds.
const MINUTE: Duration = Duration::from_secs(60);
/// Longest `stop_after`: a year.
const LONGEST: f64 = 366.0 * 86_400.0;

/// The agent's `timezone`, which entries take over; read ahead of the rest. What is wrong with it is told when the
/// agent's section is read.
pub fn zone(root: &Node) -> &str {
    match root.get("agent").and_then(|agent| agent.get("timezone")).map(|node| &node.value) {
        Some(Value::Text(text)) if Offset::parse(text).is_ok() => text,
        _ => "Z",
    }
}

/// `schedule` and `timezone`; `zone` is the offset where the section names none.
pub fn schedule(section: &mut Section<'_>, zone: &str) -> Option<Schedule> {
    let offset = match Offset::parse(&section.text_or("timezone", zone)) {
        Ok(offset) => offset,
        Err(why) => {
            section.problem("timezone", "is no offset", &why);
            Offset::UTC
        }
    };
    let text = section.text("schedule")?;
    match Cron::parse(&text) {
        Ok(cron) => Some(Schedule { cron, offset }),
        Err(why) => {
            section.problem("schedule", "is no schedule", &why);
            None
        }
    }
}

/// `stop_after: 3600`, `"90m"`, `"100 injections"`.
pub fn stop_after(section: &mut Section<'_>) -> Option<StopAfter> {
    let value = section.scalar("stop_after")?;
    let seconds = |seconds: f64| {
        let fits = (0.001..=LONGEST).contains(&seconds);
        fits.then(|| StopAfter::Time(Duration::from_secs_f64(seconds)))
    };
    let read = match &value {
        Scalar::Number(number) => seconds(*number),
        Scalar::Text(text) => match text.strip_suffix("injections").or(text.strip_suffix("injection")) {
            Some(count) => count.trim().parse().ok().filter(|count| *count > 0).map(StopAfter::Injections),
            None => duration(text).and_then(|time| seconds(time.as_secs_f64())),
        },
    };
    if read.is_none() {
        let hint =
            "a number of seconds, a time such as \"90m\" or \"2h\", or a count such as \"100 injections\"";
        section.problem("stop_after", "is not allowed", hint);
    }
    read
}

/// A time with a unit: `500ms`, `30s`, `90m`, `2h`, `1.5d`; a bare number is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = digits.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

/// Ticks more than a minute apart would step over minutes of a schedule, and nothing would ever happen.
pub fn steps_over(root: &Node, report: &mut Report, agent: &Agent, entries: &[Entry]) {
    let scheduled = |entry: &Entry| entry.enabled && entry.rule.schedule.is_some();
    if agent.interval <= MINUTE || !(agent.limits.schedule.is_some() || entries.iter().any(scheduled)) {
        return;
    }
    let at =
        root.get("agent").and_then(|agent| agent.get("interval_seconds")).map_or(root.at, |node| node.at);
    let why = format!(
        "{} is too long for a schedule: it steps over the minutes that match; at most 60",
        agent.interval.as_secs_f64()
    );
    report.problem(at, "agent.interval_seconds", &why);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let ms = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!((ms("30"), ms("30s"), ms("1.5m")), (Some(30_000), Some(30_000), Some(90_000)));
        assert_eq!((ms("2h"), ms("1d"), ms("3 min")), (Some(7_200_000), Some(86_400_000), Some(180_000)));
        for wrong in ["", "h", "-1s", "1y", "1 2", "NaN", "inf", "1e400s"] {
            assert_eq!(ms(wrong), None, "{wrong:?}");
        }
    }
}
