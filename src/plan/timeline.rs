//! One agent and its seed, decided by the very code that decides in `run`.

use super::Plan;
use crate::dice::decide::{Decider, Limit, Verdict, is_busy};
use std::time::Duration;

/// A roll that hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// When.
    pub tick: u64,
    /// Index in [`Plan::entries`].
    pub entry: usize,
    /// The roll.
    pub roll: f64,
    /// The limit that forbids it; `None` for an injection that starts.
    pub limit: Option<Limit>,
}

/// What an agent with one seed would do.
#[derive(Default)]
pub struct Timeline {
    /// The rolls that hit, in order.
    pub hits: Vec<Start>,
    /// For each tick how many injections are in force.
    pub active: Vec<u32>,
    /// For each entry how long it is in force altogether.
    pub times: Vec<Duration>,
}

impl Timeline {
    /// Runs through the plan.
    pub fn new(plan: &Plan, seed: u64) -> Timeline {
        let mut decider = Decider::default();
        let mut running: Vec<(usize, Duration)> = Vec::new();
        let mut line = Timeline { times: vec![Duration::ZERO; plan.entries.len()], ..Timeline::default() };
        let mut ends: Vec<u64> = Vec::new();
        for tick in 0..plan.ticks {
            let moment = plan.moment(tick);
            running.retain(|(entry, start)| is_busy(*start, plan.entries[*entry].duration, moment.at));
            ends.retain(|end| *end > tick);
            if decider.rests(&plan.limits, moment).is_none() {
                for (entry, planned) in plan.entries.iter().enumerate() {
                    let busy = running.iter().any(|(other, _)| *other == entry);
                    let active = running.len();
                    let verdict = decider.decide(seed, &planned.rule, &plan.limits, moment, busy, active);
                    let (roll, limit) = match verdict {
                        Verdict::Inject(roll) => (roll, None),
                        Verdict::Skip(roll, limit) => (roll, Some(limit)),
                        Verdict::No(_) | Verdict::Rest => continue,
                    };
                    line.hits.push(Start { tick, entry, roll: roll.value, limit });
                    if limit.is_none() {
                        running.push((entry, moment.at));
                        ends.push(tick.saturating_add(plan.active_ticks(planned.duration)));
                        line.times[entry] += plan.active_time(planned.duration, tick);
                    }
                }
            }
            line.active.push(ends.len() as u32);
        }
        line
    }

    /// The injections that start.
    pub fn injections(&self) -> impl Iterator<Item = &Start> {
        self.hits.iter().filter(|hit| hit.limit.is_none())
    }

    /// How often an entry starts, and how often a limit forbids it.
    pub fn counts(&self, entry: usize) -> (usize, usize) {
        let of = self.hits.iter().filter(|hit| hit.entry == entry);
        let (started, skipped): (Vec<&Start>, Vec<&Start>) = of.partition(|hit| hit.limit.is_none());
        (started.len(), skipped.len())
    }
}
