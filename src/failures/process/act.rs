//! What is done to victims: ended, stopped for a time, or signalled.

use super::recovery::Death;
use super::victim::{Fate, Victim};
use super::{SIGNALS, stopping};
use crate::error::{Error, Result};
use crate::failures::{Injection, Outcome};
use crate::linux::proc::Reader;
use crate::linux::sys::signal;
use crate::revert::undo::Undo;
use std::time::{Duration, Instant};

/// How long the kernel may take to end a victim after SIGKILL.
const KILLED: Duration = Duration::from_secs(2);

/// One injection under way.
pub struct Act<'a> {
    /// The injection.
    pub injection: &'a Injection<'a>,
    /// The processes.
    pub reader: &'a mut Reader,
}

impl Act<'_> {
    /// Ends the victims: `first`, up to `grace` for all together, SIGKILL. Notes each death.
    ///
    /// # Errors
    /// A victim may not be signalled, or outlives SIGKILL; the others are ended all the same.
    pub fn kill(
        &mut self,
        victims: Vec<Victim>,
        first: i32,
        grace: Duration,
        deaths: &mut Vec<Death>,
    ) -> Result<Outcome> {
        let all = victims.len();
        let mut refused = None;
        let mut left = if grace.is_zero() { victims } else { self.send_all(victims, first, &mut refused) };
        let deadline = Instant::now().checked_add(grace);
        let mut cancelled = false;
        if !grace.is_zero() {
            (left, cancelled) = self.wait_all(left, deadline, deaths)?;
        }
        if cancelled {
            return Ok(stopping(&left, first));
        }
        if !left.is_empty() {
            if !grace.is_zero() {
                let lives = left.iter().map(Victim::to_string).collect::<Vec<_>>().join(", ");
                log::info!(
                    "{}: {} s after {}, still there: {lives}",
                    self.injection.entry,
                    grace.as_secs_f64(),
                    signal::name(first)
                );
            }
            let sent = self.send_all(left, libc::SIGKILL, &mut refused);
            (left, cancelled) = self.wait_all(sent, Instant::now().checked_add(KILLED), deaths)?;
            if cancelled {
                return Ok(stopping(&left, libc::SIGKILL));
            }
        }
        if let Some(victim) = left.first() {
            return Err(self.undying(victim));
        }
        self.outcome(refused, all)
    }

    /// Stops the victims until the injection ends, then lets them go on.
    ///
    /// # Errors
    /// The guard cannot be told, or a victim may not be signalled or does not stop: all go on by then.
    pub fn pause(&mut self, victims: Vec<Victim>) -> Result<Outcome> {
        let mut reverters = Vec::new();
        for victim in victims.iter().filter(|victim| !victim.stopped) {
            let undo = Undo::Resume { pid: victim.who.pid, start: victim.who.start };
            let reader = &mut *self.reader;
            let mut there = false;
            let stop = || {
                there = victim.send(reader, libc::SIGSTOP)?;
                Ok(())
            };
            let reverter = self.injection.change(undo, stop)?;
            if !there || !victim.wait_stopped(self.reader, self.injection.cancel)? {
                if self.injection.cancel.is_cancelled() || victim.is_gone(self.reader)? {
                    continue;
                }
                let state = victim.state(self.reader);
                return Err(Error::refused(format!(
                    "cannot stop {victim}: SIGSTOP has no effect; state {state}"
                )));
            }
            self.count(victim, libc::SIGSTOP);
            reverters.push(reverter);
        }
        if reverters.is_empty() {
            return Ok(Outcome::Skipped("every victim had ended or was stopped already".to_owned()));
        }
        self.injection.hold();
        let mut result = Ok(Outcome::Success);
        while let Some(reverter) = reverters.pop() {
            match reverter.revert() {
                Ok(true) => (self.injection.measure)((&SIGNALS, signal::label(libc::SIGCONT)), 1.0),
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Sends one signal to each victim.
    ///
    /// # Errors
    /// A victim may not be signalled; the others are all the same.
    pub fn signal(&mut self, victims: Vec<Victim>, number: i32) -> Result<Outcome> {
        let all = victims.len();
        let mut refused = None;
        let sent = self.send_all(victims, number, &mut refused);
        if sent.is_empty() && refused.is_none() {
            return Ok(Outcome::Skipped("every victim had ended by itself".to_owned()));
        }
        self.outcome(refused, all)
    }

    fn outcome(&self, refused: Option<(Error, usize)>, all: usize) -> Result<Outcome> {
        match refused {
            None if self.injection.active.load(std::sync::atomic::Ordering::Acquire) => Ok(Outcome::Success),
            None => Ok(Outcome::Skipped("every victim had ended by itself".to_owned())),
            Some((error, 1)) if all == 1 => Err(error),
            Some((error, count)) => Err(error.hint(format!("so it was for {count} of {all} victims"))),
        }
    }

    /// Signals each; returns those that got it.
    fn send_all(
        &mut self,
        victims: Vec<Victim>,
        number: i32,
        refused: &mut Option<(Error, usize)>,
    ) -> Vec<Victim> {
        let mut sent = Vec::new();
        for victim in victims {
            match victim.send(self.reader, number) {
                Ok(true) => {
                    self.injection.begin();
                    self.count(&victim, number);
                    sent.push(victim);
                }
                Ok(false) => log::info!("{}: {victim} had ended by itself", self.injection.entry),
                Err(error) => match refused {
                    Some((_, count)) => *count += 1,
                    None => *refused = Some((error, 1)),
                },
            }
        }
        sent
    }

    fn count(&self, victim: &Victim, number: i32) {
        let signal = signal::name(number);
        log::info!(
            "{}: sent {signal} to {}",
            self.injection.entry,
            victim.full().unwrap_or_else(|| victim.brief())
        );
        (self.injection.measure)((&SIGNALS, signal::label(number)), 1.0);
    }

    /// Waits for the deaths of all until `deadline`. Returns who lives, and whether the agent stops.
    fn wait_all(
        &mut self,
        victims: Vec<Victim>,
        deadline: Option<Instant>,
        deaths: &mut Vec<Death>,
    ) -> Result<(Vec<Victim>, bool)> {
        let mut left = Vec::new();
        let mut cancelled = false;
        for victim in victims {
            match victim.wait(self.reader, self.injection.cancel, deadline)? {
                Fate::Dead => deaths.push(Death::now()),
                Fate::Alive => left.push(victim),
                Fate::Cancelled => {
                    cancelled = true;
                    left.push(victim);
                }
            }
        }
        Ok((left, cancelled))
    }

    /// SIGKILL cannot be refused, only delayed: by the kernel, while a system call cannot be broken off.
    fn undying(&mut self, victim: &Victim) -> Error {
        let state = victim.state(self.reader);
        let why = match state {
            'D' => "it waits uninterruptibly, for a disk or a network file system, and will end after that",
            _ => "the kernel is still busy with its end",
        };
        let seconds = KILLED.as_secs();
        let text =
            format!("cannot kill {victim}: it is there {seconds} s after SIGKILL, in state {state}; {why}");
        Error::refused(text)
    }
}
