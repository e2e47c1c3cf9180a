//! A network fault ends whatever happens: to the agent, to its guard, to the interface.

use crate::support::{Link, Namespace, agent_path, run, tc, wait_for};
use crate::wire::*;
use chaos_agent::linux::sys::netlink::Netlink;
use chaos_agent::linux::tc::{Qdisc, link, qdiscs};
use std::time::{Duration, Instant};

const FAULT: &str = "delay_ms: 5, duration_seconds: 600";

/// The guard process of an agent.
fn guard(agent: &Agent) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", agent.pid());
    wait_for(LIMIT, "the guard process", || {
        let children = std::fs::read_to_string(&children).ok()?;
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "chaos-guard\n")
        })
    })
}

/// Waits until the namespace is as before, and for how long.
fn until_clean(space: &Namespace, before: &str) -> Duration {
    let begin = Instant::now();
    wait_for(LIMIT, "the queues to be as before", || (state(space) == before).then_some(()));
    begin.elapsed()
}

/// How long until the kernel has nothing of ours any more, asked without starting a process; milliseconds.
fn time_to_clean(space: &Namespace) -> f64 {
    let ask = || {
        let netlink = Netlink::open().unwrap();
        let begin = Instant::now();
        loop {
            let ours = |qdisc: &Qdisc| qdisc.handle >> 16 == 0xca05 || qdisc.kind == "ingress";
            let left = qdiscs(&netlink, None).unwrap().iter().any(ours)
                || link::links(&netlink).unwrap().iter().any(|link| link.name.starts_with("ca05ifb"));
            if !left {
                return begin.elapsed().as_secs_f64() * 1000.0;
            }
            assert!(begin.elapsed() < LIMIT, "something stays");
        }
    };
    inside(space, ask).join().unwrap()
}

#[test]
fn the_death_of_the_agent_at_any_moment_leaves_nothing() {
    let link = Link::new("death");
    let before = state(&link.near);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut times = Vec::new();
    let mut moments = [0; 4];
    for direction in ["egress", "ingress"] {
        let fault = format!("delay_ms: 5, duration_seconds: 0.3, direction: {direction}");
        let begin = Instant::now();
        let first = Agent::start(&link.near, &fault);
        first.wait_log("success");
        let whole = begin.elapsed();
        drop(first);
        for round in 0..50 {
            let agent = Agent::start(&link.near, &fault);
            std::thread::park_timeout(whole.mul_f64(rng.f64() * 1.1));
            let log = agent.log();
            let phase = ["tc qdisc add", "started", "success"].map(|word| log.contains(word));
            moments[phase.iter().filter(|seen| **seen).count()] += 1;
            agent.signal(libc::SIGKILL);
            times.push(time_to_clean(&link.near));
            // What was clean stays clean: no tc of the dead agent comes after the guard.
            drop(agent);
            wait_for(LIMIT, "every process of the agent to be gone", || {
                run(&format!("ip netns pids {}", link.near.name)).trim().is_empty().then_some(())
            });
            assert_eq!(state(&link.near), before, "{direction}, round {round}");
        }
    }
    times.sort_by(f64::total_cmp);
    println!("kill -9 to clean: median {:.1} ms, slowest of {} {:.1} ms", times[50], times.len(), times[99]);
    println!("before start, before set-up, set up or held, after the end: {moments:?}");
    assert!(moments[2] >= 20, "too few died with a fault on: {moments:?}");
}

#[test]
fn an_agent_that_is_stopped_past_the_end_of_a_fault_does_not_prolong_it() {
    let link = Link::new("stopped");
    let before = state(&link.near);
    let agent = Agent::start(&link.near, "delay_ms: 5, duration_seconds: 2");
    agent.wait_active(&link.near);
    agent.signal(libc::SIGSTOP);
    until_clean(&link.near, &before);
    agent.signal(libc::SIGCONT);
    agent.wait_log("gone before its time");
    assert!(agent.log().contains("the agent is late"), "{}", agent.log());
}

#[test]
fn a_halt_reverts_the_fault_in_both_directions_and_a_resume_brings_it_back() {
    let link = Link::new("halt");
    let before = state(&link.near);
    let agent = Agent::start_with(
        link.near.command(agent_path()),
        "delay_ms: 5, direction: both, duration_seconds: 600",
        "1",
    );
    agent.wait_active(&link.near);
    assert_ne!(state(&link.near), before);
    agent.signal(libc::SIGUSR1);
    agent.wait_log("all reverted, ended early by a halt");
    assert_eq!(state(&link.near), before, "{}", agent.log());
    agent.signal(libc::SIGUSR2);
    agent.wait_active(&link.near);
    agent.signal(libc::SIGTERM);
    drop(agent);
    until_clean(&link.near, &before);
}

#[test]
fn a_guard_that_dies_is_replaced_and_the_new_one_knows_what_is_open() {
    let link = Link::new("guard");
    let before = state(&link.near);
    let agent = Agent::start_with(link.near.command(crate::support::agent_path()), FAULT, "0.1");
    agent.wait_active(&link.near);
    let first = guard(&agent);
    kill(first, libc::SIGKILL);
    agent.wait_log("starting another");
    wait_for(LIMIT, "another guard", || (guard(&agent) != first).then_some(()));
    agent.signal(libc::SIGKILL);
    until_clean(&link.near, &before);
}

#[test]
fn what_both_had_to_leave_is_swept_by_the_next_agent_and_by_revert() {
    for direction in ["egress", "both"] {
        let link = Link::new("sweep");
        let before = state(&link.near);
        let fault = format!("{FAULT}, direction: {direction}");
        let leave = || {
            let agent = Agent::start(&link.near, &fault);
            agent.wait_active(&link.near);
            let guard = guard(&agent);
            kill(guard, libc::SIGSTOP);
            agent.signal(libc::SIGKILL);
            kill(guard, libc::SIGKILL);
            wait_for(LIMIT, "the guard to be gone", || {
                (!std::path::Path::new(&format!("/proc/{guard}")).exists()).then_some(())
            });
            assert_ne!(state(&link.near), before);
        };
        leave();
        let mut next = Agent::start(&link.near, "delay_ms: 5, duration_seconds: 600, interface: nosuch");
        next.wait_log("removed what an earlier agent had left");
        until_clean(&link.near, &before);
        next.signal(libc::SIGTERM);
        assert_eq!(
            next.wait_exit(),
            Some(0),
            "an agent that could inject nothing ends in peace: {}",
            next.log()
        );
        assert!(
            next.log().contains("there is no interface nosuch; interfaces here: lo, eth0"),
            "{}",
            next.log()
        );

        leave();
        let dirty = state(&link.near);
        let shown = link.near.run("/chaos-agent revert --dry-run");
        assert!(shown.contains("would undo: remove-root") && state(&link.near) == dirty, "{shown}");
        let shown = link.near.run("/chaos-agent revert");
        assert!(shown.contains("undone: remove-root") && state(&link.near) == before, "{shown}");
        assert_eq!(link.near.run("/chaos-agent revert"), "nothing to undo\n");
    }
}

#[test]
fn an_interface_that_goes_or_changes_its_name_takes_no_other_with_it() {
    let link = Link::new("gone");
    let agent = Agent::start(&link.near, FAULT);
    agent.wait_active(&link.near);
    link.near.run("ip link set eth0 down");
    link.near.run("ip link set eth0 name moved0");
    let mut agent = agent;
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("fault: success"), "{}", agent.log());
    assert!(!tc(&link.near, "-j qdisc show").contains("netem"));

    link.near.run("ip link set moved0 name eth0");
    link.near.run("ip link set eth0 up");
    let mut agent = Agent::start(&link.near, FAULT);
    agent.wait_active(&link.near);
    link.near.run("ip link del eth0");
    link.near.run("ip link add eth0 type dummy");
    link.near.run("tc qdisc add dev eth0 root handle 77: pfifo limit 9");
    let before = state(&link.near);
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("gone before its time"), "{}", agent.log());
    assert_eq!(state(&link.near), before);
}

#[test]
fn what_others_have_set_is_refused_by_name_and_stays() {
    for (place, words) in
        [("root", "root handle 8001: tbf rate 1gbit burst 1m latency 9ms"), ("ingress", "ingress")]
    {
        let link = Link::new("foreign");
        tc(&link.near, &format!("qdisc add dev eth0 {words}"));
        let before = state(&link.near);
        let agent = Agent::start(&link.near, "delay_ms: 5, duration_seconds: 600, direction: both");
        let said = agent.wait_log("failed");
        assert!(
            said.contains(&format!("eth0 has a {place} qdisc")) && said.contains("tc qdisc del dev eth0"),
            "{said}"
        );
        assert_eq!(state(&link.near), before);
        let failed = "chaos_injections_total{failure_type=\"network\",status=\"failed\"}";
        wait_for(LIMIT, "the count", || (metric(&link.near, failed) == Some(1.0)).then_some(()));
    }
}

#[test]
fn an_agent_without_the_capability_says_so_and_goes_on() {
    let link = Link::new("rights");
    let mut command = link.near.command(crate::support::agent_path());
    let drop_capability = || {
        const NET_ADMIN: libc::c_ulong = 12;
        #[allow(unsafe_code)]
        // SAFETY: takes integers; async-signal-safe.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, NET_ADMIN, 0, 0, 0) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    #[allow(unsafe_code)]
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, drop_capability)
    };
    let agent = Agent::start_with(command, FAULT, "3600");
    let said = agent.wait_log("failed");
    assert!(said.contains("NET_ADMIN"), "{said}");
    let failed = "chaos_injections_total{failure_type=\"network\",status=\"failed\"}";
    wait_for(LIMIT, "the count", || (metric(&link.near, failed) == Some(1.0)).then_some(()));
}
