//! The keys of a network entry, checked: what cannot work or would mean nothing is a problem of the config,
//! not a surprise at three in the morning.

use super::rule::{Rule, rule};
use super::words::{glued, netem_options};
use crate::linux::tc::netem::Netem;
use crate::linux::tc::words::Words;
use crate::settings::Section;

/// Which way the packets travel that the fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the pod sends.
    Egress,
    /// What the pod receives.
    Ingress,
    /// Both ways.
    Both,
}

/// Traffic that a config exempts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// The agent's own exporter.
    Metrics,
    /// Port 53, UDP and TCP.
    Dns,
    /// The routers of all default routes.
    Gateway,
    /// The node's addresses, from the environment variable `NODE_IP`.
    Node,
    /// Whoever may send the kubelet's probes: node, gateways, and the neighbours by link-local addresses.
    Probes,
}

/// The words of [`Exempt`] in the config.
const EXEMPTS: [(&str, Exempt); 5] = [
    ("metrics", Exempt::Metrics),
    ("dns", Exempt::Dns),
    ("gateway", Exempt::Gateway),
    ("node", Exempt::Node),
    ("probes", Exempt::Probes),
];
/// Packets a second that netem must be able to hold back without dropping: 1.2 Gbit/s of full-sized ones.
const PACKETS_PER_SECOND: f64 = 100_000.0;
/// netem's own default limit (net/sched/sch_netem.c), kept as the floor.
const FLOOR: f64 = 1000.0;
/// Bytes of the smallest packet that counts when the limit is derived from a rate.
const SMALLEST: f64 = 64.0;
/// Longest name of an interface: `IFNAMSIZ` less the NUL (linux/if.h).
const MAX_NAME: usize = 15;

/// A network entry.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Names, globs or `auto`.
    pub interfaces: Vec<String>,
    /// The words of netem's options; empty for a partition.
    pub netem: Vec<String>,
    /// What the words do, for people.
    pub effect: String,
    /// Everything that matches is dropped.
    pub partition: bool,
    /// Which way.
    pub direction: Direction,
    /// What is met; empty: everything.
    pub targets: Vec<Rule>,
    /// What is never met.
    pub exempt: Vec<Rule>,
    /// The same by name.
    pub exempt_defaults: Vec<Exempt>,
    /// Whether targets or exempts stand in the config, so that a fault without them would be wider than asked.
    pub aimed: bool,
    /// Which `tc`: auto, builtin or system.
    pub tc: &'static str,
}

/// Reads and checks an entry.
pub fn read(section: &mut Section<'_>) -> Option<Spec> {
    let interfaces = interfaces(section);
    let partition = section.boolean("partition");
    let options = netem_options(section, partition);
    let effect = options.effect(partition);
    let mut netem = options.words;
    if partition {
        netem = glued("loss 100%");
    }
    let packets = PACKETS_PER_SECOND.min(options.rate.map_or(f64::INFINITY, |rate| rate / SMALLEST));
    let derived = (FLOOR + options.held_ms / 1000.0 * packets).ceil() as u64;
    let limit = section.integer_or("limit", derived);
    netem.splice(0..0, ["limit".to_owned(), limit.to_string()]);
    if let Err(stop) = Netem::parse(&mut Words(&netem)) {
        section.problem("", &format!("makes netem options that mean nothing: {}", stop.text), "change them");
    }
    let direction = match section.choice("direction") {
        Some("ingress") => Direction::Ingress,
        Some("both") => Direction::Both,
        _ => Direction::Egress,
    };
    let aimed = section.has("targets") || section.has("exempt") || section.has("exempt_defaults");
    let targets = section.each("targets", "targets", rule).unwrap_or_default();
    let exempt = section.each("exempt", "targets", rule).unwrap_or_default();
    let exempt_defaults = exempts(section);
    let tc = section.choice("tc").unwrap_or_default();
    Some(Spec {
        interfaces,
        netem,
        effect,
        partition,
        direction,
        targets,
        exempt,
        exempt_defaults,
        aimed,
        tc,
    })
}

fn interfaces(section: &mut Section<'_>) -> Vec<String> {
    let key = if section.has("interfaces") { "interfaces" } else { "interface" };
    if section.has("interfaces") && section.has("interface") {
        section.problem("interface", "stands beside interfaces", "use one of the two");
    }
    let names = if key == "interfaces" {
        section.strings(key).unwrap_or_default()
    } else {
        section.text(key).into_iter().collect()
    };
    for name in &names {
        if !is_pattern(name) {
            let why = format!("{name:?} is not the name of an interface");
            section.problem(
                key,
                &why,
                "1 to 15 letters, digits and the signs . _ : -, globs with * and ?, or auto",
            );
        }
    }
    if names.is_empty() && section.has(key) {
        section.problem(key, "names no interface", "a name, a glob such as eth* or auto");
    }
    names
}

/// Letters, digits, dot, underscore, colon and dash, as the predecessor had it, and the two signs of globs; the
/// kernel (dev_valid_name in net/core/dev.c) takes more, but nothing else is ever meant.
fn is_pattern(name: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-*?".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(sign) && !matches!(name, "." | "..")
}

fn exempts(section: &mut Section<'_>) -> Vec<Exempt> {
    let key = "exempt_defaults";
    let words = section.strings(key).unwrap_or_default();
    let mut found = Vec::new();
    for word in words {
        match EXEMPTS.iter().find(|(name, _)| *name == word) {
            Some((_, exempt)) if !found.contains(exempt) => found.push(*exempt),
            Some(_) => {}
            None => {
                section.problem(
                    key,
                    &format!("{word:?} is not known"),
                    "allowed: metrics, dns, gateway, node, probes; [] is none",
                );
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_that_tc_and_the_kernel_take() {
        for good in [
            "eth0",
            "enp3s0f1",
            "br-lan",
            "eth0.100",
            "wlan_0",
            "eth0:1",
            "a",
            "abcdefghijklmno",
            "eth*",
            "auto",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", ".", "..", "abcdefghijklmnop", "eth 0", "eth0;reboot", "../eth0", "eth0\n", "ä"] {
            assert!(!is_pattern(bad), "{bad:?}");
        }
    }
}
