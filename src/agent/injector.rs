//! One injection, from its check to its count, on whatever thread it runs.

use crate::agent::audit::Audit;
use crate::board::{Board, Live, PLAN, Past, outcome_members};
use crate::cancel::Cancel;
use crate::config::{self, Entry};
use crate::dice::Roll;
use crate::dice::decide::Moment;
use crate::error::{Context, Result};
use crate::exporter::metrics::{self, Metrics, Status};
use crate::failures::{Facts, Failure, Host, Injection, Outcome};
use crate::linux::sys::{clock, event::EventFd, usage};
use crate::revert::guard::Guard;
use crate::text::civil::timestamp;
use crate::text::json::Object;
use crate::text::redact::cut;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

/// Room for the frames of an injection: log formatting and path buffers; the default of 2 MiB is only
/// address space, but a board with strict overcommit accounting counts it.
const STACK: usize = 256 << 10;

/// Why an injection was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The agent stops.
    Stop,
    /// The agent was halted.
    Halt,
    /// The entry was removed, disabled or changed.
    Reload,
    /// The application is not well.
    Steady,
}

impl Why {
    const ALL: [Why; 4] = [Why::Stop, Why::Halt, Why::Reload, Why::Steady];

    fn words(self) -> &'static str {
        match self {
            Why::Stop => "ended early by a stop",
            Why::Halt => "ended early by a halt",
            Why::Reload => "ended early by a new config",
            Why::Steady => "ended early: the application left its steady state",
        }
    }
}

/// What injections need and report to.
pub struct Injector {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The present and the near past.
    pub board: Arc<Board>,
    /// The guard process.
    pub guard: Guard,
    /// Where the kernel's files are.
    pub host: Host,
    /// Signalled by each injection that has ended.
    pub ended: EventFd,
    audit: RwLock<Audit>,
}

/// An injection under way on a thread of its own.
pub struct Running {
    /// What was configured when it started.
    pub entry: Arc<Entry>,
    cancel: Arc<Cancel>,
    why: Arc<AtomicU8>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it now; the first reason counts.
    pub fn end(&self, why: Why) {
        let none = u8::MAX;
        let _ = self.why.compare_exchange(none, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.cancel.cancel();
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Waits for its end; its thread may go on to watch what it led to.
    pub fn join(self) {
        if !self.is_done() {
            let _ = self.thread.join();
        }
    }
}

/// Starts an injection on a thread of its own.
///
/// # Errors
/// There is no file descriptor or no thread.
pub fn start(
    injector: &Arc<Injector>,
    entry: &Arc<Entry>,
    tick: u64,
    roll: Roll,
    dry_run: bool,
) -> Result<Running> {
    let cancel = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let (why, done) = (Arc::new(AtomicU8::new(u8::MAX)), Arc::new(AtomicBool::new(false)));
    let (own, what, switch) = (Arc::clone(injector), Arc::clone(entry), Arc::clone(&cancel));
    let (flag, reason) = (Arc::clone(&done), Arc::clone(&why));
    let body = move || {
        let run = Run { entry: &what, tick, roll, dry_run, cancel: &switch, why: &reason };
        // What follows an injection goes on beside the dice.
        let free = || {
            flag.store(true, Ordering::Release);
            own.ended.signal();
        };
        own.inject_then(&run, &free);
        free();
    };
    let name = format!("inject-{}", entry.kind.name);
    let thread = std::thread::Builder::new().name(name).stack_size(STACK).spawn(body);
    let thread = thread.doing("start", "a thread")?;
    Ok(Running { entry: Arc::clone(entry), cancel, why, done, thread })
}

/// One run of an entry.
pub struct Run<'a> {
    /// What to inject.
    pub entry: &'a Entry,
    /// The tick that asked for it.
    pub tick: u64,
    /// The dice that asked for it.
    pub roll: Roll,
    /// Whether it is only described.
    pub dry_run: bool,
    /// Ends it.
    pub cancel: &'a Cancel,
    /// A [`Why`], where it was ended.
    pub why: &'a AtomicU8,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was carried out, and is counted as this.
    Ran(Status),
    /// A dry run of what would work here.
    WouldWork,
    /// A dry run of what would fail.
    WouldFail,
}

impl Run<'_> {
    fn why(&self) -> Option<&'static str> {
        let number = usize::from(self.why.load(Ordering::Acquire));
        let why = Why::ALL.get(number).copied().or(self.cancel.is_cancelled().then_some(Why::Stop));
        why.map(Why::words)
    }
}

impl Injector {
    /// Ready to inject, with an audit trail that goes nowhere yet.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new(agent: &config::Agent, metrics: Arc<Metrics>, board: Arc<Board>) -> Result<Injector> {
        // A victim takes a descriptor while it is held.
        let _ = usage::raise_open_file_limit();
        let exporter = &agent.metrics;
        let metrics_port = exporter.enabled.then_some(exporter.port);
        Ok(Injector {
            metrics,
            board,
            guard: Guard::new(),
            host: Host { metrics_port, ..Host::default() },
            ended: EventFd::new().doing("open", "an eventfd")?,
            audit: RwLock::default(),
        })
    }

    /// Where the audit trail goes from now on.
    pub fn set_audit(&self, audit: Audit) {
        *self.audit.write().unwrap_or_else(PoisonError::into_inner) = audit;
    }

    /// Adds a line to the audit trail, if there is one.
    pub fn event(&self, event: &str, write: impl FnOnce(&mut Object)) {
        let audit = self.audit.read().unwrap_or_else(PoisonError::into_inner);
        if audit.is_on() {
            let mut line = Object::new();
            line.text("time", &timestamp(clock::now())).text("event", event);
            write(&mut line);
            audit.line(line.end());
        }
    }

    /// Whether there is an audit trail.
    fn is_heard(&self) -> bool {
        self.audit.read().unwrap_or_else(PoisonError::into_inner).is_on()
    }

    /// Adds a decision of the dice to the audit trail.
    pub fn decision(&self, entry: &Entry, moment: Moment, roll: Roll, what: &str, reason: Option<&str>) {
        self.event("decision", |line| {
            line.whole("tick", moment.tick).text("entry", entry.name()).text("type", entry.kind.name);
            line.number("roll", roll.value);
            line.number("probability", entry.rule.probability.unwrap_or(1.0));
            line.text("decision", what).optional("reason", reason);
        });
    }

    /// One injection from check to count, and what follows it.
    pub fn inject(&self, run: &Run<'_>) -> Option<End> {
        self.inject_then(run, &|| {})
    }

    /// The same; `counted` is called between the two.
    fn inject_then(&self, run: &Run<'_>, counted: &dyn Fn()) -> Option<End> {
        let Run { entry, cancel, .. } = run;
        let failure = entry.failure.as_deref()?;
        let (kind, name, begun) = (entry.kind.name, entry.name(), Instant::now());
        let live = self.announce(run, failure);
        if run.dry_run {
            let (end, reason) = match failure.check(&self.host) {
                Ok(()) => (End::WouldWork, "dry run".to_owned()),
                Err(error) => (End::WouldFail, format!("dry run: this would fail: {error}")),
            };
            self.settle(run, &live, begun, Ok(Outcome::Skipped(reason)));
            return Some(end);
        }
        let facts = Arc::clone(&live.facts);
        let injection = Injection {
            entry: name,
            duration: entry.duration,
            seed: run.roll.seed,
            cancel,
            host: &self.host,
            on_active: &|| {
                *live.active.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                self.metrics.active(kind, 1);
            },
            measure: &|(family, labels), value| match family.kind {
                metrics::Kind::Histogram(_) => self.metrics.observe(family, labels, value),
                _ => self.metrics.add(family, labels, value),
            },
            guard: &self.guard,
            active: AtomicBool::new(false),
            facts: &facts,
        };
        let result = failure.check(&self.host).and_then(|()| failure.inject(&injection));
        let status = self.settle(run, &live, begun, result);
        counted();
        failure.follow(&injection);
        Some(End::Ran(status))
    }

    /// Says that an injection begins, in the log and on the board.
    fn announce(&self, run: &Run<'_>, failure: &dyn Failure) -> Arc<Live> {
        let entry = run.entry;
        let plan = failure.describe(&self.host);
        let time = match entry.duration.is_zero() {
            true => String::new(),
            false => format!(" for {} s", entry.duration.as_secs_f64()),
        };
        let live = Arc::new(Live {
            entry: entry.name().to_owned(),
            kind: entry.kind.name,
            tick: run.tick,
            plan: cut(plan + &time, PLAN),
            started: clock::now(),
            since: Instant::now(),
            duration: entry.duration,
            active: Mutex::new(None),
            facts: Arc::new(Facts::new(self.is_heard())),
        });
        self.board.begin(&live);
        let what = if run.dry_run { "dry run" } else { "injecting" };
        log::info!("{}: {what}: {}", entry.name(), live.plan);
        live
    }

    /// Counts how an injection ended, says it everywhere, and takes it off the board. Counted before it is
    /// logged: who reads the log and then the metrics finds it there.
    fn settle(&self, run: &Run<'_>, live: &Arc<Live>, begun: Instant, result: Result<Outcome>) -> Status {
        let (kind, name, took) = (live.kind, &live.entry, begun.elapsed());
        let verified = live.remaining().is_some();
        let failed = live.facts.reverts_failed();
        let (status, mut reason) = match &result {
            Ok(Outcome::Success) => (Status::Success, None),
            Ok(Outcome::Skipped(why)) => (Status::Skipped, Some(why.clone())),
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        let early = run.why();
        if status == Status::Success {
            reason = early.map(str::to_owned);
        }
        if verified {
            self.metrics.active(kind, -1);
            self.metrics.observe_duration(kind, took.as_secs_f64());
        }
        self.metrics.count(kind, status);
        self.metrics.reverts_failed(kind, failed);
        let past = Past { live: Arc::clone(live), status, reason, took, verified, reverted: failed == 0 };
        self.event("outcome", |line| outcome_members(line, &past));
        let reason = past.reason.clone().unwrap_or_default();
        self.board.end(past);
        match status {
            Status::Success => {
                let cut = early.map(|why| format!(", {why}")).unwrap_or_default();
                log::info!("{name}: success after {:.3} s, all reverted{cut}", took.as_secs_f64());
            }
            Status::Skipped if run.dry_run && reason != "dry run" => log::warn!("{name}: {reason}"),
            Status::Skipped if run.dry_run => {}
            Status::Skipped => log::info!("{name}: skipped: {reason}"),
            Status::Failed => log::error!("{name}: failed: {reason}"),
        }
        status
    }
}
