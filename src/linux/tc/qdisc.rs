//! `tc qdisc`: the words of a change, and the list.

use super::message::{Message, Tcm, code, find, text, u32_at};
use super::netem::Netem;
use super::print::{self, Printer};
use super::sched::{Prio, Tbf, parse_fifo};
use super::words::{self, Parsed, Stop, Words, keyword};
use super::{Settings, counters, device, device_name};
use crate::linux::sys::netlink::{Netlink, Refusal, messages};

/// A qdisc as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// The interface it sits on.
    pub ifindex: i32,
    /// "netem", "prio", "noqueue", ...
    pub kind: String,
    /// `major << 16`; 0 for the kernel's defaults.
    pub handle: u32,
    /// The parent's class, or [`code::ROOT`].
    pub parent: u32,
    /// Reference count (`tcm_info`).
    pub references: u32,
    /// What it was told.
    pub options: Options,
    /// `TCA_STATS2` as it came.
    statistics: Vec<u8>,
}

/// The options of the kinds that this tc knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// netem.
    Netem(Box<Netem>),
    /// prio, and pfifo_fast, which tells the same.
    Prio(Prio),
    /// tbf.
    Tbf(Box<Tbf>),
    /// pfifo (packets) and bfifo (bytes): the limit.
    Fifo(Option<u32>),
    /// A kind that takes none (ingress, clsact) or is not known here.
    None,
}

impl Options {
    fn parse(kind: &str, words: &mut Words<'_>) -> Parsed<Options> {
        Ok(match kind {
            "netem" => Options::Netem(Box::new(Netem::parse(words)?)),
            "prio" => Options::Prio(Prio::parse(words)?),
            "tbf" => Options::Tbf(Box::new(Tbf::parse(words)?)),
            "pfifo" | "bfifo" => Options::Fifo(parse_fifo(words)?),
            // Ingress may repeat its handle, which is fixed.
            "ingress" if words.accept("handle") => words.need().map(|_| Options::None)?,
            _ => Options::None,
        })
    }

    fn write(&self, message: &mut Message, changing: bool) {
        match self {
            Options::Netem(netem) => netem.write(message, changing),
            Options::Prio(prio) => prio.write(message),
            Options::Tbf(tbf) => tbf.write(message),
            Options::Fifo(Some(limit)) => message.attribute(code::TCA_OPTIONS, &limit.to_ne_bytes()),
            Options::Fifo(None) | Options::None => {}
        }
    }

    fn read(kind: &str, options: Option<&[u8]>) -> Options {
        match (kind, options) {
            ("netem", Some(options)) => Options::Netem(Box::new(Netem::read(options))),
            ("prio" | "pfifo_fast", Some(options)) => Options::Prio(Prio::read(options)),
            ("tbf", Some(options)) => Options::Tbf(Box::new(Tbf::read(options))),
            ("pfifo" | "bfifo", Some(options)) => Options::Fifo(Some(u32_at(options, 0))),
            _ => Options::None,
        }
    }

    fn print(&self, kind: &str, out: &mut Printer) {
        match self {
            Options::Netem(netem) => netem.print(out),
            Options::Prio(prio) => prio.print(out),
            Options::Tbf(tbf) => tbf.print(out),
            Options::Fifo(limit) => {
                let limit = limit.unwrap_or(0);
                let text = if kind == "bfifo" { print::size(limit) } else { format!("{limit}p") };
                out.number("limit", &limit, format_args!("limit {text}"));
            }
            Options::None if kind == "ingress" => out.text(format_args!("---------------- ")),
            Options::None => {}
        }
    }
}

/// Reads the words after `tc qdisc add` and the like into the message that they ask for; `None` for the device
/// leaves it to the kernel to refuse.
///
/// # Errors
/// A command line that cannot be read, or an absent device.
pub fn change(verb: &str, mut words: Words<'_>) -> Parsed<Message> {
    let (kind, flags) = match verb {
        "add" => (code::RTM_NEWQDISC, code::CREATE | code::EXCL),
        "replace" => (code::RTM_NEWQDISC, code::CREATE | code::REPLACE),
        "change" => (code::RTM_NEWQDISC, 0),
        _ => (code::RTM_DELQDISC, 0),
    };
    let (mut tcm, mut dev, mut qdisc) = (Tcm::default(), None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => dev = Some(words.need()?),
            "handle" => tcm.handle = words.place("handle", words::handle)?,
            "root" | "ingress" | "clsact" | "parent" if tcm.parent != 0 => {
                return Err(Stop::line(format!("Error: \"{word}\" is a duplicate parent ID")));
            }
            "root" => tcm.parent = code::ROOT,
            "parent" => tcm.parent = words.place("parent", words::classid)?,
            "ingress" | "clsact" => {
                (tcm.parent, tcm.handle) = (code::INGRESS, code::INGRESS & 0xffff_0000);
                qdisc = Some(word);
                break;
            }
            kind => {
                qdisc = Some(kind);
                break;
            }
        }
    }
    let mut message = Message::tc(kind, flags, tcm);
    if let Some(name) = qdisc {
        message.string(code::TCA_KIND, name);
        Options::parse(name, &mut words)?.write(&mut message, flags & code::EXCL == 0);
    }
    if let Some(word) = words.next() {
        return Err(Stop::options(format!(
            "Unknown qdisc \"{}\", hence option \"{word}\" is unparsable",
            qdisc.unwrap_or("")
        )));
    }
    if let Some(dev) = dev {
        // `tcm_ifindex`, behind the header and the family.
        message.set(super::message::HEADER + 4, device(dev)? as u32);
    }
    Ok(message)
}

/// All qdiscs, or those of one interface, in the kernel's order.
///
/// # Errors
/// As [`Netlink::request`].
pub fn qdiscs(socket: &Netlink, ifindex: Option<i32>) -> Result<Vec<Qdisc>, Refusal> {
    // Newer kernels look at the index and send less.
    let tcm = Tcm { ifindex: ifindex.unwrap_or(0), ..Tcm::default() };
    let replies = socket.request(Message::tc(code::RTM_GETQDISC, code::DUMP, tcm).bytes())?;
    let all = messages(&replies).filter(|reply| reply.kind == code::RTM_NEWQDISC);
    let qdiscs = all.filter_map(|reply| Qdisc::read(reply.body));
    Ok(qdiscs.filter(|qdisc| ifindex.is_none_or(|ifindex| ifindex == qdisc.ifindex)).collect())
}

impl Qdisc {
    /// Reads the body of an `RTM_NEWQDISC`.
    pub fn read(body: &[u8]) -> Option<Qdisc> {
        let (tcm, attributes) = Tcm::read(body)?;
        let kind = text(find(attributes, code::TCA_KIND)?);
        Some(Qdisc {
            ifindex: tcm.ifindex,
            options: Options::read(&kind, find(attributes, code::TCA_OPTIONS)),
            kind,
            handle: tcm.handle,
            parent: tcm.parent,
            references: tcm.info,
            statistics: find(attributes, code::TCA_STATS2).unwrap_or_default().to_vec(),
        })
    }

    pub(super) fn print(&self, out: &mut Printer, with_device: bool) {
        out.open("", '{');
        out.string("kind", &self.kind, "qdisc ");
        out.string("handle", &format!("{:x}:", self.handle >> 16), "");
        if with_device {
            out.string("dev", &device_name(self.ifindex), "dev ");
        }
        match self.parent {
            code::ROOT => out.flag("root"),
            0 => {}
            parent => out.string("parent", &print::classid(parent), "parent "),
        }
        if self.references != 1 {
            out.number("refcnt", &self.references, format_args!("refcnt {} ", self.references));
        }
        out.open("options", '{');
        self.options.print(&self.kind, out);
        out.close('}');
        out.text(format_args!("\n"));
        if out.stats {
            counters(out, &self.statistics, " ");
            out.text(format_args!("\n"));
        }
        out.close('}');
    }
}

/// `tc qdisc show [dev DEV] [root|ingress|clsact|parent ID|handle ID]`.
///
/// # Errors
/// Words that mean nothing, an absent device, or the kernel's refusal.
pub fn show(mut words: Words<'_>, settings: Settings, socket: &Netlink) -> Parsed<String> {
    let (mut dev, mut parent, mut handle) = (None, 0, 0);
    while let Some(word) = words.next() {
        match keyword(word, &["dev", "root", "ingress", "clsact", "parent", "handle"]) {
            "dev" => dev = Some(device(words.need()?)?),
            "root" => parent = code::ROOT,
            "ingress" | "clsact" => parent = code::INGRESS,
            "parent" => parent = words.place("parent", words::classid)?,
            "handle" => handle = words.place("handle", words::handle)?,
            _ => return Err(Stop::line(format!("What is \"{word}\"? Try \"tc qdisc help\"."))),
        }
    }
    let mut out = settings.printer();
    out.open("", '[');
    for qdisc in qdiscs(socket, dev)? {
        if (parent == 0 || parent == qdisc.parent) && (handle == 0 || handle == qdisc.handle) {
            qdisc.print(&mut out, dev.is_none());
        }
    }
    out.close(']');
    Ok(out.finish())
}
