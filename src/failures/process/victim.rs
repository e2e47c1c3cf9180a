//! Victims: held, signalled, and watched until they are gone.

use super::select::{Selection, Verdict};
use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::linux::ability::{Ability, SIGNALS};
use crate::linux::proc::{Handle, Reader};
use crate::linux::sys::{Failed, signal};
use crate::text::{logging, redact};
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// How often a process is looked at where the kernel has no pidfd.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may take to stop after SIGSTOP.
const STOPS: Duration = Duration::from_secs(1);

/// A process that may be a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// Its name, printable.
    pub name: String,
}

impl Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// A process that is held so that nothing else can take its place.
#[derive(Debug)]
pub struct Victim {
    /// Who it is.
    pub who: Candidate,
    /// Its program and the number of arguments.
    pub program: String,
    /// Its redacted command line, where the config allows it to be logged.
    pub cmdline: Option<String>,
    /// Whether it was stopped when it was held.
    pub stopped: bool,
    handle: Handle,
}

impl Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.who.fmt(f)
    }
}

/// What became of a wait for a victim's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has ended; a zombie has.
    Dead,
    /// It still lives.
    Alive,
    /// The agent stops; nobody looked further.
    Cancelled,
}

impl Victim {
    /// Takes hold of a candidate, then looks again whether it is still meant. `None` when it is not, or gone.
    ///
    /// # Errors
    /// `/proc` cannot be read, or no file descriptor is left.
    pub fn hold(reader: &mut Reader, candidate: &Candidate, selection: &Selection) -> Result<Option<Victim>> {
        let Candidate { pid, start, .. } = *candidate;
        let Some(handle) = Handle::open(reader, pid, start).doing("open", candidate)? else {
            return Ok(None);
        };
        let stopped = match selection.judge(reader, pid).doing("read", candidate)? {
            Verdict::Meant(suspect) => suspect.stopped,
            _ => return Ok(None),
        };
        let process = reader.process(pid).doing("read", candidate)?;
        let cmdline = process.map(|process| process.cmdline).unwrap_or_default();
        let program = redact::program(cmdline);
        let cmdline = logging::command_lines().then(|| redact::command_line(cmdline));
        Ok(Some(Victim { who: candidate.clone(), program, cmdline, stopped, handle }))
    }

    /// What everybody may see of it: pid, name, start time, program and number of arguments.
    pub fn brief(&self) -> String {
        format!("{self}, started at tick {}: {}", self.who.start, self.program)
    }

    /// The same with the redacted command line, for log and audit trail where the config allows it.
    pub fn full(&self) -> Option<String> {
        let cmdline = self.cmdline.as_ref()?;
        Some(format!("{self}, started at tick {}: {cmdline}", self.who.start))
    }

    /// Sends a signal. False when the process has ended.
    ///
    /// # Errors
    /// It may not be signalled; the sentence says what is missing.
    pub fn send(&self, reader: &mut Reader, number: i32) -> Result<bool> {
        self.handle.send(reader, number).map_err(|failed| self.forbidden(reader, number, failed))
    }

    /// The sentence for a signal that was refused.
    pub(super) fn forbidden(&self, reader: &Reader, number: i32, failed: Failed) -> Error {
        let uid = reader.uid(self.who.pid);
        let whose = uid.map_or_else(|| "an unknown uid".to_owned(), |uid| format!("uid {uid}"));
        let on = format!("{} to {self} of {whose}", signal::name(number));
        let hint = match SIGNALS.told(failed.raw_os_error()) {
            Ability::Refused(refusal) => format!("{refusal}{}", refusal.beside(&whose)),
            _ => return failed.doing("send", on),
        };
        failed.doing("send", on).hint(hint)
    }

    /// Waits until it has ended, or until `end` (`None`: for ever).
    ///
    /// # Errors
    /// `/proc` cannot be read, where there is no pidfd to wait on.
    pub fn wait(&self, reader: &mut Reader, cancel: &Cancel, end: Option<Instant>) -> Result<Fate> {
        if let Some(fd) = self.handle.fd() {
            return Ok(match cancel.wait_until(end, Some(fd)) {
                Waited::Ready => Fate::Dead,
                Waited::Elapsed if self.is_gone(reader)? => Fate::Dead,
                Waited::Elapsed => Fate::Alive,
                Waited::Cancelled if self.is_gone(reader)? => Fate::Dead,
                Waited::Cancelled => Fate::Cancelled,
            });
        }
        loop {
            if self.is_gone(reader)? {
                return Ok(Fate::Dead);
            }
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(Fate::Alive);
            }
            if cancel.wait(left.min(LOOK)) == Waited::Cancelled {
                return Ok(if self.is_gone(reader)? { Fate::Dead } else { Fate::Cancelled });
            }
        }
    }

    /// Waits until SIGSTOP has taken effect: no event tells anybody but the parent. False when it ended, or
    /// did not stop within a second, or the agent stops.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn wait_stopped(&self, reader: &mut Reader, cancel: &Cancel) -> Result<bool> {
        let end = Instant::now() + STOPS;
        let mut pause = Duration::from_micros(200);
        loop {
            let stat = reader.stat(self.who.pid).doing("read", self)?;
            match stat.filter(|stat| stat.start == self.who.start && !stat.is_dead()) {
                None => return Ok(false),
                Some(stat) if stat.is_stopped() => return Ok(true),
                Some(_) if Instant::now() >= end || cancel.wait(pause) == Waited::Cancelled => {
                    return Ok(false);
                }
                Some(_) => pause *= 2,
            }
        }
    }

    /// Whether it has ended; a zombie has.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_gone(&self, reader: &mut Reader) -> Result<bool> {
        self.handle.is_gone(reader).doing("read", self)
    }

    /// The letter of its state, `?` when it is gone.
    pub fn state(&self, reader: &mut Reader) -> char {
        reader.stat(self.who.pid).ok().flatten().map_or('?', |stat| char::from(stat.state))
    }

    /// The same victim as on a kernel without pidfds.
    #[cfg(test)]
    pub fn without_pidfd(self) -> Victim {
        Victim { handle: self.handle.without_pidfd(), ..self }
    }
}
