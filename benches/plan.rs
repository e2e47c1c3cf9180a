//! How long a plan takes: a fleet of a million pods for an hour, one agent for a month, and a trail against its seed.
//! Each figure stands beside its goal.
//!
//! The binary is `$CHAOS_AGENT`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod rows;

use chaos_agent::dice;
use chaos_agent::text::json::Object;
use rows::Rows;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use std::{env, fs};

const CONFIG: &str = "agent: {interval_seconds: 10, metrics: {enabled: false}}\nfailures:\n\
    \x20 cpu: {enabled: true, probability: 0.05, duration_seconds: 30}\n\
    \x20 memory: {enabled: true, probability: 0.02, duration_seconds: 60}\n\
    \x20 process: {enabled: true, probability: 0.01, target_name: bench-no-victim}\n\
    \x20 network: {enabled: true, probability: 0.03, duration_seconds: 45}\n";
/// Decisions in the trail: about as many as fit into its 10 MiB.
const DECISIONS: u64 = 60_000;

/// Runs `plan` and returns the seconds of CPU it took and the most memory, in kB.
fn plan(binary: &Path, args: &[&str]) -> (f64, f64) {
    let mut command = Command::new("sh");
    // The shell's own reading of what its child used.
    let script = "\"$@\" >/dev/null & while kill -0 $! 2>/dev/null; do \
                  sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$!/status 2>/dev/null; sleep 0.05; done; wait $!";
    command.args(["-c", script, "sh"]).arg(binary).arg("plan").args(args).stdin(Stdio::null());
    let begin = Instant::now();
    let done = command.output().unwrap();
    let took = begin.elapsed().as_secs_f64();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let most = text.lines().filter_map(|line| line.parse::<f64>().ok()).fold(0.0, f64::max);
    (took, most)
}

fn main() -> ExitCode {
    let binary = PathBuf::from(env::var_os("CHAOS_AGENT").expect("CHAOS_AGENT: ./build.sh bench sets it"));
    let mut rows = Rows::new();
    let file = |name: &str, text: &str| {
        let path = env::temp_dir().join(format!("chaos-agent-bench-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    };
    let config = file("plan.yaml", CONFIG);
    let named = config.to_str().unwrap();
    let (took, memory) =
        plan(&binary, &["--config", named, "--for", "1h", "--seed", "1", "--pods", "1000000"]);
    rows.row("1,000,000 pods, 1 h of 10 s ticks, 4 entries, one core", took, 20.0, "s");
    rows.row("the same: memory at most", memory, 4000.0, "kB");
    let (few, small) = plan(&binary, &["--config", named, "--for", "1h", "--seed", "1", "--pods", "50000"]);
    rows.row("50,000 pods: time", few, 1.0, "s");
    rows.row("memory of 1,000,000 pods beyond that of 50,000", memory - small, 64.0, "kB");
    let (took, _) = plan(&binary, &["--config", named, "--for", "30d", "--seed", "1"]);
    rows.row("one agent for 30 days", took, 1.0, "s");

    let mut trail = String::from("{\"event\":\"start\",\"seed\":1}\n");
    for tick in 0..DECISIONS {
        let roll = dice::roll(1, tick, "cpu").value;
        let mut line = Object::new();
        line.text("time", "2026-11-24T09:00:00.000Z").text("event", "decision").whole("tick", tick);
        line.text("entry", "cpu").text("type", "cpu").number("roll", roll).number("probability", 0.0);
        trail += &line.text("decision", "no").optional("reason", None).end();
        trail.push('\n');
    }
    let trail = file("trail.jsonl", &trail);
    let (took, _) = plan(&binary, &["--replay", trail.to_str().unwrap()]);
    rows.row("a trail of 60,000 decisions (10 MiB) against its seed", took, 5.0, "s");
    _ = fs::remove_file(config);
    _ = fs::remove_file(trail);
    rows.end()
}
