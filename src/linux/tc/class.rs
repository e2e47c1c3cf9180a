//! `tc class show`. JSON in the field names of iproute2 6.7 and later; earlier ones print text even with `-j`.

use super::message::{Message, Tcm, code, find, text};
use super::print::classid;
use super::words::{self, Parsed, Stop, Words, keyword};
use super::{Settings, counters, device, device_name};
use crate::linux::sys::netlink::{Netlink, messages};

/// `tc class show dev DEV [qdisc ID] [classid ID] [root|parent ID]`.
///
/// # Errors
/// Words that mean nothing, an absent device, or the kernel's refusal.
pub fn show(mut words: Words<'_>, settings: Settings, socket: &Netlink) -> Parsed<String> {
    let (mut tcm, mut qdisc, mut class) = (Tcm::default(), 0, 0);
    while let Some(word) = words.next() {
        match keyword(word, &["dev", "qdisc", "classid", "root", "parent"]) {
            "dev" => tcm.ifindex = device(words.need()?)?,
            "qdisc" => qdisc = words.place("qdisc", words::handle)?,
            "classid" => class = words.place("classid", words::classid)?,
            "root" => tcm.parent = code::ROOT,
            "parent" => tcm.parent = words.place("parent", words::classid)?,
            _ => return Err(Stop::line(format!("What is \"{word}\"? Try \"tc class help\"."))),
        }
    }
    // Under a qdisc named in the question, only minor numbers are told.
    let narrow = |id: u32| classid(if qdisc == 0 { id } else { id & 0xffff });
    let replies = socket.request(Message::tc(code::RTM_GETTCLASS, code::DUMP, tcm).bytes())?;
    let mut out = settings.printer();
    out.open("", '[');
    for reply in messages(&replies).filter(|reply| reply.kind == code::RTM_NEWTCLASS) {
        let Some((it, attributes)) = Tcm::read(reply.body) else { continue };
        if qdisc != 0 && it.handle >> 16 != qdisc >> 16 || class != 0 && it.handle != class {
            continue;
        }
        out.open("", '{');
        out.string("class", &text(find(attributes, code::TCA_KIND).unwrap_or_default()), "class ");
        out.string("handle", &narrow(it.handle), "");
        if tcm.ifindex == 0 {
            out.string("dev", &device_name(it.ifindex), "dev ");
        }
        match it.parent {
            code::ROOT => out.flag("root"),
            parent => out.string("parent", &narrow(parent), "parent "),
        }
        if it.info != 0 {
            out.json_string("leaf", &format!("{:#x}", it.info >> 16));
            out.text(format_args!("leaf {:x}: ", it.info >> 16));
        }
        out.text(format_args!("\n"));
        if out.stats {
            out.open("stats", '{');
            counters(&mut out, find(attributes, code::TCA_STATS2).unwrap_or_default(), " ");
            out.text(format_args!("\n"));
            out.close('}');
        }
        out.close('}');
    }
    out.close(']');
    Ok(out.finish())
}
