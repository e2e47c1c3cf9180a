//! What the agent does and did, for whoever asks: `/status`, the status page and `chaos-agent status`.

mod json;
mod page;
mod text;

use crate::exporter::metrics::Status;
use crate::failures::Facts;
use crate::steady;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use json::outcome_members;

/// Outcomes that are told in full.
pub const OUTCOMES: usize = 50;
/// How long the time line looks back.
pub const LOOK_BACK: Duration = Duration::from_secs(3600);
/// Bars of the time line that are kept at most.
const BARS: usize = 512;

/// What the agent runs on.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Of the program.
    pub version: &'static str,
    /// Of the dice.
    pub seed: u64,
    /// The config file, or "built in".
    pub source: String,
    /// FNV-1a (64 bits) of its bytes.
    pub hash: u64,
    /// Whether nothing is really injected.
    pub dry_run: bool,
    /// Between two ticks.
    pub interval: Duration,
    /// When this config was taken.
    pub loaded: Option<SystemTime>,
}

/// Whether an entry could be injected.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The entry.
    pub entry: String,
    /// Its type.
    pub kind: &'static str,
    /// Whether that was looked at; a dry run does not make the kernel load modules.
    pub looked: bool,
    /// What it would do, or why it cannot.
    pub what: Result<String, String>,
}

/// An injection under way.
#[derive(Debug)]
pub struct Live {
    /// The entry.
    pub entry: String,
    /// Its type.
    pub kind: &'static str,
    /// Whether another process injects it, by `chaos-agent inject`, and not the dice.
    pub by_hand: bool,
    /// The tick that started it.
    pub tick: u64,
    /// What it does.
    pub plan: String,
    /// By the wall clock.
    pub started: SystemTime,
    /// By the steady clock.
    pub since: Instant,
    /// How long it holds; zero for what takes no time.
    pub duration: Duration,
    /// When it was verified and in force.
    pub active: Mutex<Option<Instant>>,
    /// Victims and commands so far.
    pub facts: Arc<Facts>,
}

impl Live {
    /// Whether the fault is in force, and how long it still lasts.
    pub fn remaining(&self) -> Option<Duration> {
        let active = *self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.map(|since| self.duration.saturating_sub(since.elapsed()))
    }

    /// How long the fault is in force; `None` before it is.
    pub fn held(&self) -> Option<Duration> {
        let active = *self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.map(|since| since.elapsed())
    }
}

/// An injection that ended.
#[derive(Clone, Debug)]
pub struct Past {
    /// The injection.
    pub live: Arc<Live>,
    /// How it ended.
    pub status: Status,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// From start to end.
    pub took: Duration,
    /// How long it was in force, its revert included; `None` where it never was.
    pub held: Option<Duration>,
    /// Whether the fault was verified and in force.
    pub verified: bool,
    /// Whether all of it was taken back.
    pub reverted: bool,
}

/// One bar of the time line.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The entry.
    pub entry: String,
    /// By the wall clock.
    pub started: SystemTime,
    /// From start to end.
    pub took: Duration,
    /// How it ended.
    pub status: Status,
}

/// What changes over time.
#[derive(Debug, Default)]
struct State {
    about: About,
    tick: u64,
    next: Option<Instant>,
    halts: Vec<(&'static str, String)>,
    resting: Option<String>,
    reload_error: Option<String>,
    ready: Vec<Ready>,
    steady: Vec<(String, steady::State)>,
    live: Vec<Arc<Live>>,
    past: VecDeque<Past>,
    bars: VecDeque<Bar>,
}

/// The board that the agent writes and others read.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    started: SystemTime,
}

impl Default for Board {
    fn default() -> Board {
        Board { state: Mutex::default(), started: SystemTime::now() }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the agent runs on from now on.
    pub fn set_about(&self, about: About) {
        let mut state = self.lock();
        state.about = about;
        state.reload_error = None;
    }

    /// Why the last attempt to load a config failed.
    pub fn set_reload_error(&self, error: &str) {
        self.lock().reload_error = Some(error.to_owned());
    }

    /// Where the probes of the application's health stand.
    pub fn set_steady(&self, steady: Vec<(String, steady::State)>) {
        self.lock().steady = steady;
    }

    /// Which entries could be injected.
    pub fn set_ready(&self, ready: Vec<Ready>) {
        self.lock().ready = ready;
    }

    /// The tick that was just rolled, when the next one is due, and why nothing was rolled, if so.
    pub fn set_tick(&self, tick: u64, next: Option<Instant>, resting: Option<String>) {
        let mut state = self.lock();
        (state.tick, state.next, state.resting) = (tick, next, resting);
    }

    /// Why the agent is halted; empty when it is not.
    pub fn set_halts(&self, halts: Vec<(&'static str, String)>) {
        self.lock().halts = halts;
    }

    /// An injection has begun.
    pub fn begin(&self, live: &Arc<Live>) {
        self.lock().live.push(Arc::clone(live));
    }

    /// An injection has ended.
    pub fn end(&self, past: Past) {
        let mut state = self.lock();
        state.live.retain(|live| !Arc::ptr_eq(live, &past.live));
        let bar = Bar {
            entry: past.live.entry.clone(),
            started: past.live.started,
            took: past.took,
            status: past.status,
        };
        if past.verified || past.status == Status::Failed {
            keep(&mut state.bars, bar, BARS);
        }
        keep(&mut state.past, past, OUTCOMES);
    }

    /// How many injections are under way.
    pub fn live(&self) -> usize {
        self.lock().live.len()
    }
}

/// Adds the newest, and forgets the oldest beyond `most`.
fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An injection of an entry at a tick.
    pub(super) fn live(entry: &str, tick: u64) -> Arc<Live> {
        Arc::new(Live {
            entry: entry.to_owned(),
            kind: "cpu",
            by_hand: false,
            tick,
            plan: "burns 1 of 2 allowed CPU cores".to_owned(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            since: Instant::now(),
            duration: Duration::from_secs(3600),
            active: Mutex::new(None),
            facts: Arc::default(),
        })
    }

    pub(super) fn past(entry: &str, tick: u64, status: Status, reason: Option<&str>) -> Past {
        let reason = reason.map(str::to_owned);
        let took = Duration::from_millis(1500);
        let held = Some(Duration::from_secs(1));
        Past { live: live(entry, tick), status, reason, took, held, verified: true, reverted: true }
    }

    #[test]
    fn the_last_outcomes_are_kept_and_live_ones_leave_when_they_end() {
        let board = Board::default();
        let one = live("a", 0);
        board.begin(&one);
        board.begin(&live("b", 0));
        assert_eq!(board.live(), 2);
        board.end(Past { live: one, ..past("a", 0, Status::Success, None) });
        assert_eq!(board.live(), 1);
        for tick in 0..60 {
            board.end(past("a", tick, Status::Success, None));
        }
        let state = board.lock();
        let ticks: Vec<u64> = state.past.iter().map(|past| past.live.tick).collect();
        assert_eq!(ticks, (10..60).collect::<Vec<_>>());
        assert_eq!(state.bars.len(), 61);
    }
}
