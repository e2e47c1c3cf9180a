//! What a network fault meets beside packets: other faults of the same agent, left-overs, a slow `tc`, a kernel
//! without ifb, and default queues of every kind.

use crate::network::NoModules;
use crate::support::{Link, Namespace, agent_path, qdiscs_of, run, tc, wait_for};
use crate::wire::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const COUNTED: &str = "chaos_injections_total{failure_type=\"network\",status=\"skipped\"}";

/// Ends an agent in peace and compares what it left with what was there before it.
fn end(mut agent: Agent, space: &Namespace, before: &str) {
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
    assert_eq!(state(space), before, "{}", agent.log());
}

#[test]
fn of_two_faults_on_one_side_of_an_interface_the_second_waits_and_the_first_stays() {
    let link = Link::new("pair");
    let before = state(&link.near);
    let second = "}\n  second: {type: network, enabled: true, probability: 1, ";
    let fault = format!("delay_ms: 20, duration_seconds: 600{second}delay_ms: 20, duration_seconds: 600");
    let agent = Agent::start(&link.near, &fault);
    agent.wait_active(&link.near);
    agent.wait_log("skipped: another entry has its fault on eth0");
    wait_for(LIMIT, "the count", || (metric(&link.near, COUNTED) == Some(1.0)).then_some(()));
    let shown = qdiscs_of(&link.near, "eth0");
    assert!(shown.iter().any(|qdisc| qdisc["kind"] == "netem"), "{shown:?}\n{}", agent.log());
    assert!(!agent.log().contains("removing it"), "{}", agent.log());
    end(agent, &link.near, &before);

    // The two sides of one interface are two places.
    let other = format!("{second}delay_ms: 20, direction: ingress, duration_seconds: 600");
    let agent = Agent::start(&link.near, &format!("delay_ms: 20, duration_seconds: 600{other}"));
    wait_for(LIMIT, "both faults to be active", || {
        (metric(&link.near, "chaos_injection_active{failure_type=\"network\"}") == Some(2.0)).then_some(())
    });
    end(agent, &link.near, &before);
}

#[test]
fn another_agent_and_a_fault_by_hand_leave_the_fault_of_a_running_agent_alone() {
    let link = Link::new("others");
    let before = state(&link.near);
    let agent = Agent::start(&link.near, "delay_ms: 20, direction: both, duration_seconds: 600");
    agent.wait_active(&link.near);
    let during = state(&link.near);
    let inject = |words: &[&str]| {
        let mut command = link.near.command(agent_path());
        let done = command.args(["inject", "network", "delay_ms=5"]).args(words).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, out) = inject(&["interface=eth0", "--for", "1s"]);
    assert!(
        code == Some(2)
            && out.contains(&format!("another agent (pid {}) has its fault on eth0", agent.pid())),
        "{out}"
    );
    assert_eq!(state(&link.near), during);
    // A second agent finds marks at its start, and knows whose they are.
    let second = Agent::start(&link.near, "delay_ms: 5, duration_seconds: 1");
    second.wait_log(&format!("belongs to another agent (pid {}), which runs here; left alone", agent.pid()));
    second.wait_log("skipped: another agent (pid ");
    assert!(!second.log().contains("removed what"), "{}", second.log());
    end(second, &link.near, &during);
    end(agent, &link.near, &before);
    let (code, out) = inject(&["interface=eth0", "--for", "100ms"]);
    assert!(code == Some(0) && out.contains("inject: success"), "{out}");
    assert_eq!(state(&link.near), before);
}

#[test]
fn a_fault_whose_setting_up_takes_long_still_lasts_as_long_as_it_should() {
    let link = Link::new("slow");
    let before = state(&link.near);
    let folder = "/tmp/slow-tc";
    std::fs::create_dir_all(folder).unwrap();
    let script = format!("{folder}/tc");
    // Longer than the margin after which the guard takes over, shorter than duration and margin.
    std::fs::write(&script, "#!/bin/sh\nsleep 2\nexec /usr/bin/tc \"$@\"\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = link.near.command("env");
    command.arg(format!("PATH={folder}:{}", std::env::var("PATH").unwrap())).arg(agent_path());
    let agent = Agent::start_with(command, "delay_ms: 5, duration_seconds: 4, tc: system", "3600");
    agent.wait_log("fault: success");
    assert!(!agent.log().contains("the agent is late"), "{}", agent.log());
    end(agent, &link.near, &before);
}

#[test]
fn a_left_over_that_appears_between_two_injections_is_removed_by_the_next() {
    let link = Link::new("leftover");
    let before = state(&link.near);
    let fault = "delay_ms: 5, direction: both, duration_seconds: 0.1";
    let agent = Agent::start_with(link.near.command(agent_path()), fault, "3");
    agent.wait_log("fault: success");
    agent.signal(libc::SIGSTOP);
    assert_eq!(state(&link.near), before);
    for line in [
        "qdisc add dev eth0 root handle ca05: netem delay 1ms",
        "qdisc add dev eth0 ingress",
        "filter add dev eth0 parent ffff: protocol all pref 51721 u32 match u32 0 0 action pass",
    ] {
        tc(&link.near, line);
    }
    agent.signal(libc::SIGCONT);
    agent.wait_log("an earlier fault is still there; removing it: remove-root");
    agent.wait_log("an earlier fault is still there; removing it: remove-ingress");
    wait_for(LIMIT, "another success", || (agent.log().matches("fault: success").count() > 1).then_some(()));
    end(agent, &link.near, &before);
}

#[test]
fn without_ifb_a_fault_on_incoming_traffic_is_refused_and_a_partition_needs_none() {
    let link = Link::new("no-ifb");
    for module in ["sch_netem", "sch_prio", "cls_u32", "sch_ingress", "act_gact"] {
        let _ = std::process::Command::new("modprobe").arg(module).status();
    }
    let _ = std::process::Command::new("rmmod").arg("ifb").status();
    let _without = NoModules::new();
    let before = state(&link.near);
    let agent = Agent::start(&link.near, "delay_ms: 5, direction: both, duration_seconds: 600");
    let said = agent.wait_log("failed");
    assert!(said.contains("ifb") && said.contains("modprobe ifb"), "{said}");
    end(agent, &link.near, &before);
    let agent = Agent::start(&link.near, "partition: true, direction: ingress, duration_seconds: 600");
    agent.wait_active(&link.near);
    end(agent, &link.near, &before);
}

#[test]
fn without_gact_a_partition_of_incoming_traffic_says_so_and_is_not_tried_twice() {
    let link = Link::new("no-gact");
    for module in ["sch_netem", "cls_u32", "sch_ingress"] {
        let _ = std::process::Command::new("modprobe").arg(module).status();
    }
    let _ = std::process::Command::new("rmmod").arg("act_gact").status();
    let _without = NoModules::new();
    let before = state(&link.near);
    let agent = Agent::start(&link.near, "partition: true, direction: ingress, duration_seconds: 600");
    let said = agent.wait_log("failed");
    assert!(said.contains("no act_gact") && said.contains("modprobe act_gact"), "{said}");
    assert_eq!(agent.log().matches("tc qdisc add dev eth0 ingress").count(), 1, "{}", agent.log());
    end(agent, &link.near, &before);
}

#[test]
fn the_automatic_interfaces_are_all_of_the_default_route_and_the_probes_are_spared() {
    let link = Link::new("auto");
    for line in [
        "ip link add eth1 type dummy",
        "ip link add eth2 type dummy",
        "ip address add 10.78.0.1/24 dev eth1",
        "ip link set eth1 up",
        "ip link set eth2 up",
        "ip route add unreachable default metric 1",
    ] {
        link.near.run(line);
    }
    let before = state(&link.near);
    let fault = "interface: auto, delay_ms: 20, duration_seconds: 600, exempt_defaults: [probes]";
    let start = || {
        let mut command = link.near.command(agent_path());
        command.env("NODE_IP", "::ffff:10.9.9.9,fd99::9");
        Agent::start_with(command, fault, "3600")
    };
    // A route that leads nowhere is none, and its device "*" in /proc/net/route no glob.
    let agent = start();
    let said = agent.wait_log("failed");
    assert!(said.contains("no default route that leads out"), "{said}");
    end(agent, &link.near, &before);

    link.near.run("ip route add default metric 5 nexthop via 10.77.0.2 nexthop via 10.78.0.2");
    link.near.run("ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth1");
    let agent = start();
    agent.wait_active(&link.near);
    let ours = |name: &str| qdiscs_of(&link.near, name).iter().any(|qdisc| qdisc["handle"] == "ca05:");
    assert_eq!(["eth0", "eth1", "eth2"].map(ours), [true, true, false], "{}", agent.log());
    for peer in [
        "ip dst 10.77.0.2/32",
        "ip dst 10.78.0.2/32",
        "ip dst 10.9.9.9/32",
        "ip6 dst fd99::9/128",
        "ip6 dst fe80::/10",
        "ip dst 169.254.1.1/32",
    ] {
        for dev in ["eth0", "eth1"] {
            let wanted = format!("tc filter add dev {dev} parent ca05: ");
            let is =
                |line: &str| line.contains(&wanted) && line.contains(&format!("match {peer} flowid ca05:1"));
            assert!(agent.log().lines().any(is), "{peer} on {dev}: {}", agent.log());
        }
    }
    end(agent, &link.near, &before);
}

#[test]
fn the_kernels_default_queues_come_back_whatever_they_were() {
    run("modprobe tun");
    let knob = "/proc/sys/net/core/default_qdisc";
    let usual = std::fs::read_to_string(knob).unwrap();
    let mut met = Vec::new();
    // Every kind that this kernel has as a module, and those that are built in.
    let modules = run("find /lib/modules -name sch_*.ko");
    let names = modules.lines().filter_map(|path| path.rsplit_once("sch_")?.1.strip_suffix(".ko"));
    let mut kinds: Vec<_> =
        names.chain(["fq_codel", "pfifo_fast", "pfifo", "bfifo"]).map(|name| (name, "")).collect();
    kinds.extend(["fq_codel", "cake"].map(|name| (name, " multi_queue")));
    for (default, queues) in kinds {
        if std::fs::write(knob, default).is_err() {
            continue;
        }
        let space = Namespace::new("default");
        space.run(&format!("ip tuntap add dev tap0 mode tap{queues}"));
        space.run("ip link set tap0 up");
        let before = state(&space);
        let kind = if queues.is_empty() { default } else { "mq" };
        let root = qdiscs_of(&space, "tap0").into_iter().find(|qdisc| qdisc["root"] == true);
        // Some cannot do without options, and the kernel then takes another.
        if root.is_none_or(|root| root["kind"] != kind || root["handle"] != "0:") {
            println!("{default}: no default that the kernel sets by itself");
            continue;
        }
        for fault in ["delay_ms: 5, exempt_defaults: []", "delay_ms: 5, targets: [{port: 80}]"] {
            let agent = Agent::start(&space, &format!("interface: tap0, duration_seconds: 600, {fault}"));
            agent.wait_active(&space);
            assert_ne!(state(&space), before, "{default}");
            end(agent, &space, &before);
        }
        println!("{default}{queues}: back");
        met.push(kind);
    }
    std::fs::write(knob, usual.trim()).unwrap();
    for kind in ["fq", "cake", "fq_pie", "sfq", "pfifo", "bfifo", "codel", "fq_codel", "pfifo_fast", "mq"] {
        assert!(met.contains(&kind), "{kind} is not among {met:?}");
    }
}

#[test]
fn own_ports_names_and_protocols_are_aimed_at_in_both_families() {
    let link = Link::new("aims");
    let name = link.near.name.clone();
    // `ip netns exec` shows these as /etc/hosts.
    std::fs::create_dir_all(format!("/etc/netns/{name}")).unwrap();
    std::fs::write(format!("/etc/netns/{name}/hosts"), "10.77.0.2 victim.test\nfd77::2 victim.test\n")
        .unwrap();
    link.far.run("ip address add 10.77.0.3/24 dev eth0");
    let near = [6001, 6002].map(|port| Echo::new(&link.near, &format!("10.77.0.1:{port}")));
    let far = ["10.77.0.2:5001", "10.77.0.3:5001", "[fd77::2]:5001"].map(|at| Echo::new(&link.far, at));
    let slow = |space: &Namespace, to: &str| median(&trips(space, to, 3, Duration::from_secs(10))) > 250.0;
    let slow_ping = |to: &str| link.near.ping(to, 2).min_ms > 250.0;
    for (targets, expected) in [
        // near 6001, near 6002, far 10.77.0.2, 10.77.0.3, fd77::2, ping in IPv4 and in IPv6
        ("{port: 6001, side: source}", [true, false, false, false, false, false, false]),
        ("{host: victim.test, protocol: udp}", [true, true, true, false, true, false, false]),
        ("{protocol: icmp}", [false, false, false, false, false, true, true]),
        ("{cidr: \"fd77::/64\"}", [false, false, false, false, true, false, true]),
    ] {
        let fault = format!("delay_ms: 300, duration_seconds: 600, targets: [{targets}]");
        let agent = Agent::start(&link.near, &fault);
        agent.wait_active(&link.near);
        let found = [
            slow(&link.far, "10.77.0.1:6001"),
            slow(&link.far, "10.77.0.1:6002"),
            slow(&link.near, "10.77.0.2:5001"),
            slow(&link.near, "10.77.0.3:5001"),
            slow(&link.near, "[fd77::2]:5001"),
            slow_ping(&link.far_address),
            slow_ping(&link.far_address6),
        ];
        assert_eq!(found, expected, "{targets}\n{}", agent.log());
        drop(agent);
        wait_for(LIMIT, "the guard", || (!state(&link.near).contains("netem")).then_some(()));
    }
    drop((near, far));
    std::fs::remove_dir_all(format!("/etc/netns/{name}")).unwrap();
}
