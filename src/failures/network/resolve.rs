//! What a config leaves to the moment of the injection: interfaces by glob, addresses by host name, the default
//! gateway, the node.

use super::rule::{Peer, Rule};
use super::settings::{Exempt, Spec};
use crate::cancel::Cancel;
use crate::client;
use crate::error::{Context, Error, Result};
use crate::failures::Host;
use crate::linux::route;
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::link::{self, Link};
use crate::revert::undo::IFB;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How long the names of one injection may take to resolve, each.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// The environment variable that holds the node's address: in a pod, the downward API's `status.hostIP`.
const NODE: &str = "NODE_IP";
/// A rule with its addresses.
#[derive(Clone, Debug)]
pub struct Known {
    /// The rule.
    pub rule: Rule,
    /// The addresses of its peer; `None` if any will do.
    pub nets: Option<Vec<(IpAddr, u8)>>,
}

/// The interfaces that an entry means now.
///
/// # Errors
/// A name that is not there, a glob that matches nothing, no default route; the sentence lists what is there.
pub fn interfaces(spec: &Spec, netlink: &Netlink) -> Result<Vec<Link>> {
    let all = link::links(netlink).map_err(std::io::Error::from).doing("list", "interfaces")?;
    let mut found: Vec<Link> = Vec::new();
    for name in &spec.interfaces {
        let meant = match name.as_str() {
            "auto" => default_links(&all, netlink)?,
            name => named(&all, name),
        };
        if meant.is_empty() {
            let there: Vec<_> = all.iter().map(|link| link.name.as_str()).collect();
            let there = there.join(", ");
            return Err(Error::refused(format!(
                "there is no interface {name}; interfaces here: {there}; set failures.*.interface"
            )));
        }
        for link in meant {
            if !is_plain(&link.name) {
                return Err(Error::refused(format!(
                    "the interface {:?} has a name that tc would read as something else; rename it or choose another \
                     interface",
                    link.name
                )));
            }
            if !found.iter().any(|known| known.index == link.index) {
                found.push(link.clone());
            }
        }
    }
    Ok(found)
}

/// Those of the default routes, by number: a name that the kernel tells is no pattern.
fn default_links<'a>(all: &'a [Link], netlink: &Netlink) -> Result<Vec<&'a Link>> {
    let hops = route::default_hops(netlink).map_err(std::io::Error::from).doing("list", "routes")?;
    let out = |link: &&Link| !link.is_loopback() && hops.iter().any(|hop| hop.index == link.index);
    let found: Vec<_> = all.iter().filter(out).collect();
    match found.is_empty() {
        true => Err(Error::refused(
            "there is no default route that leads out by an interface, so none is the automatic one; set \
             failures.*.interface",
        )),
        false => Ok(found),
    }
}

/// The one of this name; where there is none, those that it matches as a glob.
fn named<'a>(all: &'a [Link], name: &str) -> Vec<&'a Link> {
    if let Some(link) = all.iter().find(|link| link.name == name) {
        return vec![link];
    }
    let matches = |link: &&Link| {
        glob(name.as_bytes(), link.name.as_bytes()) && !link.is_loopback() && !link.name.starts_with(IFB)
    };
    all.iter().filter(matches).collect()
}

/// Whether every tc reads the name of an interface as one word and nothing else: the kernel (dev_valid_name in
/// net/core/dev.c) allows quotes, comments and wide blanks, and what the program found is never taken for more than a name.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"'\\".contains(&byte))
}

/// `*` and `?`, nothing else.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, name) || name.split_first().is_some_and(|(_, tail)| glob(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => glob(rest, tail),
        (Some((sign, rest)), Some((first, tail))) => sign == first && glob(rest, tail),
        _ => false,
    }
}

/// A rule for one range of addresses.
fn net(address: IpAddr, prefix: u8) -> Rule {
    Rule { peer: Some(Peer::Net(address, prefix)), ..Rule::default() }
}

/// A rule for one address.
fn single(address: IpAddr) -> Rule {
    net(address, if address.is_ipv4() { 32 } else { 128 })
}

/// The exempts by name, as rules.
///
/// # Errors
/// The node's address is asked for and not known, or the kernel does not tell its routes.
pub fn exempts(spec: &Spec, host: &Host, netlink: &Netlink) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    let wants = |exempt| spec.exempt_defaults.contains(&exempt);
    let (probes, io) = (wants(Exempt::Probes), std::io::Error::from);
    if wants(Exempt::Metrics) {
        rules.extend(host.metrics_port.map(|port| Rule {
            ports: vec![(port, port)],
            protocol: Some(super::rule::Protocol::Tcp),
            near: true,
            ..Rule::default()
        }));
    }
    if wants(Exempt::Dns) {
        rules.push(Rule { ports: vec![(53, 53)], ..Rule::default() });
    }
    if probes || wants(Exempt::Gateway) {
        let gateways = route::gateways(netlink).map_err(io).doing("list", "routes")?;
        rules.extend(gateways.into_iter().map(single));
    }
    if probes || wants(Exempt::Node) {
        node(if probes { "probes" } else { "node" }, &mut rules)?;
    }
    if probes {
        // Whoever is beside the pod on its link may have any address of IPv6 there, and one of IPv4 if it is known.
        rules.push(net(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10));
        let beside = route::link_local_neighbours(netlink).map_err(io).doing("list", "neighbours")?;
        rules.extend(beside.into_iter().map(single));
    }
    Ok(rules)
}

/// The node's addresses: one, or several with commas between, as `status.hostIPs` has them.
fn node(word: &str, rules: &mut Vec<Rule>) -> Result<()> {
    let text = std::env::var(NODE).unwrap_or_default();
    for one in text.split(',') {
        let Ok(address) = one.trim().parse::<IpAddr>() else {
            return Err(Error::refused(format!(
                "exempt_defaults has {word}, but the environment variable {NODE} holds no address; set it from the \
                 field status.hostIP"
            )));
        };
        rules.push(single(address.to_canonical()));
    }
    Ok(())
}

/// Gives every rule its addresses; names are asked of /etc/hosts and DNS now.
///
/// # Errors
/// A name that does not resolve in time.
pub fn addresses(rules: &[Rule], entry: &str, cancel: &Cancel) -> Result<Vec<Known>> {
    let mut known = Vec::new();
    for rule in rules {
        let nets = match &rule.peer {
            None => None,
            Some(Peer::Net(address, prefix)) => Some(vec![(*address, *prefix)]),
            Some(Peer::Host(name)) => {
                let found = client::lookup(name, NAME_LIMIT, cancel)?;
                log::info!("{entry}: {name} is {found:?}");
                Some(
                    found
                        .into_iter()
                        .map(|address| (address, if address.is_ipv4() { 32 } else { 128 }))
                        .collect(),
                )
            }
        };
        known.push(Known { rule: rule.clone(), nets });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        let all =
            [("eth*", "eth0", true), ("eth*", "eth", true), ("eth?", "eth", false), ("*0", "wlan0", true)];
        for (pattern, name, expected) in
            all.into_iter().chain([("e*h*1", "eth01", true), ("eth0", "eth01", false)])
        {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_that_tc_would_take_apart_is_not_plain() {
        for name in ["eth0", "br-lan", "eth0.100", "veth@if3", "a;b", "$(x)", "*"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["a#b", "a\"b", "it's", "a\\", "eth\u{2003}0", "eth\u{fffd}", "\u{e4}0"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
