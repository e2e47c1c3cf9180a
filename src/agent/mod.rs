//! The dice loop: tick, roll, start, reap. It owns the running injections and ends them all when it stops.
//!
//! The loop itself never waits for a fault: each injection has a thread of its own, and the loop sleeps until
//! the next tick, a signal, a change of a watched file or the stop, nothing in between.

pub mod audit;
mod control;
mod halt;
mod injector;
mod reload;

pub use injector::{Injector, Run};

use crate::agent::audit::Audit;
use crate::board::{About, Board};
use crate::cancel::Cancel;
use crate::config::{Config, Entry};
use crate::dice::decide::{Decider, Moment, Rest, Verdict};
use crate::error::Result;
use crate::exporter::metrics::{Metrics, Status};
use crate::linux::command;
use crate::linux::sys::{image, poll};
use crate::revert::undo;
use crate::steady::Steady;
use crate::text::json::Object;
use control::Control;
use halt::Halts;
use injector::{Running, Why};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a stop waits for an injection that does not end. What is left then is undone by the guard.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How an agent is started.
pub struct Options {
    /// The config to begin with.
    pub config: Config,
    /// Where it came from, to be looked at again; `None` for the built-in one.
    pub source: Option<PathBuf>,
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
    times: Times,
    /// The bytes that were last found to be no config, and what was said about them.
    refused: Option<String>,
    resting: Option<Rest>,
    /// The probes of the application's health, if there are any.
    steady: Option<Steady>,
    /// Why no fault starts before the application was seen well.
    waiting: Option<String>,
}

/// The times of ticks: `base` was at `start`.
#[derive(Clone, Copy)]
struct Times {
    start: Instant,
    unix: Duration,
    interval: Duration,
    /// The number of the tick at `start`, and its time since the agent's start.
    base: u64,
    before: Duration,
}

impl Times {
    fn new(interval: Duration) -> Times {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Times { start: Instant::now(), unix, interval, base: 0, before: Duration::ZERO }
    }

    /// The planned times of a tick. The wall clock counts as read at the start, so that a step of it shifts no
    /// tick; [`Times::set_clock`] reads it again.
    fn moment(&self, tick: u64) -> Moment {
        let after = self.interval.saturating_mul(u32::try_from(tick - self.base).unwrap_or(u32::MAX));
        let unix = i64::try_from(self.unix.saturating_add(after).as_secs()).unwrap_or(i64::MAX);
        Moment { tick, at: self.before.saturating_add(after), unix }
    }

    /// The first tick that is still to come, after `tick`: one that was missed (a stopped or starved agent) is
    /// left out, never repeated, and the others keep their times.
    fn next(&self, tick: u64) -> u64 {
        let passed = self.start.elapsed().as_secs_f64() / self.interval.as_secs_f64();
        (tick + 1).max(self.base + passed.ceil() as u64)
    }

    fn when(&self, tick: u64) -> Option<Instant> {
        self.start.checked_add(self.interval.mul_f64((tick - self.base) as f64))
    }

    /// Takes over a step of the wall clock, which schedules go by.
    fn set_clock(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let then = now.saturating_sub(self.start.elapsed());
        if then.abs_diff(self.unix) > Duration::from_secs(1) {
            self.unix = then;
        }
    }

    /// The same ticks so far, and from tick `tick`, which is due at once, another interval.
    fn rebase(&self, tick: u64, interval: Duration) -> Times {
        let before = self.moment(tick).at;
        Times { base: tick, before, ..Times::new(interval) }
    }
}

impl Agent {
    /// An agent at rest.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new(options: Options, metrics: Arc<Metrics>, board: Arc<Board>) -> Result<Agent> {
        let Options { mut config, source, dry_run, seed, on_reload } = options;
        config.agent.dry_run |= dry_run;
        let times = Times::new(config.agent.interval);
        let injector = Arc::new(Injector::new(&config.agent, metrics, board)?);
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
            times,
            refused: None,
            resting: None,
            steady: None,
            waiting: None,
        };
        agent.begin();
        Ok(agent)
    }

    /// Rolls the dice until `stop` is thrown, then reverts everything and returns. Says whether everything
    /// was reverted.
    ///
    /// # Errors
    /// Signals cannot be handled; nothing was injected.
    pub fn run(mut self, stop: &Cancel) -> Result<bool> {
        let mut control = Control::new(self.source.as_deref(), self.config.agent.halt_file.as_deref())?;
        self.prepare();
        self.look_around();
        self.probe();
        self.times = Times::new(self.config.agent.interval);
        let (mut tick, mut due) = (0, true);
        let mut started = false;
        loop {
            self.injector.ended.clear();
            self.reap();
            if self.attend(&mut control) {
                // Another interval begins with a tick of its own; the number of the next stays the next.
                let interval = self.config.agent.interval;
                if interval != self.times.interval {
                    self.times = self.times.rebase(tick, interval);
                }
            }
            if due {
                self.tick(tick);
                tick = self.times.next(tick);
            }
            let next = self.times.when(tick);
            self.injector.board.set_tick(tick.saturating_sub(1), next, self.resting());
            if let Some(steady) = &self.steady {
                steady.busy(!self.running.is_empty());
            }
            if stop.is_cancelled() {
                return Ok(self.stop());
            }
            if !std::mem::replace(&mut started, true) {
                // Nothing of the start is needed any more, and the agent rests most of its life.
                image::give_back();
            }
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            let files = control.files().map_or(-1, |fd| fd.as_raw_fd());
            let mut rows = [
                poll::row(stop.as_fd().as_raw_fd(), libc::POLLIN),
                poll::row(control.bell().as_raw_fd(), libc::POLLIN),
                poll::row(files, libc::POLLIN),
                poll::row(self.injector.ended.as_fd().as_raw_fd(), libc::POLLIN),
            ];
            // A failure (no memory) is as good as nothing to tell: the loop looks at everything anyway.
            _ = poll::poll(&mut rows, left);
            if stop.is_cancelled() {
                return Ok(self.stop());
            }
            due = next.is_some_and(|next| Instant::now() >= next);
        }
    }

    /// Says what the agent runs on, everywhere where it is said.
    fn announce(&mut self) {
        let Config { agent, entries, hash, .. } = &self.config;
        let injector = &self.injector;
        for entry in entries.iter().filter(|entry| entry.enabled) {
            injector.metrics.register(entry.kind.name);
            for (family, labels) in entry.failure.iter().flat_map(|failure| failure.series()) {
                injector.metrics.touch(family, labels);
            }
        }
        let source =
            self.source.as_ref().map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
        injector.board.set_about(About {
            version: env!("CARGO_PKG_VERSION"),
            seed: self.seed,
            source,
            hash: *hash,
            dry_run: agent.dry_run,
            interval: agent.interval,
            loaded: Some(SystemTime::now()),
        });
        injector.event("start", |line| {
            line.text("version", env!("CARGO_PKG_VERSION")).whole("seed", self.seed);
            line.number("interval_seconds", agent.interval.as_secs_f64());
            line.text("config_hash", &format!("{hash:016x}")).truth("dry_run", agent.dry_run);
        });
    }

    /// What must be ready before the first fault: nothing of an earlier agent is left, and the guard runs
    /// where any configured fault needs it.
    fn prepare(&self) {
        if self.config.agent.dry_run {
            return;
        }
        let live = || self.config.entries.iter().filter(|entry| entry.enabled);
        let failures = live().filter_map(|entry| entry.failure.as_deref());
        let found = failures.flat_map(|failure| failure.sweep(&self.injector.host));
        for done in undo::sweep().into_iter().chain(found) {
            match done {
                Ok(undo) => log::warn!("removed what an earlier agent had left: {undo}"),
                Err(error) => log::error!("an earlier agent left something that stays: {error}"),
            }
        }
        self.ensure_guard();
    }

    fn ensure_guard(&self) {
        let needed = self.config.entries.iter().any(|entry| entry.enabled && entry.kind.guarded);
        if needed
            && !self.config.agent.dry_run
            && let Err(error) = self.injector.guard.ensure()
        {
            log::error!("{error}; faults that need it will fail");
        }
    }

    fn tick(&mut self, tick: u64) {
        self.injector.guard.tend();
        if std::process::id() == 1 {
            command::reap_orphans();
        }
        self.times.set_clock();
        let moment = self.times.moment(tick);
        let rests = self.decider.rests(&self.config.agent.limits, moment);
        self.rest(rests);
        if rests.is_some() || self.waiting.is_some() || self.halts.any() {
            return;
        }
        for index in 0..self.config.entries.len() {
            let entry = Arc::clone(&self.config.entries[index]);
            if entry.enabled {
                self.roll(&entry, moment);
            }
        }
    }

    fn roll(&mut self, entry: &Arc<Entry>, moment: Moment) {
        let busy = self.running.iter().any(|run| run.entry.name() == entry.name());
        let limits = &self.config.agent.limits;
        let active = self.running.len();
        let verdict = self.decider.decide(self.seed, &entry.rule, limits, moment, busy, active);
        let (name, tick) = (entry.name(), moment.tick);
        match verdict {
            Verdict::Rest => {}
            Verdict::No(roll) => {
                let chance = entry.rule.probability.unwrap_or(1.0);
                log::debug!("tick {tick}: {name}: no ({:.3} >= {chance})", roll.value);
                self.injector.decision(entry, moment, roll, "no", None);
            }
            Verdict::Skip(roll, limit) => {
                let reason = format!("{} is reached ({active} active)", limit.key());
                log::info!("{name}: skipped: {reason}");
                self.injector.metrics.count(entry.kind.name, Status::Skipped);
                self.injector.decision(entry, moment, roll, "skip", Some(&reason));
            }
            Verdict::Inject(roll) => {
                log::debug!("tick {tick}: {name}: yes ({:.3})", roll.value);
                self.injector.decision(entry, moment, roll, "inject", None);
                let dry_run = self.config.agent.dry_run;
                match injector::start(&self.injector, entry, tick, roll, dry_run) {
                    Ok(run) => self.running.push(run),
                    Err(error) => {
                        log::error!("{name}: failed: {error}");
                        self.injector.metrics.count(entry.kind.name, Status::Failed);
                    }
                }
            }
        }
    }

    /// Notes why the dice rest, and says it when that changes.
    fn rest(&mut self, rests: Option<Rest>) {
        if rests == self.resting {
            return;
        }
        self.resting = rests;
        let over = rests == Some(Rest::StopAfter);
        match rests {
            Some(Rest::StopAfter) => {
                log::info!(
                    "agent.stop_after is reached after {} injections: the dice rest",
                    self.decider.started()
                );
            }
            Some(Rest::Schedule) => log::info!("outside of agent.schedule: the dice rest"),
            None => log::info!("the dice are rolled"),
        }
        self.injector.metrics.set(&halt::HALTED, &["stop_after"], f64::from(over));
    }

    fn resting(&self) -> Option<String> {
        match self.resting {
            Some(Rest::Schedule) => Some("outside of agent.schedule".to_owned()),
            Some(Rest::StopAfter) => Some("agent.stop_after is reached".to_owned()),
            None => self.waiting.clone(),
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

    /// Forgets the injections that have ended.
    fn reap(&mut self) {
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
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.injector.ended.clear();
            self.reap();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.running.is_empty() || left.is_zero() {
                break;
            }
            let _ = poll::readable(&[Some(self.injector.ended.as_fd())], Some(left));
        }
        for run in &self.running {
            let name = run.entry.name();
            log::error!("{name}: did not end within {} s; left to the guard", STOP_LIMIT.as_secs());
        }
        let all = self.running.is_empty();
        if all {
            self.injector.guard.close();
        }
        self.injector.event("stop", |line| _ = line.truth("reverted", all));
        all
    }

    /// Where the audit trail goes from now on.
    fn open_audit(&self) {
        let agent = &self.config.agent;
        let (audit, trouble) = Audit::new(agent.audit_file.as_deref(), agent.audit_log);
        if let Some(error) = trouble {
            log::error!("the audit trail: {error}");
        }
        self.injector.set_audit(audit);
    }

    /// Adds to the audit trail what changed about the agent as a whole.
    fn note(&self, event: &str, reason: &str) {
        self.injector.event(event, |line: &mut Object| _ = line.text("reason", reason));
    }
}
