//! process: ends, stops or signals processes of the pod, as a crash, a hang or an operator would.
//!
//! What is killed is not put back: who starts it again, and how soon, is what the injection is about. What is
//! stopped goes on at the end, by the guard if need be.

mod act;
mod find;
mod pick;
mod ready;
mod recovery;
mod rules;
mod select;
mod victim;

use super::{Failure, Host, Injection, Kind, Outcome, Series};
use crate::error::{Context, Result};
use crate::exporter::metrics::Family;
use crate::linux::proc::Reader;
use crate::linux::sys::{clock, signal};
use crate::revert::undo::{Tools, Undo};
use crate::settings::{Keys, Scalar, Section, keys};
use act::Act;
use find::Found;
use pick::Choice;
use recovery::Returns;
use select::Selection;
use std::time::Duration;
use victim::Victim;

/// The row of this failure in [`super::KINDS`]. Not `guarded`: only pauses need the guard, and announcing one
/// starts it.
pub const KIND: Kind = Kind { name: "process", timed: false, guarded: false, keys: KEYS, parse };

const KEYS: Keys = keys! {
    "target_name" Text "3 characters or more, not an interpreter or shell alone" or "required, or `match`":
        "part of the process name or of the command line, capitals or not";
    "match" Map "conditions" or "none": "who is meant, all conditions together";
    "match.name" Text "a text" or "any": "part of the name";
    "match.exact_name" Text "a text" or "any": "the whole name";
    "match.cmdline" Text "a text" or "any": "part of the command line";
    "match.exe" Text "a text" or "any":
        "path or base name of the program (of the agent's own uid, or with CAP_SYS_PTRACE)";
    "match.uid" Whole "0 to 4294967295" or "any": "real uid";
    "match.container" Text "a text" or "any": "part of the cgroup path";
    "exclude" List "a list of such conditions" or "none":
        "whom one of them fits is spared; so is who cannot be looked at";
    "action" Choice "kill, pause, signal" = "kill":
        "`kill`: the signal, `grace_seconds`, SIGKILL. `pause`: stopped for `duration_seconds`. `signal`: the signal and nothing else";
    "signal" Scalar "a name or number; nothing that stops" or "TERM; required for `signal`": "the signal that is sent";
    "grace_seconds" Seconds "0 to 600" = "3": "0 is SIGKILL at once";
    "pick" Choice "first, random, oldest, newest, all" = "first": "by pid, by the seed, by start time";
    "count" Scalar "1 to 1000000, or a share below `\"100%\"`" = "1": "how many; a share is rounded up but never takes all";
    "min_survivors" Whole "0 to 1000000" = "0": "so many that match are left alone";
    "recovery_seconds" Seconds "0 to 3600" = "30":
        "how long the return of killed processes is watched, beside the dice";
};

static SIGNALS: Family = Family::counter(
    "chaos_process_signals_total",
    "Signals that victims of the process failure got.",
    &["signal"],
);
static RECOVERY: Family = Family::histogram(
    "chaos_victim_recovery_seconds",
    "Time from the death of a victim to the start of a new process that matches.",
    &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0],
    &[],
);
static KILL_SERIES: [Series; 3] = [(&SIGNALS, &["SIGTERM"]), (&SIGNALS, &["SIGKILL"]), (&RECOVERY, &[])];
static PAUSE_SERIES: [Series; 2] = [(&SIGNALS, &["SIGSTOP"]), (&SIGNALS, &["SIGCONT"])];

/// What happens to victims.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// This signal, this long, then SIGKILL.
    Kill(i32, Duration),
    Pause,
    Signal(i32),
}

struct ProcessFault {
    selection: Selection,
    choice: Choice,
    action: Action,
    /// For how long killed victims are watched for their return.
    recovery: Duration,
    /// The agent's pid.
    own: u32,
    /// The victims that may come back.
    returns: Returns,
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    Some(Box::new(parse_fault(section)?))
}

fn parse_fault(section: &mut Section<'_>) -> Option<ProcessFault> {
    let selection = Selection::parse(section);
    let choice = Choice::parse(section);
    let action = parse_action(section);
    let recovery = section.seconds("recovery_seconds").unwrap_or_default();
    let (own, returns) = (std::process::id(), Returns::default());
    Some(ProcessFault { selection: selection?, choice, action, recovery, own, returns })
}

fn parse_action(section: &mut Section<'_>) -> Action {
    let action = section.choice("action");
    let grace = section.seconds("grace_seconds").unwrap_or_default();
    let usual = if action == Some("kill") { "TERM" } else { "" };
    let name = section.scalar_or("signal", Some(usual)).map(|name| match name {
        Scalar::Text(name) => name,
        Scalar::Number(number) => number.to_string(),
    });
    let number = name.as_deref().and_then(signal::number);
    if name.is_some() && number.is_none() {
        section.problem("signal", "is no signal", "a name such as HUP or SIGUSR1, or a number from 1 to 64");
    }
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    match (action, number) {
        (Some("pause"), _) => {
            section.require("duration_seconds");
            if name.is_some() {
                section.problem("signal", "has no use with action pause", "remove it");
            }
            Action::Pause
        }
        (_, Some(number)) if stops.contains(&number) => {
            section.problem("signal", "would stop the victim for good", "action: pause stops it for a time");
            Action::Pause
        }
        (Some("kill"), _) => Action::Kill(number.unwrap_or(libc::SIGTERM), grace),
        (_, Some(libc::SIGKILL)) => Action::Kill(libc::SIGKILL, Duration::ZERO),
        (_, Some(number)) => Action::Signal(number),
        (_, None) => {
            section.require("signal");
            Action::Signal(0)
        }
    }
}

fn open(host: &Host) -> Result<Reader> {
    Reader::new(&host.proc).doing("list the processes in", host.proc.display())
}

fn stopping(left: &[Victim], number: i32) -> Outcome {
    let names = left.iter().map(Victim::to_string).collect::<Vec<_>>().join(", ");
    Outcome::Skipped(format!(
        "the agent stops; {} was sent, not ended by then: {names}",
        signal::name(number)
    ))
}

/// Tells that a victim is back, so many seconds after its death.
fn back(injection: &Injection<'_>) -> impl FnMut(f64) {
    |seconds| {
        log::info!("{}: a new process matches {seconds:.3} s after the death", injection.entry);
        (injection.measure)((&RECOVERY, &[]), seconds);
    }
}

impl ProcessFault {
    fn find(&self, host: &Host, reader: &mut Reader) -> Result<Found> {
        find::find(reader, self.own, &self.selection).doing("list the processes in", host.proc.display())
    }

    fn verb(&self) -> String {
        match self.action {
            Action::Kill(..) => "kills".to_owned(),
            Action::Pause => "pauses".to_owned(),
            Action::Signal(number) => format!("sends {} to", signal::name(number)),
        }
    }

    /// Why there is no victim.
    fn nobody(&self, found: &Found) -> String {
        let shown = &self.selection.shown;
        match (found.candidates.len(), found.hidden) {
            (0, 0) => format!("no process that may be a victim matches {shown}"),
            (0, hidden) => format!(
                "the program of {hidden} processes that may match {shown} cannot be seen: exe needs the same uid \
                 or CAP_SYS_PTRACE"
            ),
            (some, _) => self.choice.nobody(some),
        }
    }
}

impl Failure for ProcessFault {
    /// Whatever else could be wrong is known only with a victim at hand.
    fn check(&self, host: &Host) -> Result<()> {
        open(host).map(drop)
    }

    fn ready(&self, host: &Host) -> Result<String> {
        ready::ready(self, host)
    }

    fn nobody(&self, host: &Host) -> Option<String> {
        let found = self.find(host, &mut open(host).ok()?).ok()?;
        (self.choice.size(found.candidates.len()) == 0).then(|| self.nobody(&found))
    }

    fn untold(&self, host: &Host) -> Option<String> {
        ready::untold(self, host)
    }

    fn describe(&self, host: &Host) -> String {
        let (verb, shown) = (self.verb(), &self.selection.shown);
        let found = match open(host).and_then(|mut reader| self.find(host, &mut reader)) {
            Ok(found) => found,
            Err(error) => return format!("{verb} processes matching {shown} ({error})"),
        };
        let (size, all) = (self.choice.size(found.candidates.len()), found.candidates.len());
        if size == 0 {
            return format!("{verb} nobody now: {}", self.nobody(&found));
        }
        let mut line = format!("{verb} {size} of {all} processes matching {shown}");
        if let Some(first) = self.choice.choose(&found.candidates, 0).first()
            && self.choice.is_fixed()
        {
            line.push_str(&format!(": first is {} ({})", first.pid, first.name));
        }
        line
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let mut reader = open(injection.host)?;
        let begun = clock::boot_ms();
        let found = self.find(injection.host, &mut reader)?;
        if matches!(self.action, Action::Kill(..)) {
            // Earlier victims that are back are known as such before they may become victims again.
            self.returns.look(begun, &found.candidates, &mut back(injection));
        }
        let chosen = self.choice.choose(&found.candidates, injection.seed);
        if chosen.is_empty() {
            return Ok(Outcome::Skipped(self.nobody(&found)));
        }
        let mut victims = Vec::new();
        for candidate in &chosen {
            victims.extend(Victim::hold(&mut reader, candidate, &self.selection)?);
        }
        for victim in &victims {
            injection.facts.victim(victim.brief(), victim.full());
        }
        if injection.cancel.is_cancelled() {
            return Ok(Outcome::Skipped("the agent stops".to_owned()));
        }
        let mut act = Act { injection, reader: &mut reader, selection: &self.selection };
        match self.action {
            _ if victims.is_empty() => Ok(Outcome::Skipped(format!("{} ended by itself", chosen[0]))),
            Action::Pause => act.pause(victims),
            Action::Signal(number) => act.signal(victims, number),
            Action::Kill(first, grace) => {
                let mut deaths = Vec::new();
                let outcome = act.kill(victims, first, grace, &mut deaths);
                self.returns.add(deaths, self.recovery);
                outcome
            }
        }
    }

    fn follow(&self, injection: &Injection<'_>) {
        let entry = injection.entry;
        let missing = open(injection.host).and_then(|mut reader| {
            let (own, selection) = (self.own, &self.selection);
            self.returns.watch(&mut reader, own, selection, injection.cancel, &mut back(injection))
        });
        match missing {
            Ok(0) => {}
            Ok(missing) => {
                log::warn!("{entry}: {missing} victims are not back after {} s", self.recovery.as_secs_f64());
            }
            Err(error) => log::warn!("{entry}: the return of the victims is not watched: {error}"),
        }
    }

    /// When the agent and its guard die together, a paused process stays stopped; its mark is that it matches an
    /// entry that pauses.
    fn sweep(&self, host: &Host) -> Vec<Result<Undo>> {
        if !matches!(self.action, Action::Pause) {
            return Vec::new();
        }
        let found = open(host).and_then(|mut reader| {
            let mut found = self.find(host, &mut reader)?.candidates;
            let mut stopped =
                |pid| reader.stat(pid).is_ok_and(|stat| stat.is_some_and(|stat| stat.is_stopped()));
            found.retain(|one| stopped(one.pid));
            Ok(found)
        });
        let tools = Tools::default();
        match found {
            Ok(found) => found
                .into_iter()
                .map(|one| Undo::Resume { pid: one.pid, start: one.start })
                .map(|undo| undo.perform(&tools).map(|_| undo))
                .collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn timed(&self) -> bool {
        matches!(self.action, Action::Pause)
    }

    fn series(&self) -> &'static [Series] {
        match self.action {
            Action::Kill(..) => &KILL_SERIES,
            Action::Pause => &PAUSE_SERIES,
            Action::Signal(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests;
