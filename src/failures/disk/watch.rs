//! Watches the space that others need while a disk fault takes its own.

use super::place::Place;
use super::size;
use crate::cancel::Cancel;
use crate::failures::memory;
use crate::linux::cgroup::Cgroup;
use std::time::{Duration, Instant};

/// Looks are never closer together.
const SHORTEST: Duration = Duration::from_millis(5);
/// Nor further apart.
const LONGEST: Duration = Duration::from_millis(500);
/// How fast others may fill the disk and still be seen in time, in bytes a second.
const SPEED: f64 = 2e9;

/// Looks after what is free beside the fault.
pub struct Watch<'a> {
    place: &'a Place,
    headroom: u64,
    /// When the next look is due.
    next: Instant,
    /// Where files are memory.
    memory: Option<memory::watch::Watch<'a>>,
}

impl<'a> Watch<'a> {
    /// `headroom`: bytes that must stay free.
    pub fn new(place: &'a Place, headroom: u64, cgroup: &'a Cgroup) -> Watch<'a> {
        let memory = place.is_memory().then(|| memory::watch::Watch::new(cgroup, headroom));
        // An eighth of it is for what the file system itself writes down about the fault's own file.
        Watch { place, headroom: headroom - headroom / 8, next: Instant::now(), memory }
    }

    /// Looks, if a look is due: what has become too small, if it has ("of /data (ext4) only 3 MiB were left").
    pub fn look(&mut self) -> Option<String> {
        let short = |of: &dyn std::fmt::Display, free| format!("of {of} only {} were left", size(free));
        if let Some(room) = self.memory.as_mut().and_then(memory::watch::Watch::look) {
            return Some(short(&room.bound, room.free()));
        }
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        // What cannot be known is no reason to give up.
        let free = self.place.left().unwrap_or(u64::MAX);
        let spare = free.saturating_sub(self.headroom);
        self.next = now + Duration::from_secs_f64(spare as f64 / SPEED).clamp(SHORTEST, LONGEST);
        (free < self.headroom).then(|| short(&self.place.shown(), free))
    }

    /// Waits until `end`, a stop, or the next look.
    pub fn wait(&mut self, cancel: &Cancel, end: Option<Instant>) {
        let until = Some(end.map_or(self.next, |end| end.min(self.next)));
        match &mut self.memory {
            Some(memory) => memory.wait(cancel, until),
            None => cancel.wait_until(until, None),
        };
    }
}
