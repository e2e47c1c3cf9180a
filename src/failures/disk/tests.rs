//! Disks that are really filled: the file system of the temporary directory and a tmpfs.

use super::*;
use crate::cancel::Cancel;
use crate::failures::read_entry;
use crate::revert::guard::Guard;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// A directory of the test's own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Folder(std::env::temp_dir().join(format!("disk-{}-{number}", std::process::id())));
        std::fs::create_dir(&folder.0).unwrap();
        folder
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn filling(path: &Path, mib: u64) -> Disk {
    let amount = Amount::Bytes(mib * MIB);
    Disk { path: path.into(), amount, ramp: Duration::ZERO, headroom: 0, allow_root: true, rates: None }
}

/// Bytes on the disk that files without a name in `folder` take, which this process holds open.
fn nameless(folder: &Path) -> u64 {
    let mut bytes = 0;
    for link in std::fs::read_dir("/proc/self/fd").unwrap() {
        let link = link.unwrap().path();
        if std::fs::read_link(&link).is_ok_and(|target| target.starts_with(folder))
            && let Ok(data) = std::fs::metadata(&link)
            && data.is_file()
        {
            bytes += data.blocks() * 512;
        }
    }
    bytes
}

struct Ran {
    outcome: Result<Outcome>,
    active: bool,
    measured: Vec<(&'static [&'static str], f64)>,
}

fn inject(failure: &Disk, cancel: &Cancel, ms: u64, on_active: &(dyn Fn() + Sync)) -> Ran {
    let measured = Mutex::new(Vec::new());
    let injection = Injection {
        entry: "test",
        duration: Duration::from_millis(ms),
        seed: 1,
        cancel,
        host: &Host::default(),
        on_active,
        measure: &|(_, labels), value| measured.lock().unwrap().push((labels, value)),
        guard: &Guard::new(),
        active: AtomicBool::new(false),
        facts: &crate::failures::Facts::default(),
    };
    let outcome = failure.inject(&injection);
    let active = injection.active.load(Ordering::Acquire);
    Ran { outcome, active, measured: measured.into_inner().unwrap() }
}

#[test]
fn every_key_is_read_and_wrong_ones_are_named() {
    let good = |text: &str| {
        let (problems, failure) = read_entry(text, &KIND);
        assert_eq!(problems, "", "{text}");
        failure.unwrap().describe(&Host { proc: "/nowhere".into(), ..Host::default() })
    };
    assert_eq!(good("path: /data"), "fills 100 MiB on /data");
    let all = "{path: /data, percent: 80, headroom_mb: 0, ramp_seconds: 2, allow_root_filesystem: yes}";
    assert_eq!(good(all), "fills 80 % of what is free on /data, growing for 2 s");
    assert_eq!(
        good("{path: /a, action: io, mb: 2048, read_mb_per_s: 0.5, write_mb_per_s: 20, fsync_per_s: 5}"),
        "reads 512 KiB a second, writes 20 MiB a second, calls fsync 5 times a second, in a file of 2 GiB on /a"
    );
    assert_eq!(
        good("{path: /a, action: io, fsync_per_s: 1}"),
        "calls fsync 1 times a second, in a file of 100 MiB on /a"
    );
    for (wrong, key) in [
        ("{path: data}", "path"),
        ("{path: 7}", "path"),
        ("{path: /a, mb: 0}", "mb"),
        ("{path: /a, percent: 0}", "percent"),
        ("{path: /a, percent: 101}", "percent"),
        ("{path: /a, percent: 5, mb: 5}", "percent"),
        ("{path: /a, action: io, percent: 5, fsync_per_s: 1}", "percent"),
        ("{path: /a, action: io}", "action"),
        ("{path: /a, action: io, read_mb_per_s: 0}", "action"),
        ("{path: /a, action: burn}", "action"),
        ("{path: /a, read_mb_per_s: 5}", "read_mb_per_s"),
        ("{path: /a, action: io, fsync_per_s: -1}", "fsync_per_s"),
        ("{path: /a, ramp_seconds: -1}", "ramp_seconds"),
        ("{path: /a, headroom_mb: -1}", "headroom_mb"),
        ("{path: /a, allow_root_filesystem: maybe}", "allow_root_filesystem"),
        ("{path: /a, size: 3}", "size"),
    ] {
        let (problems, _) = read_entry(wrong, &KIND);
        assert!(problems.contains(&format!(": {key}: ")), "{wrong}: {problems}");
    }
    assert_eq!(read_entry("{percent: 0, ramp_seconds: 1}", &KIND).0.lines().count(), 1);
}

#[test]
fn the_line_says_the_worst_case() {
    let folder = Folder::new();
    let host = Host::default();
    let root = filling(&folder.0, 500);
    let line = root.describe(&host);
    let on = format!("on {} (", folder.0.display());
    assert!(line.starts_with("fills 500 MiB of ") && line.contains(&format!("iB free {on}")), "{line}");
    let part = Disk { amount: Amount::OfFree(0.5), ramp: Duration::from_secs(3), ..root };
    let line = part.describe(&host);
    assert!(line.starts_with("fills 0.5 % of ") && line.contains(&format!("iB {on}")), "{line}");
    assert!(line.ends_with("), growing for 3 s"), "{line}");
    let memory = filling(Path::new("/dev/shm"), 1);
    if memory.site(&host).unwrap().place.is_memory() {
        let line = memory.describe(&host);
        assert!(line.ends_with("free on /dev/shm (tmpfs, which is memory)"), "{line}");
        let error = Disk { rates: Some([1.0; 3]), ..memory }.check(&host).unwrap_err().to_string();
        assert!(error.ends_with("it has none, its files are memory"), "{error}");
    }
    assert_eq!([5 << 10, 300 * MIB, 3000 * MIB, 2 << 30].map(size), ["5 KiB", "300 MiB", "2.9 GiB", "2 GiB"]);
}

#[test]
fn what_would_leave_others_too_little_is_refused_with_the_figures() {
    let folder = Folder::new();
    let host = Host::default();
    let large = Disk { headroom: 16 * MIB, ..filling(&folder.0, 1 << 30) };
    let error = large.check(&host).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot fill 1048576 GiB on ") && error.contains(" are free and 16 MiB"),
        "{error}"
    );
    let nothing = Disk { headroom: u64::MAX, amount: Amount::OfFree(100.0), ..large };
    assert!(nothing.check(&host).unwrap_err().to_string().contains("which leaves 0 KiB"));
    let of = |percent, headroom| Disk { amount: Amount::OfFree(percent), headroom, ..filling(&folder.0, 1) };
    assert_eq!(of(50.0, 0).bytes(1000), 500);
    assert_eq!(of(100.0, 0).bytes(1000), 1000);
    assert_eq!(of(100.0, 300).bytes(1000), 700, "a share never goes into the head-room");
    let refused = Disk { allow_root: false, ..filling(Path::new("/"), 1) };
    assert!(refused.check(&host).unwrap_err().to_string().contains("`allow_root_filesystem: true`"));
}

#[test]
fn space_is_held_until_the_end_and_given_back() {
    let folder = Folder::new();
    let slow = Disk { ramp: Duration::from_millis(40), ..filling(&folder.0, 256) };
    for (failure, least) in [(filling(&folder.0, 256), 256 * MIB), (slow, 0)] {
        let seen = Mutex::new(u64::MAX);
        let on_active = || *seen.lock().unwrap() = nameless(&folder.0);
        let ran = inject(&failure, &Cancel::new().unwrap(), 60, &on_active);
        assert_eq!((ran.outcome.unwrap(), ran.active), (Outcome::Success, true));
        let seen = seen.into_inner().unwrap();
        assert!((least..=least + MIB).contains(&seen), "{seen} bytes are taken, {least} are due");
        assert!(folder.is_empty() && nameless(&folder.0) == 0);
    }
}

#[test]
fn a_stop_ends_every_phase() {
    let folder = Folder::new();
    let cancel = Cancel::new().unwrap();
    let slow = Disk { ramp: Duration::from_secs(3600), ..filling(&folder.0, 256) };
    let load = Disk { rates: Some([1e6, 1e6, 9.0]), ..filling(&folder.0, 4) };
    for failure in [filling(&folder.0, 8), slow, load] {
        let cancel = Cancel::new().unwrap();
        let ran = inject(&failure, &cancel, u64::MAX, &|| cancel.cancel());
        assert_eq!((ran.outcome.unwrap(), ran.active), (Outcome::Success, true));
    }
    cancel.cancel();
    let ran = inject(&filling(&folder.0, 8), &cancel, u64::MAX, &|| ());
    let skipped = Outcome::Skipped("stopped when 0 KiB were taken".to_owned());
    assert_eq!((ran.outcome.unwrap(), ran.active), (skipped, false));
    assert!(folder.is_empty());
}

#[test]
fn a_file_system_that_sets_nothing_aside_is_written_to() {
    let folder = Folder::new();
    let place = Place::open(&folder.0, &Host::default(), true).unwrap();
    let mut fill = Fill::create(&place, 3 * MIB + 4096, true, 1).unwrap();
    while !fill.is_full() {
        fill.grow(u64::MAX, false).unwrap();
    }
    assert!(fill.verify());
    let mut data = vec![0; fill.length() as usize];
    std::os::unix::fs::FileExt::read_exact_at(fill.file(), &mut data, 0).unwrap();
    assert!(data.chunks(4096).all(|page| page.iter().any(|byte| *byte != page[0])), "it would compress");
    assert!(folder.is_empty());
}

#[test]
fn a_load_delivers_what_was_asked_for() {
    let folder = Folder::new();
    let load = Disk { rates: Some([2e6, 1e6, 10.0]), ..filling(&folder.0, 4) };
    let ran = inject(&load, &Cancel::new().unwrap(), 1000, &|| ());
    assert_eq!((ran.outcome.unwrap(), ran.active), (Outcome::Success, true));
    let asked = |index: usize| ran.measured[2 * index].1;
    assert_eq!(ran.measured[0].0, &["read", "asked"]);
    assert_eq!([asked(0), asked(1), asked(2)].map(f64::round), [2e6, 1e6, 10.0]);
    for (index, (labels, delivered)) in ran.measured.iter().enumerate().filter(|(index, _)| index % 2 == 1) {
        assert!(labels.last() == Some(&"delivered") && *delivered > 0.0, "{:?}", ran.measured);
        assert!(*delivered <= ran.measured[index - 1].1, "more than was asked for: {:?}", ran.measured);
    }
}
