//! memory: holds memory of the agent itself, which the kernel takes back with it whatever happens.
//!
//! The agent shares a control group with whoever it must revert for, and the kernel kills whole groups; so what
//! would meet the limit is refused, and given back early when others grow into it.

use super::{Failure, Host, Injection, Kind, Outcome, Series};
use crate::cancel::Waited;
use crate::error::{Error, Result};
use crate::exporter::metrics::Family;
use crate::linux::cgroup::{Bound, Cgroup, Room};
use hoard::{Hoard, Pattern};
use settings::{Amount, Memory};
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::Watch;

pub mod hoard;
mod settings;
pub mod watch;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind =
    Kind { name: "memory", timed: true, guarded: false, keys: settings::KEYS, parse: settings::parse };

/// Bytes in the unit of `mb`.
const MIB: u64 = 1 << 20;
/// One part in so many is kept for page tables and the kernel's own rounding.
const OVERHEAD: u64 = 128;
/// Between two rounds over memory that could not be locked.
const TOUCH_EVERY: Duration = Duration::from_secs(1);
/// Share of what was filled that must be in memory for the fault to count as in force.
const RESIDENT: f64 = 0.999;
/// While it grows slowly, it grows this often.
const STEP: Duration = Duration::from_millis(20);

static SHORTENED: Family = Family::counter(
    "chaos_memory_shortened_total",
    "Memory injections that ended early to leave room for others.",
    &[],
);
static SERIES: [Series; 1] = [(&SHORTENED, &[])];

/// Why filling or holding came to an end.
enum End {
    Elapsed,
    Cancelled,
    /// Others needed the room.
    Short(Room),
}

impl Memory {
    /// Bytes to fill.
    fn bytes(&self, cgroup: &Cgroup) -> Result<u64> {
        let (percent, whole) = match self.amount {
            Amount::Bytes(bytes) => return Ok(bytes),
            Amount::OfLimit(percent) => (percent, cgroup.memory_limit()),
            Amount::OfAvailable(percent) => (percent, cgroup.room().map(|room| room.free())),
        };
        match whole {
            Some(whole) => Ok(((whole as f64 * percent / 100.0) as u64).max(1)),
            None => Err(Error::refused(format!(
                "cannot fill {percent} % of the container's memory limit: it has none that can be read; give `mb`, \
                 or `of: available`"
            ))),
        }
    }

    /// Refuses what would get the container killed.
    fn fits(&self, bytes: u64, cgroup: &Cgroup) -> Result<()> {
        if self.allow_oom {
            return Ok(());
        }
        let Some(room) = cgroup.room() else {
            static SAID: Once = Once::new();
            SAID.call_once(|| log::warn!("neither a memory limit nor the available memory can be read here"));
            return Ok(());
        };
        let mut most = room.free().saturating_sub(self.headroom);
        most -= most / OVERHEAD;
        let mut share = String::new();
        if cgroup.memory_limit().is_none() {
            most = most.min((room.free() as f64 * self.share / 100.0) as u64);
            share =
                format!(" and the container has no limit, so that {} % of the rest is the most", self.share);
        }
        if bytes <= most {
            return Ok(());
        }
        Err(Error::refused(format!(
            "cannot fill {} of memory: {} is {}, {} of it is in use and {} must stay free{share}, which leaves {}; \
             ask for less, raise the limit or lower `headroom_mb`",
            size(bytes),
            room.bound,
            size(room.limit),
            size(room.used),
            size(self.headroom),
            size(most),
        )))
    }

    fn line(&self, cgroup: &Cgroup) -> String {
        let bytes = match self.bytes(cgroup) {
            Ok(bytes) => size(bytes),
            Err(_) => "an unknown amount".to_owned(),
        };
        let mut line = match (self.amount, cgroup.memory_limit()) {
            (Amount::OfLimit(percent), Some(limit)) => {
                format!("fills {percent} % of {}: {bytes} of memory", size(limit))
            }
            (Amount::OfAvailable(percent), _) => {
                format!("fills {percent} % of what is free: {bytes} of memory")
            }
            _ => format!("fills {bytes} of memory"),
        };
        line += &match cgroup.room() {
            Some(Room { bound: Bound::Machine, limit, used }) => {
                format!(" ({} available on the machine)", size(limit - used.min(limit)))
            }
            Some(room) => format!(" (limit {}, {} in use)", size(room.limit), size(room.used)),
            None => " (limit unknown)".to_owned(),
        };
        if !self.ramp.is_zero() {
            line += &format!(", growing for {} s", self.ramp.as_secs_f64());
        }
        if self.allow_oom {
            line += ", even if the kernel kills the container for it";
        }
        line
    }

    /// Fills at once, or in a straight line over `ramp` from `start`.
    fn fill(
        &self,
        hoard: &mut Hoard,
        run: &Injection<'_>,
        watch: &mut Option<Watch<'_>>,
        ramp: Duration,
    ) -> Result<End> {
        let start = Instant::now();
        let total = hoard.len() as f64;
        // Growing by a piece at a time, or by more where pieces would come too often.
        let step = STEP.div_duration_f64(ramp.max(STEP)) * total;
        while !hoard.is_full() {
            if run.cancel.is_cancelled() {
                return Ok(End::Cancelled);
            }
            if let Some(room) = watch.as_mut().and_then(Watch::look) {
                return Ok(End::Short(room));
            }
            let due = start.elapsed().div_duration_f64(ramp.max(Duration::from_nanos(1))) * total;
            if due >= total || hoard.filled() as f64 <= due {
                hoard.fill_piece()?;
            } else {
                let at = ramp.mul_f64(((hoard.filled() as f64 + step) / total).min(1.0));
                pause(run, watch, start.checked_add(at));
            }
        }
        Ok(End::Elapsed)
    }

    /// Holds until `end`.
    fn hold(
        &self,
        hoard: &mut Hoard,
        run: &Injection<'_>,
        watch: &mut Option<Watch<'_>>,
        end: Option<Instant>,
    ) -> End {
        let touches = self.keep_resident && !hoard.keep();
        loop {
            if let Some(room) = watch.as_mut().and_then(Watch::look) {
                return End::Short(room);
            }
            let mut until = end;
            if touches {
                hoard.touch(run.cancel);
                let next = Instant::now().checked_add(TOUCH_EVERY);
                until = [end, next].into_iter().flatten().min();
            }
            match pause(run, watch, until) {
                Waited::Cancelled => return End::Cancelled,
                _ if end.is_some_and(|end| Instant::now() >= end) => return End::Elapsed,
                _ => {}
            }
        }
    }
}

/// Waits for the stop, the time, or the watch that wants to look.
fn pause(run: &Injection<'_>, watch: &mut Option<Watch<'_>>, until: Option<Instant>) -> Waited {
    match watch {
        Some(watch) => watch.wait(run.cancel, until),
        None => run.cancel.wait_until(until, None),
    }
}

impl Failure for Memory {
    fn check(&self, host: &Host) -> Result<()> {
        let cgroup = Cgroup::of_self(&host.proc, &host.sys);
        self.fits(self.bytes(&cgroup)?, &cgroup)
    }

    fn describe(&self, host: &Host) -> String {
        self.line(&Cgroup::of_self(&host.proc, &host.sys))
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let cgroup = Cgroup::of_self(&injection.host.proc, &injection.host.sys);
        let bytes = self.bytes(&cgroup)?;
        self.fits(bytes, &cgroup)?;
        let mut watch = (!self.allow_oom).then(|| Watch::new(&cgroup, self.headroom));
        let mut hoard = Hoard::reserve(bytes, self.pattern, injection.seed)?;
        let ramp = self.ramp.min(injection.duration);
        let start = Instant::now();
        if !ramp.is_zero() {
            let rate = (bytes as f64 / MIB as f64) / ramp.as_secs_f64();
            log::info!("{}: growing by {rate:.1} MiB a second", injection.entry);
            injection.begin();
        }
        let mut end = self.fill(&mut hoard, injection, &mut watch, ramp)?;
        if matches!(end, End::Elapsed) {
            verify(&hoard, injection)?;
            injection.begin();
            // The ramp is part of the duration; filling as fast as possible is not.
            let from = if ramp.is_zero() { Instant::now() } else { start };
            let until = from.checked_add(injection.duration);
            end = self.hold(&mut hoard, injection, &mut watch, until);
        }
        let (filled, whole) = (size(hoard.filled() as u64), size(bytes));
        let began = injection.active.load(Ordering::Acquire);
        drop(hoard);
        match end {
            End::Short(room) if !began => {
                return Err(Error::refused(format!(
                    "cannot fill {whole} of memory: while it grew, {} fell to {}; {} must stay free",
                    room.bound,
                    size(room.free()),
                    size(self.headroom),
                )));
            }
            End::Short(room) => {
                (injection.measure)(SERIES[0], 1.0);
                log::warn!(
                    "{}: gave {filled} back after {:.1} s: of {} ({}) only {} were left, and {} must stay free",
                    injection.entry,
                    start.elapsed().as_secs_f64(),
                    room.bound,
                    size(room.limit),
                    size(room.free()),
                    size(self.headroom),
                );
            }
            End::Cancelled if !began => {
                return Ok(Outcome::Skipped(format!("stopped when {filled} of {whole} were filled")));
            }
            End::Elapsed | End::Cancelled => {}
        }
        Ok(Outcome::Success)
    }

    fn series(&self) -> &'static [Series] {
        &SERIES
    }
}

/// Asks the kernel whether the memory is really there. Swapped out, it burdens the swap instead.
fn verify(hoard: &Hoard, injection: &Injection<'_>) -> Result<()> {
    let resident = hoard.resident()?;
    if (resident as f64) < hoard.len() as f64 * RESIDENT {
        let (there, all) = (size(resident as u64), size(hoard.len() as u64));
        log::warn!("{}: only {there} of {all} stayed in memory, the rest was swapped out", injection.entry);
    }
    Ok(())
}

/// Refuses so many bytes of files that are memory, as an injection of the same size and head-room would be.
pub(super) fn fits(bytes: u64, headroom: u64, cgroup: &Cgroup) -> Result<()> {
    let amount = Amount::Bytes(bytes);
    let (ramp, pattern, share) = (Duration::ZERO, Pattern::Zero, 50.0);
    Memory { amount, ramp, keep_resident: false, pattern, headroom, share, allow_oom: false }
        .fits(bytes, cgroup)
}

/// "300 MiB", "1.5 MiB", "12 KiB".
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = if bytes < MIB { (1024.0, "KiB") } else { (MIB as f64, "MiB") };
    let text = format!("{:.1}", bytes as f64 / unit);
    format!("{} {name}", text.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests;
