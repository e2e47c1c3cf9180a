//! The dice loop: tick, roll, start, reap. It owns the running injections and ends them all when it stops.
//!
//! The loop itself never waits for a fault: each injection has a thread of its own, and the loop sleeps until
//! the next tick or the stop, nothing in between.

use crate::cancel::{Cancel, Waited};
use crate::config::{Config, Entry};
use crate::dice::{self, Roll};
use crate::error::{Context, Result};
use crate::failures::{Host, Injection, Outcome};
use crate::guard::Guard;
use crate::metrics::{self, Metrics, Status};
use crate::sys::event::EventFd;
use crate::sys::poll;
use crate::{command, undo};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Room for the frames of an injection: log formatting and path buffers; the default of 2 MiB is only
/// address space, but a board with strict overcommit accounting counts it.
const STACK: usize = 256 << 10;
/// How long a stop waits for an injection that does not end. What is left then is undone by the guard.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Everything that the loop and its injections share.
pub struct Agent {
    config: Config,
    seed: u64,
    metrics: Arc<Metrics>,
    guard: Guard,
    host: Host,
    /// Signalled by each injection that has ended.
    ended: EventFd,
}

/// An injection under way.
struct Running {
    entry: usize,
    cancel: Arc<Cancel>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Agent {
    /// An agent at rest.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new(config: Config, seed: u64, metrics: Arc<Metrics>) -> Result<Agent> {
        for entry in config.entries.iter().filter(|entry| entry.enabled) {
            metrics.register(entry.kind.name);
            for (family, labels) in entry.failure.iter().flat_map(|failure| failure.series()) {
                metrics.touch(family, labels);
            }
        }
        let ended = EventFd::new().doing("open", "an eventfd")?;
        let exporter = &config.agent.metrics;
        let metrics_port = exporter.enabled.then_some(exporter.port);
        let host = Host { metrics_port, ..Host::default() };
        Ok(Agent { config, seed, metrics, guard: Guard::new(), host, ended })
    }

    /// The config that it runs on.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Rolls the dice until `stop` is thrown, then reverts everything and returns. Says whether everything
    /// was reverted.
    pub fn run(self, stop: &Cancel) -> bool {
        let agent = Arc::new(self);
        agent.prepare();
        let mut running = Vec::new();
        let start = Instant::now();
        let interval = agent.config.agent.interval;
        let mut tick = 0;
        loop {
            agent.reap(&mut running);
            agent.tick(tick, &mut running);
            // The number of the next tick comes from the clock: a tick that is missed (a stopped or
            // starved agent) is left out, never repeated, and the others keep their times.
            let passed = start.elapsed().as_secs_f64() / interval.as_secs_f64();
            tick = (tick + 1).max(passed.ceil() as u64);
            let next = start.checked_add(interval.mul_f64(tick as f64));
            if stop.wait_until(next, None) == Waited::Cancelled {
                break;
            }
        }
        agent.stop(running)
    }

    /// What must be ready before the first fault: nothing of an earlier agent is left, and the guard runs
    /// where any configured fault needs it.
    fn prepare(&self) {
        if self.config.agent.dry_run {
            return;
        }
        let live = || self.config.entries.iter().filter(|entry| entry.enabled);
        let failures = live().filter_map(|entry| entry.failure.as_deref());
        let found = failures.flat_map(|failure| failure.sweep(&self.host));
        for done in undo::sweep().into_iter().chain(found) {
            match done {
                Ok(undo) => log::warn!("removed what an earlier agent had left: {undo}"),
                Err(error) => log::error!("an earlier agent left something that stays: {error}"),
            }
        }
        if live().any(|entry| entry.kind.guarded)
            && let Err(error) = self.guard.ensure()
        {
            log::error!("{error}; faults that need it will fail");
        }
    }

    fn tick(self: &Arc<Agent>, tick: u64, running: &mut Vec<Running>) {
        self.guard.tend();
        if std::process::id() == 1 {
            command::reap_orphans();
        }
        for (index, entry) in self.config.entries.iter().enumerate() {
            if !entry.enabled || running.iter().any(|run| run.entry == index) {
                continue;
            }
            let roll = dice::roll(self.seed, tick, &entry.name);
            if roll.value >= entry.probability {
                log::debug!("tick {tick}: {}: no ({:.3} >= {})", entry.name, roll.value, entry.probability);
                continue;
            }
            log::debug!("tick {tick}: {}: yes ({:.3} < {})", entry.name, roll.value, entry.probability);
            if self.config.agent.max_concurrent.is_some_and(|most| running.len() >= most) {
                log::info!(
                    "{}: skipped: {} injections are active (agent.max_concurrent)",
                    entry.name,
                    running.len()
                );
                self.metrics.count(entry.kind.name, Status::Skipped);
                continue;
            }
            match self.start(index, roll) {
                Ok(run) => running.push(run),
                Err(error) => {
                    log::error!("{}: failed: {error}", entry.name);
                    self.metrics.count(entry.kind.name, Status::Failed);
                }
            }
        }
    }

    fn start(self: &Arc<Agent>, index: usize, roll: Roll) -> Result<Running> {
        let cancel = Arc::new(Cancel::new().doing("open", "an eventfd")?);
        let done = Arc::new(AtomicBool::new(false));
        let (agent, switch, flag) = (Arc::clone(self), Arc::clone(&cancel), Arc::clone(&done));
        let body = move || {
            agent.inject(&agent.config.entries[index], roll, &switch);
            flag.store(true, Ordering::Release);
            agent.ended.signal();
        };
        let name = format!("inject-{}", self.config.entries[index].kind.name);
        let thread = std::thread::Builder::new().name(name).stack_size(STACK).spawn(body);
        Ok(Running { entry: index, cancel, done, thread: thread.doing("start", "a thread")? })
    }

    /// One injection from check to count, on its own thread.
    fn inject(&self, entry: &Entry, roll: Roll, cancel: &Cancel) {
        let Some(failure) = entry.failure.as_deref() else { return };
        let kind = entry.kind.name;
        let plan = failure.describe(&self.host);
        let time =
            if entry.kind.timed { format!(" for {} s", entry.duration.as_secs_f64()) } else { String::new() };
        if self.config.agent.dry_run {
            log::info!("{}: dry run: {plan}{time}", entry.name);
            if let Err(error) = failure.check(&self.host) {
                log::warn!("{}: dry run: this would fail: {error}", entry.name);
            }
            self.metrics.count(kind, Status::Skipped);
            return;
        }
        log::info!("{}: injecting: {plan}{time}", entry.name);
        let begun = Instant::now();
        let injection = Injection {
            entry: &entry.name,
            duration: entry.duration,
            seed: roll.seed,
            cancel,
            host: &self.host,
            on_active: &|| self.metrics.active(kind, 1),
            measure: &|(family, labels), value| match family.kind {
                metrics::Kind::Histogram(_) => self.metrics.observe(family, labels, value),
                _ => self.metrics.add(family, labels, value),
            },
            guard: &self.guard,
            active: AtomicBool::new(false),
        };
        let result = failure.check(&self.host).and_then(|()| failure.inject(&injection));
        let took = begun.elapsed().as_secs_f64();
        if injection.active.load(Ordering::Acquire) {
            self.metrics.active(kind, -1);
            self.metrics.observe_duration(kind, took);
        }
        let cut = if cancel.is_cancelled() { ", ended early by a stop" } else { "" };
        // Counted before it is logged: who reads the log and then the metrics finds it there.
        let status = match &result {
            Ok(Outcome::Success) => Status::Success,
            Ok(Outcome::Skipped(_)) => Status::Skipped,
            Err(_) => Status::Failed,
        };
        self.metrics.count(kind, status);
        match result {
            Ok(Outcome::Success) => {
                log::info!("{}: success after {took:.3} s, all reverted{cut}", entry.name)
            }
            Ok(Outcome::Skipped(why)) => log::info!("{}: skipped: {why}", entry.name),
            Err(error) => log::error!("{}: failed: {error}", entry.name),
        }
        failure.follow(&injection);
    }

    /// Forgets the injections that have ended.
    fn reap(&self, running: &mut Vec<Running>) {
        let mut index = 0;
        while let Some(run) = running.get(index) {
            if run.done.load(Ordering::Acquire) {
                let _ = running.swap_remove(index).thread.join();
            } else {
                index += 1;
            }
        }
    }

    /// Ends every injection at once, newest first, and waits until each has reverted what it did.
    fn stop(&self, mut running: Vec<Running>) -> bool {
        for run in running.iter().rev() {
            run.cancel.cancel();
        }
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.ended.clear();
            self.reap(&mut running);
            let left = deadline.saturating_duration_since(Instant::now());
            if running.is_empty() || left.is_zero() {
                break;
            }
            let _ = poll::readable(&[Some(self.ended.as_fd())], Some(left));
        }
        for run in &running {
            let name = &self.config.entries[run.entry].name;
            log::error!("{name}: did not end within {} s; left to the guard", STOP_LIMIT.as_secs());
        }
        if running.is_empty() {
            self.guard.close();
        }
        running.is_empty()
    }
}
