//! Looking at what may never answer, such as a file on a file system that hangs: from a thread, so that the loop goes
//! on and notices the silence. There is a thread only while somebody looks.

use crate::config;
use crate::error::{Context, Error, Result};
use crate::linux::sys::{event::EventFd, poll, thread};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this long without an answer, none is expected any more.
pub const LIMIT: Duration = Duration::from_secs(5);
/// Room for path buffers, a scan of `/proc` and log formatting.
const STACK: usize = 256 << 10;

/// Looks at most that go on although nobody wants them any more: another config named another file while theirs did not
/// answer. With more, no other look begins, and what is to be looked at is silent.
const LEFT: usize = 8;

/// How many there are.
static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// What a look found: bytes where somebody wants them; what is in the way is the error.
pub type Found = Result<Vec<u8>>;

/// One thing to look at, one look at a time.
pub struct Looker(Arc<Shared>);

struct Shared {
    work: Box<dyn Fn() -> Option<Found> + Send + Sync>,
    /// Signalled after each look.
    wake: Arc<EventFd>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the newest look found that found anything.
    found: Option<Found>,
    /// Numbers of the newest look that was asked for, and of the newest that was answered.
    asked: u64,
    done: u64,
    /// When the look that is under way, or cannot begin, began.
    since: Option<Instant>,
    /// Whether it is under way.
    running: bool,
    /// Nobody wants it any more.
    dropped: bool,
}

impl Looker {
    /// Looks by `work`, keeps what it found, and then signals `wake`.
    pub fn new(wake: &Arc<EventFd>, work: impl Fn() -> Option<Found> + Send + Sync + 'static) -> Looker {
        let (work, wake) = (Box::new(work), Arc::clone(wake));
        Looker(Arc::new(Shared { work, wake, state: Mutex::default() }))
    }

    /// What was found since the last call.
    pub fn take(&self) -> Option<Found> {
        self.0.state().found.take()
    }

    /// Asks for a look that begins after this call. One that is under way goes on before.
    pub fn ask(&self) {
        let mut state = self.0.state();
        state.asked += 1;
        state.since.get_or_insert_with(Instant::now);
        if state.running || LEFT_BEHIND.load(Ordering::Relaxed) >= LEFT {
            return;
        }
        state.running = true;
        drop(state);
        let shared = Arc::clone(&self.0);
        if thread::spawn("look", STACK, Box::new(move || shared.run())).is_err() {
            // Rather a look that may take long than none.
            self.0.run();
        }
    }

    /// Whether every look that was asked for is answered.
    pub fn is_idle(&self) -> bool {
        self.0.state().since.is_none()
    }

    /// The number of the newest look that was asked for.
    pub fn asked(&self) -> u64 {
        self.0.state().asked
    }

    /// Whether the look of this number, or a later one, is answered.
    pub fn is_done(&self, number: u64) -> bool {
        self.0.state().done >= number
    }

    /// When the look that is under way is given up.
    pub fn until(&self) -> Option<Instant> {
        self.0.state().since.map(|since| since + LIMIT)
    }

    /// Whether the look that is under way has taken too long.
    pub fn is_silent(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() >= until)
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.dropped = true;
        LEFT_BEHIND.fetch_add(usize::from(state.running), Ordering::Relaxed);
    }
}

/// The bytes of the config at `path`, if it answers within `limit`.
///
/// # Errors
/// As [`config::read`], or it does not answer.
pub fn read(path: &Path, limit: Duration) -> Found {
    let wake = Arc::new(EventFd::new().doing("open", "an eventfd")?);
    let own = path.to_owned();
    let looker = Looker::new(&wake, move || Some(config::read(&own)));
    looker.ask();
    let end = Instant::now() + limit;
    while !looker.is_idle() && Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        let _ = poll::readable(&[Some(wake.as_fd())], Some(left));
    }
    looker.take().unwrap_or_else(|| Err(silent(path, limit)))
}

/// What is said of a config whose file system does not answer.
pub fn silent(path: &Path, limit: Duration) -> Error {
    let (path, seconds) = (path.display(), limit.as_secs());
    Error::refused(format!(
        "the config {path} cannot be read for {seconds} s: its file system does not answer"
    ))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut more = true;
        while more {
            let number = self.state().asked;
            let found = (self.work)();
            let mut state = self.state();
            state.found = found.or_else(|| state.found.take());
            state.done = number;
            more = state.asked > number && !state.dropped;
            state.since = more.then(Instant::now);
            state.running = more;
            LEFT_BEHIND.fetch_sub(usize::from(state.dropped), Ordering::Relaxed);
            drop(state);
            self.wake.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn looks_that_hang_and_are_left_behind_cost_no_threads_without_end() {
        let wake = Arc::new(EventFd::new().unwrap());
        let (let_go, held) = mpsc::channel::<()>();
        let (held, (began, begun)) = (Arc::new(Mutex::new(held)), mpsc::channel());
        for _ in 0..10 * LEFT {
            let (held, began) = (Arc::clone(&held), began.clone());
            let stuck = Looker::new(&wake, move || {
                _ = began.send(());
                _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
                None
            });
            stuck.ask();
        }
        let next = Looker::new(&wake, || Some(Ok(b"seen".to_vec())));
        next.ask();
        assert!(next.until().is_some() && !next.is_done(1), "silent, as if it did not answer");
        drop((let_go, began));
        assert!(begun.iter().count() <= LEFT);
        // Once those are done, it is looked at again.
        let end = Instant::now() + Duration::from_secs(60);
        while !next.is_done(1) && Instant::now() < end {
            next.ask();
            std::thread::yield_now();
        }
        assert_eq!(next.take().unwrap().unwrap(), b"seen");
    }
}
