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

fn fixtures() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("fixtures.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(" => ").unwrap()).map(|(words, hex)| (words, unhex(hex))).collect()
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
    for (line, theirs) in &fixtures {
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
