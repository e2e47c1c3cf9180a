//! How to take back what the kernel would keep after the agent's death: data, never a closure, so that the
//! agent and the guard process perform the very same thing and every ordinary revert exercises the
//! emergency path.
//!
//! An undo is idempotent, and harmless when the change never happened or somebody else's thing is there now.

use crate::error::{Context, Error, Result};
use crate::linux::claim::{self, Refused};
use crate::linux::proc::{Handle, Reader};
use crate::linux::sys::{self, netlink::Netlink};
use crate::linux::tc::{self, filter, link, message::code};
use std::fmt::{self, Display};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The handle of every root qdisc that the agent sets: `ca05:` (chaos), the only handle that it ever deletes.
pub const HANDLE: u32 = 0xca05_0000;
/// The preferences of every filter that the agent sets. An ingress qdisc has the same handle whoever made it, so
/// these are the mark by which its owner is known.
pub const INGRESS_PREFERENCES: RangeInclusive<u16> = 0xca05..=0xca0a;
/// The names of ifb devices that the agent creates begin with this; the index of their interface follows.
pub const IFB: &str = "ca05ifb";
/// The kind of the qdisc for incoming packets that the agent sets.
const INGRESS: &str = "ingress";

/// What earlier agents left behind in this network namespace, as undo records, newest first.
///
/// # Errors
/// The kernel does not tell its qdiscs.
pub fn leftovers(tools: &Tools) -> Result<Vec<Undo>> {
    let netlink = tools.netlink()?;
    let Some(netlink) = netlink.as_ref() else { return Ok(Vec::new()) };
    let all = tc::qdiscs(netlink, None).map_err(io::Error::from).doing("list", "qdiscs")?;
    let mut links = link::links(netlink).map_err(io::Error::from).doing("list", "interfaces")?;
    links.retain(|link| link.kind == "ifb" && link.name.starts_with(IFB));
    let mut found = Vec::new();
    for qdisc in all {
        let ifindex = qdisc.ifindex;
        // What is on a device of ours goes with the device.
        if links.iter().any(|link| link.index == ifindex) {
            continue;
        }
        if qdisc.parent == code::INGRESS
            && qdisc.kind == INGRESS
            && has_our_filters(netlink, ifindex)? == Some(true)
        {
            found.push(Undo::RemoveIngress { ifindex });
        }
        if qdisc.parent == code::ROOT && qdisc.handle == HANDLE {
            found.push(Undo::RemoveRoot { ifindex, handle: HANDLE });
        }
    }
    let devices = links.iter().filter_map(|link| link.name.strip_prefix(IFB)?.parse().ok());
    found.extend(devices.map(|of| Undo::RemoveIfb { of }));
    Ok(found)
}

/// Walks over what earlier agents left behind, newest first: takes back what `wanted` says, and tells `told` whether there
/// was anything to take back, or why it could not be.
///
/// # Errors
/// The kernel does not tell what there is.
pub fn take_back(
    wanted: &mut dyn FnMut(&Undo) -> bool,
    told: &mut dyn FnMut(Undo, Result<bool>),
) -> Result<()> {
    let tools = Tools::default();
    for undo in leftovers(&tools)? {
        if wanted(&undo) {
            told(undo, undo.perform(&tools));
        }
    }
    Ok(())
}

/// Takes back what earlier agents left behind: what was removed, and what could not be. What an agent that runs now
/// has set is left alone.
pub fn sweep() -> Vec<Result<Undo>> {
    let mut ownerless = |undo: &Undo| {
        let Some((ifindex, outgoing)) = undo.side() else { return true };
        match claim::claim(ifindex, outgoing) {
            Ok(_) => true,
            Err(Refused::Taken(holder)) => {
                log::info!("{undo} belongs to {holder}, which runs here; left alone");
                false
            }
            Err(Refused::Failed(_)) => false,
        }
    };
    let mut swept = Vec::new();
    let walked = take_back(&mut ownerless, &mut |undo, done| swept.push(done.map(|_| undo)));
    swept.extend(walked.err().map(Err));
    swept
}

/// Whether the ingress qdisc of an interface carries our filters and no others; `None` if it carries none.
///
/// # Errors
/// The kernel does not tell its filters.
pub fn has_our_filters(netlink: &Netlink, ifindex: i32) -> Result<Option<bool>> {
    let filters = match filter::filters(netlink, ifindex, code::INGRESS & 0xffff_0000) {
        Ok(filters) => filters,
        // No such qdisc, or no such interface.
        Err(refusal) if [libc::EINVAL, libc::ENOENT, libc::ENODEV].iter().any(|errno| refusal.is(*errno)) => {
            Vec::new()
        }
        Err(refusal) => return Err(io::Error::from(refusal)).doing("list", "filters"),
    };
    let ours = filters.iter().all(|filter| INGRESS_PREFERENCES.contains(&filter.preference));
    Ok((!filters.is_empty()).then_some(ours))
}

/// One change to take back. The `Display` form is one line, read again by `FromStr`: the guard's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Delete the root qdisc with this handle from the interface, which restores the kernel's default.
    RemoveRoot {
        /// The interface's index; it survives a rename and is not given to another interface.
        ifindex: i32,
        /// Major and minor number, as in `struct tcmsg` (linux/rtnetlink.h).
        handle: u32,
    },
    /// Delete the ingress qdisc, with its filters, unless it carries filters of somebody else.
    RemoveIngress {
        /// The interface's index.
        ifindex: i32,
    },
    /// Delete the ifb device that takes the incoming packets of an interface.
    RemoveIfb {
        /// The index of that interface, which is part of the device's name.
        of: i32,
    },
    /// Let a process go on that was stopped by SIGSTOP.
    Resume {
        /// The process.
        pid: u32,
        /// When it started, in clock ticks since the boot: another process with its number is left alone.
        start: u64,
    },
}

/// What performing needs and is better opened before it is needed.
#[derive(Default)]
pub struct Tools {
    netlink: Mutex<Option<Netlink>>,
}

impl Tools {
    /// Opens everything now rather than at first need: an emergency has only milliseconds.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn prepare(&self) -> Result<()> {
        self.netlink().map(|_| ())
    }

    fn netlink(&self) -> Result<MutexGuard<'_, Option<Netlink>>> {
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        if netlink.is_none() {
            *netlink = Some(Netlink::open().doing("open", "a netlink socket")?);
        }
        Ok(netlink)
    }
}

impl Undo {
    /// The interface and whether it is its outgoing side, for what belongs to one.
    fn side(&self) -> Option<(i32, bool)> {
        match *self {
            Undo::RemoveRoot { ifindex, .. } => Some((ifindex, true)),
            Undo::RemoveIngress { ifindex } => Some((ifindex, false)),
            Undo::RemoveIfb { of } => Some((of, false)),
            Undo::Resume { .. } => None,
        }
    }

    /// Takes the change back. Says whether there was anything to take back.
    ///
    /// # Errors
    /// The kernel refuses; performing it again later may work.
    pub fn perform(&self, tools: &Tools) -> Result<bool> {
        if let Undo::Resume { pid, start } = *self {
            return resume(pid, start).doing("undo", self);
        }
        let netlink = tools.netlink()?;
        let Some(netlink) = netlink.as_ref() else { return Ok(false) };
        let done = match *self {
            Undo::RemoveRoot { ifindex, handle } => tc::delete_root(netlink, ifindex, handle),
            Undo::RemoveIngress { ifindex } => match has_our_filters(netlink, ifindex)? {
                Some(false) => Ok(false),
                // Without filters it may be ours, set a moment ago: it was announced when there was none.
                _ => tc::delete_ingress(netlink, ifindex, INGRESS),
            },
            Undo::RemoveIfb { of } => link::delete_link(netlink, &format!("{IFB}{of}")),
            Undo::Resume { .. } => Ok(false),
        };
        done.doing("undo", self)
    }
}

/// SIGCONT is sent whatever the state: a stop may be on its way, and one that goes on loses nothing by it.
fn resume(pid: u32, start: u64) -> sys::Result<bool> {
    let mut reader = Reader::new(Path::new("/proc"))?;
    let Some(handle) = Handle::open(&mut reader, pid, start)? else { return Ok(false) };
    let stopped = reader.stat(pid)?.is_some_and(|stat| stat.is_stopped());
    Ok(handle.send(&mut reader, libc::SIGCONT)? && stopped)
}

impl Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undo::RemoveRoot { ifindex, handle } => write!(f, "remove-root {ifindex} {handle:08x}"),
            Undo::RemoveIngress { ifindex } => write!(f, "remove-ingress {ifindex}"),
            Undo::RemoveIfb { of } => write!(f, "remove-ifb {of}"),
            Undo::Resume { pid, start } => write!(f, "resume {pid} {start}"),
        }
    }
}

impl FromStr for Undo {
    type Err = Error;

    fn from_str(text: &str) -> Result<Undo> {
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let parsed = match word() {
            "remove-root" => word()
                .parse()
                .ok()
                .zip(u32::from_str_radix(word(), 16).ok())
                .map(|(ifindex, handle)| Undo::RemoveRoot { ifindex, handle }),
            "remove-ingress" => word().parse().ok().map(|ifindex| Undo::RemoveIngress { ifindex }),
            "remove-ifb" => word().parse().ok().map(|of| Undo::RemoveIfb { of }),
            "resume" => {
                word().parse().ok().zip(word().parse().ok()).map(|(pid, start)| Undo::Resume { pid, start })
            }
            _ => None,
        };
        parsed.ok_or_else(|| Error::refused(format!("cannot read undo record {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_itself() {
        let all = [
            Undo::RemoveRoot { ifindex: 7, handle: HANDLE },
            Undo::RemoveIngress { ifindex: 8 },
            Undo::RemoveIfb { of: 9 },
            Undo::Resume { pid: 4711, start: 987_654 },
        ];
        for undo in all {
            assert_eq!(undo.to_string().parse::<Undo>().unwrap(), undo);
        }
        for wrong in ["", "remove-root", "remove-root x ca050000", "format-disk 1", "resume 7", "resume -7 9"]
        {
            assert!(wrong.parse::<Undo>().is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn a_stopped_process_goes_on_and_only_the_one_that_was_meant() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut reader = Reader::new(Path::new("/proc")).unwrap();
        let pid = child.id();
        let start = reader.stat(pid).unwrap().unwrap().start;
        crate::linux::sys::pidfd::kill(pid, libc::SIGSTOP).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mut stopped = || reader.stat(pid).unwrap().unwrap().is_stopped();
        while !stopped() {
            assert!(std::time::Instant::now() < end, "it does not stop");
        }
        let tools = Tools::default();
        assert!(!Undo::Resume { pid, start: start + 1 }.perform(&tools).unwrap(), "another process");
        assert!(stopped());
        assert!(Undo::Resume { pid, start }.perform(&tools).unwrap());
        assert!(!stopped());
        assert!(!Undo::Resume { pid, start }.perform(&tools).unwrap(), "it goes on already");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Undo::Resume { pid, start }.perform(&tools).unwrap(), "it is gone");
    }
}
