//! What an injection met and did, for the status and the audit trail.
//!
//! The status has an end, whatever the number of victims; the trail has them all, and is kept only where it is written.

use crate::text::redact::cut;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines of each kind that the status keeps of an injection under way.
const LINES: usize = 100;
/// Bytes of a line for the status.
const LINE: usize = 256;

/// What an injection met and did.
#[derive(Debug)]
pub struct Facts {
    /// Victims and commands.
    noted: Mutex<[Listed; 2]>,
    /// How many lines of each are kept.
    most: AtomicUsize,
    /// The same in full, for who writes a trail.
    trail: Option<Mutex<[Vec<String>; 2]>>,
    reverts_failed: AtomicUsize,
}

/// The first lines of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The first ones.
    pub lines: Vec<String>,
    /// How many there are in all.
    pub all: usize,
}

impl Facts {
    /// Nothing yet. With a `trail`, everything is kept until [`Facts::take_trail`].
    pub fn new(trail: bool) -> Facts {
        let (noted, trail) = (Mutex::default(), trail.then(Mutex::default));
        Facts { noted, most: AtomicUsize::new(LINES), trail, reverts_failed: AtomicUsize::new(0) }
    }

    /// A process that was chosen, as everybody may see it: pid, name, start time, program. And with its redacted
    /// command line, for the trail alone.
    pub fn victim(&self, brief: String, full: Option<String>) {
        self.note(0, brief, full);
    }

    /// A command that was carried out, as it would be typed.
    pub fn command(&self, words: String) {
        self.note(1, words, None);
    }

    fn note(&self, kind: usize, brief: String, full: Option<String>) {
        let list = &mut self.lock()[kind];
        list.all += 1;
        if list.lines.len() < self.most.load(Ordering::Relaxed) {
            list.lines.push(cut(brief.clone(), LINE));
        }
        if let Some(trail) = &self.trail {
            trail.lock().unwrap_or_else(PoisonError::into_inner)[kind].push(full.unwrap_or(brief));
        }
    }

    /// Victims and commands so far, at most so many lines of each.
    pub fn get(&self, most: usize) -> [Listed; 2] {
        let noted = self.lock();
        noted
            .each_ref()
            .map(|list| Listed { lines: list.lines.iter().take(most).cloned().collect(), all: list.all })
    }

    /// All victims and commands, which are forgotten here; none without a trail.
    pub fn take_trail(&self) -> [Vec<String>; 2] {
        let trail = self.trail.as_ref();
        trail.map_or_else(Default::default, |trail| {
            mem::take(&mut *trail.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Keeps at most so many lines of each for the status from now on.
    pub fn shorten(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        for list in &mut *self.lock() {
            list.lines.truncate(most);
            list.lines.shrink_to_fit();
        }
    }

    /// How many changes could not be taken back so far; the guard goes on with these.
    pub fn reverts_failed(&self) -> usize {
        self.reverts_failed.load(Ordering::Acquire)
    }

    /// Where that is counted.
    pub fn reverts_counter(&self) -> &AtomicUsize {
        &self.reverts_failed
    }

    /// A thread that panicked with the lock in hand left lines that are still good to read.
    fn lock(&self) -> MutexGuard<'_, [Listed; 2]> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Facts {
    fn default() -> Facts {
        Facts::new(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_an_end_and_the_trail_has_all() {
        let facts = Facts::new(true);
        for number in 0..5000 {
            facts.victim(
                format!("{number} {}", "x".repeat(5000)),
                (number == 0).then(|| "in full".to_owned()),
            );
        }
        let [victims, commands] = facts.get(usize::MAX);
        assert_eq!((victims.all, commands.all), (5000, 0));
        assert!(victims.lines.len() <= LINES && victims.lines.iter().all(|line| line.len() <= LINE));
        assert_eq!(facts.get(3)[0].lines.len(), 3);
        let [trail, _] = facts.take_trail();
        assert_eq!((trail.len(), trail[0].as_str(), trail[1].len()), (5000, "in full", 5002));
        facts.shorten(2);
        facts.victim("one more".to_owned(), None);
        let [victims, _] = facts.get(usize::MAX);
        assert_eq!((victims.all, victims.lines.len()), (5001, 2));
        let silent = Facts::new(false);
        silent.victim("a".to_owned(), None);
        assert_eq!(silent.take_trail(), [Vec::<String>::new(), Vec::new()]);
    }
}
