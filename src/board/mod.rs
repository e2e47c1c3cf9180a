//! What the agent does and did, for whoever asks: `/status`, the status page and `chaos-agent status`.

mod json;
mod page;
mod text;

use crate::exporter::metrics::Status;
use crate::failures::Facts;
use crate::linux::sys::clock;
use crate::steady;
use crate::text::redact::cut;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use json::outcome_members;

/// Outcomes that are told in full.
pub const OUTCOMES: usize = 50;
/// How long the time line looks back.
pub const LOOK_BACK: Duration = Duration::from_secs(3600);
/// Bars of the time line that are kept at most.
const BARS: usize = 512;
/// Bytes that are kept of what a fault does, and of why something is as it is.
pub const PLAN: usize = 1 << 10;
/// Bytes that are kept of why a config was not taken.
const PROBLEMS: usize = 16 << 10;
/// Injections under way of which many victims and commands are kept; of each further one only a few.
const FULL: usize = 20;
const FEW_LINES: usize = 2;
/// Bytes that are kept of an entry's name in the time line.
const NAME: usize = 128;

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
    /// Whether there is no config to use yet, so that this is about one without entries.
    pub idle: bool,
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
    /// The entry; a long name is cut.
    pub entry: String,
    /// By the wall clock.
    pub started: SystemTime,
    /// From start to end.
    pub took: Duration,
    /// How it ended.
    pub status: Status,
}

impl Bar {
    /// Whether it belongs to this entry.
    fn is_of(&self, entry: &str) -> bool {
        let head = self.entry.strip_suffix("...").filter(|_| entry.len() > NAME);
        self.entry == entry || head.is_some_and(|head| entry.starts_with(head))
    }
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
    /// How often the state was changed.
    changes: AtomicUsize,
    kept: [Mutex<Option<Kept>>; 4],
}

/// How long what is shown is kept while nothing changes. Whoever asks often shall cost nothing; times in it are so much
/// older at most.
const KEPT: Duration = Duration::from_secs(1);

/// Something that was shown.
#[derive(Debug)]
struct Kept {
    made: Instant,
    state: [usize; 3],
    text: String,
}

impl Default for Board {
    fn default() -> Board {
        let kept = Default::default();
        Board { state: Mutex::default(), started: clock::now(), changes: AtomicUsize::new(0), kept }
    }
}

impl Board {
    /// What was made for this place last, if that was a moment ago and nothing changed since, or else what is made now.
    fn kept(&self, place: usize, make: impl FnOnce() -> String) -> String {
        let state = self.version();
        let mut kept = self.kept[place].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.state == state && kept.made.elapsed() < KEPT) {
            return kept.text.clone();
        }
        let text = make();
        *kept = Some(Kept { made: Instant::now(), state, text: text.clone() });
        text
    }

    /// Differs whenever what is shown does, but for times.
    fn version(&self) -> [usize; 3] {
        let state = self.lock();
        let in_force = state.live.iter().filter(|live| live.remaining().is_some()).count();
        let facts = state.live.iter().flat_map(|live| live.facts.get(0)).map(|list| list.all).sum();
        [self.changes.load(Ordering::Acquire), in_force, facts]
    }

    /// The state, to be changed.
    fn change(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the agent runs on from now on.
    pub fn set_about(&self, about: About) {
        let mut state = self.change();
        state.about = about;
        state.reload_error = None;
    }

    /// Why the last attempt to load a config failed.
    pub fn set_reload_error(&self, error: &str) {
        self.change().reload_error = Some(cut(error.to_owned(), PROBLEMS));
    }

    /// Where the probes of the application's health stand.
    pub fn set_steady(&self, mut steady: Vec<(String, steady::State)>) {
        steady.iter_mut().for_each(|(_, state)| shorten(&mut state.reason));
        self.change().steady = steady;
    }

    /// Which entries could be injected.
    pub fn set_ready(&self, mut ready: Vec<Ready>) {
        ready.iter_mut().for_each(|ready| {
            shorten(match &mut ready.what {
                Ok(what) => what,
                Err(why) => why,
            })
        });
        self.change().ready = ready;
    }

    /// The tick that was just rolled, when the next one is due, and why nothing was rolled, if so.
    pub fn set_tick(&self, tick: u64, next: Option<Instant>, resting: Option<String>) {
        let mut state = self.change();
        (state.tick, state.next, state.resting) = (tick, next, resting);
    }

    /// Why the agent is halted; empty when it is not.
    pub fn set_halts(&self, halts: Vec<(&'static str, String)>) {
        self.change().halts = halts;
    }

    /// An injection has begun.
    pub fn begin(&self, live: &Arc<Live>) {
        let mut state = self.change();
        if state.live.len() >= FULL {
            live.facts.shorten(FEW_LINES);
        }
        state.live.push(Arc::clone(live));
    }

    /// An injection has ended.
    pub fn end(&self, mut past: Past) {
        drop(past.live.facts.take_trail());
        past.live.facts.shorten(json::SHOWN_PAST);
        past.reason.iter_mut().for_each(shorten);
        let mut state = self.change();
        state.live.retain(|live| !Arc::ptr_eq(live, &past.live));
        let bar = Bar {
            entry: cut(past.live.entry.clone(), NAME),
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

fn shorten(text: &mut String) {
    *text = cut(std::mem::take(text), PLAN);
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
    fn what_is_shown_is_kept_while_nothing_changes() {
        let board = Board::default();
        let one = live("a", 0);
        board.begin(&one);
        let changes: [&dyn Fn(); 5] = [
            &|| *one.active.lock().unwrap() = Some(Instant::now()),
            &|| one.facts.victim("9 (x)".to_owned(), None),
            &|| board.set_halts(vec![("file", "x".to_owned())]),
            &|| board.set_tick(1, None, None),
            &|| board.end(past("a", 0, Status::Success, None)),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let before = (board.json(), board.text(), board.page(&[], ""));
            // The time left of the fault would differ.
            let same = (board.json(), board.text(), board.page(&[], ""));
            assert!(board.kept.iter().take(3).all(|kept| kept.lock().unwrap().is_some()));
            change();
            let after = (board.json(), board.text(), board.page(&[], ""));
            let slow = board.kept[0].lock().unwrap().as_ref().unwrap().made.elapsed() >= KEPT;
            assert!(slow || before == same, "{index}");
            assert!(before.0 != after.0 || before.1 != after.1, "{index}: {}", after.0);
        }
        // Times go on: what is kept is not kept for ever.
        let kept = &board.kept[1];
        board.text();
        kept.lock().unwrap().as_mut().unwrap().text = "old".to_owned();
        assert_eq!(board.text(), "old");
        kept.lock().unwrap().as_mut().unwrap().made -= KEPT;
        assert!(board.text() != "old");
    }

    /// Whatever happens, the board stays below what the README says.
    #[test]
    fn memory_has_a_bound_that_nothing_crosses() {
        let board = Board::default();
        let long = "\u{e4}".repeat(100_000);
        let many = |live: &Live| {
            for _ in 0..2000 {
                live.facts.victim(long.clone(), None);
                live.facts.command(long.clone());
            }
        };
        for tick in 0..60 {
            let ended = past("many", tick, Status::Failed, Some(&long));
            board.begin(&ended.live);
            many(&ended.live);
            board.end(ended);
        }
        // As many entries as a config of 64 KiB can have.
        for number in 0..1200 {
            let one = live(&number.to_string(), 1);
            board.begin(&one);
            (0..200).for_each(|_| one.facts.victim(long[..4000].to_owned(), None));
            (0..200).for_each(|_| one.facts.command(long[..4000].to_owned()));
        }
        for _ in 0..600 {
            board.end(past(&long, 1, Status::Failed, Some(&long)));
        }
        board.set_reload_error(&long);
        let ready = |_| Ready { entry: String::new(), kind: "cpu", looked: true, what: Err(long.clone()) };
        board.set_ready((0..1200).map(ready).collect());
        let state = board.lock();
        let facts = |live: &Live| -> usize {
            let lines = live.facts.get(usize::MAX);
            lines.iter().flat_map(|list| &list.lines).map(String::capacity).sum::<usize>()
                + live.plan.capacity()
        };
        let mut bytes = state.live.iter().map(|live| facts(live)).sum::<usize>();
        bytes += state
            .past
            .iter()
            .map(|past| facts(&past.live) + past.reason.as_ref().unwrap().capacity())
            .sum::<usize>();
        bytes += state.bars.iter().map(|bar| bar.entry.capacity()).sum::<usize>();
        bytes += state.reload_error.as_ref().unwrap().capacity();
        bytes += state.ready.iter().map(|ready| ready.what.as_ref().unwrap_err().capacity()).sum::<usize>();
        assert!(bytes < 4 << 20, "{bytes} bytes");
        let [victims, _] = state.past[0].live.facts.get(usize::MAX);
        assert_eq!((victims.all, state.live.len(), state.bars.len()), (0, 1200, BARS));
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
