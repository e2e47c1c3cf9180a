//! What the agent did and is, for Prometheus: a registry that any thread may write to and its text.
//!
//! A new metric is a `static` [`Family`] beside the code that knows the value, and one call of
//! [`Metrics::add`], [`Metrics::set`] or [`Metrics::observe`] with it.

mod process;
mod store;

pub use store::{Family, Kind};

use crate::text::logging;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;

/// How an injection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Verified and held to its end or to a clean stop.
    Success,
    /// Dry run, or there was nothing to inject into.
    Skipped,
    /// Could not be injected, verified or taken back.
    Failed,
}

impl Status {
    /// Every status, for series that must exist from the start.
    pub const ALL: [Status; 3] = [Status::Success, Status::Skipped, Status::Failed];

    /// The value of the `status` label.
    pub fn name(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Skipped => "skipped",
            Status::Failed => "failed",
        }
    }
}

static INJECTIONS: Family = Family::counter(
    "chaos_injections_total",
    "Total number of chaos injections.",
    &["failure_type", "status"],
);
static ACTIVE: Family = Family::gauge(
    "chaos_injection_active",
    "Number of chaos injections that are active now.",
    &["failure_type"],
);
static DURATION: Family = Family::histogram(
    "chaos_injection_duration_seconds",
    "How long injections were active, in seconds.",
    &[0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0],
    &["failure_type"],
);
static INFO: Family = Family::gauge(
    "chaos_agent_info",
    "Version of the agent and the seed of its dice; always 1.",
    &["version", "seed"],
);
static RELOAD: Family = Family::gauge(
    "chaos_config_last_reload_successful",
    "Whether the last attempt to load the configuration succeeded (1) or not (0).",
    &[],
);

static REVERTS_FAILED: Family = Family::counter(
    "chaos_reverts_failed_total",
    "Changes that an injection could not take back; the guard goes on with these.",
    &["failure_type"],
);
static RELOADED_AT: Family = Family::gauge(
    "chaos_config_last_reload_success_timestamp_seconds",
    "Time since unix epoch in seconds at which the configuration in use was loaded.",
    &[],
);

static DROPPED: Family = Family::counter(
    "chaos_log_lines_dropped_total",
    "Lines of the log or the audit trail that were dropped because nobody took them.",
    &[],
);

/// Whole seconds since 1970.
fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as f64
}

/// The agent's metrics.
#[derive(Debug)]
pub struct Metrics {
    store: Mutex<Store>,
    process: process::Process,
    /// Length of the last text, so that the next is written without growing its buffer.
    length: AtomicUsize,
    /// Lines dropped, as the store has it.
    dropped: AtomicU64,
}

impl Metrics {
    /// A registry that holds `chaos_agent_info`, a successful configuration and `process_*`.
    pub fn new(version: &str, seed: u64) -> Metrics {
        let mut store = Store::default();
        store.set(&INFO, &[version, &seed.to_string()], 1.0);
        store.set(&RELOAD, &[], 1.0);
        store.set(&RELOADED_AT, &[], unix_seconds());
        store.touch(&DROPPED, &[]);
        Metrics {
            store: Mutex::new(store),
            process: process::Process::new(),
            length: AtomicUsize::new(4096),
            dropped: AtomicU64::new(0),
        }
    }

    /// Makes every series of this failure type appear, at zero; harmless when repeated.
    pub fn register(&self, failure_type: &str) {
        let mut store = self.lock();
        for status in Status::ALL {
            store.touch(&INJECTIONS, &[failure_type, status.name()]);
        }
        store.touch(&ACTIVE, &[failure_type]);
        store.touch(&REVERTS_FAILED, &[failure_type]);
        store.touch(&DURATION, &[failure_type]);
    }

    /// Counts an injection that ended, or that was not made.
    pub fn count(&self, failure_type: &str, status: Status) {
        self.add(&INJECTIONS, &[failure_type, status.name()], 1.0);
    }

    /// Counts changes that an injection could not take back.
    pub fn reverts_failed(&self, failure_type: &str, count: usize) {
        self.add(&REVERTS_FAILED, &[failure_type], count as f64);
    }

    /// Changes the number of active injections of this type: +1 when one begins, -1 when it ends.
    pub fn active(&self, failure_type: &str, delta: i64) {
        self.add(&ACTIVE, &[failure_type], delta as f64);
    }

    /// Records for how many seconds an injection was active.
    pub fn observe_duration(&self, failure_type: &str, seconds: f64) {
        self.observe(&DURATION, &[failure_type], seconds);
    }

    /// Records whether the last attempt to load the configuration succeeded, and when one did.
    pub fn reloaded(&self, successful: bool) {
        let mut store = self.lock();
        store.set(&RELOAD, &[], f64::from(successful));
        if successful {
            store.set(&RELOADED_AT, &[], unix_seconds());
        }
    }

    /// Makes a series of any family appear, at zero; one label value for each of the family's labels.
    pub fn touch(&self, family: &'static Family, labels: &[&str]) {
        self.lock().touch(family, labels);
    }

    /// Adds to a counter (never a negative number) or gauge of any family.
    pub fn add(&self, family: &'static Family, labels: &[&str], by: f64) {
        self.lock().add(family, labels, by);
    }

    /// Sets a gauge of any family, or a counter whose total is kept elsewhere.
    pub fn set(&self, family: &'static Family, labels: &[&str], to: f64) {
        self.lock().set(family, labels, to);
    }

    /// Takes a series of any family away, for what is not there any more.
    pub fn forget(&self, family: &'static Family, labels: &[&str]) {
        self.lock().forget(family, labels);
    }

    /// Counts an observation in a histogram of any family.
    pub fn observe(&self, family: &'static Family, labels: &[&str], seen: f64) {
        self.lock().observe(family, labels, seen);
    }

    /// Appends everything in the text format 0.0.4.
    pub fn render(&self, out: &mut Vec<u8>) {
        let before = out.len();
        out.reserve(self.length.load(Ordering::Relaxed) + 64);
        let mut store = self.lock();
        let dropped = logging::dropped();
        if self.dropped.swap(dropped, Ordering::Relaxed) != dropped {
            store.set(&DROPPED, &[], dropped as f64);
        }
        out.extend_from_slice(store.text());
        drop(store);
        self.process.render(out);
        self.length.store(out.len() - before, Ordering::Relaxed);
    }

    /// A thread that panicked with the lock in hand left numbers that are still good to read.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut out = Vec::new();
        metrics.render(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_registered_type_has_all_its_series_at_zero() {
        let metrics = Metrics::new("1.2.3", 42);
        metrics.register("cpu");
        metrics.count("cpu", Status::Failed);
        metrics.register("cpu");
        let text = text(&metrics);
        for line in [
            "chaos_agent_info{version=\"1.2.3\",seed=\"42\"} 1",
            "chaos_config_last_reload_successful 1",
            "chaos_injection_active{failure_type=\"cpu\"} 0",
            "chaos_injection_duration_seconds_bucket{failure_type=\"cpu\",le=\"+Inf\"} 0",
            "chaos_injections_total{failure_type=\"cpu\",status=\"failed\"} 1",
            "chaos_injections_total{failure_type=\"cpu\",status=\"skipped\"} 0",
            "chaos_injections_total{failure_type=\"cpu\",status=\"success\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in {text}");
        }
    }

    #[test]
    fn threads_lose_no_count() {
        let metrics = Metrics::new("0", 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        metrics.active("cpu", 1);
                        metrics.count("cpu", Status::Success);
                        metrics.observe_duration("cpu", 0.5);
                        metrics.active("cpu", -1);
                    }
                });
            }
        });
        metrics.reloaded(false);
        let text = text(&metrics);
        for line in [
            "chaos_config_last_reload_successful 0",
            "chaos_injection_active{failure_type=\"cpu\"} 0",
            "chaos_injection_duration_seconds_sum{failure_type=\"cpu\"} 1000",
            "chaos_injections_total{failure_type=\"cpu\",status=\"success\"} 2000",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in {text}");
        }
    }
}
