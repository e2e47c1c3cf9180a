//! The built-in tc: its words, and what is sent and read back.

use chaos_agent::linux::tc::message::{HEADER, Message, Tcm, code};
use chaos_agent::linux::tc::netem::{Chance, Loss, Netem};
use chaos_agent::linux::tc::words::{self, Words};
use chaos_agent::linux::tc::{self, Options, Qdisc};
use proptest::prelude::*;

const KEYS: [&str; 24] = [
    "limit",
    "delay",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    "gap",
    "rate",
    "slot",
    "distribution",
    "normal",
    "ecn",
    "random",
    "state",
    "gemodel",
    "packets",
    "bytes",
    "10ms",
    "5%",
    "1mbit",
    "7",
    "-3",
    "1e309",
    "0.5",
];

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn no_words_make_it_panic(
        text in any::<String>(), number in "[-+]?([0-9]{0,3}|[0-9]{22})(\\.[0-9]{0,5})?(e[0-9]{1,4})?",
        unit in "(|%|s|ms|us|ns|%|b|k|kb|mbit|gibps|kBps|x)", options in proptest::collection::vec(prop::sample::select(&KEYS[..]), 0..10),
    ) {
        for text in [text, format!("{number}{unit}")] {
            _ = (words::time(&text), words::time64(&text), words::size(&text), words::rate(&text));
            _ = (words::percent(&text), words::unsigned(&text), words::handle(&text), words::classid(&text));
            prop_assert!(words::fraction(&text).is_none_or(|share| (0.0..=1.0).contains(&share)), "{}", text);
        }
        let options: Vec<String> = options.into_iter().map(str::to_owned).collect();
        _ = Netem::parse(&mut Words(&options));
        // Words that end before the kernel is asked for anything: there is no such interface.
        let line = ["qdisc", "add", "dev", "no-such-device", "root", "netem"].map(str::to_owned);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        prop_assert_ne!(tc::run(&[&line[..], &options].concat(), &mut out, &mut err), 0);
        prop_assert!(out.is_empty() && err.ends_with(b"\n"));
    }
}

/// Options of netem that go together, in words.
fn options() -> impl Strategy<Value = Vec<String>> {
    let percent = || (0..=100_000u32).prop_map(|share| format!("{}%", f64::from(share) / 1000.0));
    let time = || {
        (1..=3_600_000_000u32, prop::sample::select(&["us", "ms", "s"][..])).prop_map(|(time, unit)| {
            match unit {
                "us" => format!("{time}us"),
                "ms" => format!("{}ms", time / 1000 + 1),
                _ => format!("{}s", time / 1_000_000 + 1),
            }
        })
    };
    let delay =
        (time(), prop::option::of((time(), prop::option::of(percent())))).prop_map(|(delay, jitter)| {
            match jitter {
                None => format!("delay {delay}"),
                Some((jitter, None)) => format!("delay {delay} {jitter}"),
                Some((jitter, Some(correlation))) => format!("delay {delay} {jitter} {correlation}"),
            }
        });
    let loss = prop_oneof![
        (percent(), percent()).prop_map(|(loss, correlation)| format!("loss {loss} {correlation}")),
        prop::collection::vec(percent(), 1..=5).prop_map(|model| format!("loss state {}", model.join(" "))),
        prop::collection::vec(percent(), 1..=4).prop_map(|model| format!("loss gemodel {}", model.join(" "))),
    ];
    let one = |key: &'static str| {
        (percent(), percent()).prop_map(move |(share, correlation)| format!("{key} {share} {correlation}"))
    };
    let rate = (1..u64::from(u32::MAX) * 8, -100..100i32, 0..100u32, -100..100i32)
        .prop_map(|(rate, packet, cell, overhead)| format!("rate {rate}bit {packet} {cell} {overhead}"));
    let slot = (time(), 0..1000u32, 0..100_000u32)
        .prop_map(|(time, packets, bytes)| format!("slot {time} packets {packets} bytes {bytes}"));
    let limit = (1..=u32::MAX).prop_map(|limit| format!("limit {limit}"));
    let all = (
        (prop::option::of(limit), delay, prop::option::of(loss), prop::option::of(one("duplicate"))),
        (
            prop::option::of(one("corrupt")),
            prop::option::of(one("reorder")),
            prop::option::of(rate),
            prop::option::of(slot),
        ),
    );
    all.prop_map(|((limit, delay, loss, duplicate), (corrupt, reorder, rate, slot))| {
        let parts = [limit, Some(delay), loss, duplicate, corrupt, reorder, rate, slot];
        parts
            .into_iter()
            .flatten()
            .flat_map(|part| part.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect()
    })
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// Through the bytes of the message and back.
    #[test]
    fn what_is_asked_reads_back_from_the_message(options in options()) {
        let asked = Netem::parse(&mut Words(&options));
        let Ok(mut asked) = asked else { return Err(TestCaseError::fail(format!("refused: {}", options.join(" ")))) };
        let mut message = Message::tc(code::RTM_NEWQDISC, 0, Tcm { ifindex: 1, handle: 0x10000, ..Tcm::default() });
        message.string(code::TCA_KIND, "netem");
        asked.write(&mut message, false);
        let qdisc = Qdisc::read(&message.bytes()[HEADER..]).unwrap();
        let Options::Netem(told) = qdisc.options else { return Err(TestCaseError::fail("no netem")) };
        // Nothing lost is no loss.
        if asked.loss == Loss::Random(Chance::default()) {
            asked.loss = Loss::None;
        }
        prop_assert_eq!(*told, asked, "{}", options.join(" "));
    }
}
