//! What a config leaves to the moment of the injection: interfaces by glob, addresses by host name, the default
//! gateway, the node.

use super::rule::{Peer, Rule};
use super::settings::{Exempt, Spec};
use crate::cancel::Cancel;
use crate::client;
use crate::error::{Context, Error, Result};
use crate::failures::Host;
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::link::{self, Link};
use crate::revert::undo::IFB;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
pub fn interfaces(spec: &Spec, host: &Host, netlink: &Netlink) -> Result<Vec<Link>> {
    let all = link::links(netlink).map_err(std::io::Error::from).doing("list", "interfaces")?;
    let mut found: Vec<Link> = Vec::new();
    for name in &spec.interfaces {
        let name = match name.as_str() {
            "auto" => default_route(host).ok_or_else(|| {
                Error::refused(
                    "there is no default route, so no interface is the automatic one; set interface",
                )
            })?,
            name => name.to_owned(),
        };
        let exact = all.iter().any(|link| link.name == name);
        let matches = |link: &&Link| match exact {
            true => link.name == name,
            false => {
                glob(name.as_bytes(), link.name.as_bytes())
                    && !link.is_loopback()
                    && !link.name.starts_with(IFB)
            }
        };
        let before = found.len();
        for link in all.iter().filter(matches) {
            if !found.iter().any(|known| known.index == link.index) {
                found.push(link.clone());
            }
        }
        if found.len() == before && !all.iter().any(|link| matches(&link)) {
            let there: Vec<_> = all.iter().map(|link| link.name.as_str()).collect();
            let there = there.join(", ");
            return Err(Error::refused(format!(
                "there is no interface {name}; interfaces here: {there}; set failures.*.interface"
            )));
        }
    }
    Ok(found)
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

/// The rows of a routing table in /proc/net, as words.
fn routes(host: &Host, file: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(host.proc.join("net").join(file)).unwrap_or_default();
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn is_zero(hex: &str) -> bool {
    hex.bytes().all(|digit| digit == b'0')
}

/// Default routes of /proc/net/route (Iface Destination Gateway Flags RefCnt Use Metric Mask ...) and
/// /proc/net/ipv6_route (destination, length, source, length, next hop, metric, references, use, flags, device):
/// metric, interface, gateway. Both files hold addresses in hexadecimal, IPv4 in host order.
fn defaults(host: &Host) -> Vec<(u32, String, IpAddr)> {
    let mut found = Vec::new();
    for row in routes(host, "route") {
        let [name, to, gateway, _, _, _, metric, mask, ..] = row.as_slice() else { continue };
        if let (true, true, Ok(gateway), Ok(metric)) =
            (is_zero(to), is_zero(mask), u32::from_str_radix(gateway, 16), metric.parse())
        {
            found.push((metric, name.clone(), Ipv4Addr::from(gateway.to_ne_bytes()).into()));
        }
    }
    for row in routes(host, "ipv6_route") {
        let [to, length, _, _, gateway, metric, _, _, _, name] = row.as_slice() else { continue };
        let metric = u32::from_str_radix(metric, 16);
        if let (true, "00", Ok(gateway), Ok(metric)) =
            (is_zero(to) && name != "lo", length.as_str(), u128::from_str_radix(gateway, 16), metric)
        {
            found.push((metric, name.clone(), Ipv6Addr::from(gateway).into()));
        }
    }
    found
}

/// The interface of the best default route, IPv4 before IPv6.
fn default_route(host: &Host) -> Option<String> {
    let best = defaults(host).into_iter().min_by_key(|(metric, _, gateway)| (gateway.is_ipv6(), *metric));
    best.map(|(_, name, _)| name)
}

/// The exempts by name, as rules.
///
/// # Errors
/// The node's address is asked for and not known.
pub fn exempts(spec: &Spec, host: &Host) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    let address = |address: IpAddr| Rule {
        peer: Some(Peer::Net(address, if address.is_ipv4() { 32 } else { 128 })),
        ..Rule::default()
    };
    for exempt in &spec.exempt_defaults {
        match exempt {
            Exempt::Metrics => rules.extend(host.metrics_port.map(|port| Rule {
                ports: vec![(port, port)],
                protocol: Some(super::rule::Protocol::Tcp),
                near: true,
                ..Rule::default()
            })),
            Exempt::Dns => rules.push(Rule { ports: vec![(53, 53)], ..Rule::default() }),
            Exempt::Gateway => {
                let gateways = defaults(host).into_iter().map(|(_, _, gateway)| gateway);
                rules.extend(gateways.filter(|gateway| !gateway.is_unspecified()).map(address));
            }
            Exempt::Node => {
                let node = std::env::var(NODE).ok().and_then(|text| text.parse().ok());
                rules.push(address(node.ok_or_else(|| {
                    Error::refused(format!(
                        "exempt_defaults names the node, but the environment variable {NODE} holds no address; set it \
                         from the field status.hostIP"
                    ))
                })?));
            }
        }
    }
    Ok(rules)
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
    fn the_default_route_is_the_one_of_least_metric() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path().to_owned();
        std::fs::create_dir(proc.join("net")).unwrap();
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth1\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t100\t000000FF\t0\t0\t0\n";
        std::fs::write(proc.join("net/route"), table).unwrap();
        let six = format!("{0} 00 {0} 00 fe80{1}1 00000400 1 0 3 eth0\n", "0".repeat(32), "0".repeat(27));
        std::fs::write(proc.join("net/ipv6_route"), six).unwrap();
        let host = Host { proc, ..Host::default() };
        assert_eq!(default_route(&host).as_deref(), Some("eth0"));
        let gateways: Vec<_> = defaults(&host).iter().map(|(_, _, gateway)| gateway.to_string()).collect();
        assert_eq!(gateways, ["192.168.1.1", "10.0.0.1", "fe80::1"]);
    }
}
