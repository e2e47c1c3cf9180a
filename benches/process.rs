//! The process failure against its goals: one scan beside a bare loop, psutil and pgrep on the same processes,
//! and the time from the decision to the victim's death. Medians of five (of 15 for the deaths); the peers are left
//! out, and named, where the machine does not have them. `cargo bench --bench process -- kill` leaves the scans out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod figures;

use chaos_agent::cancel::Cancel;
use chaos_agent::failures::{Facts, Failure, Host, Injection, Outcome, kind};
use chaos_agent::linux::proc::{Process, Reader};
use chaos_agent::revert::guard::Guard;
use chaos_agent::settings::{Report, Section, parse};
use figures::{median, milliseconds};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The goal for one scan, as a multiple of the bare loop.
const FLOOR_TIMES: f64 = 1.3;
/// The goal for psutil's time as a multiple of ours.
const PSUTIL_TIMES: f64 = 5.0;

fn main() {
    if std::env::args().any(|word| word == "kill") {
        return kill();
    }
    let python = python_with_psutil();
    let mut crowd = Crowd(Vec::new());
    let mut scans = Vec::new();
    for size in [2000, 5000] {
        crowd.grow(size);
        scans.push((size, scan_of(size, python.as_deref())));
    }
    drop(crowd);
    kill();
    if let [(few, less), (many, more)] = scans.as_slice() {
        let linear = *many as f64 / *few as f64;
        say("scan: cost of 5000 by cost of 2000", more / less, linear * 1.15, "times");
    }
}

/// Prints a figure beside the most that it should be.
fn say(what: &str, figure: f64, goal: f64, unit: &str) {
    let verdict = if figure <= goal { "met" } else { "MISSED" };
    println!("{what:<48} {figure:>9.3} {unit:<6} goal {goal:>8.3}  {verdict}");
}

/// Of five runs, in milliseconds.
fn typical(mut run: impl FnMut()) -> f64 {
    run(); // the kernel allocates names and inodes of new processes once
    median((0..5).map(|_| milliseconds(&mut run)))
}

fn scan_of(size: usize, python: Option<&Path>) -> f64 {
    let mut seen = 0;
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let needle = b"no-such-victim";
    let ours = typical(|| {
        seen = 0;
        let visit = &mut |process: &Process<'_>| {
            seen += 1;
            assert!(!process.cmdline.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle)));
        };
        reader.scan(visit).unwrap();
    });
    let floor = typical(|| assert!(bare_loop() >= size));
    println!("{size} sleeping processes of our own, {seen} in all");
    println!("{:<48} {floor:>9.3} ms", "bare loop over comm and cmdline");
    say("scan", ours, floor * FLOOR_TIMES, "ms");
    match python {
        Some(python) => {
            let psutil = psutil_scan(python);
            say("psutil's process_iter by ours: 1 /", 1.0 / (psutil / ours), 1.0 / PSUTIL_TIMES, "");
            println!("{:<48} {psutil:>9.3} ms", "psutil.process_iter");
        }
        None => println!("psutil: left out, because python3 -m venv or pip did not work"),
    }
    let pgrep = || {
        Command::new("pgrep").args(["-f", "no-such-victim-[x]"]).status().is_ok_and(|s| s.code() == Some(1))
    };
    if pgrep() {
        println!("{:<48} {:>9.3} ms", "pgrep -f", typical(|| assert!(pgrep())));
    } else {
        println!("pgrep: left out, because it is not here");
    }
    ours
}

/// The whole of a kill, and what of it comes after the scan that finds the victim: taking hold of it, looking again,
/// SIGKILL, and the news of its death.
fn kill() {
    // Nobody else's command line. A process of its own kind and no child of ours, which the failure would spare.
    let word = format!("1000.{:09}", std::process::id());
    let failure = failure(&format!("{{target_name: sleep {word}, grace_seconds: 0, recovery_seconds: 0}}"));
    let (host, cancel, guard) = (Host::default(), Cancel::new().unwrap(), Guard::new());
    let (mut whole, mut beyond) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let script = format!("sleep {word} >/dev/null 2>&1 & echo $!");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let pid = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let begin = Instant::now();
        while !failure.describe(&host).starts_with("kills 1 of 1 ") {
            assert!(begin.elapsed() < Duration::from_secs(10), "{}", failure.describe(&host));
        }
        let scan = Instant::now();
        let line = failure.describe(&host);
        let scan = scan.elapsed();
        assert!(line.contains(&format!("first is {pid} ")), "{line}");
        let injection = Injection {
            entry: "bench",
            duration: Duration::ZERO,
            seed: 1,
            cancel: &cancel,
            host: &host,
            on_active: &|| (),
            measure: &|_, _| (),
            guard: &guard,
            active: AtomicBool::new(false),
            facts: &Facts::default(),
        };
        let begin = Instant::now();
        let outcome = failure.inject(&injection).unwrap();
        let took = begin.elapsed();
        assert_eq!(outcome, Outcome::Success);
        whole.push(took.as_secs_f64() * 1000.0);
        beyond.push(took.saturating_sub(scan).as_secs_f64() * 1000.0);
    }
    println!("{:<48} {:>9.3} ms", "kill: scan, SIGKILL, death", median(whole));
    say("kill: decision to death", median(beyond), 1.0, "ms");
}

/// An entry of type process.
fn failure(yaml: &str) -> Box<dyn Failure> {
    let mut report = Report::default();
    let node = parse(yaml, &mut report).unwrap();
    let process = kind("process").unwrap();
    let mut section = Section::top(&node, &mut report, process.keys);
    let failure = (process.parse)(&mut section);
    section.finish();
    assert_eq!(report.problems("bench"), Vec::<String>::new());
    failure.unwrap()
}

/// What no scan can do without: list, open, read, close, twice a process.
fn bare_loop() -> usize {
    let mut buffer = [0; 4096];
    let mut path = [0u8; 64];
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        count += 1;
        for file in ["comm", "cmdline"] {
            let mut rest = &mut path[..];
            write!(rest, "/proc/{name}/{file}").unwrap();
            let left = rest.len();
            let path = std::str::from_utf8(&path[..64 - left]).unwrap();
            if let Ok(mut file) = File::open(path) {
                let _ = file.read(&mut buffer);
            }
        }
    }
    count
}

/// Sleeping processes, ended at the end.
struct Crowd(Vec<Child>);

impl Crowd {
    fn grow(&mut self, size: usize) {
        while self.0.len() < size {
            self.0.push(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap());
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// A Python that has psutil, in a virtual environment in the build folder.
fn python_with_psutil() -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("psutil");
    let python = folder.join("bin/python");
    let has = || {
        Command::new(&python)
            .args(["-c", "import psutil"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if !has() {
        Command::new("python3").args(["-m", "venv"]).arg(&folder).status().ok()?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "-q", "psutil"]).stdout(Stdio::null()).status().ok()?;
    }
    has().then_some(python)
}

fn psutil_scan(python: &Path) -> f64 {
    let script = "\
import psutil, statistics, time
def scan():
    start = time.perf_counter()
    for process in psutil.process_iter(['pid', 'name', 'cmdline', 'ppid']):
        'no-such-victim' in ' '.join(process.info['cmdline'] or [])
    psutil.process_iter.cache_clear() if hasattr(psutil.process_iter, 'cache_clear') else None
    return (time.perf_counter() - start) * 1000
scan()
print(statistics.median(scan() for _ in range(5)))
";
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
