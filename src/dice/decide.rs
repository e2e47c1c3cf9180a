//! What happens at a tick: a pure state machine over dice, schedules and limits, without a clock. The agent
//! drives it with the real time and `plan` with the time of its simulation, so that both say the same.

use crate::dice::schedule::Schedule;
use crate::dice::{self, Roll};
use std::collections::VecDeque;
use std::time::Duration;

/// The time over which [`Limits::per_hour`] counts.
const HOUR: Duration = Duration::from_secs(3600);

/// What decides about one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The entry's name, which its dice depend on.
    pub name: String,
    /// The chance at each roll, 0 to 1. `None` (only with a schedule): once a matching minute.
    pub probability: Option<f64>,
    /// The minutes in which it is rolled; `None` for all.
    pub schedule: Option<Schedule>,
}

/// When the dice rest for good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopAfter {
    /// This long after the start.
    Time(Duration),
    /// After this many injections were started.
    Injections(u64),
}

/// What bounds all entries together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The minutes in which anything is rolled; `None` for all.
    pub schedule: Option<Schedule>,
    /// How many injections may be active at once.
    pub max_concurrent: Option<usize>,
    /// How many injections may start in any 3600 s.
    pub per_hour: Option<usize>,
    /// When no more are started.
    pub stop_after: Option<StopAfter>,
}

/// The time of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its number, from 0.
    pub tick: u64,
    /// Its planned time since the agent's start.
    pub at: Duration,
    /// Its planned time in seconds since 1970 UTC.
    pub unix: i64,
}

/// Why nothing at all is rolled at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The agent's schedule leaves this minute out.
    Schedule,
    /// [`Limits::stop_after`] is reached.
    StopAfter,
}

/// What a tick means for an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Not rolled: its injection is still under way, or its schedule leaves this minute out.
    Rest,
    /// Rolled, and the probability was missed.
    No(Roll),
    /// Rolled and hit, but a limit forbids it.
    Skip(Roll, Limit),
    /// Rolled and hit: an injection starts.
    Inject(Roll),
}

/// The limit that forbade an injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::max_concurrent`].
    Concurrent,
    /// [`Limits::per_hour`].
    PerHour,
}

impl Limit {
    /// The config key that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Limit::Concurrent => "agent.max_concurrent",
            Limit::PerHour => "agent.max_injections_per_hour",
        }
    }
}

/// What the past decisions mean for the next.
#[derive(Clone, Debug, Default)]
pub struct Decider {
    /// Injections started so far.
    started: u64,
    /// Times of the starts of the last hour, if somebody asks for them.
    recent: VecDeque<Duration>,
    /// Entries without a probability and the minute in which each was last hit.
    minutes: Vec<(String, i64)>,
}

impl Decider {
    /// How many injections it has started.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Whether anything is rolled at this tick.
    pub fn rests(&self, limits: &Limits, moment: Moment) -> Option<Rest> {
        let over = match limits.stop_after {
            Some(StopAfter::Time(time)) => moment.at >= time,
            Some(StopAfter::Injections(count)) => self.started >= count,
            None => false,
        };
        if over {
            return Some(Rest::StopAfter);
        }
        let due = limits.schedule.as_ref().is_none_or(|schedule| schedule.matches(moment.unix));
        (!due).then_some(Rest::Schedule)
    }

    /// Decides about one entry at a tick at which [`Decider::rests`] said nothing. `active` is the number of
    /// injections under way, of all entries; `busy` whether one of them is this entry's.
    pub fn decide(
        &mut self,
        seed: u64,
        rule: &Rule,
        limits: &Limits,
        moment: Moment,
        busy: bool,
        active: usize,
    ) -> Verdict {
        let over = matches!(limits.stop_after, Some(StopAfter::Injections(count)) if self.started >= count);
        if busy || over || rule.schedule.as_ref().is_some_and(|schedule| !schedule.matches(moment.unix)) {
            return Verdict::Rest;
        }
        if rule.probability.is_none() && !self.first_in_minute(&rule.name, moment.unix.div_euclid(60)) {
            return Verdict::Rest;
        }
        let roll = dice::roll(seed, moment.tick, &rule.name);
        if rule.probability.is_some_and(|probability| roll.value >= probability) {
            return Verdict::No(roll);
        }
        if let Some(limit) = self.admit(limits, moment.at, active, false) {
            return Verdict::Skip(roll, limit);
        }
        self.started += 1;
        Verdict::Inject(roll)
    }

    /// The limit that forbids another injection at this time since the start. If none does, or with `forced`, it counts
    /// as begun.
    pub fn admit(&mut self, limits: &Limits, at: Duration, active: usize, forced: bool) -> Option<Limit> {
        let mut reached = limits.max_concurrent.filter(|most| active >= *most).map(|_| Limit::Concurrent);
        if let Some(most) = limits.per_hour {
            while self.recent.front().is_some_and(|start| *start + HOUR <= at) {
                self.recent.pop_front();
            }
            if self.recent.len() >= most {
                reached = reached.or(Some(Limit::PerHour));
            }
            if reached.is_none() || forced {
                self.recent.push_back(at);
            }
        }
        reached
    }

    /// Whether this entry was not hit in this minute before; from now on it was.
    fn first_in_minute(&mut self, name: &str, minute: i64) -> bool {
        match self.minutes.iter_mut().find(|(known, _)| known == name) {
            Some((_, last)) if *last == minute => false,
            Some((_, last)) => {
                *last = minute;
                true
            }
            None => {
                self.minutes.push((name.to_owned(), minute));
                true
            }
        }
    }
}

/// Whether an injection that started at `start` and lasts `duration` keeps its entry busy at the tick at `now`.
/// At the very end it does: set-up and revert take their time on top.
pub fn is_busy(start: Duration, duration: Duration, now: Duration) -> bool {
    start.saturating_add(duration) >= now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(probability: Option<f64>) -> Rule {
        Rule { name: "cpu".to_owned(), probability, schedule: None }
    }

    fn at(tick: u64) -> Moment {
        let unix = 1_800_000_000 + 10 * i64::try_from(tick).unwrap();
        Moment { tick, at: Duration::from_secs(10 * tick), unix }
    }

    impl Verdict {
        fn limit(self) -> Option<Limit> {
            if let Verdict::Skip(_, limit) = self { Some(limit) } else { None }
        }
    }

    fn verdicts(rule: &Rule, limits: &Limits, ticks: u64) -> Vec<Verdict> {
        let mut decider = Decider::default();
        (0..ticks).map(|tick| decider.decide(7, rule, limits, at(tick), false, 0)).collect()
    }

    #[test]
    fn the_roll_decides_and_a_busy_entry_is_not_rolled() {
        let mut decider = Decider::default();
        let limits = Limits::default();
        for tick in 0..200 {
            let roll = dice::roll(7, tick, "cpu");
            let wanted = if roll.value < 0.3 { Verdict::Inject(roll) } else { Verdict::No(roll) };
            assert_eq!(decider.decide(7, &rule(Some(0.3)), &limits, at(tick), false, 5), wanted);
            assert_eq!(decider.decide(7, &rule(Some(1.0)), &limits, at(tick), true, 0), Verdict::Rest);
        }
    }

    #[test]
    fn limits_skip_what_the_dice_hit_and_nothing_else() {
        let limits = Limits { max_concurrent: Some(2), ..Limits::default() };
        let mut decider = Decider::default();
        let mut decide = |active| decider.decide(7, &rule(Some(1.0)), &limits, at(0), false, active);
        assert!(matches!(decide(1), Verdict::Inject(_)));
        assert!(matches!(decide(2), Verdict::Skip(_, Limit::Concurrent)));

        let hourly = Limits { per_hour: Some(3), ..Limits::default() };
        let verdicts = verdicts(&rule(Some(1.0)), &hourly, 724);
        let hits: Vec<_> = (0..724).filter(|at| matches!(verdicts[*at], Verdict::Inject(_))).collect();
        assert_eq!(hits, [0, 1, 2, 360, 361, 362, 720, 721, 722], "a start counts for 3600 s");
        assert!(matches!(verdicts[3], Verdict::Skip(_, Limit::PerHour)));
    }

    #[test]
    fn what_others_inject_takes_a_place_too() {
        let limits = Limits { max_concurrent: Some(2), per_hour: Some(2), ..Limits::default() };
        let mut decider = Decider::default();
        let mut admit = |at, active, forced| decider.admit(&limits, Duration::from_secs(at), active, forced);
        assert_eq!(admit(0, 2, false), Some(Limit::Concurrent));
        assert_eq!(admit(0, 1, false), None);
        // Who insists is told, and counted.
        assert_eq!(admit(1, 2, true), Some(Limit::Concurrent));
        assert_eq!(admit(2, 0, false), Some(Limit::PerHour));
        assert_eq!(admit(3600, 0, false), None);
        assert_eq!(
            decider.decide(7, &rule(Some(1.0)), &limits, at(360), false, 0).limit(),
            Some(Limit::PerHour)
        );
        assert_eq!(decider.started(), 0);
    }

    #[test]
    fn after_its_time_or_count_nothing_is_rolled() {
        let timed =
            Limits { stop_after: Some(StopAfter::Time(Duration::from_secs(20))), ..Limits::default() };
        let decider = Decider::default();
        assert_eq!(decider.rests(&timed, at(1)), None);
        assert_eq!(decider.rests(&timed, at(2)), Some(Rest::StopAfter));

        let counted = Limits { stop_after: Some(StopAfter::Injections(1)), ..Limits::default() };
        let mut decider = Decider::default();
        assert_eq!(decider.rests(&counted, at(0)), None);
        assert!(matches!(decider.decide(7, &rule(Some(1.0)), &counted, at(0), false, 0), Verdict::Inject(_)));
        let second = decider.decide(7, &rule(Some(1.0)), &counted, at(0), false, 1);
        assert_eq!(second, Verdict::Rest, "also within the same tick");
        assert_eq!((decider.rests(&counted, at(1)), decider.started()), (Some(Rest::StopAfter), 1));
    }

    #[test]
    fn without_a_probability_an_entry_is_hit_once_a_minute() {
        let verdicts = verdicts(&rule(None), &Limits::default(), 18);
        let hits: Vec<_> = (0..18).filter(|at| matches!(verdicts[*at], Verdict::Inject(_))).collect();
        // 1_800_000_000 is the start of a minute.
        assert_eq!(hits, [0, 6, 12]);
    }

    #[test]
    fn an_injection_is_busy_up_to_and_at_its_end() {
        let (start, duration) = (Duration::from_secs(10), Duration::from_secs(20));
        assert!(is_busy(start, duration, Duration::from_secs(30)));
        assert!(!is_busy(start, duration, Duration::from_millis(30_001)));
    }
}
