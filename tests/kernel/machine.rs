//! What the other cases rely on: that this machine can do what the faults need, seen without the agent.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Cgroup, Link, Namespace, agent, qdiscs_of, run, tc, wait_for};

#[test]
fn iproute2_sets_netem_and_the_packets_are_delayed() {
    let link = Link::new("netem");
    let before = link.near.ping(&link.far_address, 3);
    tc(&link.near, &format!("qdisc add dev {} root netem delay 50ms", link.near_interface));
    let during = link.near.ping(&link.far_address, 3);
    let shown = qdiscs_of(&link.near, &link.near_interface);

    let netem = |qdisc: &Value| qdisc["kind"] == "netem" && qdisc["options"]["delay"]["delay"] == 0.05;
    assert!(shown.iter().any(netem), "{shown:?}");
    assert!(during.min_ms >= 50.0, "with 50 ms of delay the fastest of 3 took {during:?}, before {before:?}");
    assert!(before.min_ms < 50.0, "without any fault the fastest of 3 took {before:?}");
}

#[test]
fn every_queue_and_filter_that_the_faults_use_is_there() {
    let space = Namespace::new("kinds");
    space.run("ip link add e0 type dummy");
    space.run("ip link add i0 type ifb");
    space.run("ip link set e0 up");
    space.run("ip link set i0 up");
    tc(&space, "qdisc add dev e0 root handle 1: prio bands 4");
    tc(&space, "qdisc add dev e0 parent 1:4 handle 4: tbf rate 1mbit burst 4k latency 50ms");
    tc(&space, "filter add dev e0 parent 1: protocol ip u32 match ip dport 80 0xffff flowid 1:4");
    tc(&space, "filter add dev e0 parent 1: protocol ip u32 match ip dport 81 0xffff action drop");
    tc(&space, "qdisc add dev e0 ingress");
    let redirect =
        "filter add dev e0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev i0";
    tc(&space, redirect);
    tc(&space, "qdisc replace dev i0 root netem delay 10ms 5ms distribution normal loss 1%");

    let kinds = tc(&space, "-j qdisc show");
    for kind in ["prio", "tbf", "ingress", "netem"] {
        assert!(kinds.contains(&format!("\"kind\":\"{kind}\"")), "no {kind} in {kinds}");
    }
}

#[test]
fn a_cgroup_limits_memory_and_the_group_is_killed_with_it() {
    let group = Cgroup::new("limit");
    group.set("memory.max", "16M");
    group.set("memory.swap.max", "0");
    // tail of a stream without line ends keeps all of it in memory.
    let mut hog = group.command("sh").args(["-c", "tail -n 1 </dev/zero"]).spawn().unwrap();
    let status = wait_for(Duration::from_secs(60), "the hog to be killed", || hog.try_wait().unwrap());

    assert!(!status.success(), "{status}");
    let events = group.get("memory.events");
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
    assert_ne!(kills, "0", "{events}");
}

#[test]
fn a_contained_process_sees_its_own_limits_at_the_root() {
    let group = Cgroup::new("contained");
    group.set("memory.max", "33554432");
    let output =
        group.contained("cat").args(["/sys/fs/cgroup/memory.max", "/proc/self/cgroup"]).output().unwrap();

    assert_eq!(String::from_utf8_lossy(&output.stdout), "33554432\n0::/\n", "{output:?}");
}

#[test]
fn a_cgroup_limits_the_processor() {
    let group = Cgroup::new("throttle");
    group.set("cpu.max", "10000 100000");
    let mut spinner = group.command("yes").stdout(fs::File::create("/dev/null").unwrap()).spawn().unwrap();
    wait_for(Duration::from_secs(60), "the group to be throttled", || {
        let text = group.get("cpu.stat");
        text.lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))
            .filter(|count| *count != "0")
            .map(|_| ())
    });
    spinner.kill().unwrap();
    spinner.wait().unwrap();
}

#[test]
fn redis_answers_across_the_link() {
    let link = Link::new("redis");
    let mut server = link
        .far
        .command("redis-server")
        .args(["--bind", &link.far_address, "--save", "", "--port", "6379", "--protected-mode", "no"])
        .stdout(fs::File::create("/dev/null").unwrap())
        .spawn()
        .unwrap();
    wait_for(Duration::from_secs(60), "redis to answer", || {
        let answer = link.near.try_run(&format!("redis-cli -h {} ping", link.far_address));
        answer.is_ok_and(|text| text.trim() == "PONG").then_some(())
    });
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn the_product_starts() {
    let output = agent().arg("--version").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(run("uname -r").contains("-amd64"));
}
