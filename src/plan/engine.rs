//! The decisions of [`crate::dice::decide`] for very many agents: the same answers, found without asking about what
//! cannot change between two of them (names, durations in ticks, schedules). `tests` compare the two.

use super::Plan;
use crate::dice::Die;
use crate::dice::decide::StopAfter;
use std::collections::VecDeque;
use std::time::Duration;

/// One entry of an agent.
struct Lane {
    die: Die,
    /// Never hit below; an entry without a probability has 1.
    probability: f64,
    /// The first tick at which it may be rolled again.
    free: u64,
    /// The matching minute that was used up, of an entry without a probability.
    minute: i64,
}

/// An agent whose seed is changed again and again.
pub struct Engine<'a> {
    plan: &'a Plan,
    lanes: Vec<Lane>,
    busy_ticks: Vec<u64>,
    /// For each entry with a schedule: at which ticks it is due.
    due: Vec<Option<Vec<bool>>>,
    all_due: Option<Vec<bool>>,
    /// The first tick that [`StopAfter::Time`] forbids, or the end.
    end: u64,
    /// How many injections [`StopAfter::Injections`] allows.
    most: u64,
    /// A start counts for [`crate::dice::decide::Limits::per_hour`] this many ticks.
    hour: u64,
    recent: VecDeque<u64>,
}

impl<'a> Engine<'a> {
    /// An engine for a plan.
    pub fn new(plan: &'a Plan) -> Engine<'a> {
        let due = |schedule: &crate::dice::schedule::Schedule| {
            (0..plan.ticks).map(|tick| schedule.matches(plan.moment(tick).unix)).collect()
        };
        let (mut end, mut most) = (plan.ticks, u64::MAX);
        match plan.limits.stop_after {
            Some(StopAfter::Time(time)) => {
                end = end.min(time.as_nanos().div_ceil(plan.interval.as_nanos().max(1)) as u64);
            }
            Some(StopAfter::Injections(count)) => most = count,
            None => {}
        }
        Engine {
            plan,
            lanes: Vec::new(),
            busy_ticks: plan.entries.iter().map(|entry| plan.busy_ticks(entry.duration)).collect(),
            due: plan.entries.iter().map(|entry| entry.rule.schedule.as_ref().map(due)).collect(),
            all_due: plan.limits.schedule.as_ref().map(due),
            end,
            most,
            hour: Duration::from_secs(3600).as_nanos().div_ceil(plan.interval.as_nanos().max(1)) as u64,
            recent: VecDeque::new(),
        }
    }

    /// Runs an agent with this seed through the plan; tells entry and tick of each injection, in order.
    pub fn run(&mut self, seed: u64, mut start: impl FnMut(usize, u64)) {
        self.lanes.clear();
        self.lanes.extend(self.plan.entries.iter().map(|entry| Lane {
            die: Die::new(seed, &entry.rule.name),
            probability: entry.rule.probability.unwrap_or(1.0),
            free: 0,
            minute: i64::MIN,
        }));
        self.recent.clear();
        let mut left = self.most;
        for tick in 0..self.end {
            if self.all_due.as_ref().is_some_and(|due| !due[tick as usize]) {
                continue;
            }
            for index in 0..self.lanes.len() {
                let lane = &self.lanes[index];
                if tick < lane.free || self.due[index].as_ref().is_some_and(|due| !due[tick as usize]) {
                    continue;
                }
                if lane.die.value(tick) >= lane.probability || !self.admits(index, tick) {
                    continue;
                }
                self.lanes[index].free = tick + self.busy_ticks[index];
                start(index, tick);
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }

    /// Whether a roll that hit may become an injection.
    fn admits(&mut self, index: usize, tick: u64) -> bool {
        let plan = self.plan;
        if plan.entries[index].rule.probability.is_none() {
            let minute = plan.moment(tick).unix.div_euclid(60);
            if std::mem::replace(&mut self.lanes[index].minute, minute) == minute {
                return false;
            }
        }
        let active = || self.lanes.iter().filter(|lane| lane.free > tick).count();
        if plan.limits.max_concurrent.is_some_and(|most| active() >= most) {
            return false;
        }
        if let Some(most) = plan.limits.per_hour {
            while self.recent.front().is_some_and(|start| start + self.hour <= tick) {
                self.recent.pop_front();
            }
            if self.recent.len() >= most {
                return false;
            }
            self.recent.push_back(tick);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timeline;
    use super::*;

    #[test]
    fn the_engine_and_the_decider_of_run_say_the_same() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut injections, mut skipped) = (0, 0);
        for _ in 0..500 {
            let plan = super::super::tests::random_plan(&mut random);
            let mut engine = Engine::new(&plan);
            for _ in 0..4 {
                let seed = random.u64(..);
                let line = Timeline::new(&plan, seed);
                let expected: Vec<_> = line.injections().map(|hit| (hit.entry, hit.tick)).collect();
                let mut found = Vec::new();
                engine.run(seed, |entry, tick| found.push((entry, tick)));
                assert_eq!(found, expected, "{:?} {:?}", plan.limits, plan.interval);
                injections += found.len();
                skipped += line.hits.len() - found.len();
            }
        }
        assert!(injections > 10_000 && skipped > 1000, "{injections} {skipped}");
    }
}
