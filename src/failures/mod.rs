//! The faults. Each is one file: its settings, how it is checked, described and injected. [`KINDS`] is the
//! only place that knows them all; the agent never asks which failure it holds.
//!
//! A failure never touches metrics, life-cycle logs, sleeping or signals: [`Injection`] does, once for all.

pub mod cpu;
pub mod disk;
mod facts;
pub mod memory;
mod network;
mod process;

use crate::cancel::{Cancel, Waited};
use crate::error::Result;
use crate::exporter::metrics::Family;
use crate::revert::guard::{Guard, Reverter};
use crate::revert::undo::Undo;
use crate::settings::{Keys, Section};
pub use facts::{Facts, Listed};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Every failure that a config can name, in the order in which documentation lists them.
pub const KINDS: &[Kind] = &[cpu::KIND, memory::KIND, process::KIND, network::KIND, disk::KIND];

/// A row of [`KINDS`].
pub struct Kind {
    /// The word in the config (`failures.<name>.type`) and the `failure_type` label.
    pub name: &'static str,
    /// Whether an enabled entry must have `duration_seconds`, whatever else it says; see [`Failure::timed`].
    pub timed: bool,
    /// Whether an injection changes something that outlives the process, so that the guard must run.
    pub guarded: bool,
    /// The keys of this kind, beside those that every entry has.
    pub keys: Keys,
    /// Reads the keys of this kind (the common ones are read already). Problems go into the section; `None`
    /// when nothing usable came out, which for an entry that is not enabled is no problem at all.
    pub parse: fn(&mut Section<'_>) -> Option<Box<dyn Failure>>,
}

/// Looks a kind up by its name in the config.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The keys of a kind for people: what is allowed, the default, what each does.
pub fn help(kind: &Kind) -> String {
    let mut text = String::new();
    kind.keys.help(&mut text);
    text
}

/// The names of the keys of a kind.
pub fn key_names(kind: &Kind) -> impl Iterator<Item = &'static str> {
    kind.keys.names()
}

/// One configured fault, ready to be injected any number of times.
pub trait Failure: Send + Sync {
    /// Whether an injection could work here and now, and if not why and what to do. Touches nothing.
    ///
    /// # Errors
    /// A sentence for the reader of the log.
    fn check(&self, host: &Host) -> Result<()>;

    /// One line that states the worst that an injection does, for the dry run and the plan ("burns 2 CPU
    /// cores"). Duration and probability are added by the caller. Touches nothing.
    fn describe(&self, host: &Host) -> String;

    /// [`Failure::check`] and [`Failure::describe`] for a reader who asks beforehand, with what costs more to find
    /// out: a line on what an injection would do now. Touches nothing, but the kernel may load a module to answer.
    ///
    /// # Errors
    /// Why an injection would fail, and what to do.
    fn ready(&self, host: &Host) -> Result<String> {
        self.check(host)?;
        Ok(self.describe(host))
    }

    /// Whether [`Failure::ready`] may make the kernel load a module, so that a dry run does not ask it.
    fn asks_kernel(&self) -> bool {
        false
    }

    /// Why an injection now would have nothing to do; `None` if it would. Touches nothing.
    fn nobody(&self, host: &Host) -> Option<String> {
        let _ = host;
        None
    }

    /// Why nobody can tell yet whether an injection could work, and what is known before; `None` where
    /// [`Failure::ready`] tells. Touches nothing.
    fn untold(&self, host: &Host) -> Option<String> {
        let _ = host;
        None
    }

    /// Applies the fault, verifies it, holds it through [`Injection::hold`] and reverts it.
    ///
    /// # Errors
    /// A sentence for the reader of the log; everything applied is reverted by then.
    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome>;

    /// Whether this one holds for `duration_seconds` although its kind in general takes no time.
    fn timed(&self) -> bool {
        false
    }

    /// Called on the thread of an injection after it was counted and shown as over, however it ended: watches
    /// what the fault led to (the return of a victim) until that is known or the injection is cancelled. Changes
    /// nothing. The entry may be rolled again meanwhile.
    fn follow(&self, injection: &Injection<'_>) {
        let _ = injection;
    }

    /// Called once at the start of an agent: takes back what an earlier agent left of this fault that
    /// [`crate::revert::undo::sweep`] cannot know by itself. What was taken back, and what could not be.
    fn sweep(&self, host: &Host) -> Vec<Result<Undo>> {
        let _ = host;
        Vec::new()
    }

    /// The series that this kind adds to through [`Injection::measure`], beyond those that all kinds share;
    /// they are shown at zero before the first injection.
    fn series(&self) -> &'static [Series] {
        &[]
    }
}

/// A family of metrics and the values of its labels.
pub type Series = (&'static Family, &'static [&'static str]);

/// How an injection ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The fault was verified and held to its end or to a clean stop.
    Success,
    /// There was nothing to do (no victim), and why.
    Skipped(String),
}

/// Where the kernel's files are; a parameter, so that tests can lay out their own.
#[derive(Clone, Debug)]
pub struct Host {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// The port of the agent's own exporter, which faults spare; `None` if it serves none.
    pub metrics_port: Option<u16>,
}

impl Default for Host {
    fn default() -> Host {
        Host { proc: "/proc".into(), sys: "/sys".into(), metrics_port: None }
    }
}

/// One run of one failure: its duration, its cancellation, its way to the guard.
pub struct Injection<'a> {
    /// The entry's name in the config, for log lines.
    pub entry: &'a str,
    /// How long the fault holds; zero for faults without a duration.
    pub duration: Duration,
    /// Derived from the agent's seed, the tick and the entry: every choice of this injection comes from it.
    pub seed: u64,
    /// Thrown when the fault must end now.
    pub cancel: &'a Cancel,
    /// Where the kernel's files are.
    pub host: &'a Host,
    /// Tells the rest of the agent that the fault is in force; called at most once.
    pub on_active: &'a (dyn Fn() + Sync),
    /// Adds to a counter, or observes in a histogram, what the failure measured about itself.
    pub measure: &'a (dyn Fn(Series, f64) + Sync),
    /// The guard process; every lasting change is announced to it first.
    pub guard: &'a Guard,
    /// Whether `on_active` was called.
    pub active: AtomicBool,
    /// What is told about this run.
    pub facts: &'a Facts,
}

impl Injection<'_> {
    /// Declares the fault verified and in force: from now on the metrics show it.
    pub fn begin(&self) {
        if !self.active.swap(true, Ordering::AcqRel) {
            (self.on_active)();
        }
    }

    /// Declares the fault in force and waits for its end: the duration from now, or a cancellation.
    pub fn hold(&self) -> Waited {
        let end = Instant::now().checked_add(self.duration);
        self.begin();
        self.cancel.wait_until(end, None)
    }

    /// Tells the guard how to undo a lasting change, then makes the change. The change is undone when the
    /// [`Reverter`] is reverted or dropped, by the guard if the agent dies, and by the guard at the deadline
    /// (the duration and a margin) if the agent hangs.
    ///
    /// # Errors
    /// The guard cannot be told (then nothing was changed), or `apply` failed (then what it may have changed
    /// was undone).
    pub fn change(&self, undo: Undo, apply: impl FnOnce() -> Result<()>) -> Result<Reverter<'_>> {
        let reverter = self.guard.announce(undo, self.duration, self.facts.reverts_counter())?;
        match apply() {
            Ok(()) => Ok(reverter),
            Err(error) => {
                drop(reverter);
                Err(error)
            }
        }
    }
}

/// Reads an entry as a config would: the problems, a line each, and what came out. For the tests of the kinds.
#[cfg(test)]
fn read_entry(text: &str, kind: &Kind) -> (String, Option<Box<dyn Failure>>) {
    let mut report = crate::settings::Report::default();
    let node = crate::settings::parse(text, &mut report).unwrap();
    let mut section = Section::top(&node, &mut report, kind.keys);
    let failure = (kind.parse)(&mut section);
    section.finish();
    (report.problems("f").join("\n"), failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_failure_file_is_registered_once() {
        let names: HashSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len(), "a name stands twice");
        for file in std::fs::read_dir("src/failures").unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(
                ["mod", "facts"].contains(&name.as_str()) || names.contains(name.as_str()),
                "{name} is not in KINDS"
            );
        }
    }
}
