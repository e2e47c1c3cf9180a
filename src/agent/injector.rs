//! One injection, from its check to its count, on whatever thread it runs.

use crate::agent::audit::Audit;
use crate::agent::hand::Seat;
use crate::agent::repeats::{Repeats, Said};
use crate::agent::why::{Why, set_why};
use crate::board::{Board, Live, PLAN, Past, outcome_members};
use crate::cancel::Cancel;
use crate::config::{self, Entry};
use crate::dice::Roll;
use crate::dice::decide::Moment;
use crate::error::{Context, Result};
use crate::exporter::metrics::{self, Family, Metrics, Status};
use crate::failures::{Facts, Failure, Host, Injection, Outcome};
use crate::linux::sys::{clock, event::EventFd, thread, usage};
use crate::revert::guard::Guard;
use crate::text::civil::timestamp;
use crate::text::json::Object;
use crate::text::logging;
use crate::text::redact::cut;
use log::Level;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Room for the frames of an injection: log formatting and path buffers; the default of 2 MiB is only
/// address space, but a board with strict overcommit accounting counts it.
const STACK: usize = 256 << 10;

static CUT_SHORT: Family = Family::counter(
    "chaos_injections_cut_short_total",
    "Successful injections that did not hold to their end, by why they were ended.",
    &["failure_type", "why"],
);

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
    /// The agent that was told of the injections, where this process is not the agent itself.
    pub seat: Option<Arc<Seat>>,
    audit: RwLock<Audit>,
    /// Entries whose injections come to the same end.
    pub(super) repeats: Repeats,
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
        set_why(&self.why, why);
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
        let run =
            Run { entry: &what, tick, roll, dry_run, looks_closely: false, cancel: &switch, why: &reason };
        // What follows an injection goes on beside the dice.
        let free = || {
            flag.store(true, Ordering::Release);
            own.ended.signal();
        };
        own.inject_then(&run, &free);
        free();
    };
    let name = format!("inject-{}", entry.kind.name);
    let thread = thread::spawn(&name, STACK, Box::new(body)).doing("start", "a thread")?;
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
    /// Whether a dry run may ask the kernel what it can do, which may make it load a module.
    pub looks_closely: bool,
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
    /// A dry run of what would have nothing to do.
    WouldSkip,
}

impl Run<'_> {
    fn why(&self) -> Option<Why> {
        let number = usize::from(self.why.load(Ordering::Acquire));
        let why = Why::ALL.get(number).map(|(why, _, _)| *why);
        why.or(self.cancel.is_cancelled().then_some(Why::Stop))
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
            seat: None,
            audit: RwLock::default(),
            repeats: Repeats::default(),
        })
    }

    /// Where the audit trail goes from now on.
    pub fn set_audit(&self, audit: Audit) {
        *self.audit.write().unwrap_or_else(PoisonError::into_inner) = audit;
    }

    /// Adds a line to the audit trail, if there is one.
    pub fn event(&self, event: &str, write: impl FnOnce(&mut Object)) {
        let mut write = Some(write);
        self.trace(event, &mut |line| {
            if let Some(write) = write.take() {
                write(line);
            }
        });
    }

    /// [`Injector::event`], once for all that is written.
    fn trace(&self, event: &str, write: &mut dyn FnMut(&mut Object)) {
        let audit = self.audit.read().unwrap_or_else(PoisonError::into_inner);
        if audit.is_on() {
            let mut line = Object::new();
            line.text("time", &timestamp(clock::now())).text("event", event);
            write(&mut line);
            audit.line(line.end());
        }
    }

    /// Whether there is an audit trail.
    pub(super) fn is_heard(&self) -> bool {
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
            let (end, reason) = self.rehearse(failure, run.looks_closely);
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
                logging::let_go(true);
                if let Some(seat) = &self.seat {
                    seat.active(&live.facts);
                }
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

    /// What an entry does and for how long, for people.
    pub fn plan(&self, entry: &Entry, failure: &dyn Failure) -> String {
        let mut plan = failure.describe(&self.host);
        if !entry.duration.is_zero() {
            plan += &format!(" for {} s", entry.duration.as_secs_f64());
        }
        plan
    }

    /// Makes every series of this failure type appear, at zero.
    pub fn register(&self, kind: &str) {
        self.metrics.register(kind);
        for (_, why, _) in &Why::ALL[..4] {
            self.metrics.touch(&CUT_SHORT, &[kind, why]);
        }
    }

    /// What a dry run says instead of injecting. Where the kernel would have to be asked, only who looks closely asks.
    fn rehearse(&self, failure: &dyn Failure, looks_closely: bool) -> (End, String) {
        let closely = looks_closely || !failure.asks_kernel();
        let found = match closely {
            true => failure.ready(&self.host).map(drop),
            false => failure.check(&self.host),
        };
        match found {
            Err(error) => (End::WouldFail, format!("dry run: this would fail: {error}")),
            Ok(()) if !closely => {
                (End::WouldWork, "dry run; whether the kernel can do it was not looked at".to_owned())
            }
            Ok(()) => match failure.nobody(&self.host) {
                Some(why) => (End::WouldSkip, format!("dry run; nothing to do: {why}")),
                None => (End::WouldWork, "dry run".to_owned()),
            },
        }
    }

    /// Says that an injection begins, in the log and on the board.
    fn announce(&self, run: &Run<'_>, failure: &dyn Failure) -> Arc<Live> {
        let entry = run.entry;
        let live = Arc::new(Live {
            entry: entry.name().to_owned(),
            kind: entry.kind.name,
            by_hand: false,
            tick: run.tick,
            plan: cut(self.plan(entry, failure), PLAN),
            started: clock::now(),
            since: Instant::now(),
            duration: entry.duration,
            active: Mutex::new(None),
            facts: Arc::new(Facts::new(self.is_heard())),
        });
        self.board.begin(&live);
        // What did not work the last time is told when it does, or comes to another end.
        if self.repeats.has(entry.name()) {
            logging::hold();
        }
        let what = if run.dry_run { "dry run" } else { "injecting" };
        log::info!("{}: {what}: {}", live.entry, live.plan);
        live
    }

    /// How a run ended, and what is to be said of it.
    fn settle(&self, run: &Run<'_>, live: &Arc<Live>, begun: Instant, result: Result<Outcome>) -> Status {
        let (took, held) = (begun.elapsed(), live.held());
        // What nobody could cut short any more was not.
        let cut = run.why().filter(|_| live.remaining().is_some_and(|left| !left.is_zero()));
        let (status, reason) = match result {
            Ok(Outcome::Success) => (Status::Success, run.why().map(|why| why.words().to_owned())),
            Ok(Outcome::Skipped(why)) => (Status::Skipped, Some(why)),
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        let (verified, failed) = (held.is_some(), live.facts.reverts_failed());
        let past =
            Past { live: Arc::clone(live), status, reason, took, held, verified, reverted: failed == 0 };
        self.conclude(past, failed, cut.filter(|_| status == Status::Success));
        status
    }

    /// Counts an injection that ended, says it everywhere, and takes it off the board. `failed` changes could not be taken
    /// back; `cut` is why it did not hold to its end. Counted before it is logged: who reads the log and then the metrics
    /// finds it there.
    pub(super) fn conclude(&self, past: Past, failed: usize, cut: Option<Why>) {
        let live = Arc::clone(&past.live);
        let (kind, status, took) = (live.kind, past.status, past.took);
        if past.verified {
            self.metrics.active(kind, -1);
            self.metrics.observe_duration(kind, took.as_secs_f64());
        }
        if let Some(why) = cut {
            self.metrics.add(&CUT_SHORT, &[kind, why.name()], 1.0);
        }
        self.metrics.count(kind, status);
        self.metrics.reverts_failed(kind, failed);
        if let Some(seat) = &self.seat {
            seat.ended(&past, failed, cut);
        }
        self.event("outcome", |line| outcome_members(line, &past));
        let reason = past.reason.clone().unwrap_or_default();
        self.board.end(past);
        self.say_end(&live, status, &reason, took);
    }

    fn say_end(&self, live: &Live, status: Status, reason: &str, took: Duration) {
        let name = &live.entry;
        let (level, word) = match status {
            Status::Success => (Level::Info, ""),
            Status::Skipped if reason.starts_with("dry run:") => (Level::Warn, ""),
            Status::Skipped if reason.starts_with("dry run") => (Level::Info, ""),
            Status::Skipped => (Level::Info, "skipped: "),
            Status::Failed => (Level::Error, "failed: "),
        };
        let (worked, early) = (status == Status::Success, if reason.is_empty() { "" } else { ", " });
        let end = match worked {
            true => format!("success after {:.3} s, all reverted{early}{reason}", took.as_secs_f64()),
            false => format!("{word}{reason}"),
        };
        // Each by hand is somebody's own.
        let said = match live.by_hand {
            true => Said { before: None, now: Some(end), again: false },
            false => self.repeats.end(name, end, worked, clock::now()),
        };
        // In the order in which it happened.
        said.before.iter().for_each(|before| log::log!(level, "{name}: {before}"));
        logging::let_go(!said.again);
        said.now.iter().filter(|_| reason != "dry run").for_each(|now| log::log!(level, "{name}: {now}"));
    }
}
