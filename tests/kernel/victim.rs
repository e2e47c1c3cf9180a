//! A real victim: redis-server in the agent's namespace, and what redis-cli sees from another.

use crate::common::running::Running;
use crate::support::{Link, wait_for};
use crate::wire::*;
use std::fs::File;

/// The mean that `redis-cli --latency` tells after a second, in milliseconds.
fn latency(link: &Link) -> f64 {
    let line = format!("redis-cli -h {} --latency --raw -i 1", link.near_address);
    let text = link.far.run(&line);
    let mean = text.split_whitespace().nth(2).and_then(|word| word.parse().ok());
    mean.unwrap_or_else(|| panic!("{line}: {text}"))
}

#[test]
fn redis_is_slow_during_the_fault_and_as_before_after_it() {
    let link = Link::new("victim");
    let mut server = link.near.command("redis-server");
    server.args(["--save", "", "--protected-mode", "no"]).stdout(File::create("/dev/null").unwrap());
    let _server = Running(server.spawn().unwrap());
    wait_for(LIMIT, "redis to answer", || {
        let answer = link.far.try_run(&format!("redis-cli -h {} ping", link.near_address));
        answer.is_ok_and(|text| text.trim() == "PONG").then_some(())
    });
    let queues = state(&link.near);
    let before = latency(&link);
    let fault = "delay_ms: 50, duration_seconds: 600, targets: [{port: 6379, protocol: tcp, side: source}]";
    let mut agent = Agent::start(&link.near, fault);
    agent.wait_active(&link.near);
    let during = latency(&link);
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
    let after = latency(&link);
    println!("redis-cli --latency: {before} ms before, {during} ms with 50 ms of delay, {after} ms after");
    assert_eq!(state(&link.near), queues);
    assert!(during >= 50.0 && before < 50.0 && after < 50.0, "{before} {during} {after}");
}
