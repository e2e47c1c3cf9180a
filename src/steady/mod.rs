//! The steady state: whether the application is well, by probes that the config names.
//!
//! No fault starts before every probe has succeeded, and faults end when one of them fails too often. One thread
//! asks them one after the other, and sleeps in between; without probes there is none.

mod probe;

pub use probe::{KEYS, Probe, read};

use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Result};
use crate::exporter::metrics::{Family, Metrics};
use crate::linux::sys::{self, event::EventFd};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Room for a piece of an answer, path buffers and log formatting.
const STACK: usize = 128 << 10;

static STATE: Family = Family::gauge(
    "chaos_steady_state",
    "Whether the application is well by this probe (1) or not, or not known yet (0).",
    &["probe"],
);
static BREACHES: Family = Family::counter(
    "chaos_steady_state_breaches_total",
    "How often this probe found an application ill that had been well.",
    &["probe"],
);

/// What all probes together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every probe is well, or there is none: faults may start.
    Well,
    /// These probes have not succeeded yet: no fault starts.
    Waiting(Vec<String>),
    /// This probe failed too often: faults end, and none starts.
    Broken {
        /// Its name.
        probe: String,
        /// Why its last attempt failed.
        reason: String,
    },
}

/// What is known by one probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It has not succeeded yet.
    #[default]
    Unknown,
    /// It succeeds, or has not failed often enough.
    Well,
    /// It fails, or has not succeeded often enough since.
    Ill,
}

impl Health {
    /// A word for a person.
    pub fn name(self) -> &'static str {
        match self {
            Health::Unknown => "not known yet",
            Health::Well => "well",
            Health::Ill => "ill",
        }
    }
}

/// Where one probe stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is known.
    pub health: Health,
    /// Results in a row that may change that; failures before the first success.
    row: u32,
    /// Why the last attempt failed that did; empty when none has.
    pub reason: String,
}

impl State {
    /// Takes in one result; says whether the health changed.
    fn observe(&mut self, probe: &Probe, result: std::result::Result<(), String>) -> bool {
        let before = self.health;
        let row = self.row.saturating_add(1);
        (self.health, self.row) = match (before, &result) {
            (Health::Unknown, Ok(())) => (Health::Well, 0),
            (Health::Unknown, Err(_)) => (Health::Unknown, row),
            (Health::Well, Err(_)) if row >= probe.failures => (Health::Ill, 0),
            (Health::Well, Err(_)) => (Health::Well, row),
            (Health::Ill, Ok(())) if row >= probe.successes => (Health::Well, 0),
            (Health::Ill, Ok(())) => (Health::Ill, row),
            (_, _) => (before, 0),
        };
        if let Err(reason) = result {
            self.reason = reason;
        }
        self.health != before
    }
}

/// The probes at work; they stop when this is dropped, at once.
#[derive(Debug)]
pub struct Steady {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    probes: Vec<Probe>,
    states: Mutex<Vec<State>>,
    metrics: Arc<Metrics>,
    /// Signalled at every change of a probe's health.
    notify: Arc<EventFd>,
    proc: PathBuf,
    stop: Cancel,
    /// Whether a fault is active.
    busy: AtomicBool,
    /// Signalled when that changes, for those who rest meanwhile.
    wake: EventFd,
}

impl Steady {
    /// Begins to probe, at once and then at the probes' intervals. `notify` is signalled whenever the health of
    /// one changes; `proc` is where `/proc` is.
    ///
    /// # Errors
    /// No descriptor or thread is left.
    pub fn start(
        probes: Vec<Probe>,
        metrics: Arc<Metrics>,
        notify: Arc<EventFd>,
        proc: &Path,
    ) -> Result<Steady> {
        let shared = Arc::new(Shared::new(probes, metrics, notify, proc.to_owned(), false)?);
        let mut steady = Steady { shared, thread: None };
        steady.run()?;
        Ok(steady)
    }

    /// Goes on with other probes, from the beginning; with the same ones as if nothing had happened.
    ///
    /// # Errors
    /// No descriptor is left: the old probes go on. No thread is left: nothing is well from now on.
    pub fn restart(&mut self, probes: Vec<Probe>) -> Result<()> {
        if probes == self.shared.probes {
            return Ok(());
        }
        let Shared { metrics, notify, proc, busy, .. } = &*self.shared;
        let busy = busy.load(Ordering::Acquire);
        let new = Shared::new(probes, Arc::clone(metrics), Arc::clone(notify), proc.clone(), busy)?;
        self.stop();
        for name in self.shared.probes.iter().map(|probe| &probe.name) {
            self.shared.metrics.forget(&STATE, &[name]);
            // What a config no longer names would stay for ever, and answers have an end.
            if !new.probes.iter().any(|probe| probe.name == *name) {
                self.shared.metrics.forget(&BREACHES, &[name]);
            }
        }
        self.shared = Arc::new(new);
        self.shared.notify.signal();
        self.run()
    }

    fn run(&mut self) -> Result<()> {
        for probe in &self.shared.probes {
            self.shared.metrics.set(&STATE, &[&probe.name], 0.0);
            self.shared.metrics.touch(&BREACHES, &[&probe.name]);
        }
        if !self.shared.probes.is_empty() {
            let shared = Arc::clone(&self.shared);
            let thread = sys::thread::spawn("steady", STACK, Box::new(move || shared.run()));
            self.thread = Some(thread.doing("start", "the thread of the probes")?);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, it has ended too.
            let _ = thread.join();
        }
    }

    /// What the probes say now. An ill one comes before those that have not succeeded yet.
    pub fn verdict(&self) -> Verdict {
        let states = self.shared.states();
        let mut waiting = Vec::new();
        for (probe, state) in self.shared.probes.iter().zip(states.iter()) {
            match state.health {
                Health::Well => {}
                Health::Unknown => waiting.push(probe.name.clone()),
                Health::Ill => {
                    return Verdict::Broken { probe: probe.name.clone(), reason: state.reason.clone() };
                }
            }
        }
        if waiting.is_empty() { Verdict::Well } else { Verdict::Waiting(waiting) }
    }

    /// Every probe's name and where it stands.
    pub fn states(&self) -> Vec<(String, State)> {
        let names = self.shared.probes.iter().map(|probe| probe.name.clone());
        names.zip(self.shared.states().iter().cloned()).collect()
    }

    /// Says whether a fault is active: probes with `while: idle` rest meanwhile, and a result that was under way
    /// then does not count.
    pub fn busy(&self, busy: bool) {
        let before = self.shared.busy.swap(busy, Ordering::AcqRel);
        if before != busy && self.shared.probes.iter().any(|probe| probe.idle_only) {
            self.shared.wake.signal();
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn new(
        probes: Vec<Probe>,
        metrics: Arc<Metrics>,
        notify: Arc<EventFd>,
        proc: PathBuf,
        busy: bool,
    ) -> Result<Shared> {
        let states = Mutex::new(vec![State::default(); probes.len()]);
        let stop = Cancel::new().doing("open", "an eventfd")?;
        let wake = EventFd::new().doing("open", "an eventfd")?;
        Ok(Shared { probes, states, metrics, notify, proc, stop, busy: AtomicBool::new(busy), wake })
    }

    /// A thread that panicked with the lock in hand left states that are still good to read.
    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self, probe: &Probe) -> bool {
        probe.idle_only && self.busy.load(Ordering::Acquire)
    }

    /// Asks whoever has been due for the longest time, until the stop.
    fn run(&self) {
        let mut due = vec![Instant::now(); self.probes.len()];
        loop {
            let ready = self.probes.iter().zip(&mut due).enumerate();
            let ready = ready.filter(|(_, (probe, _))| !self.rests(probe));
            let first = ready.min_by_key(|(_, (_, due))| **due);
            let until = first.as_ref().map(|(_, (_, due))| **due);
            match self.stop.wait_until(until, Some(self.wake.as_fd())) {
                Waited::Cancelled => return,
                Waited::Ready => self.wake.clear(),
                Waited::Elapsed => {
                    let Some((index, (probe, due))) = first else { continue };
                    let begun = Instant::now();
                    self.ask(index, probe);
                    *due = begun.checked_add(probe.interval).unwrap_or(begun).max(Instant::now());
                }
            }
        }
    }

    fn ask(&self, index: usize, probe: &Probe) {
        let result = probe.ask(&self.proc, &self.stop).map_err(|error| error.to_string());
        if self.stop.is_cancelled() || self.rests(probe) {
            return;
        }
        let mut states = self.states();
        let Some(state) = states.get_mut(index) else { return };
        let before = state.health;
        let changed = state.observe(probe, result);
        let State { health, row, reason } = state.clone();
        drop(states);
        let name = &probe.name;
        // Shown before it is logged: who reads the log and then the metrics finds it there.
        if changed {
            self.metrics.set(&STATE, &[name], f64::from(health == Health::Well));
            if health == Health::Ill {
                self.metrics.add(&BREACHES, &[name], 1.0);
            }
            self.notify.signal();
        }
        match health {
            // Once, and as late as for one that was well.
            Health::Unknown if row == probe.failures => {
                log::warn!("steady state: {name} is not well yet, so no fault starts: {reason}");
            }
            Health::Ill if changed => log::warn!("steady state: {name} is not well: {reason}"),
            Health::Well if changed && before == Health::Ill => {
                log::info!("steady state: {name} is well again");
            }
            Health::Well if changed => log::info!("steady state: {name} is well"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
