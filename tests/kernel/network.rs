//! What a network fault does to packets: as much as asked, to those that were meant, and to no others.

use crate::support::{Link, qdiscs_of, run, tc, wait_for};
use crate::wire::*;
use crate::witness::{Verdict, Witness, settle};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// What 20 datagrams to a port of the far end take more than without a fault, in milliseconds.
fn added(link: &Link, base: f64, port: u16) -> f64 {
    median(&trips(&link.near, &format!("{}:{port}", link.far_address), 20, PATIENCE)) - base
}

/// Times of round trips that all must have an answer, in order.
fn sorted_trips(link: &Link, count: usize) -> Vec<f64> {
    let found = trips(&link.near, &format!("{}:5001", link.far_address), count, PATIENCE);
    let mut found: Vec<f64> = found.into_iter().map(|trip| trip.expect("an answer")).collect();
    found.sort_by(f64::total_cmp);
    found
}

#[test]
fn a_delay_is_what_was_asked_for_with_either_tc_and_the_queues_are_as_before_at_its_end() {
    for (program, delays) in [("builtin", &[10.0, 100.0, 1000.0][..]), ("system", &[50.0])] {
        for delay in delays {
            let link = Link::new("delay");
            let _echo = Echo::new(&link.far, "0.0.0.0:5001");
            // The quickest: what is late without a fault is the machine's.
            let base = sorted_trips(&link, 20)[0];
            let before = state(&link.near);
            let mut agent =
                Agent::start(&link.near, &format!("delay_ms: {delay}, duration_seconds: 600, tc: {program}"));
            agent.wait_active(&link.near);
            let count = if *delay < 500.0 { 40 } else { 10 };
            settle(&format!("delay of {delay} ms"), || {
                let witness = Witness::start();
                let found: Vec<f64> = sorted_trips(&link, count).iter().map(|trip| trip - base).collect();
                let pace = witness.pace();
                let (average, first, quick) = (mean(&found), found[0], found[found.len() / 10]);
                println!("delay asked {delay} ms, mean {average:.3}, first tenth {quick:.3} ({program})");
                // No packet may be early, and what the quick ones took is the fault's, within 2 % or 1 ms; two-way
                // trips and the base have their noise.
                let most = f64::max(1.0, delay * 0.02);
                let why = format!("{pace:?}, found {found:?}");
                match first > delay - most {
                    false => Verdict::Wrong(why),
                    true if quick < delay + 3.0 * most => Verdict::Right,
                    true => Verdict::late(pace.usual > most, why),
                }
            });
            agent.signal(libc::SIGTERM);
            assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
            assert_eq!(state(&link.near), before, "{}", agent.log());
        }
    }
}

#[test]
fn a_fault_ends_by_itself_on_time_and_is_counted() {
    let link = Link::new("ends");
    let before = state(&link.near);
    let agent = Agent::start(&link.near, "delay_ms: 20, duration_seconds: 1");
    agent.wait_log("fault: success");
    assert_eq!(state(&link.near), before);
    let success = "chaos_injections_total{failure_type=\"network\",status=\"success\"}";
    assert_eq!(metric(&link.near, success), Some(1.0));
}

/// Whether a count is what was asked for within five standard deviations of a binomial: a false alarm in less than one
/// of a million runs.
fn is_share(what: &str, hits: usize, of: u32, asked: f64) -> bool {
    let expected = f64::from(of) * asked;
    let bound = 5.0 * (expected * (1.0 - asked)).sqrt();
    println!("{what}: {hits} of {of}, expected {expected:.0} ± {bound:.0}");
    (hits as f64 - expected).abs() <= bound
}

#[test]
fn loss_duplicates_corruption_and_reordering_come_at_the_rates_asked_for() {
    const COUNT: u32 = 3000;
    let link = Link::new("shares");
    for (fault, share) in [
        ("loss_percent: 10", 0.1),
        ("loss_model: {type: gemodel, p: 5, r: 45}", 0.1),
        ("duplicate_percent: 10", 0.1),
        ("corrupt_percent: 10", 0.1),
        ("delay_ms: 20, reorder_percent: 25", 0.25),
    ] {
        let agent = Agent::start(&link.near, &format!("{fault}, duration_seconds: 600"));
        agent.wait_active(&link.near);
        settle(fault, || round(&link, fault, COUNT, share));
        drop(agent);
        wait_for(LIMIT, "the guard", || (!state(&link.near).contains("netem")).then_some(()));
    }
}

/// One round of the shares.
fn round(link: &Link, fault: &str, count: u32, share: f64) -> Verdict {
    let witness = Witness::start();
    let Stream { found, stalls, .. } = stream(link, count);
    let pace = witness.pace();
    let unique = found.iter().collect::<std::collections::BTreeSet<_>>().len();
    let lost = count as usize - unique;
    let right = match fault.split('_').next().unwrap() {
        // In bursts, so the number of losses varies more than independent ones; three times the deviation covers a
        // correlation of 0.5.
        "loss" if fault.contains("model") => {
            println!("{fault}: {lost} of {count}");
            (lost as f64 / f64::from(count) - share).abs() < 0.06
        }
        "duplicate" => is_share(fault, found.len() - unique, count, share),
        "delay" => {
            // Sent at once, it arrives before one that was sent earlier.
            let mut later = u32::MAX;
            let early = found.iter().rev().filter(|number| {
                let ahead = **number > later;
                later = later.min(**number);
                ahead
            });
            is_share(fault, early.count(), count, share)
        }
        // A flipped bit fails a checksum, so the datagram never arrives.
        _ => is_share(fault, lost, count, share),
    };
    if right {
        return Verdict::Right;
    }
    // A full queue of a processor loses what netem did not. What overtakes shows only if the one before was sent just
    // before.
    let spoilt = pace.dropped > 0 || (fault.contains("reorder") && stalls * 100 > count as usize);
    Verdict::late(spoilt, format!("{lost} lost, {} came, {stalls} late to leave, {pace:?}", found.len()))
}

#[test]
fn a_rate_is_kept() {
    let link = Link::new("rate");
    let agent = Agent::start(&link.near, "rate: 1mbit, limit: 10000, duration_seconds: 600");
    agent.wait_active(&link.near);
    settle("rate of 1 Mbit/s", || {
        let witness = Witness::start();
        // 64 bytes of data, 42 of headers: 500 packets are 0.424 Mbit.
        let Stream { found, took, .. } = stream(&link, 1500);
        let (pace, took) = (witness.pace(), took.as_secs_f64());
        let rate = 1500.0 * 106.0 * 8.0 / took / 1e6;
        println!("rate asked 1 Mbit/s, found {rate:.3}");
        let why = format!("{} of 1500 came, {rate} Mbit/s in {took} s, {pace:?}", found.len());
        match found.len() == 1500 {
            // A rate with room to wait loses nothing.
            false => Verdict::late(pace.dropped > 0, why),
            true if (rate - 1.0).abs() < 0.05 => Verdict::Right,
            true => Verdict::late(rate < 1.0 && pace.worst / 1000.0 > took * 0.02, why),
        }
    });
}

#[test]
fn targets_are_hit_and_only_they_whatever_their_type_of_service() {
    let link = Link::new("aim");
    link.far.run("ip address add 10.77.0.3/24 dev eth0");
    // Each on its own address: an answer from another one would not be taken for an answer.
    let addresses = ["10.77.0.2", "10.77.0.3", "[fd77::2]"].into_iter();
    let places = addresses.flat_map(|address| [5001, 5002, 8005].map(|port| format!("{address}:{port}")));
    let _echoes: Vec<_> = places.map(|place| Echo::new(&link.far, &place)).collect();
    let base = added(&link, 0.0, 5001);
    let fault = "delay_ms: 300, duration_seconds: 600, targets: [\
        {cidr: 10.77.0.2, port: 5001, protocol: udp}, {ports: \"8000-8100\"}], exempt: [{cidr: 10.77.0.3}]";
    let agent = Agent::start(&link.near, fault);
    agent.wait_active(&link.near);
    let hit = |to: &str, tos: i32| median(&marked_trips(&link.near, to, 3, PATIENCE, tos)) - base > 250.0;
    for (to, expected) in [
        ("10.77.0.2:5001", true),
        ("10.77.0.2:5002", false),
        ("10.77.0.3:5001", false),
        ("10.77.0.2:8005", true),
        ("10.77.0.3:8005", false),
        ("[fd77::2]:5001", false),
        ("[fd77::2]:5002", false),
        ("[fd77::2]:8005", true),
    ] {
        // Minimise delay, bulk, both and the old "interactive bulk": the default map of prio sends some of
        // these to its last band.
        for tos in [0, 0x08, 0x10, 0x02, 0x1e] {
            assert_eq!(hit(to, tos), expected, "{to} with type of service {tos:#x}\n{}", agent.log());
        }
    }
}

#[test]
fn the_exporter_answers_while_everything_else_is_cut_off_in_both_directions() {
    for direction in ["egress", "ingress", "both"] {
        let link = Link::new("cut");
        let _echo = Echo::new(&link.far, "0.0.0.0:5001");
        let before = state(&link.near);
        let mut agent = Agent::start(
            &link.near,
            &format!("partition: true, direction: {direction}, duration_seconds: 600"),
        );
        agent.wait_active(&link.near);
        // What is known of the neighbours must not be what keeps the exporter reachable.
        link.near.run("ip neigh flush all");
        link.far.run("ip neigh flush all");
        for address in [&link.near_address, &link.near_address6] {
            let at = SocketAddr::new(address.parse().unwrap(), PORT);
            let (text, took) = inside(&link.far, move || {
                let begin = Instant::now();
                (get_from(at, "/metrics"), begin.elapsed())
            })
            .join()
            .unwrap();
            println!("{direction}: scrape of {address} through the partition: {took:?}");
            assert!(took < Duration::from_secs(20), "{took:?}");
            assert!(text.unwrap().1.contains("chaos_injection_active{failure_type=\"network\"} 1"));
        }
        let answers = trips(&link.near, &format!("{}:5001", link.far_address), 3, Duration::from_millis(500));
        assert_eq!(answers, [None; 3], "{direction}: {}", agent.log());
        agent.signal(libc::SIGTERM);
        assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
        assert_eq!(state(&link.near), before, "{}", agent.log());
    }
}

#[test]
fn incoming_traffic_is_delayed_and_aimed_too() {
    let link = Link::new("ingress");
    let _echoes: Vec<_> = [5001, 5002].map(|port| Echo::new(&link.far, &format!("0.0.0.0:{port}"))).into();
    let base = added(&link, 0.0, 5001);
    let before = state(&link.near);
    for (direction, delay) in [("ingress", 200.0), ("both", 400.0)] {
        let fault = format!(
            "delay_ms: 200, direction: {direction}, duration_seconds: 600, targets: [{{port: 5001}}]"
        );
        let mut agent = Agent::start(&link.near, &fault);
        agent.wait_active(&link.near);
        let (hit, control) = (added(&link, base, 5001), added(&link, base, 5002));
        println!("{direction}: {hit:.2} ms on the target, {control:.2} ms on another port");
        assert!(
            (hit - delay).abs() < 50.0 && control.abs() < 50.0,
            "{direction}: {hit} {control}\n{}",
            agent.log()
        );
        agent.signal(libc::SIGTERM);
        assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
        assert_eq!(state(&link.near), before, "{}", agent.log());
    }
}

#[test]
fn interfaces_are_found_by_glob_and_by_the_default_route_and_host_names_by_the_hosts_file() {
    let link = Link::new("names");
    link.near.run("ip route add default via 10.77.0.2");
    for interface in ["interface: auto", "interfaces: [\"et*\"]"] {
        let fault = format!("{interface}, duration_seconds: 600, targets: [{{host: localhost}}]");
        let agent = Agent::start(&link.near, &fault);
        agent.wait_active(&link.near);
        agent.wait_log("localhost is [127.0.0.1");
        let shown = qdiscs_of(&link.near, "eth0");
        let is = |key: &str, value: &str| shown.iter().any(|qdisc| qdisc[key] == value);
        assert!(is("kind", "netem") && is("handle", "ca05:"), "{shown:?}");
        drop(agent);
        wait_for(LIMIT, "the guard", || (!state(&link.near).contains("netem")).then_some(()));
    }
}

/// Keeps the kernel from loading modules until dropped.
pub struct NoModules(String);

impl NoModules {
    pub fn new() -> NoModules {
        let loader = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
        std::fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
        NoModules(loader)
    }
}

impl Drop for NoModules {
    fn drop(&mut self) {
        let _ = std::fs::write("/proc/sys/kernel/modprobe", &self.0);
    }
}

#[test]
fn a_kernel_that_cannot_filter_gets_the_plain_fault_or_a_clear_refusal_but_never_a_wider_one() {
    let link = Link::new("poor");
    run("modprobe sch_netem");
    let _ = std::process::Command::new("rmmod").arg("sch_prio").status();
    let _without = NoModules::new();
    let before = state(&link.near);
    let plain = Agent::start(&link.near, "delay_ms: 20, duration_seconds: 600");
    plain.wait_active(&link.near);
    let shown = tc(&link.near, "-j qdisc show dev eth0");
    drop(plain);
    wait_for(LIMIT, "the guard", || (state(&link.near) == before).then_some(()));
    let aimed = Agent::start(&link.near, "delay_ms: 20, duration_seconds: 600, targets: [{port: 5001}]");
    let said = aimed.wait_log("failed");
    assert!(shown.contains("netem") && !shown.contains("prio"), "{shown}");
    assert!(said.contains("sch_prio") && said.contains("modprobe"), "{said}");
    assert_eq!(state(&link.near), before);
}
