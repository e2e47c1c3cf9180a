//! stress-ng, where it is installed: the same by others.

use crate::cpu::{Run, watch};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Whether it is installed.
pub fn is_here() -> bool {
    Command::new("stress-ng")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// One run of its burner.
pub fn burn(threads: usize, load: u32, seconds: u64) -> Run {
    let line = format!("--cpu {threads} --cpu-load {load} --timeout {seconds}s --quiet");
    let start = Instant::now();
    let mut child = Command::new("stress-ng").args(line.split(' ')).stdout(Stdio::null()).spawn().unwrap();
    let workers = workers(&child, threads, "stress-ng-cpu");
    let (used, deviation) = watch(&workers, || child.try_wait().unwrap().is_some());
    Run { used, deviation, over: (start.elapsed().as_secs_f64() - seconds as f64) * 1e3 }
}

/// Milliseconds from the start of stress-ng to so many bytes resident in its worker.
pub fn fill(bytes: usize) -> f64 {
    let line = format!("--vm 1 --vm-bytes {bytes} --vm-keep --vm-populate --timeout 20s --quiet");
    let start = Instant::now();
    let mut child = Command::new("stress-ng").args(line.split(' ')).stdout(Stdio::null()).spawn().unwrap();
    let mut took = f64::NAN;
    while child.try_wait().unwrap().is_none() {
        let worker = workers(&child, 1, "stress-ng-vm");
        let resident = worker.iter().any(|pid| {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            let pages = statm.split(' ').nth(1).and_then(|word| word.parse::<usize>().ok());
            pages.unwrap_or(0) * 4096 >= bytes
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
