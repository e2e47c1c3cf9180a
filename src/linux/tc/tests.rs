//! The messages compared with those of iproute2's own tc (fixtures.txt, captured by tests/tools/tc-fixtures.sh).

use super::message::{HEADER, attributes, code, find, u32_at};
use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The message for a whole command line, with index 2 for ifb0 as where the fixtures were captured.
fn ours(line: &str) -> Vec<u8> {
    // This machine may have no ifb0: asked for lo, and the index (the last word of `tc_mirred`, or tcm_ifindex)
    // is set by hand.
    let words = words(&line.replace("ifb0", "lo"));
    let (verb, rest) = (keyword(&words[1], &["delete"]), Words(&words[2..]));
    let message = if words[0] == "qdisc" { qdisc::change(verb, rest) } else { filter::change(verb, rest) };
    let mut bytes = message.unwrap_or_else(|stop| panic!("{line}: {}", stop.text)).bytes().to_vec();
    bytes[8..12].fill(0);
    // TCA_MIRRED_PARMS: attribute number 2, 32 bytes long.
    let mirred = bytes.windows(4).position(|four| four == [32, 0, 2, 0]).map(|at| at + 28);
    if line.contains("ifb0") {
        bytes[mirred.unwrap_or(HEADER + 4)] = 2;
    }
    bytes
}

/// Words, message, and what tc shows for it (empty where that was not captured).
fn fixtures() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let lines = include_str!("fixtures.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(3, " =>");
            let mut part = || parts.next().unwrap().trim_start();
            (part(), unhex(part()), part())
        })
        .collect()
}

/// Without the times in nanoseconds that tc 6.1 does not send: the lengths are those of what is left.
fn without_times(message: &[u8]) -> Vec<u8> {
    let Some(options) = find(&message[HEADER + 20..], code::TCA_OPTIONS) else { return message.to_vec() };
    let mut short = options[..24].to_vec();
    for (kind, payload) in attributes(&options[24..]).filter(|(kind, _)| ![10, 11].contains(kind)) {
        let nested = if kind == 5 { code::NESTED } else { 0 };
        short.extend((payload.len() as u16 + 4).to_ne_bytes());
        short.extend((kind | nested).to_ne_bytes());
        short.extend(payload);
    }
    let front = message.len() - options.len();
    let mut whole = message[..front].to_vec();
    whole[front - 4..front - 2].copy_from_slice(&(short.len() as u16 + 4).to_ne_bytes());
    whole.extend(short);
    let length = whole.len() as u32;
    whole[..4].copy_from_slice(&length.to_ne_bytes());
    whole
}

#[test]
fn messages_are_those_of_iproute2() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 100);
    let mut wrong = Vec::new();
    for (line, theirs, _) in &fixtures {
        let mut ours = ours(line);
        assert_eq!(u32_at(&ours, 0) as usize, ours.len(), "{line}");
        if line.contains("latency 250") {
            assert_ne!(ours, *theirs, "250us are no whole ticks");
            ours = without_times(&ours);
        }
        if ours != *theirs {
            let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
            wrong.push(format!("{line}: lengths {} {}, first at {at:?}", ours.len(), theirs.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
}

#[test]
fn what_is_shown_is_what_iproute2_shows() {
    let mut compared = 0;
    for (line, message, shown) in fixtures().iter().filter(|(.., shown)| !shown.is_empty()) {
        let mut out = Printer::default();
        let body = &message[HEADER..];
        match line.starts_with("qdisc") {
            true => Qdisc::read(body).unwrap().print(&mut out, true),
            false => Filter::read(body).unwrap().print(&mut out, &filter::Place::default()),
        }
        let ours = out.finish().replace('\n', "\\");
        assert_eq!(ours.trim_end(), shown.trim_end(), "{line}");
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn options_read_back_as_they_were_asked() {
    for (line, message, _) in fixtures() {
        let (Some(at), true) = (line.find(" netem"), line.starts_with("qdisc")) else { continue };
        let all = words(&line[at + 6..]);
        let mut asked = netem::Netem::parse(&mut Words(&all)).unwrap();
        // What netem.write sends, with nanoseconds; the kernel does not tell the tables.
        let Some(qdisc) = Qdisc::read(&ours(line)[HEADER..]) else { panic!("{line}") };
        (asked.distribution, asked.slot_distribution) = (None, None);
        let Options::Netem(told) = qdisc.options else { panic!("{line}") };
        if asked.loss == netem::Loss::Random(netem::Chance::default()) {
            asked.loss = netem::Loss::None;
        }
        assert_eq!(*told, asked, "{line}");
        assert!(!message.is_empty());
    }
}

#[test]
fn json_has_iproute2s_names() {
    let all = "limit 500 delay 20ms 5ms 10% loss 1% 5% duplicate 0.1% corrupt 0.1% 1% reorder 5% 50% gap 3 \
               rate 10mbit 20 48 5 slot 1ms 2ms packets 3 bytes 1k ecn";
    let mut message =
        Message::tc(code::RTM_NEWQDISC, 0, Tcm { ifindex: 1, handle: 0x10000, ..Tcm::default() });
    message.string(code::TCA_KIND, "netem");
    netem::Netem::parse(&mut Words(&words(all))).unwrap().write(&mut message, false);
    let mut out = Printer::new(true, false);
    Qdisc::read(&message.bytes()[HEADER..]).unwrap().print(&mut out, false);
    assert_eq!(
        out.finish(),
        "{\"kind\":\"netem\",\"handle\":\"1:\",\"refcnt\":0,\"options\":{\"limit\":500,\
         \"delay\":{\"delay\":0.02,\"jitter\":0.005,\"correlation\":0.1},\
         \"loss-random\":{\"loss\":0.01,\"correlation\":0.05},\
         \"duplicate\":{\"duplicate\":0.001,\"correlation\":0},\
         \"reorder\":{\"reorder\":0.05,\"correlation\":0.5},\
         \"corrupt\":{\"corrupt\":0.001,\"correlation\":0.01},\
         \"rate\":{\"rate\":1250000,\"packetoverhead\":20,\"cellsize\":48,\"celloverhead\":5},\
         \"slot\":{\"min-delay\":0.001,\"max-delay\":0.002,\"packets\":3,\"bytes\":1024},\
         \"ecn\":true,\"gap\":3}}\n"
    );
}

#[test]
fn combinations_that_mean_nothing_are_refused() {
    let table = [
        (
            "qdisc add dev lo root netem reorder 5%",
            1,
            "reordering not possible without specifying some delay",
        ),
        ("qdisc add dev lo root netem gap 5", 1, "gap specified without reorder probability"),
        ("qdisc add dev lo root netem ecn", 1, "ecn requested without loss model"),
        (
            "qdisc add dev lo root netem delay 1ms distribution normal",
            1,
            "distribution specified but no latency",
        ),
        ("qdisc add dev lo root netem loss 1% loss 2%", 1, "duplicate loss"),
        ("qdisc add dev lo root netem slot 5ms 1ms", 1, "slot max_delay"),
        ("qdisc add dev lo root netem loss 101%", 1, "\"101%\" is wrong"),
        ("qdisc add dev lo root netem rate", 255, "not complete"),
        ("qdisc add dev lo root prio bands 2 priomap 2", 1, "out of bands"),
        ("qdisc add dev lo root tbf rate 1mbit limit 10k", 1, "burst"),
        ("qdisc add dev lo root parent 1: netem", 255, "duplicate parent"),
        ("qdisc add dev lo root pfifo 7", 1, "unknown parameter"),
        ("qdisc add dev lo ingress what", 1, "unparsable"),
        ("qdisc add dev no-such-device root netem", 1, "Cannot find device"),
        ("qdisc add dev lo handle 10000: root netem", 255, "invalid \"handle\""),
        ("filter add dev lo u32 match ip dst 10.0.0.1 match ip dst 10.0.0.2 flowid 1:1", 1, "contradicts"),
        ("filter add dev lo u32 match ip dport 65536 0xffff flowid 1:1", 1, "value"),
        ("filter add dev lo u32 match ip dst 10.0.0.0/33 flowid 1:1", 1, "match ip"),
        ("filter add dev lo u32 match ip dst fd00::1 flowid 1:1", 1, "match ip"),
        ("filter add dev lo u32 match ip6 dst 10.0.0.1 flowid 1:1", 1, "match ip6"),
        ("filter add dev lo u32 match u32 0 0 at 2 flowid 1:1", 1, "at"),
        ("filter add dev lo u32 match u32 0 0 action mirred egress redirect", 1, "device is missing"),
        ("filter add dev lo flower dst_ip 10.0.0.1", 1, "Unknown filter"),
        ("filter add dev lo protocol nosuch u32", 255, "protocol"),
        ("chain show", 255, "Object \"chain\" is unknown"),
        ("qdisc watch", 255, "Command \"watch\" is unknown"),
        ("-x qdisc", 255, "Option \"-x\" is unknown"),
    ];
    for (line, code, why) in table {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&words(line), &mut out, &mut err), code, "{line}");
        let err = String::from_utf8(err).unwrap();
        assert!(err.contains(why) && err.ends_with('\n'), "{line}: {err}");
        assert!(out.is_empty(), "{line}");
    }
}

/// Bytes that the kernel would never send must neither panic nor lead outside.
#[test]
fn hostile_replies_are_read_without_harm() {
    let mut random = fastrand::Rng::with_seed(5);
    for (_, message, _) in fixtures().iter().filter(|(_, message, _)| message.len() < 500) {
        for _ in 0..300 {
            let mut bytes = message.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(HEADER..bytes.len());
                bytes[at] = if random.bool() { random.u8(..) } else { random.u8(0..40) };
            }
            bytes.truncate(random.usize(HEADER..=bytes.len()));
            let mut out = Printer::new(random.bool(), true);
            if let Some(qdisc) = Qdisc::read(&bytes[HEADER..]) {
                qdisc.print(&mut out, true);
            }
            if let Some(filter) = Filter::read(&bytes[HEADER..]) {
                filter.print(&mut out, &filter::Place::default());
            }
            let _ = link::Link::read(&bytes[HEADER..]);
        }
    }
}
