//! Which traffic: rules of the config, their addresses, and the u32 matches that they make.

use crate::client;
use crate::settings::Section;
use std::net::IpAddr;

/// The protocols that a rule can name: IANA numbers, ICMP by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 1, or 58 for IPv6.
    Icmp,
}

/// An address range, or a name to be resolved at each injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Address and prefix length.
    Net(IpAddr, u8),
    /// A host name.
    Host(String),
}

/// One target or exempt. What it leaves open matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whose address.
    pub peer: Option<Peer>,
    /// First and last port of each range.
    pub ports: Vec<(u16, u16)>,
    /// Which protocol; with ports and none: TCP and UDP.
    pub protocol: Option<Protocol>,
    /// Whether address and ports are those of this pod's end of the connection, not the other's.
    pub near: bool,
}

/// Reads `{cidr|host, port|ports, protocol, side}`.
pub fn rule(section: &mut Section<'_>) -> Option<Rule> {
    let peer = peer(section);
    let ports = ports(section);
    let protocol = match section.choice("protocol") {
        Some("tcp") => Some(Protocol::Tcp),
        Some("udp") => Some(Protocol::Udp),
        Some(_) => Some(Protocol::Icmp),
        None => None,
    };
    let near = section.choice("side") == Some("source");
    if protocol == Some(Protocol::Icmp) && !ports.is_empty() {
        section.problem("protocol", "icmp has no ports", "remove the ports, or use tcp or udp");
    }
    if !["cidr", "host", "port", "ports", "protocol"].iter().any(|key| section.has(key)) {
        section.problem("", "matches everything", "give at least one of cidr, host, port, ports, protocol");
    }
    Some(Rule { peer, ports, protocol, near })
}

fn peer(section: &mut Section<'_>) -> Option<Peer> {
    if section.has("cidr") && section.has("host") {
        section.problem("host", "stands beside cidr", "one of the two; write two rules for both");
    }
    if let Some(text) = section.text("cidr") {
        return match cidr(&text) {
            Ok((address, prefix)) => Some(Peer::Net(address, prefix)),
            Err((why, hint)) => {
                section.problem("cidr", why, hint);
                None
            }
        };
    }
    let host = section.text("host")?;
    if let Ok((address, prefix)) = cidr(&host)
        && !host.contains('/')
    {
        return Some(Peer::Net(address, prefix));
    }
    if !client::is_name(&host) {
        section.problem("host", "is not a host name", "letters, digits, dots and dashes, or a whole address");
    }
    Some(Peer::Host(host))
}

/// Bits before the IPv4 address in an IPv4-mapped one (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

/// An address, alone or with a prefix length that fits its family. An IPv4-mapped one (`::ffff:10.0.0.1`) is the IPv4
/// address: packets never carry the other form.
///
/// # Errors
/// What is wrong with it and what is right: the last, for example, a range of which only a part is IPv4-mapped.
pub fn cidr(text: &str) -> Result<(IpAddr, u8), (&'static str, &'static str)> {
    const HINT: &str = "an IPv4 or IPv6 address with a prefix length, such as 10.0.0.0/8, or without one";
    let none = ("is not an address range", HINT);
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| none)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    // `parse` alone would take a plus sign.
    let digits = |prefix: &str| -> Option<u8> {
        prefix.bytes().all(|byte| byte.is_ascii_digit()).then(|| prefix.parse().ok())?
    };
    let prefix = prefix.map_or(Some(most), digits).ok_or(none)?;
    let plain = address.to_canonical();
    match (plain == address, prefix.checked_sub(MAPPED)) {
        _ if prefix > most => Err(none),
        (true, _) => Ok((plain, prefix)),
        (false, Some(prefix)) => Ok((plain, prefix)),
        (false, None) => Err((
            "is an IPv4-mapped address with a prefix below 96, which is neither a range of IPv4 nor one of IPv6",
            "write the IPv4 range, such as 10.0.0.0/8; 0.0.0.0/0 is all of IPv4",
        )),
    }
}

fn ports(section: &mut Section<'_>) -> Vec<(u16, u16)> {
    if section.has("port") && section.has("ports") {
        section.problem("ports", "stands beside port", "use one of the two");
    }
    let mut found = Vec::new();
    for key in ["port", "ports"] {
        for text in section.strings(key).unwrap_or_default() {
            match range(&text) {
                Some(range) => found.push(range),
                None => section.problem(
                    key,
                    "is not a port or a range of ports",
                    "1 to 65535, such as 5432 or \"8000-8100\"",
                ),
            }
        }
    }
    found
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1 <= first && first <= last).then_some((first, last))
}

/// A rule whose addresses are known: one family, one set of matches each.
impl Rule {
    /// The words of the u32 selectors that together match this rule in one family, for packets that travel
    /// out (`outward`) or in. `nets` are the addresses of the peer in this family; `None` if any will do.
    pub fn selectors(&self, ipv6: bool, outward: bool, nets: Option<&[(IpAddr, u8)]>) -> Vec<String> {
        let ip = if ipv6 { "ip6" } else { "ip" };
        // Their end is where outgoing packets go and where incoming ones come from.
        let (address, port) = if outward != self.near { ("dst", "dport") } else { ("src", "sport") };
        let addresses: Vec<String> = match nets {
            None => vec![String::new()],
            Some(nets) => {
                nets.iter().map(|(net, prefix)| format!(" match {ip} {address} {net}/{prefix}")).collect()
            }
        };
        let mut found = Vec::new();
        for protocol in self.numbers(ipv6) {
            let protocol =
                protocol.map_or_else(String::new, |number| format!(" match {ip} protocol {number} 0xff"));
            for address in &addresses {
                if self.ports.is_empty() {
                    found.push(format!("{address}{protocol}"));
                }
                for (value, mask) in self.ports.iter().flat_map(|(first, last)| masks(*first, *last)) {
                    // A later fragment has no ports: what stands in their place is data.
                    let first = if ipv6 { "" } else { " match u16 0x0000 0x1fff at 6" };
                    found.push(format!("{address}{protocol}{first} match {ip} {port} {value} {mask:#06x}"));
                }
            }
        }
        found.iter().map(|words| words.trim_start().to_owned()).collect()
    }

    fn numbers(&self, ipv6: bool) -> Vec<Option<u8>> {
        match self.protocol {
            Some(Protocol::Tcp) => vec![Some(6)],
            Some(Protocol::Udp) => vec![Some(17)],
            Some(Protocol::Icmp) => vec![Some(if ipv6 { 58 } else { 1 })],
            None if self.ports.is_empty() => vec![None],
            None => vec![Some(6), Some(17)],
        }
    }
}

/// The aligned blocks that make up a range of ports, as value and mask: at most 30, as for any range of 16 bits.
fn masks(first: u16, last: u16) -> Vec<(u16, u16)> {
    let mut found = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        let mut size = 1;
        while at % (size * 2) == 0 && at + size * 2 <= end {
            size *= 2;
        }
        found.push((at as u16, !(size - 1) as u16));
        at += size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_masks_cover_the_range_and_nothing_else() {
        for (first, last) in [(5432, 5432), (8000, 8100), (1, 65535), (1024, 2047), (65535, 65535), (3, 4)] {
            let blocks = masks(first, last);
            for port in 0..=u16::MAX {
                let hits = blocks.iter().filter(|(value, mask)| port & mask == *value).count();
                assert_eq!(hits, usize::from((first..=last).contains(&port)), "{first}-{last}: {port}");
            }
            assert!(blocks.len() <= 30);
        }
    }

    #[test]
    fn a_rule_looks_at_the_other_end_in_both_directions_unless_told_otherwise() {
        let net = Some(&[("10.0.0.0".parse().unwrap(), 8)][..]);
        let mut rule = Rule { ports: vec![(5432, 5432)], protocol: Some(Protocol::Tcp), ..Rule::default() };
        let words = |rule: &Rule, outward| rule.selectors(false, outward, net).join(";");
        let rest = "match ip protocol 6 0xff match u16 0x0000 0x1fff at 6";
        assert_eq!(words(&rule, true), format!("match ip dst 10.0.0.0/8 {rest} match ip dport 5432 0xffff"));
        assert_eq!(words(&rule, false), format!("match ip src 10.0.0.0/8 {rest} match ip sport 5432 0xffff"));
        rule.near = true;
        assert_eq!(words(&rule, true), format!("match ip src 10.0.0.0/8 {rest} match ip sport 5432 0xffff"));
    }

    #[test]
    fn ports_without_a_protocol_are_tcp_and_udp_and_icmp_differs_by_family() {
        let ports = Rule { ports: vec![(53, 53)], ..Rule::default() };
        assert_eq!(
            ports.selectors(true, true, None),
            [6, 17].map(|number| format!("match ip6 protocol {number} 0xff match ip6 dport 53 0xffff"))
        );
        let icmp = Rule { protocol: Some(Protocol::Icmp), ..Rule::default() };
        assert_eq!(icmp.selectors(false, true, None), ["match ip protocol 1 0xff"]);
        assert_eq!(icmp.selectors(true, true, None), ["match ip6 protocol 58 0xff"]);
    }

    #[test]
    fn address_ranges_are_read_in_both_families() {
        for (text, address, prefix) in [
            ("10.1.2.3", "10.1.2.3", 32),
            ("fd00::/8", "fd00::", 8),
            ("::/0", "::", 0),
            // An IPv4-mapped address is the IPv4 address, in each of its forms.
            ("::ffff:10.0.0.1", "10.0.0.1", 32),
            ("::FFFF:a00:1", "10.0.0.1", 32),
            ("0:0:0:0:0:ffff:10.0.0.0/104", "10.0.0.0", 8),
            ("::ffff:10.0.0.1/128", "10.0.0.1", 32),
            ("::ffff:0:0/96", "0.0.0.0", 0),
            // These are not: IPv4-compatible, and translated (RFC 6052), which packets do carry.
            ("::10.0.0.1", "::10.0.0.1", 128),
            ("64:ff9b::10.0.0.1", "64:ff9b::10.0.0.1", 128),
        ] {
            assert_eq!(cidr(text), Ok((address.parse().unwrap(), prefix)), "{text:?}");
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "host",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::ffff:10.0.0.1/129",
        ] {
            assert_eq!(cidr(wrong).unwrap_err().0, "is not an address range", "{wrong:?}");
        }
        for wide in ["::ffff:0:0/90", "::ffff:10.0.0.1/95", "::ffff:10.0.0.1/0"] {
            assert!(cidr(wide).unwrap_err().0.contains("prefix below 96"), "{wide}");
        }
        assert_eq!(
            (range("8000-8100"), range("0"), range("9-8"), range("70000")),
            (Some((8000, 8100)), None, None, None)
        );
    }
}
