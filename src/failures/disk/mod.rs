//! disk: takes space on a mounted directory, or loads the device below it, with a file that has no name: the
//! kernel takes it back with the process whatever happens.
//!
//! The disk is shared with others, often with the whole node; so what would leave them less than the head-room is
//! refused, and given back early when they grow into it.

use super::{Failure, Host, Injection, Kind, Outcome, Series, memory};
use crate::error::{Error, Result};
use crate::exporter::metrics::Family;
use crate::linux::cgroup::Cgroup;
use crate::linux::sys::task;
use crate::settings::{Keys, Section, keys};
use fill::Fill;
use load::Load;
use place::Place;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::Watch;

pub mod fill;
mod load;
pub mod place;
mod watch;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "disk", timed: true, guarded: false, keys: KEYS, parse };

/// Amounts end at a PiB, ramps at a day; a typing error in a rate should not be a promise.
const KEYS: Keys = keys! {
    "path" Text "an absolute path" or "required":
        "a directory of the volume, which must be mounted in the agent's own container";
    "action" Choice "fill, io" = "fill": "takes space, or reads, writes and fsyncs at a rate";
    "mb" Whole "1 to 1073741824" = "100":
        "fill: MiB that are taken. io: size of the file that is read and written, again and again";
    "percent" Number "0.01 to 100" or "none":
        "fill: a share of what is free, instead of `mb`, but never into the head-room";
    "ramp_seconds" Seconds "0 to 86400" = "0": "time from nothing to the full amount or the full rate";
    "headroom_mb" Whole "0 to 1073741824" = "64":
        "stays free: what would leave less is refused, and when others fill the disk the fault gives its space back first";
    "read_mb_per_s" Number "0 to 1000000" = "0": "io: MiB a second";
    "write_mb_per_s" Number "0 to 1000000" = "0": "io: MiB a second";
    "fsync_per_s" Number "0 to 1000000" = "0": "io: calls of fsync a second, each after a write of one page";
    "allow_root_filesystem" Bool "" = "false": "`path` may be on the root file system";
};
const MIB: u64 = 1 << 20;
/// The keys of action io, in the order of [`load::SERIES`], with what a unit of each is.
const RATES: [(&str, f64); 3] =
    [("read_mb_per_s", MIB as f64), ("write_mb_per_s", MIB as f64), ("fsync_per_s", 1.0)];

static SHORTENED: Family = Family::counter(
    "chaos_disk_shortened_total",
    "Disk injections that ended early to leave space for others.",
    &[],
);
static FILL_SERIES: [Series; 1] = [(&SHORTENED, &[])];
static LOAD_SERIES: [Series; 7] = {
    let [a, b, c, d, e, f] = load::SERIES;
    [a, b, c, d, e, f, (&SHORTENED, &[])]
};

/// How much.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Bytes(u64),
    /// Percent of what is free when the injection starts, but never into the head-room.
    OfFree(f64),
}

#[derive(Clone, Debug)]
struct Disk {
    path: PathBuf,
    /// What the file takes: all of it the fault, or only what is read and written again and again.
    amount: Amount,
    ramp: Duration,
    /// Bytes that stay free.
    headroom: u64,
    allow_root: bool,
    /// Bytes read, bytes written and fsyncs, a second; `None` for action fill.
    rates: Option<[f64; 3]>,
}

/// Why growing or holding came to an end.
enum End {
    Elapsed,
    Cancelled,
    /// Others needed the space: what was left.
    Short(String),
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    let path = section.text("path").map(PathBuf::from);
    section.require("path");
    if path.as_ref().is_some_and(|path| !path.is_absolute()) {
        section.problem("path", "is not absolute", "the mounted directory as the agent sees it, from / on");
    }
    let fills = section.choice("action") == Some("fill");
    let rates = RATES.map(|(key, unit)| {
        let rate = if fills { section.number_given(key) } else { section.number(key) };
        rate.map(|rate| rate * unit)
    });
    for (key, _) in RATES {
        if fills && section.has(key) {
            section.problem(key, "has no use with action fill", "remove it, or say action: io");
        }
    }
    if !fills && !rates.iter().flatten().any(|rate| *rate > 0.0) {
        section.problem("action", "needs a rate", "give read_mb_per_s, write_mb_per_s or fsync_per_s");
    }
    let amount = amount(section, fills);
    let ramp = section.seconds("ramp_seconds").unwrap_or_default();
    let headroom = section.integer("headroom_mb").unwrap_or_default() * MIB;
    let allow_root = section.boolean("allow_root_filesystem");
    let rates = (!fills).then(|| rates.map(|rate| rate.unwrap_or(0.0)));
    Some(Box::new(Disk { path: path?, amount: amount?, ramp, headroom, allow_root, rates }))
}

/// `mb: 300`, or for action fill `percent: 50`.
fn amount(section: &mut Section<'_>, fills: bool) -> Option<Amount> {
    if !section.has("percent") {
        return Some(Amount::Bytes(section.integer("mb").unwrap_or_default() * MIB));
    }
    if section.has("mb") {
        section.problem("percent", "stands beside `mb`", "give one of them");
    } else if !fills {
        section.problem("percent", "has no use with action io", "`mb` is the size of its file");
    }
    section.number("percent").map(Amount::OfFree)
}

/// Where an injection works, looked at.
struct Site {
    place: Place,
    cgroup: Cgroup,
    /// Bytes free.
    free: u64,
}

impl Disk {
    fn site(&self, host: &Host) -> Result<Site> {
        let place = Place::open(&self.path, host, self.allow_root)?;
        let cgroup = Cgroup::of_self(&host.proc, &host.sys);
        let free = place.free(&cgroup)?;
        Ok(Site { place, cgroup, free })
    }

    /// Bytes to take.
    fn bytes(&self, free: u64) -> u64 {
        match self.amount {
            Amount::Bytes(bytes) => bytes,
            Amount::OfFree(percent) => {
                ((free as f64 * percent / 100.0) as u64).min(free.saturating_sub(self.headroom))
            }
        }
    }

    /// Refuses what would leave others too little; returns the bytes to take.
    fn fits(&self, site: &Site) -> Result<u64> {
        let (bytes, free, shown) = (self.bytes(site.free), site.free, site.place.shown());
        if site.place.is_memory() {
            if self.rates.is_some() {
                return Err(Error::refused(format!(
                    "cannot load the disk of {shown}: it has none, its files are memory"
                )));
            }
            memory::fits(bytes, self.headroom, &site.cgroup)
                .map_err(|error| error.hint(format!("files on {shown} are memory")))?;
        }
        let most = free.saturating_sub(self.headroom);
        if bytes <= most && bytes > 0 {
            return Ok(bytes);
        }
        Err(Error::refused(format!(
            "cannot fill {} on {shown}: {} are free and {} must stay free, which leaves {}; ask for less or lower \
             `headroom_mb`",
            size(bytes),
            size(free),
            size(self.headroom),
            size(most),
        )))
    }

    fn line(&self, site: Option<Site>) -> String {
        let on = site.as_ref().map_or_else(|| self.path.display().to_string(), |site| site.place.shown());
        let free = site.map(|site| site.free);
        let of = free.map(|free| format!(" of {} free", size(free))).unwrap_or_default();
        let amount = match (self.amount, free) {
            (Amount::Bytes(bytes), _) => format!("{}{of}", size(bytes)),
            (Amount::OfFree(percent), None) => format!("{percent} % of what is free"),
            (Amount::OfFree(percent), Some(free)) => format!("{percent} %{of}: {}", size(self.bytes(free))),
        };
        let mut line = match self.rates {
            None => format!("fills {amount}"),
            Some([read, write, syncs]) => {
                let mut line = String::new();
                for (verb, rate) in [("reads", read), ("writes", write)] {
                    if rate > 0.0 {
                        line += &format!("{verb} {} a second, ", size(rate as u64));
                    }
                }
                if syncs > 0.0 {
                    line += &format!("calls fsync {syncs} times a second, ");
                }
                format!("{line}in a file of {amount}")
            }
        };
        line += &format!(" on {on}");
        if !self.ramp.is_zero() {
            line += &format!(", growing for {} s", self.ramp.as_secs_f64());
        }
        line
    }

    /// Takes the space at once, or in a straight line over `ramp`.
    fn grow(
        &self,
        fill: &mut Fill,
        run: &Injection<'_>,
        watch: &mut Watch<'_>,
        ramp: Duration,
    ) -> Result<End> {
        let start = Instant::now();
        let step = (ramp / 200).clamp(Duration::from_millis(5), Duration::from_millis(100));
        while !fill.is_full() {
            if run.cancel.is_cancelled() {
                return Ok(End::Cancelled);
            }
            if let Some(left) = watch.look() {
                return Ok(End::Short(left));
            }
            let due = match ramp.is_zero() {
                true => fill.length(),
                // In whole pages.
                false => (start.elapsed().div_duration_f64(ramp) * fill.length() as f64) as u64 & !4095,
            };
            if fill.filled() < due {
                fill.grow(due, self.headroom == 0)?;
            } else {
                watch.wait(run.cancel, Instant::now().checked_add(step));
            }
        }
        Ok(End::Elapsed)
    }

    /// Holds, and works, for the rest of the duration from `from`.
    fn hold(&self, fill: &Fill, run: &Injection<'_>, watch: &mut Watch<'_>, from: Instant) -> Result<End> {
        let ramp = self.ramp.min(run.duration);
        let mut load = match self.rates {
            Some(rates) => Some(Load::new(fill, rates, ramp)?),
            None => None,
        };
        // The ramp is part of the duration; making the file is not.
        let from = if load.is_some() || ramp.is_zero() { Instant::now() } else { from };
        let end = from.checked_add(run.duration);
        run.begin();
        let why = loop {
            if let Some(left) = watch.look() {
                break End::Short(left);
            }
            if run.cancel.is_cancelled() {
                break End::Cancelled;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                break End::Elapsed;
            }
            let next = match &mut load {
                Some(load) => Some(load.step()?),
                None => None,
            };
            watch.wait(run.cancel, [next, end].into_iter().flatten().min());
        };
        if let Some(load) = load {
            load.report(run);
        }
        Ok(why)
    }

    /// Says how it ended; everything is given back by now.
    fn outcome(&self, end: End, run: &Injection<'_>, took: Duration, taken: &str) -> Result<Outcome> {
        let began = run.active.load(Ordering::Acquire);
        match end {
            End::Short(left) if !began => Err(Error::refused(format!(
                "cannot take all of it: when {taken} were taken, {left}; {} must stay free",
                size(self.headroom)
            ))),
            End::Short(left) => {
                (run.measure)(FILL_SERIES[0], 1.0);
                log::warn!(
                    "{}: gave {taken} back after {:.1} s: {left}, and {} must stay free",
                    run.entry,
                    took.as_secs_f64(),
                    size(self.headroom)
                );
                Ok(Outcome::Success)
            }
            End::Cancelled if !began => Ok(Outcome::Skipped(format!("stopped when {taken} were taken"))),
            End::Elapsed | End::Cancelled => Ok(Outcome::Success),
        }
    }
}

impl Failure for Disk {
    fn check(&self, host: &Host) -> Result<()> {
        let site = self.site(host)?;
        self.fits(&site)?;
        site.place.writable()
    }

    fn describe(&self, host: &Host) -> String {
        self.line(self.site(host).ok())
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let site = self.site(injection.host)?;
        let bytes = self.fits(&site)?;
        // A limit on the size of files shall be an error to tell, not the end of the agent.
        task::ignore(libc::SIGXFSZ);
        let reads = self.rates.is_some_and(|[read, ..]| read > 0.0);
        let mut watch = Watch::new(&site.place, self.headroom, &site.cgroup);
        let mut fill = Fill::create(&site.place, bytes, reads, injection.seed)?;
        // With action io it is the rate that grows.
        let ramp = if self.rates.is_none() { self.ramp.min(injection.duration) } else { Duration::ZERO };
        let start = Instant::now();
        if !ramp.is_zero() {
            let rate = (bytes as f64 / MIB as f64) / ramp.as_secs_f64();
            log::info!("{}: growing by {rate:.1} MiB a second", injection.entry);
            injection.begin();
        }
        let mut end = self.grow(&mut fill, injection, &mut watch, ramp)?;
        if matches!(end, End::Elapsed) {
            if !fill.verify() {
                let taken = size(fill.taken());
                log::warn!("{}: only {taken} of {} are taken on the disk", injection.entry, size(bytes));
            }
            end = self.hold(&fill, injection, &mut watch, start)?;
        }
        let taken = size(fill.filled());
        drop(fill);
        self.outcome(end, injection, start.elapsed(), &taken)
    }

    fn series(&self) -> &'static [Series] {
        if self.rates.is_some() { &LOAD_SERIES } else { &FILL_SERIES }
    }
}

/// "2.1 GiB", "300 MiB", "12 KiB".
fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => memory::size(bytes),
        _ => format!("{} GiB", format!("{:.1}", bytes as f64 / (1024 * MIB) as f64).trim_end_matches(".0")),
    }
}

#[cfg(test)]
mod tests;
