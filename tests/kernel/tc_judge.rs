//! The built-in tc judged by iproute2's: both carry out the same words, each on an interface of its own, and
//! iproute2 must show the same for both; and the built-in one must show for either what iproute2 shows.

use chaos_agent::linux::sys::netlink::{Netlink, index_of};
use chaos_agent::linux::tc::{self, Options, link};

use crate::support::{Namespace, agent_path, run};

/// What stands after `qdisc add dev DEV root handle 1:`.
const QDISCS: [&str; 74] = [
    "netem",
    "netem limit 7",
    "netem limit 5k",
    "netem delay 10ms",
    "netem delay 100ms limit 20000",
    "netem delay 1s",
    "netem delay 250us",
    "netem delay 100us",
    "netem delay 7",
    "netem delay 1.5ms",
    "netem delay 30sec",
    "netem latency 20msecs",
    "netem delay 100ms 10ms",
    "netem delay 100ms 33us",
    "netem delay 100ms 10ms 25%",
    "netem delay 100ms 10ms 99.9",
    "netem delay 0 5ms",
    "netem delay 100ms 10ms distribution normal",
    "netem delay 100ms 10ms distribution pareto",
    "netem delay 100ms 20ms 50% distribution paretonormal",
    "netem distribution normal delay 5ms 1ms loss 1%",
    "netem loss 1%",
    "netem loss 0.001%",
    "netem loss 33.3333%",
    "netem loss 100%",
    "netem loss 10% 25%",
    "netem drop random 2 50",
    "netem loss random 0.3% ecn",
    "netem loss state 10%",
    "netem loss state 10% 70%",
    "netem loss state 10% 70% 1%",
    "netem loss state 10% 70% 1% 99%",
    "netem loss state 10% 70% 1% 99% 0.5%",
    "netem loss state 5% ecn",
    "netem loss gemodel 1%",
    "netem loss gemodel 1% 10%",
    "netem loss gemodel 1% 10% 70%",
    "netem loss gemodel 1% 10% 70% 0.1%",
    "netem duplicate 1%",
    "netem duplicate 5% 50%",
    "netem duplicate 5% 50% loss 1% 10%",
    "netem corrupt 0.1%",
    "netem corrupt 3% 30%",
    "netem delay 10ms reorder 25%",
    "netem delay 10ms reorder 25% 50%",
    "netem delay 10ms reorder 95% gap 5",
    "netem gap 2 reorder 100% delay 1ms",
    "netem rate 1mbit",
    "netem rate 256kbit 20",
    "netem rate 1MBps -10 48",
    "netem rate 10gbit 20 48 5",
    "netem rate 100gbit 1 53 -2",
    "netem rate 999bit",
    "netem slot 10ms",
    "netem slot 800us 1ms",
    "netem slot 1ms 5ms packets 8 bytes 64k",
    "netem slot distribution normal 2ms 1ms packets 3",
    "netem delay 20ms 5ms 10% loss 1% 5% duplicate 0.1% corrupt 0.1% 1% reorder 5% 2% gap 3 rate 10mbit limit 500",
    "prio",
    "prio bands 2 priomap 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1",
    "prio bands 4 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    "prio bands 16 priomap 15 14 13",
    "pfifo",
    "pfifo limit 33",
    "bfifo limit 10k",
    "bfifo limit 1514b",
    "tbf rate 1mbit burst 5k latency 50ms",
    "tbf rate 256kbit burst 1540 limit 10000",
    "tbf rate 10mbit buffer 100kb/8 limit 1m mpu 64 overhead 4",
    "tbf rate 1mbit burst 5k latency 50ms peakrate 2mbit mtu 1540",
    "tbf rate 40gbit burst 1m latency 1ms",
    "tbf rate 1mbit burst 5k latency 50ms linklayer atm overhead 10",
    "tbf rate 1kbit burst 2k limit 3k",
    "tbf rate 1gibit burst 64kb latency 1s",
];

/// What stands after `filter add dev DEV parent 1:`.
const FILTERS: [&str; 24] = [
    "protocol ip prio 1 u32 match ip dst 10.0.0.0/8 flowid 1:1",
    "protocol ip prio 1 u32 match ip src 10.1.2.3 flowid 1:2",
    "protocol ip pref 2 u32 match ip dst 10.1.2.3/32 match ip dport 5432 0xffff match ip protocol 6 0xff flowid 1:3",
    "protocol ip prio 2 u32 match ip sport 8000 0xfff0 match ip protocol 17 0xff flowid 1:3",
    "protocol ip prio 3 u32 match ip sport 8000 0xffff match ip dport 80 0xffff classid 1:1",
    "protocol ip prio 3 u32 match u32 0 0 flowid 1:1",
    "protocol all prio 9 u32 match u32 0x0a000001 0xffffff00 at 16 flowid 1:1",
    "protocol ip prio 4 u32 match u16 0x1234 0xffff at 2 match u8 0x10 0xf0 at 1 flowid 1:1",
    "protocol ip prio 4 u32 match ip tos 0x10 0xff match ip ihl 5 0xf flowid 1:1",
    "protocol ip prio 4 u32 match ip icmp_type 8 0xff match ip protocol 1 0xff flowid 1:1",
    "protocol ip prio 5 u32 match tcp dst 5432 0xffff match udp src 53 0xffff flowid 1:1",
    "protocol ip prio 5 u32 match u16 0x16 0xffff at nexthdr+2 flowid 1:1",
    "protocol ip prio 5 u32 match ip dst 0.0.0.0/0 flowid 1:1",
    "protocol ip prio 5 u32 match ip df match ip nofrag flowid 1:1",
    "protocol ipv6 prio 6 u32 match ip6 dst fd00::/8 flowid 1:1",
    "protocol ipv6 prio 6 u32 match ip6 src 2001:db8::1 match ip6 dport 443 0xffff match ip6 protocol 6 0xff flowid 1:1",
    "protocol ipv6 prio 6 u32 match ip6 dst 2001:db8:1:2::/61 match ip6 sport 1 0xffff flowid 1:1",
    "protocol ipv6 prio 6 u32 match ip6 dst ::/0 flowid 1:1",
    "protocol ip prio 7 u32 match ip dst 10.9.9.9/32 action drop",
    "protocol ip prio 7 u32 match ip dst 10.9.9.8/32 action pass",
    "protocol all prio 8 u32 match u32 0 0 action mirred egress redirect dev i0",
    "protocol all prio 8 u32 match u32 0 0 action mirred egress mirror dev i0",
    "protocol ip prio 8 u32 match u32 0 0 flowid 1:2 action mirred egress redirect dev i0",
    "protocol ip prio 1 handle 800::17 u32 match ip dst 10.0.0.0/8 flowid 1:1",
];

/// Runs a script inside: `ours` is the built-in tc, `tc` iproute2's. One process for many command lines, because a
/// process costs much more in a virtual machine than what is judged here.
fn script(space: &Namespace, text: &str) -> String {
    let ours = format!("ours() {{ {} tc \"$@\"; }}\n", agent_path().display());
    let output = space.command("sh").args(["-c", &(ours + text)]).output().unwrap();
    assert!(output.status.success(), "{text}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace with an ifb `i0` and pairs of equal interfaces without traffic, `a0` and `b0`, `a1` and `b1`, ...
fn pairs(name: &str, count: usize) -> Namespace {
    let space = Namespace::new(name);
    let links =
        (0..count).flat_map(|pair| ["a", "b"].map(|side| format!("link add {side}{pair} type dummy\n")));
    script(&space, &format!("ip -batch - <<.\nlink add i0 type ifb\n{}.\n", links.collect::<String>()));
    space
}

/// With the first of a pair named like the second, and without what every action has of its own: number, times.
fn comparable(json: &str) -> String {
    let text = json.replace("\"dev\":\"a", "\"dev\":\"b");
    without_numbers(&text, &["\"index\":", "\"installed\":", "\"last_used\":"])
}

/// Without the digits that follow these keys.
fn without_numbers(text: &str, keys: &[&str]) -> String {
    keys.iter().fold(text.to_owned(), |text, key| {
        let mut parts = text.split(key);
        let first = parts.next().unwrap_or("").to_owned();
        parts.fold(first, |all, part| all + key + part.trim_start_matches(|it: char| it.is_ascii_digit()))
    })
}

/// Fails with every line that two outputs do not share.
fn same(what: &str, words: &[&str], one: &str, other: &str) {
    let different = words.iter().zip(one.lines().zip(other.lines())).filter(|(_, (one, other))| one != other);
    let different: Vec<_> =
        different.map(|(words, (one, other))| format!("{words}:\n  {one}\n  {other}")).collect();
    assert!(different.is_empty(), "{what}: {} differ:\n{}", different.len(), different.join("\n"));
    assert_eq!((one.lines().count(), other.lines().count()), (words.len(), words.len()), "{what}");
}

/// Sets `object add dev aN ...` with the built-in tc and `bN` with iproute2's, and compares.
fn judge(space: &Namespace, place: &str, words: &[&str], show: &str) {
    let (mut set, mut list_a, mut list_b, mut ours) =
        (String::new(), String::new(), String::new(), String::new());
    let mut batch = String::new();
    for (pair, words) in words.iter().enumerate() {
        set += &format!(
            "ours {} {words} || echo 'refused: {words}'\n",
            place.replace("DEV", &format!("a{pair}"))
        );
        batch += &format!("{} {words}\n", place.replace("DEV", &format!("b{pair}")));
        list_a += &format!("{show} dev a{pair}\n");
        list_b += &format!("{show} dev b{pair}\n");
        ours += &format!("ours -s -j {show} dev b{pair}\n");
    }
    assert_eq!(script(space, &set), "");
    script(space, &format!("tc -batch - <<.\n{batch}.\n"));
    let theirs = |list: &str, form: &str| script(space, &format!("tc {form} -batch - <<.\n{list}.\n"));
    let set_by_them = theirs(&list_b, "-j");
    same("set by us, set by them", words, &comparable(&theirs(&list_a, "-j")), &comparable(&set_by_them));
    same(
        "shown by us, shown by them",
        words,
        &comparable(&script(space, &ours)),
        &comparable(&theirs(&list_b, "-s -j")),
    );
    assert!(set_by_them.lines().all(|line| line.len() > 40), "{set_by_them}");
}

#[test]
fn qdiscs_are_set_and_shown_as_by_iproute2() {
    let space = pairs("judge-qdisc", QDISCS.len());
    judge(&space, "qdisc add dev DEV root handle 1:", &QDISCS, "qdisc show");
    for form in ["", "-s", "-j", "-s -j"] {
        let (ours, theirs) = (
            script(&space, &format!("ours {form} qdisc show")),
            script(&space, &format!("tc {form} qdisc show")),
        );
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len(), "tc {form} qdisc show");
    }
}

#[test]
fn filters_are_set_and_shown_as_by_iproute2() {
    let space = pairs("judge-filter", FILTERS.len());
    let root = (0..FILTERS.len())
        .flat_map(|pair| ["a", "b"].map(|side| format!("qdisc add dev {side}{pair} root handle 1: prio\n")));
    script(&space, &format!("tc -batch - <<.\n{}.\n", root.collect::<String>()));
    judge(&space, "filter add dev DEV parent 1:", &FILTERS, "filter show");
    // A list in a batch of its own: iproute2 keeps the parent of the one before.
    for show in ["filter show dev", "filter show parent 1: dev", "class show dev"] {
        let lists =
            |tc: &str| (0..FILTERS.len()).map(|pair| format!("{tc} {show} b{pair}\n")).collect::<String>();
        let theirs = script(&space, &format!("tc -batch - <<.\n{}.\n", lists("")));
        assert_eq!(script(&space, &lists("ours")), theirs, "{show}");
    }
}

#[test]
fn changes_in_place_and_ingress_as_by_iproute2() {
    let space = pairs("judge-change", 1);
    let steps = [
        "qdisc replace dev DEV root handle 1: netem delay 10ms",
        "qdisc change dev DEV root handle 1: netem delay 20ms 1ms loss 5%",
        "qdisc replace dev DEV root handle 1: netem rate 1mbit",
        "qdisc replace dev DEV root handle 2: netem rate 2mbit",
        "qdisc del dev DEV root handle 2:",
        "qdisc replace dev DEV root handle 1: prio bands 4 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "qdisc add dev DEV parent 1:4 handle 4: netem delay 5ms",
        "filter add dev DEV parent 1: protocol ip prio 1 u32 match ip dport 80 0xffff flowid 1:4",
        "filter change dev DEV parent 1: protocol ip prio 1 handle 800::800 u32 match ip dport 80 0xffff flowid 1:3",
        "filter add dev DEV parent 1: protocol ip prio 2 u32 match ip dport 80 0xffff flowid 1:4",
        "filter del dev DEV parent 1: prio 1",
        "qdisc add dev DEV clsact",
        "filter add dev DEV ingress protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev i0",
        "filter add dev DEV egress protocol ip prio 1 u32 match ip dst 10.0.0.1 action drop",
        "filter del dev DEV egress",
        "qdisc del dev DEV clsact",
        "qdisc add dev DEV handle ffff: ingress",
        "filter add dev DEV parent ffff: protocol ip prio 1 u32 match ip src 10.0.0.1 action drop",
        "qdisc del dev DEV ingress",
        "qdisc del dev DEV parent 1:4 handle 4:",
        "qdisc del dev DEV root",
    ];
    let lists =
        ["qdisc show dev DEV", "filter show dev DEV", "filter show dev DEV ingress", "class show dev DEV"];
    let mut all = String::new();
    for step in steps {
        all += &format!("ours {} && tc {} || exit\n", step.replace("DEV", "a0"), step.replace("DEV", "b0"));
        for dev in ["a0", "b0"] {
            let lists: String = lists.iter().map(|list| list.replace("DEV", dev) + "\n").collect();
            all += &format!("tc -j -batch - <<.\n{lists}.\necho '#'\n");
        }
        for list in &lists[..3] {
            all += &format!("ours -j {}\n", list.replace("DEV", "b0"));
        }
        all += "echo '#'\n";
    }
    // The kernel numbers hash tables on, also for a request that it began twice to load a module.
    let output = without_numbers(&comparable(&script(&space, &all)), &["\"fh\":\"", "\"key_ht\":\""]);
    let blocks: Vec<&str> = output.split("#\n").collect();
    assert_eq!(blocks.len(), 3 * steps.len() + 1);
    for (step, blocks) in steps.iter().zip(blocks.chunks(3)) {
        assert_eq!(blocks[0], blocks[1], "set by us, set by them after {step}");
        assert!(blocks[1].starts_with(blocks[2]), "{step}:\n{}{}", blocks[1], blocks[2]);
    }
    assert!(output.contains("\"delay\":0.01") && output.contains("\"gact\""), "{output}");
}

#[test]
fn refusals_have_iproute2s_codes_and_the_kernels_words() {
    let space = pairs("judge-refusal", 1);
    script(&space, "tc qdisc add dev a0 root handle 5: prio");
    let lines = [
        "qdisc add dev a0 root handle 7: netem",
        "qdisc add dev b0 root nosuch",
        "qdisc del dev a0 root handle 6:",
        "qdisc del dev b0 root",
        "qdisc del dev b0 ingress",
        "qdisc change dev b0 root netem delay 1ms",
        "qdisc add dev b0 parent 9:1 netem",
        "qdisc add dev a0 parent 5:9 netem",
        "filter add dev b0 parent 1: protocol ip u32 match ip dport 1 0xffff flowid 1:1",
        "filter del dev a0 parent 5: prio 3",
        "qdisc add dev nosuch root netem",
        "qdisc add dev b0 root netem delay forever",
        "qdisc add dev b0 root netem reorder 5%",
        "qdisc add dev b0 root netem what",
        "qdisc add dev b0 root netem delay",
        "qdisc add dev b0 handle x: root netem",
        "qdisc what",
        "what",
    ];
    let run = |program: &str| {
        let all = lines.iter().map(|line| format!("{program} {line} 2>&1; echo \"code $?\"\n"));
        script(&space, &all.collect::<String>())
    };
    let (ours, theirs) = (run("ours"), run("tc"));
    let all = format!("{ours}{theirs}");
    let answers = |text: &str| -> Vec<(String, String)> {
        let parts = text.split_inclusive("code ").zip(text.split("code ").skip(1));
        let code = |part: &str| part.lines().next().unwrap_or("").to_owned();
        // What is said first counts, and only where it is the kernel who says it.
        let first = |part: &str| {
            part.lines().find(|line| !line.chars().all(|it| it.is_ascii_digit())).map(str::to_owned)
        };
        parts.map(|(before, after)| (code(after), first(before).unwrap_or_default())).collect()
    };
    let (ours, theirs) = (answers(&ours), answers(&theirs));
    assert_eq!((ours.len(), theirs.len()), (lines.len(), lines.len()));
    for (line, (ours, theirs)) in lines.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours.0, theirs.0, "{line}: {} {}: {all}", ours.1, theirs.1);
        assert!(theirs.0 != "0" && (theirs.0 != "2" || ours.1 == theirs.1), "{line}: {ours:?} {theirs:?}");
    }
}

#[test]
fn the_emergency_undo_takes_only_its_own() {
    run("ip link add judge0 type dummy");
    let socket = Netlink::open().unwrap();
    let index = index_of("judge0").unwrap();
    run("tc qdisc add dev judge0 root handle ca06: netem delay 1ms");
    assert!(!tc::delete_root(&socket, index, 0xca05_0000).unwrap(), "another handle");
    assert!(!tc::delete_root(&socket, index, 0).unwrap(), "handle 0 is nobody's");
    let qdiscs = tc::qdiscs(&socket, Some(index)).unwrap();
    let [qdisc] = &qdiscs[..] else { panic!("{qdiscs:?}") };
    let Options::Netem(netem) = &qdisc.options else { panic!("{qdisc:?}") };
    assert_eq!((netem.latency, qdisc.handle), (1_000_000, 0xca06_0000));
    assert!(tc::delete_root(&socket, index, 0xca06_0000).unwrap());
    assert!(!tc::delete_root(&socket, index, 0xca06_0000).unwrap(), "deleted already");
    run("tc qdisc add dev judge0 clsact");
    assert!(!tc::delete_ingress(&socket, index, "ingress").unwrap(), "it is clsact");
    assert!(tc::delete_ingress(&socket, index, "clsact").unwrap());
    run("ip link del judge0");
    assert!(!tc::delete_root(&socket, index, 0xca06_0000).unwrap(), "the interface is gone");
    assert!(!tc::delete_ingress(&socket, index, "ingress").unwrap(), "the interface is gone");
}

#[test]
fn filters_are_deleted_by_preference_and_ifbs_made_and_deleted() {
    let socket = Netlink::open().unwrap();
    assert!(!link::delete_link(&socket, "judge1").unwrap(), "there is none yet");
    link::create_ifb(&socket, "judge1").unwrap();
    assert!(link::create_ifb(&socket, "judge1").unwrap_err().is(17), "EEXIST");
    let found = link::link(&socket, "judge1").unwrap().unwrap();
    assert!(found.is_up() && !found.is_loopback() && found.kind == "ifb", "{found:?}");
    assert!(link::links(&socket).unwrap().contains(&found));
    run("tc qdisc add dev judge1 root handle 1: prio");
    for preference in [3, 4] {
        run(&format!(
            "tc filter add dev judge1 parent 1: protocol ip prio {preference} u32 match u32 0 0 flowid 1:1"
        ));
    }
    assert!(tc::delete_filters(&socket, found.index, 0x10000, 3).unwrap());
    assert!(!tc::delete_filters(&socket, found.index, 0x10000, 3).unwrap(), "deleted already");
    assert!(!tc::delete_filters(&socket, found.index, 0x10000, 0).unwrap(), "0 is not all");
    let left = tc::filters(&socket, found.index, 0x10000).unwrap();
    assert!(left.iter().any(|filter| filter.options.as_ref().is_some_and(|it| it.classid == Some(0x10001))));
    assert!(left.iter().all(|filter| filter.preference == 4), "{left:?}");
    assert!(link::delete_link(&socket, "judge1").unwrap());
    assert_eq!(link::link(&socket, "judge1").unwrap(), None);
}
