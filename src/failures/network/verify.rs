//! Reading back: whether the kernel has what the words asked for, and whose qdiscs stand on an interface.

use crate::error::{Context, Error, Result};
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::filter::{self, Filter};
use crate::linux::tc::message::{HEADER, code};
use crate::linux::tc::netem::Netem;
use crate::linux::tc::words::Words;
use crate::linux::tc::{Options, Qdisc, Settings, link::Link, qdisc, qdiscs};
use crate::revert::undo::{self, HANDLE};
use std::io;

/// Refuses an interface on which somebody else has set a qdisc that the fault would replace or share. Our own
/// are no hindrance, whether they were left or are in force.
///
/// # Errors
/// A foreign root qdisc if `egress` is wanted, a foreign qdisc for incoming packets if `ingress` is.
pub fn look(netlink: &Netlink, link: &Link, egress: bool, ingress: bool) -> Result<()> {
    for found in list(netlink, link)? {
        let taken = match found.parent {
            // Handle 0 is the kernel's own default, of whatever kind net.core.default_qdisc says: whoever sets one gets
            // another handle, and the kernel sets its default anew when ours is deleted.
            code::ROOT => egress && found.handle != HANDLE && found.handle != 0,
            code::INGRESS => ingress && undo::has_our_filters(netlink, link.index)? != Some(true),
            _ => false,
        };
        if taken {
            let (name, place) =
                (&link.name, if found.parent == code::ROOT { "root" } else { found.kind.as_str() });
            return Err(Error::refused(format!(
                "interface {name} has a {place} qdisc {} {:x}: that the agent did not set; it will not be touched: \
                 delete it (tc qdisc del dev {name} {place}) or choose another interface",
                found.kind,
                found.handle >> 16
            )));
        }
    }
    Ok(())
}

fn list(netlink: &Netlink, link: &Link) -> Result<Vec<Qdisc>> {
    qdiscs(netlink, Some(link.index)).map_err(io::Error::from).doing("list the qdiscs of", &link.name)
}

/// Compares every `tc` line with what the kernel tells.
///
/// # Errors
/// The first line that is not in force as it was asked for, or a filter too many.
pub fn verify(netlink: &Netlink, lines: &[Vec<String>]) -> Result<()> {
    let mut filters: Vec<Filter> = Vec::new();
    let mut places: Vec<(i32, u32)> = Vec::new();
    for line in lines {
        let words = Words(line.get(2..).unwrap_or_default());
        let wrong = |what: String| {
            Err(Error::refused(format!("tc {} was accepted, but the kernel has {what}", line.join(" "))))
        };
        let message = match line.first().map(String::as_str) {
            Some("qdisc") => qdisc::change("add", words),
            _ => filter::change("add", words),
        };
        let message =
            message.map_err(|stop| Error::refused(format!("tc {}: {}", line.join(" "), stop.text)))?;
        let body = message.bytes().get(HEADER..).unwrap_or_default();
        if line.first().is_some_and(|word| word == "qdisc") {
            let Some(asked) = Qdisc::read(body) else {
                return wrong("nothing that can be compared".to_owned());
            };
            let all =
                qdiscs(netlink, Some(asked.ifindex)).map_err(io::Error::from).doing("list", "qdiscs")?;
            if !all.iter().any(|found| same_qdisc(&asked, found)) {
                let dev: Vec<String> =
                    line.iter().skip_while(|word| *word != "dev").take(2).cloned().collect();
                let shown = qdisc::show(Words(&dev), Settings::default(), netlink).unwrap_or_default();
                return wrong(shown.trim_end().replace('\n', "; "));
            }
            continue;
        }
        let Some(asked) = Filter::read(body) else { return wrong("nothing that can be compared".to_owned()) };
        let place = (asked.ifindex, asked.parent);
        if !places.contains(&place) {
            places.push(place);
            let all = filter::filters(netlink, place.0, place.1)
                .map_err(io::Error::from)
                .doing("list", "filters")?;
            // Each preference also has an entry for itself, and one for its hash table.
            let real = |one: &Filter| one.options.as_ref().is_some_and(|options| options.divisor.is_none());
            filters.extend(all.into_iter().filter(real));
        }
        match filters.iter().position(|found| same_filter(&asked, found)) {
            Some(found) => drop(filters.swap_remove(found)),
            None => return wrong("no such filter".to_owned()),
        }
    }
    match filters.first() {
        Some(more) => Err(Error::refused(format!(
            "a filter stands there that was not asked for: {} pref {} handle {:x} parent {:x}",
            more.kind, more.preference, more.handle, more.parent
        ))),
        None => Ok(()),
    }
}

fn same_qdisc(asked: &Qdisc, found: &Qdisc) -> bool {
    let place = |one: &Qdisc| (one.kind.clone(), one.handle, one.parent);
    place(asked) == place(found)
        && match (&asked.options, &found.options) {
            (Options::Netem(asked), Options::Netem(found)) => plain(asked) == plain(found),
            (asked, found) => asked == found,
        }
}

/// Without what the kernel does not tell, or tells though nobody asked.
fn plain(netem: &Netem) -> Netem {
    Netem {
        seed: None,
        distribution: None,
        slot_distribution: None,
        correlation: Some(netem.correlation.unwrap_or_default()),
        reorder: netem.reorder.filter(|chance| chance.probability > 0),
        gap: if netem.reorder.is_some_and(|chance| chance.probability > 0) { netem.gap.max(1) } else { 0 },
        corrupt: netem.corrupt.filter(|chance| chance.probability > 0),
        rate: netem.rate.filter(|rate| rate.rate > 0),
        ..netem.clone()
    }
}

fn same_filter(asked: &Filter, found: &Filter) -> bool {
    let plain = |one: &Filter| {
        let options = one.options.clone().unwrap_or_default();
        let actions: Vec<_> = options
            .actions
            .iter()
            .map(|action| (action.kind.clone(), action.verdict, action.ifindex))
            .collect();
        (one.preference, one.protocol, options.keys, options.classid.unwrap_or(0), actions)
    };
    plain(asked) == plain(found)
}
