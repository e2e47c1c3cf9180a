//! How long it takes until killed processes are back: the figure for which people kill them.

use super::find::find;
use super::select::Selection;
use super::victim::Candidate;
use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::linux::proc::Reader;
use crate::linux::sys::clock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many entries are watched at once, each by a thread.
const MOST_WATCHES: usize = 16;
static WATCHES: AtomicUsize = AtomicUsize::new(0);
/// So many victims of an entry are looked for; of more, the oldest are given up.
const MOST_DEATHS: usize = 4096;
/// So many processes beyond twice those that match are remembered before those that are gone are forgotten.
const FORGET: usize = 1024;
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

/// Victims that may come back: those of all injections of one entry, so that each return is told once.
#[derive(Debug, Default)]
pub struct Returns {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each victim died that is not back, and until when it is looked for; the oldest first.
    deaths: Vec<(Death, Instant)>,
    /// Pid and start time of all processes that were seen to match.
    known: Vec<(u32, u64)>,
    /// When the last look began, in milliseconds of `CLOCK_BOOTTIME`.
    last_look: u64,
    /// Victims that were given up since that was last said.
    missing: usize,
    /// Whether a thread looks.
    watched: bool,
}

impl Returns {
    /// Takes in what a look that began at `begun` saw; tells each return's time in seconds, the oldest death to the
    /// oldest start.
    pub fn look(&self, begun: u64, found: &[Candidate], back: &mut dyn FnMut(f64)) {
        let mut state = self.lock();
        let State { deaths, known, last_look, .. } = &mut *state;
        loop {
            // The oldest of the new ones; without a sort, which would be some kB of code.
            let fresh = found.iter().filter(|one| !known.contains(&(one.pid, one.start)));
            let next = if deaths.is_empty() { None } else { fresh.min_by_key(|one| (one.start, one.pid)) };
            let Some(next) = next else { break };
            known.push((next.pid, next.start));
            back(since(deaths.remove(0).0, next.start, *last_look, clock::boot_ms()));
        }
        for one in found {
            if !known.contains(&(one.pid, one.start)) {
                known.push((one.pid, one.start));
            }
        }
        if state.known.len() > FORGET + 2 * found.len() {
            state.known.retain(|known| found.iter().any(|one| (one.pid, one.start) == *known));
        }
        state.last_look = state.last_look.max(begun);
        let (now, before) = (Instant::now(), state.deaths.len());
        state.deaths.retain(|(_, end)| now < *end);
        state.missing += before - state.deaths.len();
    }

    /// Looks for the return of `deaths`, too, up to `limit` from now.
    pub fn add(&self, deaths: Vec<Death>, limit: Duration) {
        let Some(end) = Instant::now().checked_add(limit).filter(|_| !limit.is_zero()) else { return };
        let mut state = self.lock();
        for death in deaths {
            state.deaths.push((death, end));
        }
        let much = state.deaths.len().saturating_sub(MOST_DEATHS);
        state.deaths.rotate_left(much);
        state.deaths.truncate(MOST_DEATHS);
        state.missing += much;
    }

    /// Looks, on this thread, until every victim is back or given up or the agent stops; at once where another thread does.
    /// Tells each return's time in seconds. Returns how many were given up.
    ///
    /// The kernel tells nobody without capabilities that a process starts, so this looks, ever more rarely: the
    /// new process's start time says when it came, to 10 ms, however late the look. Only a process that was
    /// there under another name at the look before (a start script that became the program) counts from the
    /// look that saw it, a tenth of the time too late at most.
    ///
    /// # Errors
    /// `/proc` cannot be read, or [`MOST_WATCHES`] entries are watched already.
    pub fn watch(
        &self,
        reader: &mut Reader,
        own: u32,
        selection: &Selection,
        cancel: &Cancel,
        back: &mut dyn FnMut(f64),
    ) -> Result<usize> {
        let mut state = self.lock();
        if state.watched || state.deaths.is_empty() {
            return Ok(0);
        }
        if WATCHES.fetch_add(1, Ordering::AcqRel) >= MOST_WATCHES {
            WATCHES.fetch_sub(1, Ordering::AcqRel);
            state.deaths.clear();
            return Err(Error::refused(format!("{MOST_WATCHES} entries are watched already")));
        }
        state.watched = true;
        drop(state);
        let looked = self.look_on(reader, own, selection, cancel, back);
        WATCHES.fetch_sub(1, Ordering::AcqRel);
        match looked {
            Ok(Some(missing)) => Ok(missing),
            broken_off => {
                let mut state = self.lock();
                state.watched = false;
                state.deaths.clear();
                broken_off.map(|_| 0)
            }
        }
    }

    /// Until nobody is missing any more: then how many were given up. `None` when the agent stops.
    fn look_on(
        &self,
        reader: &mut Reader,
        own: u32,
        selection: &Selection,
        cancel: &Cancel,
        back: &mut dyn FnMut(f64),
    ) -> Result<Option<usize>> {
        let mut begin = Instant::now();
        let mut pause = SOONEST;
        let mut newest = None;
        loop {
            let (last, end) = {
                let mut state = self.lock();
                let Some((_, end)) = state.deaths.first().copied() else {
                    // In the same breath, so that who adds one now looks itself.
                    state.watched = false;
                    return Ok(Some(std::mem::take(&mut state.missing)));
                };
                (state.deaths.last().map(|(death, _)| death.0), end)
            };
            // Another death: soon again.
            if newest.replace(last) != Some(last) {
                (begin, pause) = (Instant::now(), SOONEST);
            }
            if cancel.wait(pause.min(end.saturating_duration_since(Instant::now()))) == Waited::Cancelled {
                return Ok(None);
            }
            let (look, begun) = (Instant::now(), clock::boot_ms());
            let found = find(reader, own, selection).doing("list", "processes")?;
            self.look(begun, &found.candidates, back);
            pause = (begin.elapsed() / 10).max(look.elapsed() * SHARE).clamp(SOONEST, LATEST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn each_return_belongs_to_the_oldest_victim_that_is_not_back() {
        let one = |pid, start| Candidate { pid, start, name: String::new() };
        let returns = Returns::default();
        let mut told = Vec::new();
        // All looks are at the same moment, before which nobody was looked for.
        let now = clock::boot_ms();
        let tick = now / TICK_MS;
        returns.look(0, &[one(1, 10), one(2, 20)], &mut |seconds| told.push(seconds));
        assert_eq!(told, [0.0; 0], "nobody was missing");
        returns.add(vec![Death(now - 5000)], Duration::from_secs(60));
        returns.add(vec![Death(now - 2000)], Duration::from_secs(60));
        // Both are back at one look, the younger under the lower number.
        returns.look(0, &[one(3, tick - 100), one(4, tick - 400)], &mut |seconds| told.push(seconds));
        let [first, second] = *told else { panic!("{told:?}") };
        assert!((0.98..1.02).contains(&first) && (0.98..1.02).contains(&second), "{told:?}");
        returns.look(0, &[one(3, tick - 100), one(5, tick)], &mut |seconds| told.push(seconds));
        assert_eq!(told.len(), 2, "one more than died is no return");
        returns.add(vec![Death(now)], Duration::from_nanos(1));
        returns.look(0, &[], &mut |_| ());
        returns.look(0, &[one(6, tick)], &mut |seconds| told.push(seconds));
        assert_eq!((told.len(), returns.lock().missing), (2, 1), "given up");
    }
}
