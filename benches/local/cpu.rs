//! CPU: what was asked beside what was used, how even, and how late it ends.

use crate::figures::median;
use crate::{peer, rival::Rivals};
use chaos_agent::cancel::Cancel;
use chaos_agent::failures::cpu::burn::Burn;
use chaos_agent::linux::sys::sched;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_millis(100);

/// The burner as a process of its own: says when it begins, and at the end what was asked and delivered.
pub fn child(words: &[String]) {
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
pub struct Run {
    /// CPU seconds, by the kernel's clock of the process.
    pub used: f64,
    /// Standard deviation of the load in 100 ms windows, in percentage points.
    pub deviation: f64,
    /// Wall time beyond what was asked, in milliseconds.
    pub over: f64,
}

/// Reads the CPU clock of `pids` in each window until `done`; the last reading counts.
pub fn watch(pids: &[u32], mut done: impl FnMut() -> bool) -> (f64, f64) {
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

pub fn figures(runs: usize, seconds: u64) {
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
    let peer = peer::is_here();
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
                if peer { figures(&|| peer::burn(threads, load, seconds)) } else { "not installed".into() };
            println!("{threads:5} {load:3} % | {mine} | {other}");
        }
    }
}
