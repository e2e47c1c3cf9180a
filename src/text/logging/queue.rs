//! Lines on their way out. Whoever has one to say hands it over and goes on; a thread of its own carries it to the
//! console, the file or the audit trail. A reader that stalls, a disk that hangs, stops that thread alone: then lines
//! pile up to [`MOST`] bytes, and what comes after is dropped and counted. A config that names another way out leaves
//! such a thread behind; there are [`LEFT`] of them at most.

use crate::linux::sys::thread;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes of lines that wait for one way out at most: some 2,000 lines. A line that is longer by itself waits alone.
pub const MOST: usize = 256 << 10;

/// How long the end of the program waits for a way out on which nothing moves.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long it waits for all of them together, however slowly something moves: the guard acts only after the end, and
/// Kubernetes kills what takes too long.
const LIMIT: Duration = Duration::from_secs(1);

/// Writing a line takes little; formatting and rotation are done on it too.
const STACK: usize = 64 << 10;

/// Threads at most whose queues are closed and who are not done: with more, a disk that hangs while configs come and go
/// would cost threads and memory without end. Another way out waits for one of them.
const LEFT: usize = 8;

/// How many there are.
static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// Lines that were dropped since the program began, whatever they were for.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Every queue that lives, so that [`flush`] finds them.
static QUEUES: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Takes a line to where it belongs, however long that takes.
pub type Sink = Box<dyn FnMut(&str) + Send>;

/// The end at which lines are put in. When it is dropped, what waits still goes out.
pub struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something came, or nothing more will.
    came: Condvar,
    /// A line is out.
    went: Condvar,
}

struct State {
    lines: VecDeque<String>,
    /// Of all in `lines`.
    bytes: usize,
    /// Dropped since the last line that was taken.
    lost: u64,
    /// Lines that are out, failed ones too.
    out: u64,
    writing: bool,
    closed: bool,
    /// Until the thread takes it.
    sink: Option<Sink>,
    started: bool,
    /// Whether its thread may start whoever was left behind.
    always: bool,
}

impl Queue {
    /// A way out. Its thread starts with the first line.
    pub fn new(sink: Sink) -> Queue {
        Queue::open(sink, false)
    }

    /// The way to the console, which nothing that hangs elsewhere may keep from starting.
    pub fn console(sink: Sink) -> Queue {
        Queue::open(sink, true)
    }

    fn open(sink: Sink, always: bool) -> Queue {
        let state = State {
            lines: VecDeque::new(),
            bytes: 0,
            lost: 0,
            out: 0,
            writing: false,
            closed: false,
            sink: Some(sink),
            started: false,
            always,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), came: Condvar::new(), went: Condvar::new() });
        let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&shared));
        Queue(shared)
    }

    /// Hands a line over, without ever waiting for it. When lines were dropped before it, `notice` says so first.
    pub fn push(&self, line: String, notice: &dyn Fn(u64) -> String) {
        let mut state = self.0.lock();
        if state.bytes > 0 && state.bytes.saturating_add(line.len()) > MOST {
            state.lost += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            state.add(notice(lost));
        }
        state.add(line);
        // Without a thread (no memory, too many processes) the lines wait, and the next one tries again.
        if !state.started && (state.always || LEFT_BEHIND.load(Ordering::Relaxed) < LEFT) {
            let shared = Arc::clone(&self.0);
            state.started = thread::spawn("log", STACK, Box::new(move || shared.carry())).is_ok();
        }
        drop(state);
        self.0.came.notify_one();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        if !state.started {
            // No thread will ever carry these.
            DROPPED.fetch_add(state.lines.len() as u64, Ordering::Relaxed);
        } else {
            LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        self.0.came.notify_one();
    }
}

impl State {
    fn add(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: one line after the other until the queue is closed and empty.
    fn carry(&self) {
        let mut state = self.lock();
        let Some(mut sink) = state.sink.take() else { return };
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                drop(state);
                sink(&line);
                state = self.lock();
                state.writing = false;
                state.out += 1;
                self.went.notify_all();
            } else if state.closed {
                LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
                return;
            } else {
                // What a burst has needed is not kept.
                state.lines.shrink_to(16);
                state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until all is out, nothing has moved for [`PATIENCE`], or `limit` has passed since `begun`.
    fn drain(&self, begun: Instant, limit: Duration) {
        let mut state = self.lock();
        while state.writing || !state.lines.is_empty() {
            let (out, left) = (state.out, limit.saturating_sub(begun.elapsed()));
            let waited = self.went.wait_timeout(state, left.min(PATIENCE));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.out == out || left.is_zero() {
                return;
            }
        }
    }
}

/// How many lines were dropped since the program began.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits for every line that is on its way, but not for a way out on which nothing moves, and for [`LIMIT`] at most.
pub fn flush() {
    let begun = Instant::now();
    let queues: Vec<_> = {
        let queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        queues.iter().filter_map(Weak::upgrade).collect()
    };
    for queue in queues {
        queue.drain(begun, LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// What is counted is counted for the whole process.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn what_is_not_taken_is_dropped_counted_and_told_and_nobody_waits() {
        let _alone = alone();
        let (let_go, held) = mpsc::channel::<()>();
        let (said, heard) = mpsc::channel();
        let queue = Queue::new(Box::new(move |line: &str| {
            held.recv().unwrap();
            said.send(line.to_owned()).unwrap();
        }));
        let notice = |lost: u64| format!("{lost} lost");
        let before = dropped();
        let line = "x".repeat(1024);
        queue.push("first".to_owned(), &notice);
        // Taken out of the queue by the thread, or not yet: both hold.
        let fits = MOST / line.len();
        for _ in 0..fits + 10 {
            queue.push(line.clone(), &notice);
        }
        let lost = dropped() - before;
        assert!((10..=11).contains(&lost), "{lost}");
        // Stalled: the end of the program does not wait for ever.
        flush();
        for _ in 0..=fits {
            let_go.send(()).unwrap();
        }
        assert_eq!(heard.recv().unwrap(), "first");
        for _ in 0..fits + 10 - usize::try_from(lost).unwrap() {
            assert_eq!(heard.recv().unwrap(), line);
        }
        queue.push("again".to_owned(), &notice);
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        assert_eq!(heard.recv().unwrap(), format!("{lost} lost"));
        assert_eq!(heard.recv().unwrap(), "again");
        // Closed, it still says what it was given, and its thread ends.
        queue.push("last".to_owned(), &notice);
        drop(queue);
        let_go.send(()).unwrap();
        assert_eq!(heard.recv().unwrap(), "last");
        assert!(heard.recv().is_err(), "the sink is gone with its thread");
    }

    #[test]
    fn a_reader_that_takes_a_line_now_and_then_holds_up_no_end() {
        let _alone = alone();
        let (let_go, held) = mpsc::channel::<()>();
        let queue = Queue::new(Box::new(move |_: &str| {
            // Slow until the test lets go: then nobody is left to wait for.
            _ = held.recv_timeout(PATIENCE / 5);
        }));
        for _ in 0..1000 {
            queue.push("line".to_owned(), &|_| String::new());
        }
        let begun = Instant::now();
        flush();
        let (took, all) = (begun.elapsed(), PATIENCE / 5 * 1000);
        assert!(took < all / 2, "{took:?} of {all:?}");
        drop(let_go);
    }

    #[test]
    fn a_line_longer_than_all_that_may_wait_is_not_lost() {
        let _alone = alone();
        let (said, heard) = mpsc::channel();
        let queue = Queue::new(Box::new(move |line: &str| said.send(line.len()).unwrap()));
        queue.push("x".repeat(MOST + 1), &|_| String::new());
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(MOST + 1));
    }

    #[test]
    fn ways_out_that_hang_and_are_left_behind_cost_no_threads_without_end() {
        let _alone = alone();
        let (let_go, held) = mpsc::channel::<()>();
        let (held, (began, begun)) = (Arc::new(Mutex::new(held)), mpsc::channel());
        let stuck = || {
            let (held, began) = (Arc::clone(&held), began.clone());
            Queue::new(Box::new(move |_: &str| {
                _ = began.send(());
                _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
            }))
        };
        for _ in 0..10 * LEFT {
            stuck().push("line".to_owned(), &|_| String::new());
        }
        let (said, heard) = mpsc::channel();
        let queue = |console: bool| {
            let said = said.clone();
            let sink: Sink = Box::new(move |line: &str| said.send(line.to_owned()).unwrap());
            if console { Queue::console(sink) } else { Queue::new(sink) }
        };
        let (file, console) = (queue(false), queue(true));
        file.push("file".to_owned(), &|_| String::new());
        console.push("console".to_owned(), &|_| String::new());
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)).as_deref(), Ok("console"));
        // Once those are done, what waited goes out with the next line.
        drop(let_go);
        let end = Instant::now() + Duration::from_secs(60);
        while LEFT_BEHIND.load(Ordering::Relaxed) >= LEFT && Instant::now() < end {
            std::thread::yield_now();
        }
        file.push("next".to_owned(), &|_| String::new());
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)).as_deref(), Ok("file"));
        drop(began);
        assert!(begun.iter().count() <= LEFT);
    }

    #[test]
    fn an_end_waits_for_what_is_on_its_way() {
        let _alone = alone();
        let (said, heard) = mpsc::channel();
        let queue = Queue::new(Box::new(move |line: &str| said.send(line.to_owned()).unwrap()));
        for number in 0..1000 {
            queue.push(number.to_string(), &|_| String::new());
        }
        queue.0.drain(Instant::now(), Duration::MAX);
        assert_eq!(heard.try_iter().count(), 1000);
    }
}
