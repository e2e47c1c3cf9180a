//! cpu: keeps CPU cores busy with threads of the agent itself, which end with it whatever happens.

use super::{Failure, Host, Injection, Kind, Outcome, Series};
use crate::error::{Context, Result};
use crate::exporter::metrics::Family;
use crate::linux::cgroup::{Cgroup, Throttled};
use crate::linux::sys::sched;
use crate::settings::{Keys, Scalar, Section, keys};
use burn::{Burn, Burnt};
use std::time::Duration;

pub mod burn;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "cpu", timed: true, guarded: false, keys: KEYS, parse };

const KEYS: Keys = keys! {
    "cores" Scalar "0 to 1024, fractions too, or `\"50%\"`" = "1":
        "threads that burn; 0 is all that the container may use (cpu.max, affinity), a share is of those";
    "load_percent" Number "1 to 100" = "100":
        "load of each of these cores, kept by comparing each thread's own CPU clock with what it owes";
    "ramp_seconds" Seconds "0 to 86400" = "0": "time from nothing to the full load";
    "pin" Bool "" = "false": "one thread a CPU, bound to it";
    "nice" Number "-20 to 19" or "the agent's own": "priority of the threads";
};

/// Most cores that can be asked for: a typing error should not start a hundred thousand threads.
const MOST: f64 = 1024.0;
/// Undelivered share of what was asked above which the log says why.
const TOLERANCE: f64 = 0.02;

static SECONDS: Family = Family::counter(
    "chaos_cpu_seconds_total",
    "CPU seconds that cpu injections asked for and that they got, counted at the end of each.",
    &["kind"],
);
static SERIES: [Series; 2] = [(&SECONDS, &["asked"]), (&SECONDS, &["delivered"])];

/// How many cores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cores {
    /// All that the container may use.
    All,
    /// This many, which may be a fraction.
    Count(f64),
    /// This share (0 to 100) of what the container may use.
    Percent(f64),
}

impl Cores {
    fn count(self, allowed: f64) -> f64 {
        match self {
            Cores::All => allowed,
            Cores::Count(count) => count,
            Cores::Percent(percent) => allowed * percent / 100.0,
        }
    }
}

struct Cpu {
    cores: Cores,
    /// 1 to 100, of each core.
    load_percent: f64,
    ramp: Duration,
    pin: bool,
    nice: Option<i32>,
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    let cores = cores(section);
    let load_percent = section.number("load_percent").unwrap_or_default();
    let ramp = section.seconds("ramp_seconds").unwrap_or_default();
    let pin = section.boolean("pin");
    let nice = section.number("nice");
    if nice.is_some_and(|nice| nice.fract() != 0.0) {
        section.problem("nice", "is not allowed", "a whole number from -20 to 19");
    }
    Some(Box::new(Cpu { cores: cores?, load_percent, ramp, pin, nice: nice.map(|nice| nice as i32) }))
}

/// `cores: 2`, `cores: 0` for all, `cores: "50%"` of all.
fn cores(section: &mut Section<'_>) -> Option<Cores> {
    let cores = match section.scalar("cores")? {
        Scalar::Number(0.0) => Some(Cores::All),
        Scalar::Number(count) => (0.0..=MOST).contains(&count).then_some(Cores::Count(count)),
        Scalar::Text(text) => text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse().ok())
            .filter(|percent| *percent > 0.0 && *percent <= 100.0)
            .map(Cores::Percent),
    };
    if cores.is_none() {
        let hint =
            "a number from 0 to 1024 (0: all that the container may use), or a share of these like \"50%\"";
        section.problem("cores", "is not allowed", hint);
    }
    cores
}

impl Cpu {
    /// A quota of 1.5 CPUs takes two threads, each at three quarters.
    fn plan(&self, allowed: f64, duration: Duration) -> Result<Burn> {
        let cores = self.cores.count(allowed);
        // Less than a thousandth of a core is rounding, not a wish for one more thread.
        let threads = (cores - 0.001).ceil().max(1.0);
        let load = (cores / threads * self.load_percent / 100.0).min(1.0);
        let cpus = match self.pin {
            true => sched::allowed_cpus().doing("read", "the CPUs that this process may use")?,
            false => Vec::new(),
        };
        let ramp = self.ramp.min(duration);
        Ok(Burn { threads: threads as usize, load, ramp, duration, cpus, nice: self.nice })
    }

    fn line(&self, allowed: f64) -> String {
        let cores = self.cores.count(allowed);
        let mut line = String::from("burns ");
        if self.load_percent < 100.0 {
            line += &format!("{} % of ", short(self.load_percent));
        }
        let plural = if cores == 1.0 { "" } else { "s" };
        line += &match cores > allowed + 0.001 {
            false => format!("{} of {} allowed CPU cores", short(cores), short(allowed)),
            true => {
                format!("{} CPU core{plural}, of which only {} are allowed", short(cores), short(allowed))
            }
        };
        if !self.ramp.is_zero() {
            line += &format!(", rising for {} s", short(self.ramp.as_secs_f64()));
        }
        if let Some(nice) = self.nice {
            line += &format!(", at nice {nice}");
        }
        line
    }
}

impl Failure for Cpu {
    fn check(&self, _host: &Host) -> Result<()> {
        Ok(())
    }

    fn describe(&self, host: &Host) -> String {
        self.line(Cgroup::of_self(&host.proc, &host.sys).cpus())
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let cgroup = Cgroup::of_self(&injection.host.proc, &injection.host.sys);
        let before = cgroup.throttled();
        let burn = self.plan(cgroup.cpus(), injection.duration)?;
        let burnt = burn.run(injection.cancel, &|| injection.begin())?;
        (injection.measure)(SERIES[0], burnt.asked.as_secs_f64());
        (injection.measure)(SERIES[1], burnt.delivered.as_secs_f64());
        if let Some(why) = shortfall(burnt, before, cgroup.throttled(), cgroup.quota()) {
            log::warn!("{}: {why}", injection.entry);
        }
        Ok(Outcome::Success)
    }

    fn series(&self) -> &'static [Series] {
        &SERIES
    }
}

/// Says what was not delivered and who took it, if it is worth a line.
fn shortfall(burnt: Burnt, before: Throttled, after: Throttled, quota: Option<f64>) -> Option<String> {
    let (asked, delivered) = (burnt.asked.as_secs_f64(), burnt.delivered.as_secs_f64());
    if delivered >= asked * (1.0 - TOLERANCE) {
        return None;
    }
    let periods = after.periods.saturating_sub(before.periods);
    let why = match quota {
        Some(quota) if periods > 0 => format!(
            "the CPU limit of {} cores throttled the container in {periods} periods, for {} s",
            short(quota),
            short(after.time.saturating_sub(before.time).as_secs_f64()),
        ),
        _ => "other work had the CPUs".to_owned(),
    };
    Some(format!("{} of {} CPU seconds asked for were delivered: {why}", short(delivered), short(asked)))
}

/// At most three digits behind the point, and no zeros at the end.
fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::read_entry;

    fn cpu(cores: Cores) -> Cpu {
        Cpu { cores, load_percent: 100.0, ramp: Duration::ZERO, pin: false, nice: None }
    }

    #[test]
    fn every_key_is_read_and_wrong_ones_are_named() {
        let host = Host { proc: "/nowhere".into(), sys: "/nowhere".into(), ..Host::default() };
        let allowed = short(Cgroup::default().cpus());
        let line = |text| {
            let (problems, failure) = read_entry(text, &KIND);
            assert_eq!(problems, "", "{text}");
            failure.unwrap().describe(&host)
        };
        assert_eq!(line("{}"), format!("burns 1 of {allowed} allowed CPU cores"));
        assert_eq!(line("cores: 0"), format!("burns {allowed} of {allowed} allowed CPU cores"));
        assert_eq!(line("{cores: 100%, pin: yes}"), line("cores: 0"));
        assert_eq!(
            line("{cores: 0.5, load_percent: 20, ramp_seconds: 1.5, nice: -3}"),
            format!("burns 20 % of 0.5 of {allowed} allowed CPU cores, rising for 1.5 s, at nice -3")
        );
        for wrong in [
            "cores: -1",
            "cores: 1025",
            "cores: many",
            "cores: 0%",
            "cores: 101%",
            "cores: NaN%",
            "cores: [1]",
            "cores: .nan",
            "load_percent: 0",
            "load_percent: 101",
            "ramp_seconds: -1",
            "nice: 20",
            "nice: 1.5",
            "pin: perhaps",
            "core: 1",
        ] {
            let (problems, _) = read_entry(wrong, &KIND);
            let key = wrong.split(':').next().unwrap();
            assert!(
                problems.contains(&format!(": {key}: ")) && problems.lines().count() == 1,
                "{wrong}: {problems}"
            );
        }
        assert!(read_entry("cores: many", &KIND).0.contains("a share of these like \"50%\""));
    }

    #[test]
    fn cores_become_threads_and_a_load() {
        let plan = |cores, allowed| {
            let burn = cpu(cores).plan(allowed, Duration::from_secs(1)).unwrap();
            (burn.threads, burn.load)
        };
        assert_eq!(plan(Cores::Count(1.0), 4.0), (1, 1.0));
        assert_eq!(plan(Cores::Count(8.0), 2.0), (8, 1.0), "what is asked for is tried");
        assert_eq!(plan(Cores::Count(0.25), 2.0), (1, 0.25));
        assert_eq!(plan(Cores::All, 1.5), (2, 0.75));
        assert_eq!(plan(Cores::All, 0.1), (1, 0.1));
        assert_eq!(plan(Cores::Percent(50.0), 4.0), (2, 1.0));
        assert_eq!(plan(Cores::Percent(10.0), 0.01), (1, 0.001));
        let half = Cpu { load_percent: 50.0, ..cpu(Cores::All) };
        assert_eq!(half.plan(2.0, Duration::MAX).unwrap().load, 0.5);
        let long = Cpu { ramp: Duration::MAX, ..cpu(Cores::All) };
        assert_eq!(long.plan(2.0, Duration::from_secs(9)).unwrap().ramp, Duration::from_secs(9));
        let pinned = Cpu { pin: true, ..cpu(Cores::All) }.plan(1.0, Duration::ZERO).unwrap();
        assert_eq!(pinned.cpus, sched::allowed_cpus().unwrap());
    }

    #[test]
    fn the_line_says_the_worst_case() {
        assert_eq!(cpu(Cores::Count(2.0)).line(4.0), "burns 2 of 4 allowed CPU cores");
        assert_eq!(cpu(Cores::Count(3.0)).line(1.5), "burns 3 CPU cores, of which only 1.5 are allowed");
        let rich = Cpu {
            load_percent: 37.5,
            ramp: Duration::from_millis(2500),
            nice: Some(5),
            ..cpu(Cores::Percent(50.0))
        };
        assert_eq!(rich.line(2.0), "burns 37.5 % of 1 of 2 allowed CPU cores, rising for 2.5 s, at nice 5");
    }

    #[test]
    fn a_shortfall_is_explained_and_names_the_throttle() {
        let burnt = |asked, delivered| Burnt {
            asked: Duration::from_millis(asked),
            delivered: Duration::from_millis(delivered),
        };
        let (calm, busy) = (Throttled::default(), Throttled { periods: 7, time: Duration::from_millis(450) });
        assert_eq!(shortfall(burnt(1000, 990), calm, busy, Some(0.5)), None);
        assert_eq!(
            shortfall(burnt(1000, 500), calm, busy, Some(0.5)).unwrap(),
            "0.5 of 1 CPU seconds asked for were delivered: the CPU limit of 0.5 cores throttled the \
             container in 7 periods, for 0.45 s"
        );
        let stolen = "0.5 of 1 CPU seconds asked for were delivered: other work had the CPUs";
        assert_eq!(shortfall(burnt(1000, 500), busy, busy, Some(0.5)).unwrap(), stolen);
        assert_eq!(shortfall(burnt(1000, 500), calm, busy, None).unwrap(), stolen);
    }
}
