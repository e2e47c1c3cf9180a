//! How to take back what the kernel would keep after the agent's death: data, never a closure, so that the
//! agent and the guard process perform the very same thing and every ordinary revert exercises the
//! emergency path.
//!
//! An undo is idempotent, and harmless when the change never happened or somebody else's thing is there now.

use crate::error::{Context, Error, Result};
use crate::sys::netlink::Netlink;
use crate::tc::{self, message::code};
use std::fmt::{self, Display};
use std::io;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The handle of every root qdisc that the agent sets: `ca05:` (chaos), the only handle that it ever deletes.
pub const HANDLE: u32 = 0xca05_0000;

/// What an earlier agent left behind on any interface, as undo records: root qdiscs with our handle.
///
/// # Errors
/// The kernel does not tell its qdiscs.
pub fn leftovers(tools: &Tools) -> Result<Vec<Undo>> {
    let netlink = tools.netlink()?;
    let Some(netlink) = netlink.as_ref() else { return Ok(Vec::new()) };
    let all = tc::qdiscs(netlink, None).map_err(io::Error::from).doing("list", "qdiscs")?;
    let ours = all.into_iter().filter(|qdisc| qdisc.parent == code::ROOT && qdisc.handle == HANDLE);
    Ok(ours.map(|qdisc| Undo::RemoveRoot { ifindex: qdisc.ifindex, handle: HANDLE }).collect())
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
    /// Takes the change back. Says whether there was anything to take back.
    ///
    /// # Errors
    /// The kernel refuses; performing it again later may work.
    pub fn perform(&self, tools: &Tools) -> Result<bool> {
        match *self {
            Undo::RemoveRoot { ifindex, handle } => {
                let netlink = tools.netlink()?;
                let Some(netlink) = netlink.as_ref() else { return Ok(false) };
                tc::delete_root(netlink, ifindex, handle)
                    .doing("delete", format_args!("qdisc {:x}: of interface {ifindex}", handle >> 16))
            }
        }
    }
}

impl Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undo::RemoveRoot { ifindex, handle } => write!(f, "remove-root {ifindex} {handle:08x}"),
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
        for undo in [Undo::RemoveRoot { ifindex: 7, handle: HANDLE }] {
            assert_eq!(undo.to_string().parse::<Undo>().unwrap(), undo);
        }
        for wrong in ["", "remove-root", "remove-root x ca050000", "format-disk 1"] {
            assert!(wrong.parse::<Undo>().is_err(), "{wrong:?} was read");
        }
    }
}
