//! How long it takes until killed processes are back: the figure for which people kill them.

use super::find::find;
use super::select::Selection;
use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Result};
use crate::linux::proc::Reader;
use crate::linux::sys::clock;
use std::time::{Duration, Instant};

/// The first look comes this soon after the death.
const SOONEST: Duration = Duration::from_millis(5);
/// A look at least this often.
const LATEST: Duration = Duration::from_millis(500);
/// A look takes at most this share of the time between two, so that a node full of processes is not burdened.
const SHARE: u32 = 20;
/// Milliseconds of a clock tick in `/proc`: `USER_HZ` is 100 on all architectures that Linux has today.
const TICK_MS: u64 = 10;

/// A death, in milliseconds of `CLOCK_BOOTTIME`, which also counts the start times in `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Death(u64);

impl Death {
    /// One that was noticed just now.
    pub fn now() -> Death {
        Death(clock::boot_ms())
    }
}

/// What to look for.
#[derive(Debug)]
pub struct Watch {
    /// When each victim died, in order.
    pub deaths: Vec<Death>,
    /// Pid and start time of all processes that matched before.
    pub known: Vec<(u32, u64)>,
    /// For how long.
    pub limit: Duration,
}

impl Watch {
    /// Waits until as many new processes match as died, the limit has passed or the agent stops; tells each
    /// return's time in seconds. Returns how many are still missing.
    ///
    /// The kernel tells nobody without capabilities that a process starts, so this looks, ever more rarely: the
    /// new process's start time says when it came, to 10 ms, however late the look. Only a process that was
    /// there under another name at the look before (a start script that became the program) counts from the
    /// look that saw it, a tenth of the time too late at most.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn run(
        mut self,
        reader: &mut Reader,
        own: u32,
        selection: &Selection,
        cancel: &Cancel,
        back: &mut dyn FnMut(f64),
    ) -> Result<usize> {
        let begin = Instant::now();
        let mut deaths = std::mem::take(&mut self.deaths).into_iter();
        let mut pause = SOONEST;
        let mut last_look = clock::boot_ms();
        while deaths.len() > 0 && begin.elapsed() < self.limit {
            let left = self.limit.saturating_sub(begin.elapsed());
            if cancel.wait(pause.min(left)) == Waited::Cancelled {
                break;
            }
            let (look, looked) = (Instant::now(), clock::boot_ms());
            let found = find(reader, own, selection).doing("list", "processes")?;
            for one in found.candidates {
                if self.known.contains(&(one.pid, one.start)) {
                    continue;
                }
                self.known.push((one.pid, one.start));
                if let Some(death) = deaths.next() {
                    back(since(death, one.start, last_look, clock::boot_ms()));
                }
            }
            last_look = looked;
            pause = (begin.elapsed() / 10).max(look.elapsed() * SHARE).clamp(SOONEST, LATEST);
        }
        Ok(deaths.len())
    }
}

/// Seconds from the death to a start in clock ticks that was seen at `now` and not at `last_look`. A tick counts
/// from its middle.
fn since(death: Death, start: u64, last_look: u64, now: u64) -> f64 {
    let started = start.saturating_mul(TICK_MS).saturating_add(TICK_MS / 2);
    let came = if started.saturating_add(TICK_MS) < last_look { now } else { started.min(now) };
    came.saturating_sub(death.0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_counts_and_never_more_than_was_seen() {
        assert_eq!(since(Death(1000), 200, 1500, 5000), 1.005, "seen late");
        assert_eq!(since(Death(1000), 200, 4000, 5000), 4.0, "there before, under another name");
        assert_eq!(since(Death(1000), 100, 1000, 1002), 0.002, "within the tick of the death");
        assert_eq!(since(Death(1000), 99, 1000, 1003), 0.0, "started before the death was noticed");
        assert_eq!(since(Death(1000), u64::MAX, 900, 900), 0.0);
    }
}
