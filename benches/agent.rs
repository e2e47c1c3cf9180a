//! What the agent costs at rest and how fast it ends: idle memory, CPU and wake-ups, SIGTERM in the middle of four
//! faults, size. Each figure stands beside its goal.
//!
//! The binary is `$CHAOS_AGENT`; `$CHAOS_BENCH_IDLE` is how long the agent idles, in seconds (120).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod rows;

use rows::Rows;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

const IDLE: &str = "agent: {interval_seconds: 10, metrics: {address: 127.0.0.1, port: 18097}}\n\
    failures: {cpu: {enabled: true, probability: 0, duration_seconds: 1}}\n";
const FOUR: &str = "agent: {interval_seconds: 3600, metrics: {enabled: false}}\nfailures:\n\
    \x20 cpu: {enabled: true, probability: 1, duration_seconds: 3600, cores: 2}\n\
    \x20 memory: {enabled: true, probability: 1, duration_seconds: 3600, mb: 256}\n\
    \x20 more: {type: memory, enabled: true, probability: 1, duration_seconds: 3600, mb: 64}\n\
    \x20 process: {enabled: true, probability: 1, target_name: bench-stubborn-victim}\n";

fn main() -> ExitCode {
    let binary = PathBuf::from(env::var_os("CHAOS_AGENT").expect("CHAOS_AGENT: ./build.sh bench sets it"));
    let mut rows = Rows::new();
    rows.row(
        "size of the binary, all that the image holds",
        fs::metadata(&binary).unwrap().len() as f64,
        1e6,
        "B",
    );
    idle(&binary, &mut rows);
    let mut times: Vec<f64> = (0..11).map(|_| stop(&binary)).collect();
    times.sort_by(f64::total_cmp);
    rows.row("SIGTERM in the middle of four faults to exit, p50 of 11", times[5], 20.0, "ms");
    rows.row("the same, slowest of 11", times[10], 100.0, "ms");
    rows.end()
}

/// A running agent, killed when dropped.
struct Agent(Child, PathBuf);

impl Agent {
    fn start(binary: &Path, config: &str) -> Agent {
        // A folder of its own: what neighbours do in a watched one wakes the agent.
        let folder = env::temp_dir().join(format!("chaos-agent-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::piped());
        Agent(command.spawn().unwrap(), folder)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    /// A line of smaps_rollup, in kB.
    fn memory(&self, key: &str) -> f64 {
        let text = self.file("smaps_rollup");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Milliseconds of CPU of all threads (schedstat counts nanoseconds), and their switches.
    fn usage(&self) -> (f64, f64, usize) {
        let (mut cpu, mut switches, mut threads) = (0.0, 0.0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap() {
            let task = task.unwrap().path();
            let first = fs::read_to_string(task.join("schedstat")).unwrap();
            cpu += first.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e6;
            let status = fs::read_to_string(task.join("status")).unwrap();
            let voluntary = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            switches += voluntary.unwrap().trim().parse::<f64>().unwrap();
            threads += 1;
        }
        (cpu, switches, threads)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn idle(binary: &Path, rows: &mut Rows) {
    let seconds: u64 = env::var("CHAOS_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let agent = Agent::start(binary, IDLE);
    // A bench, not a test: the passing of time is what is measured here.
    let rest = |time| std::thread::park_timeout(Duration::from_secs(time));
    rest(15);
    rows.row("idle after 15 s: anonymous memory", agent.memory("Anonymous"), 400.0, "kB");
    rows.row("idle after 15 s: proportional set size", agent.memory("Pss"), 600.0, "kB");
    let (begin, (cpu, switches, threads)) = (Instant::now(), agent.usage());
    rest(seconds);
    let (cpu_after, switches_after, _) = agent.usage();
    let ticks = begin.elapsed().as_secs_f64() / 10.0;
    rows.row("threads", threads as f64, 4.0, "");
    rows.row(
        &format!("CPU over {seconds} s idle, a tick every 10 s"),
        cpu_after - cpu,
        seconds as f64 / 120.0,
        "ms",
    );
    rows.row("wake-ups a tick", ((switches_after - switches) / ticks * 10.0).round() / 10.0, 1.0, "");
}

/// Milliseconds from SIGTERM to the end of an agent with four active faults.
fn stop(binary: &Path) -> f64 {
    let script = "trap '' TERM; while :; do read -r x </dev/zero; done";
    let mut victim = Command::new("sh").args(["-c", script, "bench-stubborn-victim"]).spawn().unwrap();
    let mut agent = Agent::start(binary, FOUR);
    let mut lines = BufReader::new(agent.0.stdout.take().unwrap()).lines();
    // The memory faults are in force once the pages are there.
    while agent.memory("Rss") < 320.0 * 1024.0 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &agent.0.id().to_string()]).status().unwrap().success());
    let status = agent.0.wait().unwrap();
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    assert!(status.success(), "{status}");
    assert!(lines.any(|line| line.unwrap().contains("everything is reverted")));
    let _ = victim.kill();
    let _ = victim.wait();
    took
}
