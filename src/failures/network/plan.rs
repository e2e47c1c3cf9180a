//! From an entry to the steps that set it up on one interface, in an order in which no packet ever meets more
//! than was asked for: the way around the fault stands before the fault.
//!
//! ```text
//! untargeted, nothing exempt      root ca05: netem
//! otherwise                       root ca05: prio ── ca05:1 pfifo ca06:   what does not match, and exempts
//!                                                 └─ ca05:3 netem ca07:   what matches
//! ingress                         ingress qdisc ── redirect ── ifb with the tree above
//! ingress partition               ingress qdisc with filters that pass or drop
//! ```

use super::resolve::Known;
use super::settings::{Direction, Spec};
use super::words::glued;
use crate::linux::tc::link::Link;
use crate::revert::undo::{HANDLE, IFB, INGRESS_PREFERENCES, Undo};
use std::net::IpAddr;

/// What one undo takes back.
#[derive(Clone, Debug)]
pub struct Change {
    /// How.
    pub undo: Undo,
    /// An ifb device of this name to be created first, switched on.
    pub ifb: Option<String>,
    /// The words after `tc`, a line each, in this order.
    pub lines: Vec<Vec<String>>,
}

/// The rules of one injection, with their addresses.
pub struct Aim<'a> {
    /// What is met; empty: everything.
    pub targets: &'a [Known],
    /// What never is.
    pub exempts: &'a [Known],
}

/// Preferences of the filters, one a family because a preference holds one protocol: exempts first.
const ARP: u16 = *INGRESS_PREFERENCES.start();
const EXEMPT: [u16; 2] = [ARP + 1, ARP + 2];
const TARGET: [u16; 2] = [ARP + 3, ARP + 4];
/// Everything else.
const REST: u16 = ARP + 5;
const _: () = assert!(REST <= *INGRESS_PREFERENCES.end());

/// ICMPv6 neighbour and router discovery (RFC 4861): types 133, 134-135, 136-137.
const DISCOVERY: [&str; 3] = ["0x85 0xff", "0x86 0xfe", "0x88 0xfe"];

/// The name of the ifb device that takes the incoming packets of an interface.
pub fn ifb_name(index: i32) -> String {
    format!("{IFB}{index}")
}

/// The changes for one interface. `filtering` is whether the kernel has prio and u32; without them only a
/// fault that was not aimed can be set.
pub fn changes(spec: &Spec, aim: &Aim<'_>, link: &Link, filtering: bool) -> Vec<Change> {
    let mut found = Vec::new();
    if spec.direction != Direction::Ingress {
        let lines = tree(spec, aim, &link.name, true, filtering);
        let undo = Undo::RemoveRoot { ifindex: link.index, handle: HANDLE };
        found.push(Change { undo, ifb: None, lines });
    }
    if spec.direction != Direction::Egress {
        let mut entry = vec![tc(format!("qdisc add dev {} ingress", link.name))];
        if spec.partition {
            entry.extend(filters(
                aim,
                &format!("dev {} parent ffff:", link.name),
                false,
                "action pass",
                "action drop",
            ));
            if aim.targets.is_empty() {
                entry.push(everything(&link.name, "action drop"));
            }
        } else {
            let ifb = ifb_name(link.index);
            let lines = tree(spec, aim, &ifb, false, filtering);
            entry.push(everything(&link.name, &format!("action mirred egress redirect dev {ifb}")));
            found.push(Change { undo: Undo::RemoveIfb { of: link.index }, ifb: Some(ifb), lines });
        }
        found.push(Change { undo: Undo::RemoveIngress { ifindex: link.index }, ifb: None, lines: entry });
    }
    found
}

fn tc(line: String) -> Vec<String> {
    glued(&line)
}

/// The last filter on an ingress qdisc: all packets, all protocols.
fn everything(dev: &str, action: &str) -> Vec<String> {
    tc(format!("filter add dev {dev} parent ffff: protocol all pref {REST} u32 match u32 0 0 {action}"))
}

/// The qdiscs of a device through which the packets leave: the interface itself, or the ifb.
fn tree(spec: &Spec, aim: &Aim<'_>, dev: &str, outward: bool, filtering: bool) -> Vec<Vec<String>> {
    let root = HANDLE >> 16;
    let netem = spec.netem.join(" ");
    if !filtering || (aim.targets.is_empty() && aim.exempts.is_empty()) {
        return vec![tc(format!("qdisc add dev {dev} root handle {root:x}: netem {netem}"))];
    }
    // With targets, all priorities lead around the fault and filters lead into it, so that no type of service
    // gets in by accident; without, all lead into it.
    let band = if aim.targets.is_empty() { 2 } else { 0 };
    let map = [band.to_string().as_str(); 16].join(" ");
    let (plain, netem_at) = (root + 1, root + 2);
    let mut steps = vec![
        tc(format!("qdisc add dev {dev} root handle {root:x}: prio bands 3 priomap {map}")),
        // Its own, because the one that prio makes has the limit of the device, which may be 0.
        tc(format!("qdisc add dev {dev} parent {root:x}:1 handle {plain:x}: pfifo limit 1000")),
    ];
    let (around, into) = (format!("flowid {root:x}:1"), format!("flowid {root:x}:3"));
    steps.extend(filters(aim, &format!("dev {dev} parent {root:x}:"), outward, &around, &into));
    steps.push(tc(format!("qdisc add dev {dev} parent {root:x}:3 handle {netem_at:x}: netem {netem}")));
    steps
}

/// Exempts, then targets.
fn filters(aim: &Aim<'_>, place: &str, outward: bool, around: &str, into: &str) -> Vec<Vec<String>> {
    let mut steps = Vec::new();
    let mut add = |protocol: &str, preference: u16, selector: &str, verdict: &str| {
        steps.push(tc(format!(
            "filter add {place} protocol {protocol} pref {preference} u32 {selector} {verdict}"
        )));
    };
    let families = [(false, "ip"), (true, "ipv6")];
    if aim.targets.is_empty() && !aim.exempts.is_empty() {
        // Exempt traffic depends on knowing the neighbours, so a fault on everything leaves that out.
        add("arp", ARP, "match u32 0 0", around);
        for kind in DISCOVERY {
            let selector = format!("match ip6 protocol 58 0xff match u8 {kind} at 40");
            add("ipv6", EXEMPT[1], &selector, around);
        }
    }
    for (rules, preferences, verdict) in [(aim.exempts, EXEMPT, around), (aim.targets, TARGET, into)] {
        for ((ipv6, protocol), preference) in families.into_iter().zip(preferences) {
            for selector in rules.iter().flat_map(|known| selectors(known, ipv6, outward)) {
                add(protocol, preference, &selector, verdict);
            }
        }
    }
    steps
}

fn selectors(known: &Known, ipv6: bool, outward: bool) -> Vec<String> {
    let family =
        |nets: &Vec<(IpAddr, u8)>| nets.iter().filter(|(net, _)| net.is_ipv6() == ipv6).copied().collect();
    let nets: Option<Vec<_>> = known.nets.as_ref().map(family);
    known.rule.selectors(ipv6, outward, nets.as_deref())
}
