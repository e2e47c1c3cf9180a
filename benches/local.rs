//! cpu and memory: figures beside their goals, with stress-ng (where it is installed) and a bare loop at their side.
//!
//! `cargo bench --bench local -- [cpu|memory] [--runs N] [--seconds N]`; five runs of ten seconds when not said.
//! Run it on a machine that does nothing else. Medians are printed, and the worst where the goal is about that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use chaos_agent::cancel::Cancel;
use chaos_agent::failures::cpu::burn::Burn;
use chaos_agent::failures::memory::hoard::{Hoard, Pattern};
use chaos_agent::linux::sys::memory::{Advice, Mapping};
use chaos_agent::linux::sys::sched;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GIB: usize = 1 << 30;
const WINDOW: Duration = Duration::from_millis(100);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.first().map(String::as_str) {
        Some("child") => return child(&words[1..]),
        Some("rival") => rival(),
        _ => {}
    }
    let option = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (runs, seconds) = (option("--runs", 5) as usize, option("--seconds", 10));
    let wanted = |name: &str| {
        !words.iter().any(|word| word == "cpu" || word == "memory") || words.iter().any(|w| w == name)
    };
    if wanted("memory") {
        memory(runs);
    }
    if wanted("cpu") {
        cpu(runs, seconds);
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn has_stress_ng() -> bool {
    Command::new("stress-ng")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

// --- cpu ------------------------------------------------------------------------------------------------------

/// The burner as a process of its own: says when it begins, and at the end what was asked and delivered.
fn child(words: &[String]) {
    let number = |at: usize| words[at].parse::<f64>().unwrap();
    let burn = Burn {
        threads: number(0) as usize,
        load: number(1) / 100.0,
        ramp: Duration::ZERO,
        duration: Duration::from_secs_f64(number(2)),
        cpus: Vec::new(),
        nice: None,
    };
    let begun = || {
        println!("begun");
        std::io::stdout().flush().unwrap();
    };
    let start = Instant::now();
    let burnt = burn.run(&Cancel::new().unwrap(), &begun).unwrap();
    let late = start.elapsed().as_secs_f64() - number(2);
    println!("{} {} {late}", burnt.asked.as_secs_f64(), burnt.delivered.as_secs_f64());
}

/// One run of a program that burns.
struct Run {
    /// CPU seconds, by the kernel's clock of the process.
    used: f64,
    /// Standard deviation of the load in 100 ms windows, in percentage points.
    deviation: f64,
    /// Wall time beyond what was asked, in milliseconds.
    over: f64,
}

/// Reads the CPU clock of `pids` in each window until `done`; the last reading counts.
fn watch(pids: &[u32], mut done: impl FnMut() -> bool) -> (f64, f64) {
    let used = || pids.iter().map(|pid| sched::process_cpu(*pid).ok()).sum::<Option<Duration>>();
    let (first, start) = (used().unwrap_or_default(), Instant::now());
    let (mut last, mut before, mut at) = (first, first, start);
    let mut loads = Vec::new();
    while !done() {
        std::thread::sleep(Duration::from_micros(500));
        let Some(now) = used() else { continue };
        last = now;
        if at.elapsed() >= WINDOW {
            loads.push((now - before).as_secs_f64() / at.elapsed().as_secs_f64() * 100.0);
            (before, at) = (now, Instant::now());
        }
    }
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    let square = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / loads.len() as f64;
    ((last - first).as_secs_f64(), square.sqrt())
}

/// Whether the process has ended, without taking its zombie away: its CPU clock can still be read.
fn ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn ours(threads: usize, load: u32, seconds: u64) -> Run {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("child").args([threads.to_string(), load.to_string(), seconds.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    let pid = child.id();
    let (used, deviation) = watch(&[pid], || ended(pid));
    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let late: f64 = text.split_whitespace().nth(2).unwrap().parse().unwrap();
    Run { used, deviation, over: late * 1e3 }
}

fn stress_ng(threads: usize, load: u32, seconds: u64) -> Run {
    let line = format!("--cpu {threads} --cpu-load {load} --timeout {seconds}s --quiet");
    let start = Instant::now();
    let mut child = Command::new("stress-ng").args(line.split(' ')).stdout(Stdio::null()).spawn().unwrap();
    let workers = workers(&child, threads, "stress-ng-cpu");
    let (used, deviation) = watch(&workers, || child.try_wait().unwrap().is_some());
    Run { used, deviation, over: (start.elapsed().as_secs_f64() - seconds as f64) * 1e3 }
}

/// The processes below `child` that are called `name`.
fn workers(child: &Child, count: usize, name: &str) -> Vec<u32> {
    loop {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else { continue };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((start, rest)) = stat.rsplit_once(") ") else { continue };
            let parent = rest.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
            let below = parent.is_some_and(|parent| parent == child.id() || found_parent(parent, child.id()));
            if below && start.ends_with(name) {
                found.push(pid);
            }
        }
        if found.len() >= count {
            return found;
        }
    }
}

fn found_parent(pid: u32, above: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok()) == Some(above)
}

/// A process that takes all it gets of one CPU.
fn rival() -> ! {
    let mut count = 0u64;
    loop {
        count = std::hint::black_box(count).wrapping_add(1);
    }
}

/// Rivals, ended at the end.
struct Rivals(Vec<Child>);

impl Rivals {
    fn one_a_cpu() -> Rivals {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rival = || Command::new(std::env::current_exe().unwrap()).arg("rival").spawn().unwrap();
        Rivals((0..cpus).map(|_| rival()).collect())
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        for rival in &mut self.0 {
            let _ = rival.kill();
            let _ = rival.wait();
        }
    }
}

fn cpu(runs: usize, seconds: u64) {
    println!(
        "cpu: {seconds} s a run, medians of {runs}; error of CPU seconds (goal: within 0.3 %), deviation of"
    );
    println!("100 ms windows in percentage points (goal: below 4.8), end beyond its time in ms (goal: 5)");
    loads(runs, seconds, &[10, 25, 50, 75, 100]);
    println!(
        "the same beside a busy process of the same priority on each CPU, up to the equal share of 50 %"
    );
    let _rivals = Rivals::one_a_cpu();
    loads(runs, seconds, &[10, 25, 50]);
}

fn loads(runs: usize, seconds: u64, loads: &[u32]) {
    let peer = has_stress_ng();
    println!("cores load |     ours: error  deviation  late | stress-ng: error  deviation  late");
    for threads in 1..=std::thread::available_parallelism().map_or(1, |count| count.get().min(2)) {
        for &load in loads {
            let asked = threads as f64 * f64::from(load) / 100.0 * seconds as f64;
            let figures = |run: &dyn Fn() -> Run| {
                let runs: Vec<Run> = (0..runs).map(|_| run()).collect();
                let error = median(runs.iter().map(|run| (run.used / asked - 1.0) * 100.0));
                let deviation = median(runs.iter().map(|run| run.deviation));
                format!("{error:+11.3} % {deviation:10.2} {:6.1}", median(runs.iter().map(|run| run.over)))
            };
            let mine = figures(&|| ours(threads, load, seconds));
            let other =
                if peer { figures(&|| stress_ng(threads, load, seconds)) } else { "not installed".into() };
            println!("{threads:5} {load:3} % | {mine} | {other}");
        }
    }
}

// --- memory ---------------------------------------------------------------------------------------------------

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn huge(length: usize) -> Mapping {
    let mapping = Mapping::anonymous(length).unwrap();
    mapping.advise(Advice::Huge).unwrap();
    mapping
}

fn fill(pattern: Pattern) -> (f64, f64, usize) {
    let mut hoard = None;
    let filled = milliseconds(|| {
        let hoard = hoard.insert(Hoard::reserve(GIB as u64, pattern, 1).unwrap());
        while !hoard.is_full() {
            hoard.fill_piece().unwrap();
        }
    });
    let resident = hoard.as_ref().unwrap().resident().unwrap();
    (filled, milliseconds(|| drop(hoard)), resident)
}

/// From the start of stress-ng to 1 GiB resident in its worker.
fn stress_ng_memory() -> f64 {
    let line = "--vm 1 --vm-bytes 1G --vm-keep --vm-populate --timeout 20s --quiet";
    let start = Instant::now();
    let mut child = Command::new("stress-ng").args(line.split(' ')).stdout(Stdio::null()).spawn().unwrap();
    let mut took = f64::NAN;
    while child.try_wait().unwrap().is_none() {
        let worker = workers(&child, 1, "stress-ng-vm");
        let resident = worker.iter().any(|pid| {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            let pages = statm.split(' ').nth(1).and_then(|word| word.parse::<usize>().ok());
            pages.unwrap_or(0) * 4096 >= GIB
        });
        if resident {
            took = start.elapsed().as_secs_f64() * 1e3;
            break;
        }
    }
    // By its own pid: it takes its workers along.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    took
}

fn memory(runs: usize) {
    // Pages new to a virtual machine cost seconds a GiB for any program.
    let mut warm = Mapping::anonymous(GIB * 5 / 4).unwrap();
    warm.bytes().fill(1);
    drop(warm);
    let repeat = |work: &dyn Fn() -> f64| median((0..runs).map(|_| work()));
    let floor = repeat(&|| {
        let mapping = huge(GIB);
        milliseconds(|| mapping.populate(0, GIB).unwrap())
    });
    let memset_huge = repeat(&|| {
        let mut mapping = huge(GIB);
        milliseconds(|| mapping.bytes().fill(0xa5))
    });
    let memset = repeat(&|| {
        let mut mapping = Mapping::anonymous(GIB).unwrap();
        milliseconds(|| mapping.bytes().fill(0xa5))
    });
    let zero = repeat(&|| fill(Pattern::Zero).0);
    let random = repeat(&|| fill(Pattern::Random).0);
    let (_, released, resident) = fill(Pattern::Random);
    println!("memory: 1 GiB, medians of {runs}");
    println!("floor: populate huge pages {floor:7.1} ms");
    println!("floor: memset              {memset:7.1} ms ({memset_huge:.1} ms on huge pages)");
    println!("zero pages                 {zero:7.1} ms = {:.2} of the floor (goal: 1.3)", zero / floor);
    println!(
        "random data                {random:7.1} ms = {:.2} of memset, {:.2} of memset on huge pages (goal: 1.5)",
        random / memset,
        random / memset_huge
    );
    if has_stress_ng() {
        let other = repeat(&stress_ng_memory);
        println!("stress-ng --vm 1           {other:7.1} ms (goal: ours is faster)");
    }
    println!(
        "resident                   {:+.4} % of asked (goal: within 0.1)",
        (resident as f64 / GIB as f64 - 1.0) * 100.0
    );
    println!("released                   {released:7.1} ms (goal: 50)");
}
