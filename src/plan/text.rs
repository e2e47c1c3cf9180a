//! The answers for a person at a terminal.

use super::{Fleet, Plan, Planned, Timeline};
use crate::text::civil::timestamp;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Columns of the chart at most.
const COLUMNS: u64 = 60;
/// Injections that are listed one by one.
const LISTED: usize = 40;

impl Plan {
    /// What is planned, in a line.
    fn head(&self, seed: u64) -> String {
        format!(
            "{} ticks of {} ({}) from {}, seed {seed}\n",
            grouped(self.ticks),
            span(self.interval),
            span(self.length()),
            timestamp(UNIX_EPOCH + self.start)
        )
    }

    fn tail(&self, out: &mut String) {
        for line in self.assumed() {
            _ = writeln!(out, "assumed: {line}");
        }
    }

    /// The longest name of an entry.
    fn width(&self) -> usize {
        self.entries
            .iter()
            .map(|entry| entry.rule.name.chars().count())
            .max()
            .unwrap_or(0)
            .max("at once".len())
    }

    fn name(&self, entry: usize) -> String {
        let plain = |letter: char| if letter.is_control() { '?' } else { letter };
        self.entries[entry].rule.name.chars().map(plain).collect()
    }

    /// The share of the plan that a time is.
    pub(super) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.length().as_secs_f64()
    }
}

impl Planned {
    /// What an injection does, and for how long.
    fn text(&self) -> String {
        match self.duration.is_zero() {
            true => self.what.clone(),
            false => format!("{} for {}", self.what, span(self.duration)),
        }
    }
}

impl Timeline {
    /// Chart, totals, and the first injections one by one.
    pub fn text(&self, plan: &Plan, seed: u64) -> String {
        let mut out = plan.head(seed);
        let width = plan.width();
        self.chart(plan, width, &mut out);
        out.push('\n');
        for (index, entry) in plan.entries.iter().enumerate() {
            let (started, skipped) = self.counts(index);
            _ = write!(
                out,
                "{:<width$}  {started} injections, in force {:.1} % of the time",
                plan.name(index),
                plan.share(self.times[index]) * 100.0
            );
            if skipped > 0 {
                _ = write!(out, ", {skipped} more hits that a limit forbids");
            }
            _ = writeln!(out, "\n{:<width$}  {}", "", entry.text());
        }
        let sum: Duration = self.times.iter().sum();
        let (at_most, bound) = (self.most(), plan.bound());
        _ = writeln!(
            out,
            "{:<width$}  {:.2} on average, {at_most} at most; never more than {bound}",
            "at once",
            plan.share(sum)
        );
        self.list(plan, width, &mut out);
        plan.tail(&mut out);
        out
    }

    /// The most injections that are in force at once.
    pub fn most(&self) -> u32 {
        self.active.iter().copied().max().unwrap_or(0)
    }

    /// A row an entry, a column so many ticks.
    fn chart(&self, plan: &Plan, width: usize, out: &mut String) {
        let ticks = plan.ticks.div_ceil(COLUMNS);
        let columns = plan.ticks.div_ceil(ticks) as usize;
        let mut rows = vec![vec![b'.'; columns]; plan.entries.len()];
        for hit in self.injections() {
            let end = hit.tick + plan.active_ticks(plan.entries[hit.entry].duration);
            let last = ((end.min(plan.ticks) - 1) / ticks) as usize;
            let first = (hit.tick / ticks) as usize;
            let row = &mut rows[hit.entry];
            row[first] = b'#';
            row[first + 1..=last].iter_mut().filter(|cell| **cell == b'.').for_each(|cell| *cell = b'=');
        }
        _ = writeln!(out, "a column is {}; # an injection begins, = it goes on\n", span(plan.after(ticks)));
        let mut axis = String::new();
        for column in (0..columns).step_by(12) {
            _ = write!(axis, "{:<12}", format!("+{}", span(plan.after(ticks * column as u64))));
        }
        _ = writeln!(out, "{:<width$}  {}", "", axis.trim_end());
        for (index, row) in rows.iter().enumerate() {
            _ = writeln!(out, "{:<width$}  {}", plan.name(index), String::from_utf8_lossy(row));
        }
        let most = self.active.chunks(ticks as usize).map(|column| column.iter().copied().max().unwrap_or(0));
        let digit = |most: u32| if most == 0 { '.' } else { char::from_digit(most, 10).unwrap_or('+') };
        _ = writeln!(out, "{:<width$}  {}", "at once", most.map(digit).collect::<String>());
    }

    fn list(&self, plan: &Plan, width: usize, out: &mut String) {
        for (number, hit) in self.hits.iter().enumerate() {
            let start = if number == 0 { "\n" } else { "" };
            if number == LISTED {
                _ = writeln!(out, "and {} more; -o json has them all", self.hits.len() - LISTED);
                break;
            }
            let chance = match plan.entries[hit.entry].rule.probability {
                Some(probability) => format!("{:.5} < {probability}", hit.roll),
                None => "once in this minute".to_owned(),
            };
            let limit = hit.limit.map_or_else(String::new, |limit| format!("; skipped: {}", limit.key()));
            let (at, tick) = (format!("+{}", span(plan.after(hit.tick))), hit.tick);
            _ = writeln!(
                out,
                "{start}{at:<10} tick {tick:<6} {:<width$}  {chance}{limit}",
                plan.name(hit.entry)
            );
        }
        out.push('\n');
    }
}

impl Plan {
    /// The most injections that can be in force at once.
    pub fn bound(&self) -> usize {
        self.limits.max_concurrent.unwrap_or(usize::MAX).min(self.entries.len())
    }
}

impl Fleet {
    /// The distribution as a table.
    pub fn text(&self, plan: &Plan, seed: u64) -> String {
        let Fleet { pods, replicas, .. } = self;
        let mut out = plan.head(seed);
        _ = writeln!(
            out,
            "{} pods, each with a random seed, all with their ticks at the same time\n\n\
             disturbed at the same time         pods    share",
            grouped(*pods)
        );
        let peak = self.percentile(1.0);
        let tick = self.disturbed.iter().position(|pods| *pods == peak).unwrap_or(0) as u64;
        for (label, count) in [
            ("on average".to_owned(), self.average()),
            ("p50 of the ticks".to_owned(), self.percentile(0.5).into()),
            ("p99 of the ticks".to_owned(), self.percentile(0.99).into()),
            (format!("at most (first at +{})", span(plan.after(tick))), peak.into()),
        ] {
            let share = count / *pods as f64 * 100.0;
            _ = writeln!(out, "  {label:<26} {:>10} {share:>7.2} %", grouped(count.round() as u64));
        }
        _ = writeln!(
            out,
            "faults at once in one pod: {} at most; never more than {}",
            self.most_in_pod,
            plan.bound()
        );
        self.groups_text(plan, &mut out);
        let width = plan.width();
        for (index, entry) in plan.entries.iter().enumerate() {
            let (count, time) = (self.injections[index], self.times[index].as_secs_f64());
            let mean = count as f64 / *pods as f64;
            let hours = plan.length().as_secs_f64() / 3600.0;
            let share = time / *pods as f64 / plan.length().as_secs_f64() * 100.0;
            _ = writeln!(
                out,
                "{:<width$}  {} injections, {:.2} a pod and hour, in force {share:.1} % of the time\n{:<width$}  {}",
                plan.name(index),
                grouped(count),
                mean / hours,
                "",
                entry.text()
            );
        }
        out.push('\n');
        if *replicas > 1 {
            _ = writeln!(
                out,
                "assumed: pods know nothing of each other, and any {replicas} of them may form a group"
            );
        }
        plan.tail(&mut out);
        out
    }

    fn groups_text(&self, plan: &Plan, out: &mut String) {
        let Fleet { replicas, groups, groups_down, .. } = self;
        if *replicas < 2 || *groups == 0 {
            out.push('\n');
            return;
        }
        _ = write!(
            out,
            "all {replicas} replicas of a group disturbed at the same time\n  at least once in {}: {} of {} groups, {}\n",
            span(plan.length()),
            grouped(*groups_down),
            grouped(*groups),
            percent(self.chance_down())
        );
        if *groups_down == 0 {
            // The rule of three: what is never seen in n has, with 95 % confidence, a chance below 3 / n.
            let below = (3.0 / *groups as f64).min(1.0);
            _ = writeln!(
                out,
                "    (never seen: the chance is below {} with 95 % confidence)",
                percent(below)
            );
        }
        _ = writeln!(out, "  {} of the time\n", percent(self.share_down()));
    }
}

/// A share in percent, with as many digits as a small one needs.
fn percent(share: f64) -> String {
    let digits = if share > 0.0 && share < 0.001 { 6 } else { 2 };
    format!("{:.digits$} %", share * 100.0)
}

/// A whole number with separators: 1,000,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in its largest units, as it is written in a config: `1h30m`, `10s`, `0.25s`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let mut text = String::new();
    for (unit, size, of) in [("d", 86_400, u64::MAX), ("h", 3600, 24), ("m", 60, 60)] {
        match seconds / size % of {
            0 => {}
            count => _ = write!(text, "{count}{unit}"),
        }
    }
    let rest = time.as_secs_f64() - (seconds - seconds % 60) as f64;
    if rest > 0.0 || text.is_empty() {
        _ = write!(text, "{}s", (rest * 1000.0).round() / 1000.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::decide::{Limits, Rule};

    fn plan() -> Plan {
        let entry = |name: &str, probability, seconds| Planned {
            rule: Rule { name: name.to_owned(), probability: Some(probability), schedule: None },
            kind: "cpu",
            duration: Duration::from_secs(seconds),
            what: format!("does {name}"),
        };
        Plan {
            entries: vec![entry("cpu", 0.1, 25), entry("kill", 0.02, 0)],
            limits: Limits { max_concurrent: Some(1), ..Limits::default() },
            interval: Duration::from_secs(10),
            start: Duration::from_secs(1_800_000_000),
            ticks: 60,
            dry_run: false,
        }
    }

    #[test]
    fn the_chart_shows_what_the_list_says() {
        let plan = plan();
        let line = Timeline::new(&plan, 3);
        let text = line.text(&plan, 3);
        assert!(text.starts_with("60 ticks of 10s (10m) from 2027-01-15T08:00:00.000Z, seed 3\n"), "{text}");
        let row = text.lines().find(|line| line.starts_with("cpu      ")).unwrap();
        let row = &row["at once".len() + 2..];
        assert_eq!(row.len(), 60, "{text}");
        let starts: Vec<_> =
            row.char_indices().filter(|(_, cell)| *cell == '#').map(|(at, _)| at as u64).collect();
        let ticks: Vec<_> = line.injections().filter(|hit| hit.entry == 0).map(|hit| hit.tick).collect();
        assert_eq!(starts, ticks, "{text}");
        assert!(ticks.len() > 1, "{text}");
        // 25 s are in force at their own tick and at two more.
        assert_eq!(
            row.matches('=').count() + starts.len(),
            line.active.iter().filter(|count| **count > 0).count() - line.counts(1).0,
            "{text}"
        );
        for tick in ticks {
            assert!(text.contains(&format!("tick {tick:<6} cpu ")), "{text}");
        }
        assert!(text.contains("never more than 1\n"), "{text}");
        assert!(text.contains("assumed: kill takes no configured time"), "{text}");
    }

    #[test]
    fn a_fleet_is_told_in_pods_and_shares() {
        let plan = plan();
        let text = Fleet::new(&plan, 3, 3000, 3).text(&plan, 3);
        for part in
            ["3,000 pods", "p50 of the ticks", "p99 of the ticks", "at most (first at +", "of 1,000 groups"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let never = Plan { entries: Vec::new(), ..plan };
        let text = Fleet::new(&never, 3, 3000, 3).text(&never, 3);
        assert!(
            text.contains("0 of 1,000 groups, 0.00 %\n    (never seen: the chance is below 0.30 %"),
            "{text}"
        );
    }

    #[test]
    fn numbers_and_times_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let ms = |ms| span(Duration::from_millis(ms));
        assert_eq!([ms(0), ms(250), ms(10_000), ms(90_500)], ["0s", "0.25s", "10s", "1m30.5s"]);
        assert_eq!([ms(3_600_000), ms(90_000_000)], ["1h", "1d1h"]);
    }
}
