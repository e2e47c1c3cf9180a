//! Prometheus' own checker reads what the agent writes.

use chaos_agent::exporter::metrics::{Metrics, Status};
use std::io::Write;
use std::process::{Command, Stdio};

/// Exit code and output of `promtool check metrics`.
pub fn check(text: &[u8]) -> (Option<i32>, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let metrics = Metrics::new("1.2.3", u64::MAX);
    for kind in ["cpu", "memory", "odd \\ \" \n name"] {
        metrics.register(kind);
        metrics.active(kind, 1);
        metrics.count(kind, Status::Success);
        metrics.observe_duration(kind, 0.123);
        metrics.observe_duration(kind, 1e9);
    }
    let mut text = Vec::new();
    metrics.render(&mut text);
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(lines > 50, "{lines} lines");
    assert_eq!(check(&text), (Some(0), String::new()), "{}", String::from_utf8_lossy(&text));
    // The checker does look: without its help line a metric is reported.
    let broken = String::from_utf8(text).unwrap().replacen("# HELP ", "# ", 1);
    assert_ne!(check(broken.as_bytes()), (Some(0), String::new()));
}
