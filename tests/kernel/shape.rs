//! How delays spread, over thousands of datagrams timed one way: both ends share the machine's clock, so each
//! carries the time at which it left.

use crate::support::{Link, wait_for};
use crate::wire::*;
use crate::witness::{Pace, Verdict, Witness, settle};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a datagram of 200 bytes of data is on the wire: with UDP, IPv4 and Ethernet headers.
const ON_WIRE: f64 = 242.0;

/// Times of flight in milliseconds of `count` datagrams sent `gap` apart, in the order of arrival, and the time
/// from the first arrival to the last.
fn flights(link: &Link, count: u32, gap: Duration) -> (Vec<f64>, Duration) {
    std::fs::write("/proc/sys/net/core/rmem_default", "16777216").unwrap();
    let address = format!("{}:7001", link.far_address);
    let (start, ready) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let (bound, place) = (Arc::clone(&ready), address.clone());
    let sink = inside(&link.far, move || {
        let socket = UdpSocket::bind(place).unwrap();
        bound.store(true, Ordering::Release);
        // A machine that stands still for a while loses nothing.
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (mut found, mut arrivals) = (Vec::new(), Vec::new());
        let mut bytes = [0; 512];
        while found.len() < count as usize && socket.recv(&mut bytes).is_ok() {
            let now = start.elapsed();
            let sent = Duration::from_nanos(u64::from_ne_bytes(bytes[..8].try_into().unwrap()));
            found.push((now - sent).as_secs_f64() * 1000.0);
            arrivals.push(now);
        }
        let took = arrivals.first().map_or(Duration::ZERO, |first| *arrivals.last().unwrap() - *first);
        (found, took)
    });
    wait_for(LIMIT, "the sink to be bound", || ready.load(Ordering::Acquire).then_some(()));
    let source = inside(&link.near, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(address).unwrap();
        let begin = Instant::now();
        for number in 0..count {
            while let Some(left) = (gap * number).checked_sub(begin.elapsed()).filter(|left| !left.is_zero())
            {
                std::thread::park_timeout(left);
            }
            let mut bytes = [0; 200];
            bytes[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_ne_bytes());
            let _ = socket.send(&bytes);
        }
    });
    source.join().unwrap();
    sink.join().unwrap()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Kolmogorov's and Smirnov's distance between what was found and the values that stand for the expected
/// distribution, both in order.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let share =
        |values: &[f64], at: f64| values.partition_point(|value| *value <= at) as f64 / values.len() as f64;
    found.iter().map(|at| (share(found, *at) - share(expected, *at)).abs()).fold(0.0, f64::max)
}

/// iproute2's own table of a distribution: thousands of a standard deviation from the mean, 8192 each.
fn table(name: &str) -> Vec<f64> {
    let path = ["/usr/lib/x86_64-linux-gnu/tc", "/usr/lib/tc", "/lib/tc", "/usr/share/tc"]
        .map(|folder| format!("{folder}/{name}.dist"));
    let text = path.iter().find_map(|path| std::fs::read_to_string(path).ok()).expect("iproute2's tables");
    let numbers = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    sorted(numbers.map(|number| number.parse::<f64>().unwrap() / 8192.0).collect())
}

#[test]
fn two_thousand_delays_have_the_mean_and_the_distribution_that_was_asked_for() {
    const COUNT: u32 = 2000;
    let link = Link::new("shape");
    // A quick one: what is late without a fault is the machine's.
    let base = sorted(flights(&link, COUNT, Duration::from_millis(2)).0)[COUNT as usize / 10];
    for (delay, jitter, kind) in [
        (10.0, 0.0, "uniform"),
        (100.0, 0.0, "uniform"),
        (1000.0, 0.0, "uniform"),
        (200.0, 50.0, "uniform"),
        (200.0, 50.0, "normal"),
        (200.0, 50.0, "pareto"),
        (200.0, 50.0, "paretonormal"),
    ] {
        let spread = match jitter {
            0.0 => String::new(),
            _ => format!("jitter_ms: {jitter}, distribution: {kind}, "),
        };
        let fault = format!("delay_ms: {delay}, {spread}duration_seconds: 600");
        let mut agent = Agent::start(&link.near, &fault);
        agent.wait_active(&link.near);
        let expected: Vec<f64> = match (jitter, kind) {
            (0.0, _) => vec![0.0],
            (_, "uniform") => (0..4096).map(|step| f64::from(step) / 2048.0 - 1.0).collect(),
            (_, name) => table(name),
        };
        let expected: Vec<f64> = expected.into_iter().map(|one| delay + jitter * one).collect();
        settle(&fault, || {
            let witness = Witness::start();
            let (found, _) = flights(&link, COUNT, Duration::from_millis(2));
            let pace = witness.pace();
            if found.len() < COUNT as usize {
                let why = format!("a delay loses nothing, but {} came: {}", found.len(), agent.log());
                return Verdict::late(pace.dropped > 0, why);
            }
            judge(kind, &sorted(found.into_iter().map(|flight| flight - base).collect()), &expected, pace)
        });
        agent.signal(libc::SIGTERM);
        assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
    }
}

/// Whether delays (in order) are as expected: the median within 1 ms or 2 % where there is one value only, else the
/// distribution, by Kolmogorov and Smirnov. Only what is later than asked can be the machine's fault.
fn judge(kind: &str, found: &[f64], expected: &[f64], pace: Pace) -> Verdict {
    let (average, asked) = (mean(found), mean(expected));
    if expected.len() == 1 {
        let median = found[found.len() / 2];
        println!("delay of {asked} ms: mean {average:.3}, median {median:.3}");
        // A processor that is emulated beside other work is late now and then, by much: that moves the mean, not
        // the median.
        let bound = f64::max(1.0, asked * 0.02);
        let early = median < asked - bound || average < asked - bound;
        let why = format!("asked {asked} ms, mean {average}, median {median}, {pace:?}");
        return match median < asked + bound && average < asked + 10.0 * bound {
            _ if early => Verdict::Wrong(why),
            true => Verdict::Right,
            false => Verdict::late(pace.usual > bound || pace.worst > 20.0 * bound, why),
        };
    }
    let far = distance(found, expected);
    println!("{kind}: mean {average:.2} (of the table {asked:.2}), distance {far:.4}");
    // P(D > d) < 2 exp(-2 n d²): 1e-6 at 0.06 for 2000; the rest is for the emulated timer.
    let why = format!("{kind}: mean {average}, of the table {asked}, distance {far}, {pace:?}");
    match far < 0.1 {
        true => Verdict::Right,
        false => Verdict::late(average > asked && (pace.usual > 2.0 || pace.worst > 100.0), why),
    }
}

#[test]
fn a_rate_is_kept_within_five_percent_over_thousands_of_datagrams() {
    const COUNT: u32 = 2001;
    let link = Link::new("pace");
    let mut agent = Agent::start(&link.near, "rate: 1mbit, limit: 10000, duration_seconds: 600");
    agent.wait_active(&link.near);
    settle("rate of 1 Mbit/s", || {
        let witness = Witness::start();
        let (found, took) = flights(&link, COUNT, Duration::ZERO);
        let (pace, took) = (witness.pace(), took.as_secs_f64());
        let rate = f64::from(COUNT - 1) * ON_WIRE * 8.0 / took / 1e6;
        println!("rate asked 1 Mbit/s, found {rate:.4} over {took} s");
        let why = format!("{} of {COUNT} came, {rate} Mbit/s in {took} s, {pace:?}", found.len());
        match found.len() == COUNT as usize {
            // A rate with room to wait loses nothing.
            false => Verdict::late(pace.dropped > 0, why),
            true if (rate - 1.0).abs() < 0.05 => Verdict::Right,
            // The first may have been taken late, which makes the rest look quick.
            true => Verdict::late(pace.worst / 1000.0 > took * 0.02, why),
        }
    });
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
}
