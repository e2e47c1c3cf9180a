//! The dice loop: tick, roll, start, reap. It owns the running injections and ends them all when it stops.
//!
//! The loop itself never waits for a fault: each injection has a thread of its own, and the loop sleeps until
//! the next tick, a signal, a change of a watched file or the stop, nothing in between.

pub mod audit;
mod control;
mod gone;
mod halt;
mod hand;
mod injector;
pub mod look;
mod prepare;
mod readiness;
mod reload;
mod repeats;
mod roll;
mod times;
mod why;

pub use hand::{Found, Seat, register};
pub use injector::{End, Injector, Run};
pub use why::{Why, set_why};

/// The entry that faults by hand belong to.
pub const INJECT: &str = "inject";

use crate::agent::audit::Audit;
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::{Config, Entry};
use crate::dice::decide::{Decider, Rest};
use crate::error::Result;
use crate::exporter::metrics::Metrics;
use crate::linux::command;
use crate::linux::sys::{image, poll};
use crate::steady::Steady;
use crate::text::json::Object;
use control::Control;
use halt::Halts;
use hand::Hands;
use injector::Running;
use readiness::Readiness;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use times::Times;

/// How long a stop waits for an injection that does not end. What is left then is undone by the guard.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long after the start nothing of it is left to be done, however busy the machine is.
const SETTLED: Duration = Duration::from_secs(10);

/// How an agent is started.
pub struct Options {
    /// The config to begin with.
    pub config: Config,
    /// Where it came from, to be looked at again; `None` for the built-in one.
    pub source: Option<PathBuf>,
    /// Why what is there cannot be used, so that the agent rests on a config without entries until it can.
    pub unusable: Option<String>,
    /// Whether nothing is injected whatever a config says.
    pub dry_run: bool,
    /// Of the dice, where the config names none.
    pub seed: u64,
    /// Called with each new config's agent section, for what lies outside of the loop: the exporter.
    pub on_reload: Box<dyn FnMut(&crate::config::Agent)>,
}

/// The loop and what it looks after.
pub struct Agent {
    config: Config,
    source: Option<PathBuf>,
    dry_run: bool,
    seed: u64,
    on_reload: Box<dyn FnMut(&crate::config::Agent)>,
    injector: Arc<Injector>,
    decider: Decider,
    halts: Halts,
    running: Vec<Running>,
    /// Who injects by hand.
    hands: Hands,
    times: Times,
    /// What was last said about a config that cannot be used.
    refused: Option<String>,
    /// Whether there was no config yet that can be used.
    idle: bool,
    /// Whether SIGHUP asked for the next config, be it the same.
    forced: bool,
    readiness: Readiness,
    /// Why the dice rest: the application is not there.
    gone: Option<String>,
    resting: Option<Rest>,
    /// The probes of the application's health, if there are any.
    steady: Option<Steady>,
    /// Why no fault starts before the application was seen well.
    waiting: Option<String>,
}

impl Agent {
    /// An agent at rest.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new(options: Options, metrics: Arc<Metrics>, board: Arc<Board>) -> Result<Agent> {
        let Options { mut config, source, unusable, dry_run, seed, on_reload } = options;
        config.agent.dry_run |= dry_run;
        let times = Times::new(config.agent.interval);
        let injector = Arc::new(Injector::new(&config.agent, metrics, board)?);
        let readiness = Readiness::new(&injector, control::bell()?);
        let mut agent = Agent {
            seed: config.agent.seed.unwrap_or(seed),
            config,
            source,
            dry_run,
            on_reload,
            injector,
            decider: Decider::default(),
            halts: Halts::default(),
            running: Vec::new(),
            hands: Hands::default(),
            times,
            refused: None,
            idle: unusable.is_some(),
            forced: false,
            readiness,
            gone: None,
            resting: None,
            steady: None,
            waiting: None,
        };
        agent.begin();
        if let Some(why) = unusable {
            agent.refuse(why);
        }
        Ok(agent)
    }

    /// Rolls the dice until `stop` is thrown, then reverts everything and returns. Says whether everything
    /// was reverted.
    ///
    /// # Errors
    /// Signals cannot be handled; nothing was injected.
    pub fn run(mut self, stop: &Cancel) -> Result<bool> {
        let proc = &self.injector.host.proc;
        let mut control = Control::new(self.source.as_deref(), &self.config.agent, proc)?;
        self.prepare();
        self.hands.listen(self.config.agent.metrics.port);
        self.look_around();
        self.probe();
        self.times = Times::new(self.config.agent.interval);
        let (mut tick, mut due, mut asked) = (0, true, false);
        let (mut pages, mut quiet) = (Some((SETTLED / 10, Instant::now())), false);
        loop {
            // Where only the time has passed there is nothing to read, and most of what a tick costs is such calls.
            if !quiet {
                self.injector.ended.clear();
                control.hear();
            }
            self.reap();
            if due && !asked {
                control.ask();
                asked = true;
            }
            if self.attend(&mut control) {
                // Another interval begins with a tick of its own; the number of the next stays the next.
                let interval = self.config.agent.interval;
                if interval != self.times.interval {
                    self.times = self.times.rebase(tick, interval);
                }
            }
            self.hear(tick.saturating_sub(1));
            // A tick waits for the answers that may forbid its faults; nothing else does.
            if due && asked && control.is_answered() {
                self.hands.listen(self.config.agent.metrics.port);
                self.hands.open();
                self.tick(tick);
                tick = self.times.next(tick);
                (due, asked) = (false, false);
            }
            let next = self.times.when(tick);
            self.injector.board.set_tick(tick.saturating_sub(1), next, self.resting());
            let active = !self.running.is_empty() || self.hands.active() > 0;
            if let Some(steady) = &self.steady {
                steady.busy(active);
            }
            let again = if active && !due { control.look_again() } else { None };
            if stop.is_cancelled() {
                return Ok(self.stop());
            }
            // Nothing of the start is needed any more, and the agent rests most of its life. Twice more a little later: where
            // processors are few, the other threads do their part of the start only then.
            if let Some((wait, at)) = pages.filter(|(_, at)| Instant::now() >= *at) {
                pages = match control.is_idle() && self.readiness.is_idle() {
                    true => {
                        image::give_back();
                        (wait <= SETTLED).then(|| (wait * 10, at + wait))
                    }
                    false => Some((wait, Instant::now() + wait)),
                };
            }
            let later = pages.map(|(_, at)| at);
            let others = [again, later, control.until(), self.hands.deadline(), self.injector.guard.tend()];
            let until = next.filter(|_| !due).into_iter().chain(others.into_iter().flatten()).min();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let files = control.files().map_or(-1, |fd| fd.as_raw_fd());
            let mut rows = vec![
                poll::row(stop.as_fd().as_raw_fd(), libc::POLLIN),
                poll::row(control.bell().as_raw_fd(), libc::POLLIN),
                poll::row(files, libc::POLLIN),
                poll::row(self.injector.ended.as_fd().as_raw_fd(), libc::POLLIN),
            ];
            rows.extend(self.hands.rows());
            // A failure (no memory) is as good as something to tell: the loop looks at everything.
            quiet = poll::poll(&mut rows, left).is_ok_and(|ready| ready == 0);
            if stop.is_cancelled() {
                return Ok(self.stop());
            }
            due |= next.is_some_and(|next| Instant::now() >= next);
        }
    }

    /// Asks the application from now on whether it is well, as the config says.
    fn probe(&mut self) {
        let probes = self.config.agent.steady.clone();
        let result = match &mut self.steady {
            Some(steady) => steady.restart(probes),
            None if probes.is_empty() => Ok(()),
            None => {
                let (metrics, proc) = (Arc::clone(&self.injector.metrics), &self.injector.host.proc);
                control::bell()
                    .and_then(|bell| Steady::start(probes, metrics, Arc::clone(bell), proc))
                    .map(|steady| self.steady = Some(steady))
            }
        };
        if let Err(error) = result {
            // Without an answer nothing may be injected.
            self.halt("steady_state", Some(format!("the probes cannot be started: {error}")));
        }
    }

    /// Forgets the injections that have ended; and zombies, of which SIGCHLD tells.
    fn reap(&mut self) {
        command::reap_orphans();
        let mut index = 0;
        while let Some(run) = self.running.get(index) {
            if run.is_done() {
                self.running.swap_remove(index).join();
            } else {
                index += 1;
            }
        }
    }

    /// Ends every injection that `which` picks at once, newest first, without waiting for it.
    fn end(&self, why: Why, which: impl Fn(&Entry) -> bool) -> usize {
        let picked = self.running.iter().rev().filter(|run| which(&run.entry));
        picked.map(|run| run.end(why)).count()
    }

    /// Ends every injection and waits until each has reverted what it did.
    fn stop(mut self) -> bool {
        self.end(Why::Stop, |_| true);
        self.hands.end(Why::Stop);
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.injector.ended.clear();
            self.reap();
            self.hear(0);
            let left = deadline.saturating_duration_since(Instant::now());
            if (self.running.is_empty() && self.hands.active() == 0) || left.is_zero() {
                break;
            }
            let mut rows = vec![poll::row(self.injector.ended.as_fd().as_raw_fd(), libc::POLLIN)];
            rows.extend(self.hands.rows());
            let _ = poll::poll(&mut rows, Some(left));
        }
        for run in &self.running {
            let name = run.entry.name();
            log::error!("{name}: did not end within {} s; left to the guard", STOP_LIMIT.as_secs());
        }
        let by_hand = self.hands.active();
        if by_hand > 0 {
            log::error!("{by_hand} faults by hand did not end; left to their processes and guards");
        }
        let all = self.running.is_empty();
        if all {
            self.injector.guard.close();
        }
        self.injector.event("stop", |line| _ = line.truth("reverted", all && by_hand == 0));
        all && by_hand == 0
    }

    /// Where the audit trail goes from now on.
    fn open_audit(&self) {
        let agent = &self.config.agent;
        let audit = Audit::new(agent.audit_file.as_deref(), agent.audit_log);
        self.injector.set_audit(audit);
    }

    /// Adds to the audit trail what changed about the agent as a whole.
    fn note(&self, event: &str, reason: &str) {
        self.injector.event(event, |line: &mut Object| _ = line.text("reason", reason));
    }
}
