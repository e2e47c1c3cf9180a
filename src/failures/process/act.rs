//! What is done to victims: ended, stopped for a time, or signalled.

use super::recovery::Death;
use super::select::{Selection, Verdict};
use super::victim::{Fate, Stopped, Victim};
use super::{SIGNALS, stopping};
use crate::cancel::Waited;
use crate::error::{Context, Error, Result};
use crate::failures::{Injection, Outcome};
use crate::linux::proc::Reader;
use crate::linux::sys::signal;
use crate::revert::guard::Reverter;
use crate::revert::undo::Undo;
use std::time::{Duration, Instant};

/// How long the kernel may take to end a victim after SIGKILL.
const KILLED: Duration = Duration::from_secs(2);
/// How long a process may take to stop after SIGSTOP.
const STOPS: Duration = Duration::from_secs(1);
/// Where a pause has no end that a clock can tell.
const EVER: Duration = Duration::from_secs(1 << 31);

/// One injection under way.
pub struct Act<'a> {
    /// The injection.
    pub injection: &'a Injection<'a>,
    /// The processes.
    pub reader: &'a mut Reader,
    /// Who is meant.
    pub selection: &'a Selection,
}

/// Those that are stopped, each with the time at which it goes on.
type Paused<'a> = Vec<(Instant, Reverter<'a>)>;

impl<'a> Act<'a> {
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
            let spared;
            (left, spared) = if grace.is_zero() { (left, 0) } else { self.still_meant(left, deaths)? };
            if spared > 0 && deaths.is_empty() && left.is_empty() {
                return Ok(Outcome::Skipped(
                    "after the first signal it is no longer who was meant".to_owned(),
                ));
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

    /// Who is still meant, and how many are not: between the two signals a victim may have become somebody else by
    /// execve(2), with the same pid, start time and pidfd.
    fn still_meant(&mut self, victims: Vec<Victim>, deaths: &mut Vec<Death>) -> Result<(Vec<Victim>, usize)> {
        let (mut left, mut spared) = (Vec::new(), 0);
        for victim in victims {
            if victim.is_gone(self.reader)? {
                deaths.push(Death::now());
                continue;
            }
            match self.is_meant(&victim)? {
                true => left.push(victim),
                false => spared += 1,
            }
        }
        Ok((left, spared))
    }

    /// Whether a victim is still who was meant; says so where it is not. Of thousands, the last has its turn seconds after
    /// it was held.
    fn is_meant(&mut self, victim: &Victim) -> Result<bool> {
        if matches!(
            self.selection.judge(self.reader, victim.who.pid).doing("read", victim)?,
            Verdict::Meant(_)
        ) {
            return Ok(true);
        }
        if !victim.is_gone(self.reader)? {
            log::warn!("{}: {victim} is another program by now; left alone", self.injection.entry);
        }
        Ok(false)
    }

    /// Stops the victims, each for the duration of the injection from then on, and lets them go on.
    ///
    /// # Errors
    /// The guard cannot be told, or a victim may not be signalled or does not stop: all go on by then.
    pub fn pause(&mut self, victims: Vec<Victim>) -> Result<Outcome> {
        let mut paused = Paused::new();
        let mut result = Ok(());
        let mut some = false;
        for victim in victims.iter().filter(|victim| !victim.stopped) {
            if self.injection.cancel.is_cancelled() {
                break;
            }
            if !self.is_meant(victim)? {
                continue;
            }
            let Some(reverter) = self.stop(victim, &mut paused, &mut result)? else { continue };
            let now = Instant::now();
            let end = now.checked_add(self.injection.duration).unwrap_or(now + EVER);
            reverter.renew(self.injection.duration)?;
            self.injection.begin();
            self.count(victim, libc::SIGSTOP);
            paused.push((end, reverter));
            some = true;
        }
        if !some {
            return Ok(Outcome::Skipped(
                "every victim had ended, was stopped already or is another program by now".to_owned(),
            ));
        }
        while let Some((end, _)) = paused.first() {
            if self.pass(*end, &mut paused, &mut result) == Waited::Cancelled {
                break;
            }
        }
        for (_, reverter) in paused {
            self.resume(reverter, &mut result);
        }
        result.map(|()| Outcome::Success)
    }

    /// Stops one victim, while the others go on in their time. `None` when it ended or the agent stops.
    fn stop(
        &mut self,
        victim: &Victim,
        paused: &mut Paused<'a>,
        result: &mut Result<()>,
    ) -> Result<Option<Reverter<'a>>> {
        let injection = self.injection;
        let undo = Undo::Resume { pid: victim.who.pid, start: victim.who.start };
        let mut there = false;
        let reverter = injection.change(undo, || {
            there = victim.send(self.reader, libc::SIGSTOP)?;
            Ok(())
        })?;
        let end = Instant::now() + STOPS;
        let mut wait = Duration::from_micros(200);
        if !there {
            return Ok(None);
        }
        // No event tells anybody but the parent.
        loop {
            match victim.stopped(self.reader)? {
                Stopped::Yes => return Ok(Some(reverter)),
                Stopped::Gone => return Ok(None),
                Stopped::No if Instant::now() >= end => {
                    let state = victim.state(self.reader);
                    return Err(Error::refused(format!(
                        "cannot stop {victim}: SIGSTOP has no effect; state {state}"
                    )));
                }
                Stopped::No if self.pass(Instant::now() + wait, paused, result) == Waited::Cancelled => {
                    return Ok(None);
                }
                Stopped::No => wait *= 2,
            }
        }
    }

    /// Waits until `until`, or for a cancellation; meanwhile lets those go on whose time is over.
    fn pass(&self, until: Instant, paused: &mut Paused<'a>, result: &mut Result<()>) -> Waited {
        loop {
            let next = paused.first().map_or(until, |(end, _)| until.min(*end));
            if self.injection.cancel.wait_until(Some(next), None) == Waited::Cancelled {
                return Waited::Cancelled;
            }
            while paused.first().is_some_and(|(end, _)| *end <= Instant::now()) {
                self.resume(paused.remove(0).1, result);
            }
            if Instant::now() >= until {
                return Waited::Elapsed;
            }
        }
    }

    fn resume(&self, reverter: Reverter<'_>, result: &mut Result<()>) {
        match reverter.revert() {
            Ok(true) => (self.injection.measure)((&SIGNALS, signal::label(libc::SIGCONT)), 1.0),
            Ok(false) => {}
            Err(error) => *result = Err(error),
        }
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
            return Ok(Outcome::Skipped(
                "every victim had ended by itself or is another program by now".to_owned(),
            ));
        }
        self.outcome(refused, all)
    }

    fn outcome(&self, refused: Option<(Error, usize)>, all: usize) -> Result<Outcome> {
        match refused {
            None if self.injection.active.load(std::sync::atomic::Ordering::Acquire) => Ok(Outcome::Success),
            None => Ok(Outcome::Skipped(
                "every victim had ended by itself or is another program by now".to_owned(),
            )),
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
            let sent_to = match self.is_meant(&victim) {
                Ok(true) => victim.send(self.reader, number),
                spared => spared,
            };
            match sent_to {
                Ok(true) => {
                    self.injection.begin();
                    self.count(&victim, number);
                    sent.push(victim);
                }
                Ok(false) => log::info!("{}: {victim} got no signal", self.injection.entry),
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
