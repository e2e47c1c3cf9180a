//! The guard: a process of its own that undoes what the agent can no longer undo itself.
//!
//! The agent announces every lasting change on a pipe before it makes it and releases it after the revert:
//!
//! ```text
//! + ID DEADLINE UNDO      DEADLINE in milliseconds of CLOCK_BOOTTIME; the same ID again: another DEADLINE
//! - ID
//! ```
//!
//! Each line is below `PIPE_BUF`, so a write is whole or not at all and outlives its writer. At end-of-file (the
//! agent is gone, and so is every `tc` that it had started, see [`Guard::pipe`]) the guard undoes what is left,
//! newest first; whatever passes its deadline (an agent that hangs or was stopped) it undoes at that time, and all while
//! the agent cannot end although it was killed (a thread waits for a disk that hangs, and keeps the pipe open). It
//! never writes to the agent and never waits for it (see [`crate::revert::serve`]). Nor does the agent wait for its
//! guard: one that is stopped, or does not read for [`PATIENCE`], is killed, and another is told all that is open.

use crate::error::{Context, Error, Result};
use crate::linux::command;
use crate::linux::proc::Reader;
use crate::linux::sys::{clock, poll, task};
use crate::revert::undo::{Tools, Undo};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after the planned end of an injection the guard takes over from an agent that does not act.
pub const MARGIN: Duration = Duration::from_secs(1);
/// How long a set-up may take before the guard takes the agent for hung; [`Reverter::renew`] ends the allowance.
const SET_UP: Duration = Duration::from_secs(10);
/// [`MARGIN`] of a stopped process, which is not waited for: to let it go on is one signal, whoever sends it.
const SHORT_MARGIN: Duration = Duration::from_millis(500);
/// How long a write to the guard may take, and its end after SIGKILL, before the agent goes on without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two starts of a guard, where each ends at once.
const AGAIN: Duration = Duration::from_millis(100);
/// How often the end of the guard is looked for where the kernel has no pidfd.
const LOOK: Duration = Duration::from_millis(10);

/// The agent's end.
#[derive(Default)]
pub struct Guard {
    state: Mutex<State>,
    tools: Tools,
}

#[derive(Default)]
struct State {
    process: Option<(Child, ChildStdin)>,
    /// When it was started.
    started: Option<Instant>,
    /// Announced and not released: what a new guard must be told.
    open: Vec<Record>,
    last_id: u64,
}

/// A line of the pipe that announces a change.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// Names the change from its announcement to its release.
    pub id: u64,
    /// When the guard takes it back by itself, in milliseconds of CLOCK_BOOTTIME.
    pub deadline: u64,
    /// How.
    pub undo: Undo,
}

impl Record {
    fn line(&self) -> String {
        format!("+ {} {} {}\n", self.id, self.deadline, self.undo)
    }
}

/// When the guard takes over from an agent whose injection lasts `duration` from now, and `set_up` before that where
/// setting it up takes time; a signal takes none.
fn deadline(undo: Undo, duration: Duration, set_up: Duration) -> u64 {
    let late = match undo {
        Undo::Resume { .. } => SHORT_MARGIN,
        _ => MARGIN + set_up,
    };
    let lasts = u64::try_from(duration.saturating_add(late).as_millis()).unwrap_or(u64::MAX);
    clock::boot_ms().saturating_add(lasts)
}

/// Whether a child that was told to end has ended by now or does so within `limit`.
fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let fd = task::pidfd(child.id()).ok();
    loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let step = if fd.is_some() { left } else { left.min(LOOK) };
        let _ = poll::readable(&[fd.as_ref().map(AsFd::as_fd)], Some(step));
    }
}

/// Closes the pipe of a guard and waits for its end, up to `limit`; then kills it. Without a `limit` it is killed before
/// it may take the end of the pipe for the agent's. Whether it ended by itself.
fn end((mut child, pipe): (Child, ChildStdin), limit: Duration) -> bool {
    let mut pipe = Some(pipe);
    drop(pipe.take_if(|_| !limit.is_zero()));
    let peaceful = ends_within(&mut child, limit);
    if peaceful || child.kill().is_ok() && ends_within(&mut child, PATIENCE) {
        command::forget(child.id());
    }
    peaceful
}

/// Whether a process was stopped by a signal or a debugger.
fn is_stopped(pid: u32) -> bool {
    Reader::new(Path::new("/proc"))
        .is_ok_and(|mut reader| reader.stat(pid).is_ok_and(|stat| stat.is_some_and(|stat| stat.is_stopped())))
}

impl Guard {
    /// An agent's end without a process; [`Guard::ensure`] and [`Guard::announce`] start it.
    pub fn new() -> Guard {
        Guard::default()
    }

    /// Starts the guard process unless it runs, and again if it has died: a new one is told all open records.
    ///
    /// # Errors
    /// `/proc/self/exe` cannot be started.
    pub fn ensure(&self) -> Result<()> {
        self.lock().ensure()
    }

    /// Looks after a guard that has died or was stopped, where one is needed: without it nobody would take back what is
    /// open if the agent died, too. Called whenever a child may have ended. Returns when to call this again: who ends
    /// as soon as it begins is not started at once.
    pub fn tend(&self) -> Option<Instant> {
        let mut state = self.lock();
        if state.process.is_none() && state.open.is_empty() {
            return None;
        }
        let again = state.started.and_then(|at| at.checked_add(AGAIN)).filter(|at| *at > Instant::now());
        if again.is_none()
            && let Err(error) = state.ensure()
        {
            log::error!("{error}");
            return Instant::now().checked_add(PATIENCE);
        }
        again
    }

    /// Announces a change that is about to be made and will last at most `duration`. A revert that fails is
    /// counted in `failed`.
    ///
    /// # Errors
    /// The guard cannot be told; the change must not be made then.
    pub fn announce<'a>(
        &'a self,
        undo: Undo,
        duration: Duration,
        failed: &'a AtomicUsize,
    ) -> Result<Reverter<'a>> {
        let mut state = self.lock();
        state.last_id += 1;
        let record = Record { id: state.last_id, deadline: deadline(undo, duration, SET_UP), undo };
        state.ensure()?;
        if state.send(&record.line()).is_err() {
            state.replace()?;
            state.send(&record.line()).doing("tell the guard about", undo)?;
        }
        state.open.push(record);
        Ok(Reverter { guard: self, id: record.id, undo, done: false, failed })
    }

    /// A second writing end of the guard's pipe, for a `tc` about to be started to hold as its standard output,
    /// on which it says nothing: the guard sees the end of the pipe only after that `tc` has ended too, so it
    /// cannot act before a change that is under way when the agent dies.
    pub fn pipe(&self) -> Option<OwnedFd> {
        let state = self.lock();
        let (_, pipe) = state.process.as_ref()?;
        pipe.as_fd().try_clone_to_owned().ok()
    }

    /// Ends the guard process in peace: nothing should be open any more, else it undoes that, or this does where the
    /// guard does not end.
    pub fn close(&self) {
        let mut state = self.lock();
        if state.process.is_none() || state.dismiss(PATIENCE) {
            return;
        }
        for record in std::mem::take(&mut state.open) {
            if let Err(error) = record.undo.perform(&self.tools) {
                log::error!("{error}");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ensure(&mut self) -> Result<()> {
        if let Some((child, _)) = &mut self.process {
            match child.try_wait() {
                Ok(None) if !is_stopped(child.id()) => return Ok(()),
                Ok(None) => log::warn!("the guard process {} was stopped; replacing it", child.id()),
                ended => log::warn!("the guard process {} ended ({ended:?}); starting another", child.id()),
            }
        }
        self.start()
    }

    /// Another guard for one that cannot be told anything.
    fn replace(&mut self) -> Result<()> {
        log::warn!("the guard process cannot be told anything; replacing it");
        self.start()
    }

    /// Starts a guard, and ends the one before only when that one knows all that is open: if the agent dies meanwhile,
    /// the kernel lets a stopped one go on (an orphaned process group, setpgid(2)).
    fn start(&mut self) -> Result<()> {
        let before = self.process.take();
        let told = self.begin();
        let ended = if told.is_ok() { before } else { std::mem::replace(&mut self.process, before) };
        if let Some(process) = ended {
            end(process, Duration::ZERO);
        }
        told
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("chaos-agent").arg("guard").stdin(Stdio::piped()).process_group(0);
        let mut child = command::start(&mut command).doing("start", "the guard process /proc/self/exe")?;
        let pipe = child.stdin.take().ok_or_else(|| Error::refused("the guard process has no pipe"))?;
        self.process = Some((child, pipe));
        self.started = Some(Instant::now());
        for index in 0..self.open.len() {
            let line = self.open[index].line();
            self.send(&line).doing("write", "to the new guard process")?;
        }
        Ok(())
    }

    /// Closes the pipe and waits for the guard's end, up to `limit`; then kills it. Whether it ended by itself.
    fn dismiss(&mut self, limit: Duration) -> bool {
        self.process.take().is_none_or(|process| end(process, limit))
    }

    /// Writes a line, or gives up after [`PATIENCE`]. A pipe that poll(2) calls writable takes a page at once
    /// (pipe_write() of the kernel), and nobody else writes: the `tc` that hold an end say nothing on it.
    fn send(&mut self, line: &str) -> io::Result<()> {
        let Some((_, pipe)) = &mut self.process else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let end = Instant::now() + PATIENCE;
        while poll::poll(
            &mut [poll::row(pipe.as_raw_fd(), libc::POLLOUT)],
            Some(end.saturating_duration_since(Instant::now())),
        )? == 0
        {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        // Begins a line of its own, whatever a `tc` may have said on its end of the pipe.
        pipe.write_all(format!("\n{line}").as_bytes())
    }

    /// A guard that has ended knows at worst one record too many, which is harmless; one that does not read would be
    /// late for the next, too.
    fn release(&mut self, id: u64) {
        self.open.retain(|record| record.id != id);
        if self.send(&format!("- {id}\n")).is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            let _ = self.replace();
        }
    }
}

/// An announced change. Reverts it when told to, or when dropped.
#[must_use = "dropping it reverts the change"]
pub struct Reverter<'a> {
    guard: &'a Guard,
    id: u64,
    undo: Undo,
    done: bool,
    failed: &'a AtomicUsize,
}

impl Reverter<'_> {
    /// Tells the guard that the change will last `duration` from now, however long it took to be made.
    ///
    /// # Errors
    /// The guard cannot be told.
    pub fn renew(&self, duration: Duration) -> Result<()> {
        let mut state = self.guard.lock();
        let Some(record) = state.open.iter_mut().find(|record| record.id == self.id) else { return Ok(()) };
        record.deadline = deadline(self.undo, duration, Duration::ZERO);
        let line = record.line();
        // A guard that had to be started anew hears it twice.
        state.ensure()?;
        match state.send(&line) {
            Ok(()) => Ok(()),
            Err(_) => state.replace(),
        }
    }

    /// Takes the change back and releases the guard. Says whether there was anything left to take back.
    ///
    /// # Errors
    /// The kernel refuses; the guard keeps the record and tries again at the deadline.
    pub fn revert(mut self) -> Result<bool> {
        self.finish()
    }

    fn finish(&mut self) -> Result<bool> {
        self.done = true;
        let there = self.undo.perform(&self.guard.tools).inspect_err(|_| {
            self.failed.fetch_add(1, Ordering::AcqRel);
        })?;
        self.guard.lock().release(self.id);
        Ok(there)
    }
}

impl Drop for Reverter<'_> {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.finish()
        {
            log::error!("{error}; the guard will try again");
        }
    }
}

/// What the guard understands of a line, as the agent would write it; `None` for what it cannot read.
pub fn understood(line: &str) -> Option<String> {
    Some(match parse(line)? {
        Line::Open(record) => record.line(),
        Line::Release(id) => format!("- {id}\n"),
    })
}

/// What a line of the pipe says.
pub(super) enum Line {
    /// A change is announced, or lasts longer than it was.
    Open(Record),
    /// A change was taken back.
    Release(u64),
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Option<Line> {
    if let Some(id) = line.strip_prefix("- ") {
        return id.parse().ok().map(Line::Release);
    }
    let mut words = line.strip_prefix("+ ")?.splitn(3, ' ');
    let id = words.next()?.parse().ok()?;
    let deadline = words.next()?.parse().ok()?;
    let undo = words.next()?.parse().ok()?;
    Some(Line::Open(Record { id, deadline, undo }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revert::undo::HANDLE;

    #[test]
    fn the_two_ends_speak_the_same_language() {
        let undo = Undo::RemoveRoot { ifindex: 3, handle: HANDLE };
        let line = Record { id: 9, deadline: 1234, undo }.line();
        let Some(Line::Open(record)) = parse(line.trim_end()) else { panic!("{line:?} was not read") };
        assert_eq!((record.id, record.deadline, record.undo), (9, 1234, undo));
        assert!(matches!(parse("- 9"), Some(Line::Release(9))));
        assert!(parse("+ 9 soon remove-root 3 ca050000").is_none());
        assert!(line.len() < 512, "a line must be below PIPE_BUF of any system");
    }

    #[test]
    fn a_guard_that_does_not_read_is_given_up_in_time() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, pipe) = (child.id(), child.stdin.take().unwrap());
        let mut state = State { process: Some((child, pipe)), ..State::default() };
        let error = (0..100_000).find_map(|id| state.send(&format!("- {id}\n")).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!is_stopped(pid));
        assert!(!state.dismiss(Duration::ZERO), "it ended by itself");
        assert!(state.process.is_none() && !std::fs::exists(format!("/proc/{pid}")).unwrap());
        assert!(state.send("").is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe));
    }
}
