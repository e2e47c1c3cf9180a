//! Default routes and neighbours, as the kernel tells over rtnetlink(7). What it tells is numbers: an interface is an
//! index and a gateway an address, and neither is ever read as a name or a pattern.
//! Layouts: linux/rtnetlink.h (`struct rtmsg`, `struct rtnexthop`), linux/fib_rules.h, linux/neighbour.h,
//! linux/nexthop.h.

use super::sys::netlink::{Netlink, Refusal, messages, u16_at, u32_at};
use super::tc::message::{Message, code, find};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;
/// Attributes of a route.
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
/// Attributes of a next hop that is an object of its own (linux/nexthop.h): the group is of eight bytes each, the first
/// four a number.
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// The type of a route that leads somewhere; unreachable, blackhole, prohibit, throw and local ones have others.
const RTN_UNICAST: u8 = 1;
/// A copy that an old kernel keeps of a route in use.
const RTM_F_CLONED: u32 = 0x200;
/// A next hop whose interface is down.
const RTNH_F_DEAD: u32 = 1;
/// The table that a kernel without policy routing has.
const MAIN: u32 = 254;
/// Attributes of a rule.
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
/// Attributes that choose a part of the traffic: dst, src, iif, tun_id, oif, l3mdev, uid range, protocol, ports.
const FRA_PARTS: [u16; 10] = [1, 2, 3, 12, 17, 19, 20, 22, 23, 24];
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FIB_RULE_INVERT: u32 = 2;
/// `NDA_DST`: the neighbour's address.
const NDA_DST: u16 = 1;

/// Where packets go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface by which they leave.
    pub index: i32,
    /// The router; of the other family where a route says so (`via inet6`). `None` on a link without one.
    pub gateway: Option<IpAddr>,
}

/// A default route that leads somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its table.
    pub table: u32,
    /// Smaller is better.
    pub metric: u32,
    /// One, or those among which the kernel shares the connections.
    pub hops: Vec<Hop>,
    /// The number of the object that has the next hops, where the kernel does not tell them with the route
    /// (`net.ipv4.nexthop_compat_mode` 0); else 0.
    object: u32,
}

/// Both families, IPv4 first: `AF_INET`, `AF_INET6`.
const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// The next hops that a packet to anywhere takes, of IPv4 and IPv6: for each family those of the
/// best default route of the first table with one, in the order of the rules that do not look at the packet.
///
/// # Errors
/// As [`Netlink::request`]; a family that the kernel has not is no error.
pub fn default_hops(socket: &Netlink) -> Result<Vec<Hop>, Refusal> {
    let mut found: Vec<Hop> = Vec::new();
    for family in FAMILIES {
        let routes = defaults(socket, family)?;
        for table in tables(socket, family)? {
            let of_table = || routes.iter().filter(|route| route.table == table);
            let Some(best) = of_table().map(|route| route.metric).min() else { continue };
            // A kernel before 4.15 tells the next hops of IPv6 as routes of one metric.
            for route in of_table().filter(|route| route.metric == best) {
                found.extend(&route.hops);
            }
            break;
        }
    }
    Ok(found)
}

/// The addresses of all routers of all default routes, whatever table, family and metric.
///
/// # Errors
/// As [`default_hops`].
pub fn gateways(socket: &Netlink) -> Result<Vec<IpAddr>, Refusal> {
    let mut found = Vec::new();
    for family in FAMILIES {
        for route in defaults(socket, family)? {
            route.hops.iter().filter_map(|hop| hop.gateway).for_each(|one| once(&mut found, one));
        }
    }
    Ok(found)
}

/// The neighbours that are known by a link-local address of IPv4 (RFC 3927).
///
/// # Errors
/// As [`default_hops`].
pub fn link_local_neighbours(socket: &Netlink) -> Result<Vec<IpAddr>, Refusal> {
    // struct ndmsg: family u8, padding, index i32, state u16, flags u8, type u8.
    let replies = dump(socket, RTM_GETNEIGH, FAMILIES[0])?;
    let mut found = Vec::new();
    for reply in messages(&replies).filter(|reply| reply.kind == RTM_NEWNEIGH) {
        let attributes = reply.body.get(12..).unwrap_or_default();
        match find(attributes, NDA_DST).and_then(address) {
            Some(IpAddr::V4(address)) if address.is_link_local() => once(&mut found, address.into()),
            _ => {}
        }
    }
    Ok(found)
}

fn once(found: &mut Vec<IpAddr>, address: IpAddr) {
    if !found.contains(&address) {
        found.push(address);
    }
}

/// All messages of a family; none where the kernel has it not. The fixed part of routes, rules and neighbours is of
/// twelve bytes, the family first, and with a kernel that looks closely all else must be zero.
fn dump(socket: &Netlink, kind: u16, family: u8) -> Result<Vec<u8>, Refusal> {
    let mut body = [0; 12];
    body[0] = family;
    // struct nhmsg: family, scope, protocol, padding: u8 each, flags u32.
    let length = if kind == RTM_GETNEXTHOP { 8 } else { 12 };
    match socket.request(Message::new(kind, code::DUMP, &body[..length]).bytes()) {
        // A kernel without IPv6 or without policy routing.
        Err(refusal) if refusal.is(libc::EOPNOTSUPP) || refusal.is(libc::EAFNOSUPPORT) => Ok(Vec::new()),
        other => other,
    }
}

/// All default routes of a family that lead somewhere.
fn defaults(socket: &Netlink, family: u8) -> Result<Vec<Route>, Refusal> {
    let replies = dump(socket, RTM_GETROUTE, family)?;
    let routes = messages(&replies).filter(|reply| reply.kind == RTM_NEWROUTE);
    // Without IPv6 an old kernel answers for the families that it has.
    let ours = routes.filter(|reply| reply.body.first() == Some(&family));
    let mut routes: Vec<Route> = ours.filter_map(|reply| default(reply.body)).collect();
    if routes.iter().any(|route| route.object != 0) {
        let objects = dump(socket, RTM_GETNEXTHOP, 0)?;
        for route in routes.iter_mut().filter(|route| route.object != 0) {
            object(&objects, route.object, true, &mut route.hops);
        }
    }
    routes.retain(|route| !route.hops.is_empty());
    Ok(routes)
}

/// The next hops of an object; of a group (only if `groups`, because no group is in another) all of its members'.
fn object(objects: &[u8], wanted: u32, groups: bool, hops: &mut Vec<Hop>) {
    for reply in messages(objects).filter(|reply| reply.kind == RTM_NEWNEXTHOP) {
        let attributes = reply.body.get(8..).unwrap_or_default();
        let number = |kind| find(attributes, kind).map_or(0, |bytes| u32_at(bytes, 0));
        if number(NHA_ID) != wanted {
            continue;
        }
        let index = number(NHA_OIF) as i32;
        if index != 0 && u32_at(reply.body, 4) & RTNH_F_DEAD == 0 {
            hops.push(Hop { index, gateway: find(attributes, NHA_GATEWAY).and_then(address) });
        }
        for member in find(attributes, NHA_GROUP).filter(|_| groups).unwrap_or_default().chunks_exact(8) {
            object(objects, u32_at(member, 0), false, hops);
        }
    }
}

/// Reads a `struct rtmsg` (family, dst_len, src_len, tos, table, protocol, scope, type: u8 each, flags u32) and its
/// attributes; `None` unless it is a default route for every type of service. Without a next hop it leads nowhere.
fn default(body: &[u8]) -> Option<Route> {
    let [_, length, _, service, table, _, _, kind, ..] = *body.first_chunk::<12>()?;
    let flags = u32_at(body, 8);
    if length != 0 || service != 0 || kind != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let attributes = body.get(12..)?;
    let number = |kind| find(attributes, kind).map(|bytes| u32_at(bytes, 0));
    let mut hops = Vec::new();
    let mut add = |flags: u32, index: u32, attributes: &[u8]| {
        // Attribute RTA_VIA: family u16, address.
        let via = find(attributes, RTA_VIA).and_then(|via| via.get(2..));
        let gateway = via.or_else(|| find(attributes, RTA_GATEWAY)).and_then(address);
        if index != 0 && flags & RTNH_F_DEAD == 0 {
            hops.push(Hop { index: index as i32, gateway });
        }
    };
    add(flags, number(RTA_OIF).unwrap_or(0), attributes);
    // struct rtnexthop: len u16, flags u8, hops u8, index i32, attributes.
    let mut several = find(attributes, RTA_MULTIPATH).unwrap_or_default();
    while let Some(attributes) = several.get(8..usize::from(u16_at(several, 0))) {
        add(u32::from(several[2]), u32_at(several, 4), attributes);
        several = several.get((8 + attributes.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    let table = number(RTA_TABLE).unwrap_or(u32::from(table));
    let object = number(RTA_NH_ID).filter(|_| hops.is_empty()).unwrap_or(0);
    Some(Route { table, metric: number(RTA_PRIORITY).unwrap_or(0), hops, object })
}

/// The tables in which the kernel looks for the way of a packet of which nothing is known, in this order.
fn tables(socket: &Netlink, family: u8) -> Result<Vec<u32>, Refusal> {
    let replies = dump(socket, RTM_GETRULE, family)?;
    let (mut found, mut least, mut any) = (Vec::new(), 0, false);
    // The kernel keeps and tells them by priority.
    for reply in messages(&replies) {
        if reply.kind != RTM_NEWRULE || reply.body.first() != Some(&family) {
            continue;
        }
        any = true;
        match rule(reply.body) {
            Some((priority, Rule::Table(table))) if priority >= least => found.push(table),
            Some((priority, Rule::Goto(target))) if priority >= least => least = target,
            _ => {}
        }
    }
    if !any {
        found.push(MAIN);
    }
    Ok(found)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Look into this table.
    Table(u32),
    /// Go on with the rule of this priority, which is larger.
    Goto(u32),
}

/// Reads a `struct fib_rule_hdr` (family, dst_len, src_len, tos, table, two reserved, action: u8 each, flags u32) and
/// its attributes: priority and rule. `None` for one that means a part of the traffic, or no default route.
fn rule(body: &[u8]) -> Option<(u32, Rule)> {
    let [_, to, from, service, table, _, _, action, ..] = *body.first_chunk::<12>()?;
    let attributes = body.get(12..)?;
    let number = |kind| find(attributes, kind).map(|bytes| u32_at(bytes, 0));
    let part = to != 0 || from != 0 || service != 0 || FRA_PARTS.iter().any(|kind| number(*kind).is_some());
    // An ordinary packet has no mark, so that it is met by "not fwmark 7", as wg-quick(8) writes it.
    let marked = number(FRA_FWMARK).is_some_and(|mark| mark != 0);
    let inverted = u32_at(body, 8) & FIB_RULE_INVERT != 0;
    // A rule that suppresses prefixes of length 0 passes over default routes.
    let suppressed = number(FRA_SUPPRESS_PREFIXLEN).is_some_and(|length| length != u32::MAX);
    if part || marked != inverted || suppressed {
        return None;
    }
    let priority = number(FRA_PRIORITY).unwrap_or(0);
    match action {
        FR_ACT_TO_TBL => Some((priority, Rule::Table(number(FRA_TABLE).unwrap_or(u32::from(table))))),
        FR_ACT_GOTO => Some((priority, Rule::Goto(number(FRA_GOTO)?))),
        _ => None,
    }
}

/// Four bytes or sixteen in network order.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = || <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let six = || <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    four().or_else(six).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sys::netlink::{index_of, name_of};
    use std::process::Command;

    /// Says that this test runs in a namespace of its own already.
    const INSIDE: &str = "CHAOS_TEST_NAMESPACE";

    /// Runs the test `name` again in a new network namespace and says whether that was done; `false` inside of it.
    fn apart(name: &str) -> bool {
        if std::env::var_os(INSIDE).is_some() {
            return false;
        }
        let space = ["--map-root-user", "--net", "--mount"];
        if !Command::new("unshare").args(space).arg("true").status().unwrap().success() {
            println!("skipped: no new namespaces for this user");
            return true;
        }
        let mut again = Command::new("unshare");
        again.args(space).arg(std::env::current_exe().unwrap());
        again.args(["--exact", "--nocapture", &format!("linux::route::tests::{name}")]);
        let done = again.env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.contains("1 passed"), "{said}{told}");
        true
    }

    /// ip(8), a line each.
    fn ip(lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let done = Command::new("ip").args(line.split_whitespace()).output().unwrap();
            assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// What `ip -j ARGS` tells.
    fn told(args: &str) -> serde_json::Value {
        let done = Command::new("ip").arg("-j").args(args.split(' ')).output().unwrap();
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Three interfaces with a network of each family.
    fn wire() {
        ip("link set lo up");
        for number in 1..4 {
            ip(&format!(
                "link add e{number} type veth peer name p{number}
                 link set p{number} up
                 address add 10.0.{number}.2/24 dev e{number}
                 address add fd00:{number}::2/64 dev e{number} nodad
                 link set e{number} up"
            ));
        }
    }

    fn names(socket: &Netlink) -> Vec<String> {
        let mut names: Vec<_> =
            default_hops(socket).unwrap().iter().map(|hop| name_of(hop.index).unwrap()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Each step: the lines, then what is the automatic interface, and which routers there are.
    #[test]
    fn the_automatic_interfaces_are_those_by_which_ip_says_that_packets_leave() {
        if apart("the_automatic_interfaces_are_those_by_which_ip_says_that_packets_leave") {
            return;
        }
        wire();
        let socket = Netlink::open().unwrap();
        let mut judged = 0;
        for (lines, automatic, routers) in [
            ("", "", ""),
            // Nothing that leads nowhere counts, in either family.
            ("route add unreachable default metric 50", "", ""),
            ("route add blackhole default metric 51\nroute add prohibit default metric 52", "", ""),
            ("route add throw default metric 53\n-6 route add unreachable default metric 50", "", ""),
            ("-6 route add blackhole default metric 60\nroute add local default dev lo table 100", "", ""),
            // Also where it is better than one that does.
            ("route add default via 10.0.1.1 metric 200", "e1", "10.0.1.1"),
            (
                "route flush exact default type unreachable
                 route flush exact default type blackhole
                 route flush exact default type prohibit
                 route flush exact default type throw",
                "e1",
                "10.0.1.1",
            ),
            ("route add default via 10.0.2.1 metric 100", "e2", "10.0.1.1 10.0.2.1"),
            // A type of service has routes of its own, which are not those of everything else.
            ("route add default tos 0x10 via 10.0.3.1 metric 1", "e2", "10.0.1.1 10.0.2.1"),
            // The same by either family, then by another interface.
            ("-6 route add default via fd00:2::1 metric 10", "e2", "10.0.1.1 10.0.2.1 fd00:2::1"),
            (
                "-6 route replace default via fd00:3::1 dev e3 metric 10",
                "e2 e3",
                "10.0.1.1 10.0.2.1 fd00:3::1",
            ),
            // Several next hops, one by a router of the other family, one without any.
            (
                "-6 route del default via fd00:3::1 metric 10
                 route add default metric 5 nexthop via 10.0.1.1 nexthop via inet6 fe80::7 dev e2 nexthop dev e3",
                "e1 e2 e3",
                "10.0.1.1 10.0.2.1 fe80::7",
            ),
            (
                "route del default metric 5
                 -6 route add default metric 7 nexthop via fd00:1::1 nexthop via fd00:3::1",
                "e1 e2 e3",
                "10.0.1.1 10.0.2.1 fd00:1::1 fd00:3::1",
            ),
            // An interface that is down takes its routes along.
            ("link set e3 down", "e1 e2", "10.0.1.1 10.0.2.1 fd00:1::1"),
        ] {
            ip(lines);
            let wanted: Vec<_> = automatic.split_whitespace().map(str::to_owned).collect();
            assert_eq!(names(&socket), wanted, "after {lines}\n{}", told("route show table all"));
            let mut found: Vec<_> = gateways(&socket).unwrap().iter().map(IpAddr::to_string).collect();
            found.sort();
            assert_eq!(found.join(" "), routers, "after {lines}\n{}", told("route show table all"));
            // Where there is one next hop and nothing in front of it, the kernel says so itself.
            let asked = Command::new("ip").args(["-o", "route", "get", "192.0.2.77"]).output().unwrap();
            let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
            if let ([one], true) = (&wanted[..], asked.status.success()) {
                judged += 1;
                assert!(answer.contains(&format!(" dev {one} ")), "after {lines}: {answer}");
            }
        }
        assert!(judged > 2, "ip agreed {judged} times");
    }

    #[test]
    fn rules_lead_to_the_table_that_ordinary_packets_use() {
        if apart("rules_lead_to_the_table_that_ordinary_packets_use") {
            return;
        }
        wire();
        let socket = Netlink::open().unwrap();
        for (lines, automatic) in [
            ("route add default via 10.0.1.1\nroute add default via 10.0.2.1 table 5000", "e1"),
            // A part of the traffic: by source, mark, interface, ports.
            ("rule add from 10.0.2.2 lookup 5000", "e1"),
            ("rule add fwmark 7 lookup 5000\nrule add iif e2 lookup 5000", "e1"),
            ("rule add dport 80 lookup 5000\nrule add ipproto udp sport 53 lookup 5000", "e1"),
            // As wg-quick does: everything that is not marked, but what main knows better than by default.
            ("rule add not fwmark 0xca6c lookup 5000\nrule add lookup main suppress_prefixlength 0", "e2"),
            ("rule del not fwmark 0xca6c lookup 5000", "e1"),
            // Over a rule and to it; a table without a default route is passed over.
            ("rule add priority 9 lookup 77\nrule add priority 10 lookup 5000", "e2"),
            ("rule add priority 5 goto 20\nrule add priority 20 lookup 6000", "e1"),
            ("route add default via 10.0.3.1 table 6000", "e3"),
            ("rule add priority 1 lookup 5000", "e2"),
        ] {
            ip(lines);
            assert_eq!(names(&socket), [automatic], "after {lines}\n{}", told("rule show"));
            assert_eq!(told("route get 192.0.2.77")[0]["dev"], automatic, "after {lines}");
        }
        // All routers are found in whatever table.
        let mut found: Vec<_> = gateways(&socket).unwrap().iter().map(IpAddr::to_string).collect();
        found.sort();
        assert_eq!(found, ["10.0.1.1", "10.0.2.1", "10.0.3.1"]);
    }

    #[test]
    fn next_hops_that_are_objects_are_found_whatever_the_kernel_tells_of_them() {
        if apart("next_hops_that_are_objects_are_found_whatever_the_kernel_tells_of_them") {
            return;
        }
        wire();
        let knob = "/proc/sys/net/ipv4/nexthop_compat_mode";
        if std::fs::write(knob, "1").is_err() {
            println!("skipped: before Linux 5.8 every route tells its next hops");
            return;
        }
        ip("nexthop add id 1 via 10.0.1.1 dev e1
            nexthop add id 2 via 10.0.2.1 dev e2
            nexthop add id 3 group 1/2
            nexthop add id 4 via fd00:3::1 dev e3
            nexthop add id 5 blackhole
            route add default nhid 3
            -6 route add default nhid 4
            route add default nhid 5 metric 9");
        let socket = Netlink::open().unwrap();
        for mode in ["1", "0"] {
            std::fs::write(knob, mode).unwrap();
            assert_eq!(names(&socket), ["e1", "e2", "e3"], "mode {mode}");
            let mut found: Vec<_> = gateways(&socket).unwrap().iter().map(IpAddr::to_string).collect();
            found.sort();
            assert_eq!(found, ["10.0.1.1", "10.0.2.1", "fd00:3::1"], "mode {mode}");
        }
    }

    #[test]
    fn thousands_of_routes_and_neighbours_are_read_whole() {
        if apart("thousands_of_routes_and_neighbours_are_read_whole") {
            return;
        }
        wire();
        let mut input = String::new();
        for number in 0..5000 {
            input += &format!("route add 11.{}.{}.0/24 via 10.0.1.1\n", number / 256, number % 256);
        }
        input += "route add default via 10.0.3.1 table 4999999\nroute add default via 10.0.2.1 metric 4000000000\n\
                  neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev e1\nneigh add 10.0.1.9 lladdr 02:00:00:00:00:01 dev e1\n";
        let mut batch = Command::new("ip");
        batch.args(["-batch", "-"]).stdout(std::process::Stdio::piped());
        let limit = std::time::Duration::from_secs(60);
        let done = crate::linux::command::run(&mut batch, input.as_bytes(), limit).unwrap();
        assert!(done.status.success(), "{}", done.stderr);
        let socket = Netlink::open().unwrap();
        let hops = default_hops(&socket).unwrap();
        let wanted = Hop { index: index_of("e2").unwrap(), gateway: Some("10.0.2.1".parse().unwrap()) };
        assert_eq!(hops, [wanted]);
        assert_eq!(link_local_neighbours(&socket).unwrap(), ["169.254.1.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn hostile_messages_never_lead_outside() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..90)).map(|_| random.u8(0..24)).collect();
            if random.bool() && bytes.len() > 8 {
                (bytes[1], bytes[3], bytes[7]) = (0, 0, 1);
            }
            let _ = (default(&bytes), rule(&bytes), address(&bytes));
            object(&bytes, random.u32(0..3), true, &mut Vec::new());
        }
    }
}
