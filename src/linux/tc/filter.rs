//! `tc filter`: the words of a change, and the list.

use super::message::{HEADER, Message, Tcm, code, find, text, u32_at};
use super::print::{self, Printer};
use super::u32::{self, U32};
use super::words::{self, Parsed, Stop, Words, keyword};
use super::{Settings, device, device_name};
use crate::linux::sys::netlink::{Netlink, Refusal, messages};

/// Parents with a meaning of their own: the two sides of clsact.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// `ETH_P_*` (linux/if_ether.h) by the names that tc has for them.
const PROTOCOLS: [(&str, u16); 8] = [
    ("all", 3),
    ("ip", 0x0800),
    ("ipv4", 0x0800),
    ("arp", 0x0806),
    ("802.1Q", 0x8100),
    ("ipv6", 0x86dd),
    ("802.1ad", 0x88a8),
    ("LLDP", 0x88cc),
];
const KEYS: [&str; 9] =
    ["dev", "root", "ingress", "egress", "parent", "handle", "preference", "priority", "protocol"];

/// A filter as the kernel tells it. A u32 priority begins with an entry for itself (no options) and one for its
/// hash table (`divisor`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The interface it sits on.
    pub ifindex: i32,
    /// The qdisc or class it sits on.
    pub parent: u32,
    /// Its own number.
    pub handle: u32,
    /// Lower comes first.
    pub preference: u16,
    /// `ETH_P_*`.
    pub protocol: u16,
    /// "u32".
    pub kind: String,
    chain: Option<u32>,
    /// `None` for the entry that stands for the priority itself, and for kinds other than u32.
    pub options: Option<U32>,
}

/// What stands before the kind, in a change and in a list alike.
#[derive(Default)]
pub(super) struct Place<'a> {
    dev: Option<&'a str>,
    parent: u32,
    handle: Option<&'a str>,
    preference: u16,
    protocol: Option<u16>,
    kind: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn parse(words: &mut Words<'a>) -> Parsed<Place<'a>> {
        let mut place = Place::default();
        while let Some(word) = words.next() {
            match keyword(word, &KEYS) {
                "dev" => place.dev = Some(words.need()?),
                "root" | "ingress" | "egress" | "parent" if place.parent != 0 => {
                    return Err(Stop::line(format!("Error: \"{word}\" is duplicate parent ID")));
                }
                "root" => place.parent = code::ROOT,
                "ingress" => place.parent = INGRESS,
                "egress" => place.parent = EGRESS,
                "parent" => place.parent = words.place("parent", words::classid)?,
                "handle" => place.handle = Some(words.need()?),
                "preference" | "priority" => {
                    place.preference =
                        words.place("priority", |word| words::unsigned(word)?.try_into().ok())?;
                }
                "protocol" => place.protocol = Some(words.place("protocol", protocol)?),
                _ => {
                    place.kind = Some(word);
                    break;
                }
            }
        }
        Ok(place)
    }
}

/// `tcm_info` holds priority and protocol, the latter in network order.
fn info(preference: u16, protocol: u16) -> u32 {
    u32::from(preference) << 16 | u32::from(protocol.to_be())
}

fn protocol(text: &str) -> Option<u16> {
    let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, number)| *number).or_else(|| words::unsigned(text)?.try_into().ok())
}

/// Reads the words after `tc filter add` and the like into the message that they ask for.
///
/// # Errors
/// A command line that cannot be read, or an absent device.
pub fn change(verb: &str, mut words: Words<'_>) -> Parsed<Message> {
    let (kind, flags) = match verb {
        "add" => (code::RTM_NEWTFILTER, code::CREATE | code::EXCL),
        "replace" => (code::RTM_NEWTFILTER, code::CREATE),
        "change" => (code::RTM_NEWTFILTER, 0),
        _ => (code::RTM_DELTFILTER, 0),
    };
    let place = Place::parse(&mut words)?;
    let any = if flags & code::CREATE != 0 { 3 } else { 0 };
    let info = info(place.preference, place.protocol.unwrap_or(any));
    let mut message = Message::tc(kind, flags, Tcm { parent: place.parent, info, ..Tcm::default() });
    match place.kind {
        Some("u32") => {
            message.string(code::TCA_KIND, "u32");
            if let Some(word) = place.handle {
                let handle = u32::handle(word).ok_or_else(|| Stop::options("Illegal filter ID"))?;
                message.set(HEADER + 8, handle);
            }
            if !words.peek().is_empty() {
                U32::parse(&mut words)?.write(&mut message);
            }
        }
        None if place.handle.is_some() => {
            return Err(Stop::line("Must specify filter type when using \"handle\""));
        }
        None => {}
        Some(kind) => return Err(Stop::options(format!("Unknown filter \"{kind}\""))),
    }
    if let Some(dev) = place.dev {
        message.set(HEADER + 4, device(dev)? as u32);
    }
    Ok(message)
}

/// The filters on a parent of an interface (0: on its root qdisc), in the kernel's order.
///
/// # Errors
/// As [`Netlink::request`].
pub fn filters(socket: &Netlink, ifindex: i32, parent: u32) -> Result<Vec<Filter>, Refusal> {
    list(socket, Tcm { ifindex, parent, ..Tcm::default() })
}

fn list(socket: &Netlink, tcm: Tcm) -> Result<Vec<Filter>, Refusal> {
    let replies = socket.request(Message::tc(code::RTM_GETTFILTER, code::DUMP, tcm).bytes())?;
    let all = messages(&replies).filter(|reply| reply.kind == code::RTM_NEWTFILTER);
    Ok(all.filter_map(|reply| Filter::read(reply.body)).collect())
}

impl Filter {
    /// Reads the body of an `RTM_NEWTFILTER`.
    pub fn read(body: &[u8]) -> Option<Filter> {
        let (tcm, attributes) = Tcm::read(body)?;
        let kind = text(find(attributes, code::TCA_KIND)?);
        let options = find(attributes, code::TCA_OPTIONS).filter(|_| kind == "u32");
        Some(Filter {
            ifindex: tcm.ifindex,
            parent: tcm.parent,
            handle: tcm.handle,
            preference: (tcm.info >> 16) as u16,
            protocol: u16::from_be(tcm.info as u16),
            kind,
            chain: find(attributes, code::TCA_CHAIN).map(|chain| u32_at(chain, 0)),
            options: options.map(U32::read),
        })
    }

    /// Leaves out what the list was narrowed to.
    pub(super) fn print(&self, out: &mut Printer, asked: &Place<'_>) {
        out.open("", '{');
        out.text(format_args!("filter "));
        if asked.dev.is_none() {
            out.string("dev", &device_name(self.ifindex), "dev ");
        }
        if asked.parent == 0 || asked.parent != self.parent {
            match self.parent {
                code::ROOT => out.flag("root"),
                INGRESS => out.flag("ingress"),
                EGRESS => out.flag("egress"),
                parent => out.string("parent", &print::classid(parent), "parent "),
            }
        }
        if asked.protocol != Some(self.protocol) && self.protocol != 0 {
            let known = PROTOCOLS.iter().find(|(_, number)| *number == self.protocol);
            let name = known.map_or_else(|| format!("[{}]", self.protocol), |(name, _)| (*name).to_owned());
            out.string("protocol", &name, "protocol ");
        }
        if asked.preference != self.preference {
            out.number("pref", &self.preference, format_args!("pref {} ", self.preference));
        }
        out.string("kind", &self.kind, "");
        if let Some(chain) = self.chain {
            out.number("chain", &chain, format_args!("chain {chain} "));
        }
        if let Some(options) = &self.options {
            out.open("options", '{');
            options.print(self.handle, out);
            out.close('}');
        }
        out.text(format_args!("\n"));
        out.close('}');
    }
}

/// `tc filter show dev DEV [root|ingress|egress|parent ID] [pref N] [protocol P]`.
///
/// # Errors
/// Words that mean nothing, an absent device, or the kernel's refusal.
pub fn show(mut words: Words<'_>, settings: Settings, socket: &Netlink) -> Parsed<String> {
    let asked = Place::parse(&mut words)?;
    if let Some(word) = asked.kind {
        return Err(Stop::line(format!("What is \"{word}\"? Try \"tc filter help\"")));
    }
    // Without a device the kernel has nothing to tell.
    let ifindex = asked.dev.map(device).transpose()?.unwrap_or(0);
    let info = info(asked.preference, asked.protocol.unwrap_or(0));
    let mut out = settings.printer();
    out.open("", '[');
    for filter in list(socket, Tcm { ifindex, parent: asked.parent, info, ..Tcm::default() })? {
        filter.print(&mut out, &asked);
    }
    out.close(']');
    Ok(out.finish())
}
