//! process: ends a process of the pod, as a crash would.
//!
//! SIGTERM, time to end well, SIGKILL. Nothing lasts that would have to be taken back: who starts the victim
//! again is what the injection is about.

mod rules;
mod text;
mod victim;

use super::{Failure, Host, Injection, Kind, Outcome};
use crate::error::{Context, Error, Result};
use crate::proc::{Process, Reader};
use crate::settings::Section;
use std::time::Duration;
use victim::{Candidate, Fate, Victim};

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "process", timed: false, guarded: false, parse };

/// How long a victim may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How long the kernel may take to end it after SIGKILL.
const KILLED: Duration = Duration::from_secs(2);

struct ProcessKill {
    /// In lower case.
    target: String,
    /// The agent's pid.
    own: u32,
    grace: Duration,
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    section.require("target_name");
    let target = section.text("target_name")?;
    if let Some(why) = rules::refusal(&target) {
        section.problem("target_name", why, "name the application, for example \"myapp\"");
    }
    let target = target.trim().to_ascii_lowercase();
    Some(Box::new(ProcessKill { target, own: std::process::id(), grace: GRACE }))
}

impl ProcessKill {
    fn find(&self, host: &Host) -> Result<(Reader, Vec<Candidate>)> {
        let mut reader = open(host)?;
        let found = victim::find(&mut reader, self.own, &|process| self.matches(process));
        let found = found.doing("list the processes in", host.proc.display())?;
        Ok((reader, found))
    }

    fn matches(&self, process: &Process<'_>) -> bool {
        let needle = self.target.as_bytes();
        contains(process.stat.comm, needle) || contains(process.cmdline, needle)
    }

    fn none(&self) -> String {
        format!("no process that may be killed matches {:?}", self.target)
    }

    /// SIGTERM, the grace, SIGKILL.
    fn kill(&self, injection: &Injection<'_>, reader: &mut Reader, victim: &Victim) -> Result<Outcome> {
        let entry = injection.entry;
        if !victim.send(reader, libc::SIGTERM)? {
            return Ok(Outcome::Skipped(format!("{victim} ended by itself")));
        }
        injection.begin();
        log::info!("{entry}: sent SIGTERM to {victim}: {}", victim.cmdline);
        match victim.wait(reader, injection.cancel, self.grace)? {
            Fate::Dead => return Ok(Outcome::Success),
            Fate::Cancelled => return Ok(stopped(victim, "SIGTERM")),
            Fate::Alive => {}
        }
        log::info!("{entry}: {victim} lives {} s after SIGTERM; sending SIGKILL", self.grace.as_secs_f32());
        if !victim.send(reader, libc::SIGKILL)? {
            return Ok(Outcome::Success);
        }
        match victim.wait(reader, injection.cancel, KILLED)? {
            Fate::Dead => Ok(Outcome::Success),
            Fate::Cancelled => Ok(stopped(victim, "SIGKILL")),
            Fate::Alive => Err(undying(reader, victim)),
        }
    }
}

fn open(host: &Host) -> Result<Reader> {
    Reader::new(&host.proc).doing("list the processes in", host.proc.display())
}

/// Without case in ASCII letters. NULs between arguments count as blanks.
fn contains(text: &[u8], needle: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| match byte {
        0 => *wanted == b' ',
        byte => byte.to_ascii_lowercase() == *wanted,
    };
    text.windows(needle.len().max(1)).any(|part| part.iter().zip(needle).all(same))
}

fn stopped(victim: &Victim, signal: &str) -> Outcome {
    Outcome::Skipped(format!("the agent stops; {victim} got {signal} and had not ended by then"))
}

/// SIGKILL cannot be refused, only delayed: by the kernel, for as long as a system call cannot be broken off.
fn undying(reader: &mut Reader, victim: &Victim) -> Error {
    let state = reader.stat(victim.pid).ok().flatten().map_or(b'?', |stat| stat.state);
    let hint = match state {
        b'D' => "it waits uninterruptibly, for a disk or a network file system, and will end after that",
        _ => "the kernel is still busy with its end",
    };
    let seconds = KILLED.as_secs();
    Error::refused(format!("cannot kill {victim}: it is there {seconds} s after SIGKILL"))
        .hint(format!("state {}: {hint}", char::from(state)))
}

impl Failure for ProcessKill {
    /// Whatever could be wrong is known only with a victim at hand.
    fn check(&self, host: &Host) -> Result<()> {
        open(host).map(drop)
    }

    fn describe(&self, host: &Host) -> String {
        let target = &self.target;
        match self.find(host) {
            Ok((_, found)) => match found.first() {
                Some(first) => format!(
                    "kills 1 of {} processes matching {target:?}: first is {} ({})",
                    found.len(),
                    first.pid,
                    first.name
                ),
                None => format!("kills 1 process matching {target:?}, of which there is none now"),
            },
            Err(error) => format!("kills 1 process matching {target:?} ({error})"),
        }
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let (mut reader, found) = self.find(injection.host)?;
        let Some(first) = found.first() else { return Ok(Outcome::Skipped(self.none())) };
        if injection.cancel.is_cancelled() {
            return Ok(Outcome::Skipped("the agent stops".to_owned()));
        }
        match Victim::hold(&mut reader, first, &|process| self.matches(process))? {
            Some(victim) => self.kill(injection, &mut reader, &victim),
            None => Ok(Outcome::Skipped(format!("process {} ({}) ended by itself", first.pid, first.name))),
        }
    }
}

#[cfg(test)]
mod tests;
