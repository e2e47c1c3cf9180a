//! cpu under quotas that a kernel enforces.

use crate::grouped::Agent;
use crate::support::Cgroup;

/// CPU seconds that the group has used.
fn used(group: &Cgroup) -> f64 {
    let stat = group.get("cpu.stat");
    let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    usage.parse::<f64>().unwrap() / 1e6
}

#[test]
fn all_cores_are_those_that_the_quota_gives_whoever_looks() {
    let group = Cgroup::new("all-cores");
    group.set("cpu.max", "30000 100000");
    for contained in [true, false] {
        let fault = "type: cpu, cores: 0, duration_seconds: 3";
        let agent = if contained { Agent::contained(&group, fault) } else { Agent::nested(&group, fault) };
        agent.wait_active("cpu");
        let before = used(&group);
        agent.wait_log("fault: success");
        let burnt = used(&group) - before;
        assert!(agent.log().contains("burns 0.3 of 0.3 allowed CPU cores"), "{}", agent.log());
        // Some of it is over before it is seen to be active.
        assert!(burnt > 0.3 && burnt < 1.2, "{burnt} CPU seconds in 3 s at 0.3 CPUs");
        let asked = agent.metric("chaos_cpu_seconds_total{kind=\"asked\"}");
        assert!((asked - 0.9).abs() < 1e-6, "{asked}");
    }
}

#[test]
fn a_throttle_is_measured_and_named() {
    let group = Cgroup::new("throttle");
    group.set("cpu.max", "20000 100000");
    let agent = Agent::contained(&group, "type: cpu, cores: 1, duration_seconds: 3");
    let line = agent.wait_log("CPU seconds asked for were delivered");
    assert!(line.contains("the CPU limit of 0.2 cores throttled the container in"), "{line}");
    assert!(agent.log().contains("burns 1 CPU core, of which only 0.2 are allowed"), "{}", agent.log());
    agent.wait_log("fault: success");
    let asked = agent.metric("chaos_cpu_seconds_total{kind=\"asked\"}");
    let delivered = agent.metric("chaos_cpu_seconds_total{kind=\"delivered\"}");
    assert!((asked - 3.0).abs() < 1e-6, "{asked}");
    assert!(delivered > 0.2 && delivered < 1.0, "{delivered} CPU seconds at 0.2 CPUs");
}

#[test]
fn a_cpuset_is_all_that_is_allowed_and_pinning_stays_inside() {
    let group = Cgroup::new("one-cpu");
    group.set("cpuset.cpus", "1");
    let agent = Agent::contained(&group, "type: cpu, cores: \"100%\", pin: true, duration_seconds: 1");
    agent.wait_log("fault: success");
    assert!(agent.log().contains("burns 1 of 1 allowed CPU cores"), "{}", agent.log());
}
