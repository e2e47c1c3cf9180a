//! memory: holds memory of the agent itself, which the kernel takes back with it whatever happens.
//!
//! The agent shares a control group with whoever it must revert for, and the kernel kills whole groups; so what
//! would meet the limit is refused, and given back early when others grow into it.

use super::{Failure, Host, Injection, Kind, Outcome, Series};
use crate::cancel::Waited;
use crate::error::{Error, Result};
use crate::exporter::metrics::Family;
use crate::linux::cgroup::{Bound, Cgroup, Room};
use crate::settings::Section;
use hoard::{Hoard, Pattern};
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::Watch;

pub mod hoard;
pub mod watch;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "memory", timed: true, guarded: false, parse };

/// Bytes in the unit of `mb`.
const MIB: u64 = 1 << 20;
/// Largest amount in `mb`: a TiB.
const MOST_MB: u64 = 1 << 20;
/// Longest ramp in seconds: a day.
const MOST_RAMP: f64 = 86_400.0;
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

/// How much.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Bytes(u64),
    /// Percent of the container's limit.
    OfLimit(f64),
    /// Percent of what is free when the injection starts.
    OfAvailable(f64),
}

#[derive(Clone, Copy, Debug)]
struct Memory {
    amount: Amount,
    ramp: Duration,
    keep_resident: bool,
    pattern: Pattern,
    /// Bytes that stay free.
    headroom: u64,
    /// Without a limit: percent of the machine's available memory that may be taken.
    share: f64,
    allow_oom: bool,
}

/// Why filling or holding came to an end.
enum End {
    Elapsed,
    Cancelled,
    /// Others needed the room.
    Short(Room),
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    // Every key is read before anything is given up, so that none is called unknown.
    let amount = amount(section);
    let memory = Memory {
        amount: amount.unwrap_or(Amount::Bytes(0)),
        ramp: section.seconds_or("ramp_seconds", 0.0..=MOST_RAMP, 0.0),
        keep_resident: section.boolean_or("keep_resident", false),
        pattern: match section.choice_or("pattern", &["random", "zero"], "random") {
            "zero" => Pattern::Zero,
            _ => Pattern::Random,
        },
        headroom: section.integer_or("headroom_mb", 0..=MOST_MB, 16) * MIB,
        share: section.number_or("max_available_percent", 1.0..=100.0, 50.0),
        allow_oom: section.boolean_or("allow_oom", false),
    };
    amount.map(|_| Box::new(memory) as Box<dyn Failure>)
}

/// `mb: 300`, or `percent: 50` with `of: limit` or `of: available`.
fn amount(section: &mut Section<'_>) -> Option<Amount> {
    if !section.has("percent") {
        if section.has("of") {
            section.problem("of", "stands without `percent`", "give both or neither");
        }
        section.ignore("of");
        return Some(Amount::Bytes(section.integer_or("mb", 1..=MOST_MB, 100) * MIB));
    }
    if section.has("mb") {
        section.problem("percent", "stands beside `mb`", "give one of them");
    }
    section.ignore("mb");
    let percent = section.number("percent", 0.01..=100.0);
    match section.choice_or("of", &["limit", "available"], "limit") {
        "available" => percent.map(Amount::OfAvailable),
        _ => percent.map(Amount::OfLimit),
    }
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
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::failures::read_entry;
    use crate::revert::guard::Guard;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32};

    /// A made-up container, gone when dropped.
    struct Container(PathBuf);

    impl Container {
        fn new(limit: &str, used: u64) -> Container {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("memory-{}-{number}", std::process::id());
            let container = Container(std::env::temp_dir().join(name));
            container.write("proc/self/cgroup", "0::/\n");
            container.write("proc/self/mountinfo", "1 2 0:3 / /sys/fs/cgroup ro - cgroup2 cgroup2 ro\n");
            container.write("proc/meminfo", "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n");
            container.write("sys/fs/cgroup/memory.max", limit);
            container.write("sys/fs/cgroup/memory.current", &(used * MIB).to_string());
            container
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn host(&self) -> Host {
            Host { proc: self.0.join("proc"), sys: self.0.join("sys"), ..Host::default() }
        }

        fn cgroup(&self) -> Cgroup {
            Cgroup::of_self(&self.0.join("proc"), &self.0.join("sys"))
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn memory(mib: u64) -> Memory {
        Memory {
            amount: Amount::Bytes(mib * MIB),
            ramp: Duration::ZERO,
            keep_resident: false,
            pattern: Pattern::Random,
            headroom: 16 * MIB,
            share: 50.0,
            allow_oom: false,
        }
    }

    #[test]
    fn every_key_is_read_and_wrong_ones_are_named() {
        let container = Container::new("536870912\n", 120);
        let line = |text| {
            let (problems, failure) = read_entry(text, parse);
            assert_eq!(problems, "", "{text}");
            failure.unwrap().describe(&container.host())
        };
        assert!(line("{}").starts_with("fills 100 MiB of memory (limit 512 MiB"));
        assert!(
            line("{mb: 7, headroom_mb: 0, max_available_percent: 90, pattern: zero}")
                .starts_with("fills 7 MiB")
        );
        assert!(line("percent: 50").starts_with("fills 50 % of 512 MiB: 256 MiB"));
        let all = line("{percent: 25, of: available, ramp_seconds: 2, keep_resident: yes, allow_oom: true}");
        assert!(all.starts_with("fills 25 % of what is free: 98 MiB"), "{all}");
        for wrong in [
            "mb: 0",
            "mb: 1048577",
            "mb: 1.5",
            "percent: 0",
            "percent: 101",
            "percent: 50%",
            "of: limit",
            "ramp_seconds: -1",
            "keep_resident: 3",
            "pattern: ones",
            "headroom_mb: -1",
            "max_available_percent: 0",
            "allow_oom: maybe",
            "size: 3",
        ] {
            let (problems, _) = read_entry(wrong, parse);
            let key = wrong.split(':').next().unwrap();
            assert!(
                problems.contains(&format!(": {key}: ")) && problems.lines().count() == 1,
                "{wrong}: {problems}"
            );
        }
        assert_eq!(read_entry("{percent: 0, pattern: zero}", parse).0.lines().count(), 1);
        assert!(
            read_entry("{mb: 5, percent: 5}", parse)
                .0
                .contains("percent: 5 stands beside `mb`; give one of them")
        );
    }

    /// Runs an injection; returns its outcome, whether it became active and what it measured.
    fn inject(
        memory: &Memory,
        host: &Host,
        cancel: &Cancel,
        ms: u64,
        on_active: &(dyn Fn() + Sync),
    ) -> (Result<Outcome>, bool, f64) {
        let measured = Mutex::new(0.0);
        let injection = Injection {
            entry: "test",
            duration: Duration::from_millis(ms),
            seed: 1,
            cancel,
            host,
            on_active,
            measure: &|_, value| *measured.lock().unwrap() += value,
            guard: &Guard::new(),
            active: AtomicBool::new(false),
            facts: &crate::failures::Facts::default(),
        };
        let outcome = memory.inject(&injection);
        let active = injection.active.load(Ordering::Acquire);
        let measured = *measured.lock().unwrap();
        (outcome, active, measured)
    }

    #[test]
    fn what_would_meet_the_limit_is_refused_with_the_figures() {
        let container = Container::new("536870912\n", 120);
        let cgroup = container.cgroup();
        assert!(memory(370).check(&container.host()).is_ok());
        assert_eq!(
            memory(374).fits(374 * MIB, &cgroup).unwrap_err().to_string(),
            "cannot fill 374 MiB of memory: the container's memory limit is 512 MiB, 120 MiB of it is in use and \
             16 MiB must stay free, which leaves 373.1 MiB; ask for less, raise the limit or lower `headroom_mb`"
        );
        assert!(Memory { headroom: 0, ..memory(374) }.check(&container.host()).is_ok());
        assert!(Memory { allow_oom: true, ..memory(4096) }.check(&container.host()).is_ok());
        container.write("sys/fs/cgroup/memory.stat", "inactive_file 52428800\n");
        assert!(memory(374).check(&container.host()).is_ok(), "file cache counts as free");
        container.write("proc/meminfo", "MemTotal: 2048000 kB\nMemAvailable: 102400 kB\n");
        let error = memory(90).check(&container.host()).unwrap_err().to_string();
        assert!(error.contains("the machine's memory"), "the neighbours are not for killing: {error}");
    }

    #[test]
    fn without_a_limit_only_a_share_of_the_machine_may_be_taken() {
        let container = Container::new("max\n", 1);
        assert!(memory(499).check(&container.host()).is_ok());
        let error = memory(501).check(&container.host()).unwrap_err().to_string();
        assert!(
            error.contains("the container has no limit, so that 50 % of the rest is the most"),
            "{error}"
        );
        assert!(Memory { share: 60.0, ..memory(501) }.check(&container.host()).is_ok());
        let half = Memory { amount: Amount::OfLimit(50.0), ..memory(1) };
        let error = half.check(&container.host()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot fill 50 % of the container's memory limit: it has none"),
            "{error}"
        );
        let unknown = Host { proc: "/nowhere".into(), sys: "/nowhere".into(), ..Host::default() };
        assert!(memory(501).check(&unknown).is_ok(), "what cannot be known is no reason to refuse");
    }

    #[test]
    fn the_line_says_the_worst_case() {
        let container = Container::new("536870912\n", 120);
        let host = container.host();
        assert_eq!(memory(300).describe(&host), "fills 300 MiB of memory (limit 512 MiB, 120 MiB in use)");
        let part = Memory { amount: Amount::OfLimit(37.0), ramp: Duration::from_millis(1500), ..memory(1) };
        assert_eq!(
            part.describe(&host),
            "fills 37 % of 512 MiB: 189.4 MiB of memory (limit 512 MiB, 120 MiB in use), growing for 1.5 s"
        );
        let free = Memory { amount: Amount::OfAvailable(10.0), allow_oom: true, ..memory(1) };
        assert_eq!(
            free.describe(&host),
            "fills 10 % of what is free: 39.2 MiB of memory (limit 512 MiB, 120 MiB in use), even if the kernel \
             kills the container for it"
        );
        let open = Container::new("max\n", 1);
        assert_eq!(
            memory(1).describe(&open.host()),
            "fills 1 MiB of memory (1000 MiB available on the machine)"
        );
        let unknown = Host { proc: "/nowhere".into(), sys: "/nowhere".into(), ..Host::default() };
        assert_eq!(memory(1).describe(&unknown), "fills 1 MiB of memory (limit unknown)");
    }

    #[test]
    fn memory_is_held_until_the_end_or_the_stop() {
        let host = Host::default();
        let cancel = Cancel::new().unwrap();
        let ramp = Memory { ramp: Duration::from_millis(30), keep_resident: true, ..memory(8) };
        for kind in [memory(8), ramp] {
            let start = Instant::now();
            let (outcome, active, shortened) = inject(&kind, &host, &cancel, 60, &|| ());
            assert_eq!((outcome.unwrap(), active, shortened), (Outcome::Success, true, 0.0));
            assert!(start.elapsed() >= Duration::from_millis(60));
        }
        let (outcome, active, _) = inject(&memory(8), &host, &cancel, u64::MAX, &|| cancel.cancel());
        assert_eq!((outcome.unwrap(), active), (Outcome::Success, true), "stopped while it held");
        let (outcome, active, _) = inject(&memory(8), &host, &cancel, u64::MAX, &|| ());
        let skipped = Outcome::Skipped("stopped when 0 KiB of 8 MiB were filled".to_owned());
        assert_eq!((outcome.unwrap(), active), (skipped, false), "stopped before it began");
    }

    #[test]
    fn memory_is_given_back_when_others_need_the_room() {
        let container = Container::new("536870912\n", 120);
        let host = container.host();
        let cancel = Cancel::new().unwrap();
        let grow = || container.write("sys/fs/cgroup/memory.current", &(500 * MIB).to_string());
        let (outcome, active, shortened) = inject(&memory(8), &host, &cancel, u64::MAX, &grow);
        assert_eq!((outcome.unwrap(), active, shortened), (Outcome::Success, true, 1.0));
    }

    #[test]
    fn this_process_gets_the_memory_it_asks_for() {
        let resident = |line: &str| -> u64 {
            let text = std::fs::read_to_string(Path::new("/proc/self/smaps_rollup")).unwrap();
            let line = text.lines().find(|text| text.starts_with(line)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let before = resident("Anonymous:");
        let seen = Mutex::new(0);
        let on_active = || *seen.lock().unwrap() = resident("Anonymous:");
        let big = memory(256);
        inject(&big, &Host::default(), &Cancel::new().unwrap(), 1, &on_active).0.unwrap();
        let grown = seen.into_inner().unwrap() - before;
        // Other tests of this process hold memory of their own meanwhile, a few MiB.
        assert!((200 << 10..320 << 10).contains(&grown), "{grown} KiB");
    }
}
