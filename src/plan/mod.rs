//! What the dice would do, without doing anything: one agent with its seed ([`Timeline`]), a fleet of agents with
//! seeds of their own ([`Fleet`]), and a trail of what an agent did against its seed ([`replay`]).
//!
//! All of it assumes what the dice cannot know: that each injection succeeds and holds for its whole duration,
//! that no tick is missed, and that nobody halts, reloads or stops the agent.

mod engine;
mod fleet;
mod json;
mod replay;
mod text;
mod timeline;

pub use fleet::Fleet;
pub use replay::{Trail, replay};
pub use timeline::{Start, Timeline};

use crate::config::Config;
use crate::dice::decide::{Limits, Moment, Rule};
use crate::failures::Host;
use std::time::Duration;

/// What is planned: a config, a time and so many ticks.
pub struct Plan {
    /// The enabled entries, in the order of the config.
    pub entries: Vec<Planned>,
    /// What bounds them together.
    pub limits: Limits,
    /// Between two ticks.
    pub interval: Duration,
    /// Of the first tick, since 1970-01-01 00:00 UTC.
    pub start: Duration,
    /// How many, from 0.
    pub ticks: u64,
    /// Whether the agent would only describe what it does.
    pub dry_run: bool,
}

/// An entry of the plan.
pub struct Planned {
    /// Its name, chance and schedule.
    pub rule: Rule,
    /// Its type.
    pub kind: &'static str,
    /// How long an injection holds; zero for kinds without a duration.
    pub duration: Duration,
    /// What an injection does, in a line.
    pub what: String,
}

impl Plan {
    /// The plan of a config.
    pub fn new(config: &Config, start: Duration, ticks: u64) -> Plan {
        let exporter = &config.agent.metrics;
        let metrics_port = exporter.enabled.then_some(exporter.port);
        let host = Host { metrics_port, ..Host::default() };
        let live = config.entries.iter().filter(|entry| entry.enabled);
        let planned = live.map(|entry| Planned {
            rule: entry.rule.clone(),
            kind: entry.kind.name,
            duration: entry.duration,
            what: entry.failure.as_ref().map_or_else(String::new, |failure| failure.describe(&host)),
        });
        let agent = &config.agent;
        Plan {
            entries: planned.collect(),
            limits: agent.limits.clone(),
            interval: agent.interval,
            start,
            ticks,
            dry_run: agent.dry_run,
        }
    }

    /// The time of a tick, as the agent counts it.
    fn moment(&self, tick: u64) -> Moment {
        let at = self.after(tick);
        let unix = i64::try_from(self.start.saturating_add(at).as_secs()).unwrap_or(i64::MAX);
        Moment { tick, at, unix }
    }

    /// From the start to a tick.
    fn after(&self, tick: u64) -> Duration {
        self.interval.saturating_mul(u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// The whole time of the plan.
    pub fn length(&self) -> Duration {
        self.after(self.ticks)
    }

    /// From the tick of an injection to the first at which its entry is rolled again; [`crate::dice::decide::is_busy`]
    /// in ticks.
    fn busy_ticks(&self, duration: Duration) -> u64 {
        (duration.as_nanos() / self.interval.as_nanos().max(1)) as u64 + 1
    }

    /// At how many ticks an injection is in force, its first one included.
    fn active_ticks(&self, duration: Duration) -> u64 {
        (duration.as_nanos().div_ceil(self.interval.as_nanos().max(1)) as u64).max(1)
    }

    /// How long an injection that starts at a tick is in force before the plan ends.
    fn active_time(&self, duration: Duration, tick: u64) -> Duration {
        duration.min(self.length().saturating_sub(self.after(tick)))
    }

    /// What the answer takes for granted.
    pub fn assumed(&self) -> Vec<String> {
        let mut lines = vec![
            "every injection succeeds and holds for its whole duration; no tick is missed; nobody halts, reloads \
             or stops the agent"
                .to_owned(),
        ];
        let timeless = self.entries.iter().filter(|entry| entry.duration.is_zero());
        let names: Vec<&str> = timeless.map(|entry| entry.rule.name.as_str()).collect();
        if !names.is_empty() {
            lines.push(format!(
                "{} takes no configured time and counts as over by the next tick; run does not roll it while it \
                 waits out grace_seconds and recovery_seconds",
                names.join(", ")
            ));
        }
        if self.dry_run {
            lines.push(
                "dry_run is on in the config, but this is the plan of real injections; those of a dry run take no \
                 time, so run would roll at every tick"
                    .to_owned(),
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::decide::{StopAfter, is_busy};
    use crate::dice::schedule::{Cron, Offset, Schedule};

    /// A plan of random entries and limits, with a random interval.
    pub(super) fn random_plan(random: &mut fastrand::Rng) -> Plan {
        let schedule = |random: &mut fastrand::Rng| {
            let texts = ["*/2 * * * *", "0-29 * * * *", "* 8 * * *", "5,17,40 * * * *"];
            let cron = Cron::parse(texts[random.usize(..texts.len())]).unwrap();
            Schedule { cron, offset: Offset::parse("+05:30").unwrap() }
        };
        let mut some = |chance: u8| random.u8(..100) < chance;
        let (scheduled, most, hourly, stop) = (some(20), some(40), some(30), some(30));
        let limits = Limits {
            schedule: scheduled.then(|| schedule(random)),
            max_concurrent: most.then(|| random.usize(1..4)),
            per_hour: hourly.then(|| random.usize(1..20)),
            stop_after: stop.then(|| match random.bool() {
                true => StopAfter::Time(Duration::from_millis(random.u64(1..20_000_000))),
                false => StopAfter::Injections(random.u64(1..40)),
            }),
        };
        let entry = |index: usize, random: &mut fastrand::Rng| {
            let own = (random.u8(..3) == 0).then(|| schedule(random));
            let certain = own.is_some() && random.bool();
            let probability =
                (!certain).then(|| [0.0, 1.0, random.f64(), random.f64() / 20.0][random.usize(..4)]);
            let rule = Rule { name: format!("entry-{index}"), probability, schedule: own };
            let duration = Duration::from_millis([0, 10_000, random.u64(..100_000)][random.usize(..3)]);
            Planned { rule, kind: "cpu", duration, what: String::new() }
        };
        Plan {
            entries: (0..random.usize(..6)).map(|index| entry(index, random)).collect(),
            limits,
            interval: Duration::from_millis([10_000, 1_000, random.u64(1..60_000)][random.usize(..3)]),
            start: Duration::from_millis(1_800_000_000_000 + random.u64(..100_000_000)),
            ticks: random.u64(1..500),
            dry_run: false,
        }
    }

    #[test]
    fn ticks_and_times_mean_the_same() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..2000 {
            let plan = random_plan(&mut random);
            let ms = plan.interval.as_millis() as u64;
            // Whole intervals too, where the ends meet.
            for duration in [random.u64(..100_000), random.u64(..5) * ms].map(Duration::from_millis) {
                let start = plan.after(random.u64(..9));
                let (busy, active) = (plan.busy_ticks(duration), plan.active_ticks(duration));
                for (ticks, is) in [(busy - 1, true), (busy, false)] {
                    assert_eq!(is_busy(start, duration, start + plan.after(ticks)), is, "{duration:?}");
                }
                assert!(plan.after(active) >= duration && (active == 1 || plan.after(active - 1) < duration));
            }
        }
    }
}
