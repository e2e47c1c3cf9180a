//! cpu and memory as a process feels them: CPU seconds used, memory resident, and both gone at the end.

use crate::support::*;
use chaos_agent::linux::sys::sched;
use std::fs;
use std::time::{Duration, Instant};

fn config(entry: &str) -> String {
    let agent = "agent:\n  interval_seconds: 3600\n  metrics: {address: 127.0.0.1, port: PORT}\n";
    format!("{agent}failures:\n  fault: {{enabled: true, probability: 1, {entry}}}\n")
}

/// A value of `/proc/PID/smaps_rollup` in KiB.
fn memory_of(agent: &Agent, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", agent.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Names of the threads of the agent.
fn threads(agent: &Agent) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.map(|name| name.trim().to_owned()).collect()
}

fn burners(agent: &Agent) -> usize {
    threads(agent).iter().filter(|name| name.starts_with("burn-")).count()
}

const ACTIVE: &str = "chaos_injection_active{failure_type=\"";

fn active(agent: &Agent, kind: &str) {
    agent.wait_metric(&format!("{ACTIVE}{kind}\"}}"), |value| value == 1.0);
}

#[test]
fn cpu_seconds_delivered_are_those_that_the_kernel_counted() {
    let agent = Agent::start(&config("type: cpu, cores: 2, load_percent: 20, duration_seconds: 1"));
    active(&agent, "cpu");
    agent.wait_log("fault: success");
    let asked = agent.metric("chaos_cpu_seconds_total{kind=\"asked\"}").unwrap();
    let delivered = agent.metric("chaos_cpu_seconds_total{kind=\"delivered\"}").unwrap();
    let counted = sched::process_cpu(agent.pid()).unwrap().as_secs_f64();
    assert!((asked - 0.4).abs() < 1e-6, "{asked}");
    assert!(
        delivered > 0.1 && delivered < 0.45,
        "{delivered} of {asked}: a fifth of two cores, and never more"
    );
    assert!(counted >= delivered, "delivered {delivered}, but the kernel counted {counted}");
    // Joined means done with its work; the kernel (and more so an emulator) takes a moment to take it away.
    wait_for("end of the threads", || match burners(&agent) {
        0 => Ok(()),
        _ => Err(format!("{:?}", threads(&agent))),
    });
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn burning_ends_at_once_with_the_agents_own_end() {
    let agent = Agent::start(&config("type: cpu, cores: 3, nice: 19, duration_seconds: 3600"));
    active(&agent, "cpu");
    assert_eq!(burners(&agent), 3, "{:?}", threads(&agent));
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("burns 3 ") && log.contains("ended early by a stop"), "{log}");
}

#[test]
fn a_ramp_burns_half_of_what_the_plateau_would() {
    let agent =
        Agent::start(&config("type: cpu, cores: 1, load_percent: 40, ramp_seconds: 1, duration_seconds: 1"));
    agent.wait_log("fault: success");
    let asked = agent.metric("chaos_cpu_seconds_total{kind=\"asked\"}").unwrap();
    let delivered = agent.metric("chaos_cpu_seconds_total{kind=\"delivered\"}").unwrap();
    assert!((asked - 0.2).abs() < 1e-6, "{asked}");
    assert!(delivered > 0.05 && delivered < 0.25, "{delivered}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn memory_is_resident_while_it_is_held_and_gone_after_the_end() {
    for pattern in ["random", "zero"] {
        let agent =
            Agent::start(&config(&format!("type: memory, mb: 200, pattern: {pattern}, duration_seconds: 2")));
        active(&agent, "memory");
        let held = memory_of(&agent, "Anonymous:");
        agent.wait_log("fault: success");
        let after = memory_of(&agent, "Anonymous:");
        let grown = held - after;
        // Within 0.1 % of 200 MiB, and the pages that the agent itself used meanwhile.
        assert!(grown.abs_diff(200 << 10) < 205 + 200, "{grown} KiB of {}: {held}, {after}", 200 << 10);
        assert_eq!(agent.stop().0, 0);
    }
}

#[test]
fn memory_that_no_machine_has_fails_with_the_reason_and_the_agent_lives_on() {
    let agent = Agent::start(&config("type: memory, mb: 1048576, duration_seconds: 1"));
    let line = agent.wait_log("fault: failed");
    assert!(line.contains("cannot fill 1048576 MiB of memory: ") && line.contains("which leaves"), "{line}");
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"memory\",status=\"failed\"}"), Some(1.0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_stop_during_a_slow_growth_gives_everything_back() {
    let agent = Agent::start(&config(
        "type: memory, mb: 300, ramp_seconds: 3600, keep_resident: true, duration_seconds: 3600",
    ));
    active(&agent, "memory");
    agent.wait_log("growing by 0.1 MiB a second");
    let start = Instant::now();
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("fault: success") && start.elapsed() < Duration::from_secs(30), "{log}");
}
