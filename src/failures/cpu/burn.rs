//! The threads that burn: each owes CPU time by the wall clock, and pays by its own CPU clock.
//!
//! Time is cut into slices of [`SLICE`]. In each a thread spins until its CPU clock shows what it owes at the end
//! of the slice, and waits for the rest. What it could not pay (another process had the CPU, a quota stopped it)
//! stays owed, so that the sum is right whenever the machine can give it. At full load it never waits.

use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::linux::sys::sched;
use std::hint::black_box;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Length of a slice: short enough that any 100 ms look alike, long enough that waking costs nothing.
const SLICE: Duration = Duration::from_millis(4);
/// Stack of a thread, which needs a few frames.
const STACK: usize = 64 << 10;
/// Steps of [`spin`] between two looks at the clock: some microseconds, below 100 on the slowest board.
const STEPS: u32 = 2048;

/// What to burn.
#[derive(Clone, Debug, PartialEq)]
pub struct Burn {
    /// How many threads; at least one.
    pub threads: usize,
    /// The share of a CPU that each uses, above 0 and up to 1.
    pub load: f64,
    /// The load rises to this in a straight line over this time; part of `duration`.
    pub ramp: Duration,
    /// How long.
    pub duration: Duration,
    /// Thread N stays on CPU `cpus[N % length]`; empty: wherever the kernel puts it.
    pub cpus: Vec<usize>,
    /// Nice value of the threads, -20 to 19; `None` leaves that of the process.
    pub nice: Option<i32>,
}

/// What came of it, summed over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burnt {
    /// CPU time that was owed until the end.
    pub asked: Duration,
    /// CPU time that the threads used.
    pub delivered: Duration,
}

impl Burn {
    /// Burns until the time is over or `cancel` is thrown. `begun` is called when all threads stand ready.
    ///
    /// # Errors
    /// A thread cannot be started, pinned or made nice; then none burns.
    pub fn run(&self, cancel: &Cancel, begun: &dyn Fn()) -> Result<Burnt> {
        let gate = Gate::default();
        thread::scope(|scope| {
            let mut workers = Vec::with_capacity(self.threads);
            for index in 0..self.threads {
                match self.start(scope, index, &gate, cancel) {
                    Ok(worker) => workers.push(worker),
                    Err(error) => {
                        gate.open(None);
                        return Err(error);
                    }
                }
            }
            gate.wait_for(self.threads)?;
            begun();
            let start = Instant::now();
            gate.open(Some(start));
            let delivered = workers.into_iter().filter_map(|worker| worker.join().ok()).sum();
            let each = self.owed(start.elapsed().min(self.duration));
            Ok(Burnt {
                asked: each.saturating_mul(u32::try_from(self.threads).unwrap_or(u32::MAX)),
                delivered,
            })
        })
    }

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        index: usize,
        gate: &'scope Gate,
        cancel: &'scope Cancel,
    ) -> Result<ScopedJoinHandle<'scope, Duration>> {
        let work = move || match gate.pass(self.prepare(index)) {
            Some(start) => self.pay(start, cancel),
            None => Duration::ZERO,
        };
        let builder = thread::Builder::new().name(format!("burn-{index}")).stack_size(STACK);
        let started = builder.spawn_scoped(scope, work);
        started.doing("start", format_args!("thread {} of {} that burn CPU", index + 1, self.threads))
    }

    /// Puts the calling thread where it shall burn.
    fn prepare(&self, index: usize) -> Result<()> {
        if let Some(cpu) = self.cpus.get(index % self.cpus.len().max(1)) {
            sched::pin_to(*cpu).doing("pin a thread to", format_args!("CPU {cpu}"))?;
        }
        match self.nice {
            Some(nice) => sched::set_nice(nice)
                .doing("set", format_args!("the nice value {nice}"))
                .map_err(|error| error.hint("a value below the present one takes CAP_SYS_NICE")),
            None => Ok(()),
        }
    }

    /// Works off what is owed; returns the CPU time used.
    fn pay(&self, start: Instant, cancel: &Cancel) -> Duration {
        let base = sched::thread_cpu();
        let used = || sched::thread_cpu().saturating_sub(base);
        let over = || cancel.is_cancelled() || start.elapsed() >= self.duration;
        let mut state = 1;
        while !over() {
            let next = slice_after(start.elapsed()).min(self.duration);
            let owed = self.owed(next);
            while used() < owed && !over() {
                spin(&mut state);
            }
            if cancel.wait_until(start.checked_add(next), None) == Waited::Cancelled {
                break;
            }
        }
        used()
    }

    /// CPU time that a thread owes when this much time has passed: the area below the ramp and the plateau.
    fn owed(&self, passed: Duration) -> Duration {
        let (passed, ramp) = (passed.as_secs_f64(), self.ramp.as_secs_f64());
        let full = if passed < ramp { passed * passed / (2.0 * ramp) } else { passed - ramp / 2.0 };
        Duration::try_from_secs_f64(full * self.load).unwrap_or(Duration::MAX)
    }
}

/// The end of the slice in which `passed` lies.
fn slice_after(passed: Duration) -> Duration {
    let into = passed.as_nanos() % SLICE.as_nanos();
    passed.saturating_add(SLICE - Duration::from_nanos(into as u64))
}

/// A few microseconds of arithmetic that the compiler cannot leave out.
fn spin(state: &mut u64) {
    for _ in 0..STEPS {
        *state = black_box(*state).wrapping_mul(0xd134_2543_de82_ef95).rotate_left(23);
    }
}

/// Where the threads wait until all are ready, so that none burns unless all do.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: usize,
    failed: Option<Error>,
    /// Set once: the time to start from, or `None` to go home.
    opened: Option<Option<Instant>>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread arrives; returns the start once the gate opens.
    fn pass(&self, prepared: Result<()>) -> Option<Instant> {
        let mut state = self.lock();
        state.ready += 1;
        if let Err(error) = prepared {
            state.failed.get_or_insert(error);
        }
        self.changed.notify_all();
        loop {
            if let Some(start) = state.opened {
                return start;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for all threads; if one failed, sends them home.
    fn wait_for(&self, threads: usize) -> Result<()> {
        let mut state = self.lock();
        while state.ready < threads {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.failed.take() {
            None => Ok(()),
            Some(error) => {
                drop(state);
                self.open(None);
                Err(error)
            }
        }
    }

    fn open(&self, start: Option<Instant>) {
        self.lock().opened = Some(start);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Arc;

    fn burn(threads: usize, load: f64, ms: u64) -> Burn {
        let (ramp, duration) = (Duration::ZERO, Duration::from_millis(ms));
        Burn { threads, load, ramp, duration, cpus: Vec::new(), nice: None }
    }

    #[test]
    fn what_is_owed_is_the_area_below_the_ramp() {
        let burn = Burn { ramp: Duration::from_secs(4), ..burn(1, 0.5, 10_000) };
        let owed = |seconds| burn.owed(Duration::from_secs(seconds)).as_secs_f64();
        assert_eq!((owed(0), owed(2), owed(4), owed(10)), (0.0, 0.25, 1.0, 4.0));
        assert_eq!(super::tests::burn(1, 0.5, 1).owed(Duration::from_secs(3)).as_secs_f64(), 1.5);
    }

    #[test]
    fn slices_follow_each_other_without_end() {
        assert_eq!(slice_after(Duration::ZERO), SLICE);
        assert_eq!(slice_after(SLICE - Duration::from_nanos(1)), SLICE);
        assert_eq!(slice_after(SLICE), SLICE * 2);
        assert_eq!(slice_after(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_part_load_is_paid_exactly_and_ends_on_its_own() {
        let cancel = Cancel::new().unwrap();
        let begun = Cell::new(false);
        let start = Instant::now();
        let burnt = burn(2, 0.1, 300).run(&cancel, &|| begun.set(true)).unwrap();
        assert!(begun.get() && start.elapsed() >= Duration::from_millis(300));
        assert_eq!(burnt.asked, Duration::from_millis(60));
        let (asked, delivered) = (burnt.asked.as_secs_f64(), burnt.delivered.as_secs_f64());
        // A slice too much at most, and less only where a machine with other work could not give more.
        assert!(delivered <= asked + 0.01 && delivered > 0.001, "{burnt:?}");
    }

    #[test]
    fn full_load_is_all_that_the_machine_gives() {
        let burnt = burn(1, 1.0, 100).run(&Cancel::new().unwrap(), &|| ()).unwrap();
        assert_eq!(burnt.asked, Duration::from_millis(100));
        assert!(burnt.delivered > Duration::from_millis(1), "{burnt:?}");
        assert!(burnt.delivered <= Duration::from_millis(101), "{burnt:?}");
    }

    #[test]
    fn a_cancel_ends_all_threads_and_what_was_asked_until_then_counts() {
        let cancel = Arc::new(Cancel::new().unwrap());
        let other = Arc::clone(&cancel);
        let forever = Burn { duration: Duration::MAX, ..burn(3, 0.5, 0) };
        let burnt = forever.run(&cancel, &|| other.cancel()).unwrap();
        assert!(
            burnt.asked < Duration::from_secs(60) && burnt.delivered < Duration::from_secs(60),
            "{burnt:?}"
        );
    }

    #[test]
    fn threads_can_be_pinned_and_nice_and_a_wrong_cpu_ends_them_all() {
        let cpus = sched::allowed_cpus().unwrap();
        let pinned = Burn { cpus, nice: Some(19), ..burn(3, 1.0, 20) };
        assert!(pinned.run(&Cancel::new().unwrap(), &|| ()).is_ok());
        let wrong = Burn { cpus: vec![8191], ..burn(3, 1.0, 60_000) };
        let begun = Cell::new(false);
        let error = wrong.run(&Cancel::new().unwrap(), &|| begun.set(true)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot pin a thread to CPU 8191: Invalid argument [sched_setaffinity(0, 1024, [8191])]"
        );
        assert!(!begun.get());
    }
}
