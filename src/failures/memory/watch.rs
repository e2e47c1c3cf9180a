//! Watches the room that others need while memory is held.
//!
//! The kernel reports a group that meets its limit (`memory.events`), which is late but at once; before that
//! nothing but looking helps, so the looks come closer together as the room gets smaller.

use crate::cancel::{Cancel, Waited};
use crate::linux::cgroup::{Cgroup, Room};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Looks are never closer together: a look takes some 0.1 ms.
const SHORTEST: Duration = Duration::from_millis(5);
/// Nor further apart.
const LONGEST: Duration = Duration::from_millis(500);
/// How fast others may take memory and still be seen in time, in bytes a second: new pages cost about that.
const SPEED: f64 = 2e9;

/// Looks after the room around the process.
#[derive(Debug)]
pub struct Watch<'a> {
    cgroup: &'a Cgroup,
    headroom: u64,
    events: Option<File>,
    /// When the next look is due.
    next: Instant,
}

impl<'a> Watch<'a> {
    /// `headroom`: bytes that must stay free.
    pub fn new(cgroup: &'a Cgroup, headroom: u64) -> Watch<'a> {
        let events = cgroup.memory_events().and_then(|path| File::open(path).ok());
        let mut watch = Watch { cgroup, headroom, events, next: Instant::now() };
        watch.read_events();
        watch
    }

    /// Looks, if a look is due: the room that has become too small, if it has.
    pub fn look(&mut self) -> Option<Room> {
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        let Some(room) = self.cgroup.room() else {
            self.next = now + LONGEST;
            return None;
        };
        let spare = room.free().saturating_sub(self.headroom);
        self.next = now + Duration::from_secs_f64(spare as f64 / SPEED).clamp(SHORTEST, LONGEST);
        (room.free() < self.headroom).then_some(room)
    }

    /// Waits until `deadline`, a stop, or [`Watch::look`] is due; [`Waited::Ready`] for the last.
    pub fn wait(&mut self, cancel: &Cancel, deadline: Option<Instant>) -> Waited {
        let until = deadline.map_or(self.next, |deadline| deadline.min(self.next));
        match cancel.wait_changed(Some(until), self.events.as_ref().map(AsFd::as_fd)) {
            Waited::Ready => {
                self.read_events();
                self.next = Instant::now();
                Waited::Ready
            }
            Waited::Elapsed if deadline.is_none_or(|deadline| until < deadline) => Waited::Ready,
            other => other,
        }
    }

    /// Reading clears the kernel's mark. A file that cannot be read would stay marked, so it is given up.
    fn read_events(&mut self) {
        let mut text = [0; 256];
        if self.events.as_ref().is_some_and(|events| events.read_at(&mut text, 0).is_err()) {
            self.events = None;
        }
    }
}
