//! Whether the kernel has what faults need, asked without changing anything: each request is one that the kernel must
//! refuse, with another errno where the kind is there than where it is not. Where it is a module that is not loaded
//! yet, the kernel loads it to answer, as it would for the first fault.

use super::link;
use super::message::{Message, Tcm, bytes_of, code};
use crate::linux::sys::netlink::{Netlink, index_of};
use std::path::Path;

/// What is known about a part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Present,
    /// It is not there, and could not be loaded.
    Absent,
    /// The kernel would not say; the first use will.
    Unknown,
}

/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_LINKINFO`, `IFLA_INFO_KIND` (linux/if_link.h).
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// The name that a device would have which is never made.
const NOBODY: &str = "ca05probe";

/// Whether there is a kind of qdisc that cannot do without options, such as netem and prio: it is asked for on the
/// loopback, only if nobody's qdisc is there, and without any. net/sched/sch_api.c answers `ENOENT` for a kind that is
/// unknown, and the kind's own `init` answers `EINVAL` before anything is attached (sch_netem.c, sch_prio.c).
pub fn qdisc(socket: &Netlink, kind: &str) -> Presence {
    let Some(ifindex) = index_of("lo") else { return Presence::Unknown };
    let tcm = Tcm { ifindex, handle: 0, parent: code::ROOT, info: 0 };
    let mut request = Message::tc(code::RTM_NEWQDISC, code::CREATE | code::EXCL, tcm);
    request.string(code::TCA_KIND, kind);
    match socket.request(request.bytes()) {
        Err(refusal) if refusal.is(libc::EINVAL) => Presence::Present,
        Err(refusal) if refusal.is(libc::ENOENT) => Presence::Absent,
        // EPERM, or EEXIST where somebody has set a qdisc.
        Err(_) => Presence::Unknown,
        Ok(_) => {
            // A kind that needs no options after all: away with it, and the loopback is as it was.
            let _ = super::undone(socket, &Message::tc(code::RTM_DELQDISC, 0, tcm));
            Presence::Present
        }
    }
}

/// Whether there are ifb devices: one is asked for with an address of zeros, which `ifb_validate`
/// (drivers/net/ifb.c) refuses with `EADDRNOTAVAIL`; a kernel without ifb answers `EOPNOTSUPP`
/// (net/core/rtnetlink.c).
pub fn ifb(socket: &Netlink) -> Presence {
    let body = bytes_of(&[0, 0, 0, 0]);
    let mut request = Message::new(code::RTM_NEWLINK, code::CREATE | code::EXCL, &body);
    request.string(IFNAME, NOBODY);
    request.attribute(ADDRESS, &[0; 6]);
    let info = request.begin(LINKINFO);
    request.string(INFO_KIND, "ifb");
    request.end(info);
    match socket.request(request.bytes()) {
        Err(refusal) if refusal.is(libc::EADDRNOTAVAIL) => Presence::Present,
        Err(refusal) if refusal.is(libc::EOPNOTSUPP) => Presence::Absent,
        Err(_) => Presence::Unknown,
        Ok(_) => {
            let _ = link::delete_link(socket, NOBODY);
            Presence::Present
        }
    }
}

/// Whether a module is loaded, or built in and shown. Not more: one that could be loaded is [`Presence::Unknown`],
/// because a classifier cannot be asked for without a qdisc to hang it on. `sys` is where `/sys` is.
pub fn module(sys: &Path, name: &str) -> Presence {
    match sys.join("module").join(name).symlink_metadata() {
        Ok(_) => Presence::Present,
        Err(_) => Presence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sys::task;

    #[test]
    fn a_kind_that_no_kernel_has_is_absent_and_nothing_is_left() {
        let socket = Netlink::open().unwrap();
        let before = super::super::qdiscs(&socket, index_of("lo")).unwrap();
        let wanted = match task::has_capability(task::CAP_NET_ADMIN) {
            true if before.iter().all(|qdisc| qdisc.handle == 0) => Presence::Absent,
            _ => Presence::Unknown,
        };
        assert_eq!(qdisc(&socket, "nosuchqdisc"), wanted);
        let _ = (qdisc(&socket, "netem"), ifb(&socket));
        assert_eq!(super::super::qdiscs(&socket, index_of("lo")).unwrap(), before);
        assert_eq!(link::link(&socket, NOBODY).unwrap(), None);
        assert_eq!(module(Path::new("/nowhere"), "cls_u32"), Presence::Unknown);
    }
}
