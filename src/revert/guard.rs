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
//! newest first; whatever passes its deadline (an agent that hangs or was stopped) it undoes at that time. It
//! never writes to the agent and never waits for it.

use crate::error::{Context, Error, Result};
use crate::linux::command;
use crate::linux::sys::{clock, poll, task};
use crate::revert::undo::{Tools, Undo};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long after the planned end of an injection the guard takes over from an agent that does not act.
pub const MARGIN: Duration = Duration::from_secs(1);
/// How long a set-up may take before the guard takes the agent for hung; [`Reverter::renew`] ends the allowance.
const SET_UP: Duration = Duration::from_secs(10);
/// How long the guard waits before it tries again what the kernel refused.
const RETRY: Duration = Duration::from_secs(1);
/// How often it tries at the end, when nothing can change any more but the kernel's mind.
const LAST_TRIES: usize = 3;

/// The agent's end.
#[derive(Default)]
pub struct Guard {
    state: Mutex<State>,
    tools: Tools,
}

#[derive(Default)]
struct State {
    process: Option<(Child, ChildStdin)>,
    /// Announced and not released: what a new guard must be told.
    open: Vec<Record>,
    last_id: u64,
}

#[derive(Clone, Copy)]
struct Record {
    id: u64,
    deadline: u64,
    undo: Undo,
}

impl Record {
    fn line(&self) -> String {
        format!("+ {} {} {}\n", self.id, self.deadline, self.undo)
    }
}

/// When the guard takes over from an agent whose injection lasts `duration` from now.
fn deadline(duration: Duration) -> u64 {
    let lasts = u64::try_from(duration.saturating_add(MARGIN).as_millis()).unwrap_or(u64::MAX);
    clock::boot_ms().saturating_add(lasts)
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

    /// Looks after a guard that has died; called once a tick, does nothing where none was ever needed.
    pub fn tend(&self) {
        let mut state = self.lock();
        if state.process.is_some()
            && let Err(error) = state.ensure()
        {
            log::error!("{error}");
        }
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
        let record = Record { id: state.last_id, deadline: deadline(duration.saturating_add(SET_UP)), undo };
        state.ensure()?;
        if state.send(&record.line()).is_err() {
            state.ensure()?;
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

    /// Ends the guard process in peace: nothing may be open any more, else it undoes that.
    pub fn close(&self) {
        if let Some((mut child, pipe)) = self.lock().process.take() {
            drop(pipe);
            let _ = child.wait();
            command::forget(child.id());
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
                Ok(None) => return Ok(()),
                ended => {
                    log::warn!("the guard process {} ended ({ended:?}); starting another", child.id());
                    command::forget(child.id());
                    self.process = None;
                }
            }
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg0("chaos-agent").arg("guard").stdin(Stdio::piped()).process_group(0);
        let mut child = command::start(&mut command).doing("start", "the guard process /proc/self/exe")?;
        let pipe = child.stdin.take().ok_or_else(|| Error::refused("the guard process has no pipe"))?;
        self.process = Some((child, pipe));
        for index in 0..self.open.len() {
            let line = self.open[index].line();
            self.send(&line).doing("write", "to the new guard process")?;
        }
        Ok(())
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        match &mut self.process {
            // Begins a line of its own, whatever a `tc` may have said on its end of the pipe.
            Some((_, pipe)) => pipe.write_all(format!("\n{line}").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// A guard that cannot be told any more knows at worst one record too many, which is harmless.
    fn release(&mut self, id: u64) {
        self.open.retain(|record| record.id != id);
        let _ = self.send(&format!("- {id}\n"));
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
        record.deadline = deadline(duration);
        let line = record.line();
        // A guard that had to be started anew hears it twice.
        state.ensure()?;
        state.send(&line).doing("tell the guard about", self.undo)
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

/// The guard process: reads records from `input` until its end. Returns how many undos failed for good.
pub fn serve(input: impl Read + AsFd, say: &mut dyn Write) -> usize {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE] {
        task::ignore(signal);
    }
    task::set_name(c"chaos-guard");
    let tools = Tools::default();
    let _ = tools.prepare(); // without a socket now there may be one when it is needed
    let mut watch = Watch { tools, records: Vec::new(), say };
    watch.read(input);
    watch.records.reverse();
    let left = watch.finish();
    for record in &left {
        let _ = writeln!(watch.say, "chaos-guard: gave up on: {}", record.0.undo);
    }
    left.len()
}

/// A record and the time of the next try, in milliseconds of CLOCK_BOOTTIME; `None` once undone.
type Pending = (Record, Option<u64>);

struct Watch<'a> {
    tools: Tools,
    records: Vec<Pending>,
    say: &'a mut dyn Write,
}

impl Watch<'_> {
    /// Follows the pipe to its end; meanwhile undoes what passes its deadline.
    fn read(&mut self, mut input: impl Read + AsFd) {
        let mut line = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let next = self.records.iter().filter_map(|(_, at)| *at).min();
            let left = next.map(|at| Duration::from_millis(at.saturating_sub(clock::boot_ms())));
            match poll::readable(&[Some(input.as_fd())], left) {
                Ok([true]) => match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(count) => self.take(chunk.get(..count).unwrap_or_default(), &mut line),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                },
                Ok([false]) => self.overdue(clock::boot_ms()),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], line: &mut Vec<u8>) {
        for byte in bytes {
            if *byte == b'\n' && !line.is_empty() {
                self.record(&String::from_utf8_lossy(line));
                line.clear();
            } else if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }

    /// Both ends are the same program, so a line that cannot be read has no good answer; it is said.
    fn record(&mut self, line: &str) {
        match parse(line) {
            Some(Line::Open(record)) => {
                let pending = (record, Some(record.deadline));
                match self.records.iter_mut().find(|(known, _)| known.id == record.id) {
                    Some(known) => *known = pending,
                    None => self.records.push(pending),
                }
            }
            Some(Line::Release(id)) => self.records.retain(|(record, _)| record.id != id),
            None => drop(writeln!(self.say, "chaos-guard: cannot read {line:?}")),
        }
    }

    fn overdue(&mut self, now: u64) {
        for (record, at) in &mut self.records {
            if at.is_none_or(|at| at > now) {
                continue;
            }
            let result = record.undo.perform(&self.tools);
            *at = result.is_err().then(|| now + RETRY.as_millis() as u64);
            let said = match result {
                Ok(true) => writeln!(self.say, "chaos-guard: the agent is late; undone: {}", record.undo),
                Ok(false) => Ok(()),
                Err(error) => writeln!(self.say, "chaos-guard: {error}; trying again"),
            };
            drop(said);
        }
    }

    /// The agent is gone. Acts first, talks later: there may be only milliseconds left. Returns what failed.
    fn finish(&mut self) -> Vec<Pending> {
        let mut left = std::mem::take(&mut self.records);
        let mut undone = Vec::new();
        for _ in 0..LAST_TRIES {
            left.retain(|(record, _)| match record.undo.perform(&self.tools) {
                Ok(there) => {
                    undone.extend(there.then_some(record.undo));
                    false
                }
                Err(_) => true,
            });
        }
        for undo in undone {
            let _ = writeln!(self.say, "chaos-guard: the agent is gone; undone: {undo}");
        }
        left
    }
}

/// What the guard understands of a line, as the agent would write it; `None` for what it cannot read.
pub fn understood(line: &str) -> Option<String> {
    Some(match parse(line)? {
        Line::Open(record) => record.line(),
        Line::Release(id) => format!("- {id}\n"),
    })
}

enum Line {
    Open(Record),
    Release(u64),
}

fn parse(line: &str) -> Option<Line> {
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
}
