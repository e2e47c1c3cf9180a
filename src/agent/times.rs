//! When ticks are due: a fixed rate that neither a long tick nor a step of the clock shifts.

use crate::dice::decide::Moment;
use crate::linux::sys::clock;
use std::time::{Duration, Instant};

/// The times of ticks: `base` was at `start`.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) start: Instant,
    unix: Duration,
    pub(super) interval: Duration,
    /// The number of the tick at `start`, and its time since the agent's start.
    base: u64,
    before: Duration,
}

impl Times {
    pub(super) fn new(interval: Duration) -> Times {
        let unix = clock::unix();
        Times { start: Instant::now(), unix, interval, base: 0, before: Duration::ZERO }
    }

    /// The planned times of a tick. The wall clock counts as read at the start, so that a step of it shifts no
    /// tick; [`Times::set_clock`] reads it again.
    pub(super) fn moment(&self, tick: u64) -> Moment {
        let after = self.interval.saturating_mul(u32::try_from(tick - self.base).unwrap_or(u32::MAX));
        let unix = i64::try_from(self.unix.saturating_add(after).as_secs()).unwrap_or(i64::MAX);
        Moment { tick, at: self.before.saturating_add(after), unix }
    }

    /// The time since the agent's start.
    pub(super) fn now(&self) -> Duration {
        self.before.saturating_add(self.start.elapsed())
    }

    /// The first tick that is still to come, after `tick`: one that was missed (a stopped or starved agent) is
    /// left out, never repeated, and the others keep their times.
    pub(super) fn next(&self, tick: u64) -> u64 {
        let passed = self.start.elapsed().as_secs_f64() / self.interval.as_secs_f64();
        (tick + 1).max(self.base + passed.ceil() as u64)
    }

    pub(super) fn when(&self, tick: u64) -> Option<Instant> {
        self.start.checked_add(self.interval.mul_f64((tick - self.base) as f64))
    }

    /// Takes over a step of the wall clock, which schedules go by.
    pub(super) fn set_clock(&mut self) {
        let now = clock::unix();
        let then = now.saturating_sub(self.start.elapsed());
        if then.abs_diff(self.unix) > Duration::from_secs(1) {
            self.unix = then;
        }
    }

    /// The same ticks so far, and from tick `tick`, which is due at once, another interval.
    pub(super) fn rebase(&self, tick: u64, interval: Duration) -> Times {
        let before = self.moment(tick).at;
        Times { base: tick, before, ..Times::new(interval) }
    }
}
