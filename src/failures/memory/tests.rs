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
        let (problems, failure) = read_entry(text, &KIND);
        assert_eq!(problems, "", "{text}");
        failure.unwrap().describe(&container.host())
    };
    assert!(line("{}").starts_with("fills 100 MiB of memory (limit 512 MiB"));
    assert!(
        line("{mb: 7, headroom_mb: 0, max_available_percent: 90, pattern: zero}").starts_with("fills 7 MiB")
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
        let (problems, _) = read_entry(wrong, &KIND);
        let key = wrong.split(':').next().unwrap();
        assert!(
            problems.contains(&format!(": {key}: ")) && problems.lines().count() == 1,
            "{wrong}: {problems}"
        );
    }
    assert_eq!(read_entry("{percent: 0, pattern: zero}", &KIND).0.lines().count(), 1);
    assert!(
        read_entry("{mb: 5, percent: 5}", &KIND)
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
    assert!(error.contains("the container has no limit, so that 50 % of the rest is the most"), "{error}");
    assert!(Memory { share: 60.0, ..memory(501) }.check(&container.host()).is_ok());
    let half = Memory { amount: Amount::OfLimit(50.0), ..memory(1) };
    let error = half.check(&container.host()).unwrap_err().to_string();
    assert!(error.starts_with("cannot fill 50 % of the container's memory limit: it has none"), "{error}");
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
    assert_eq!(memory(1).describe(&open.host()), "fills 1 MiB of memory (1000 MiB available on the machine)");
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
