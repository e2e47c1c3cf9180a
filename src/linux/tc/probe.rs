//! Whether the kernel has what faults need, asked without changing anything: each request is one that the kernel must
//! refuse, with another errno where the kind is there than where it is not. Where it is a module that is not loaded
//! yet, the kernel loads it to answer, as it would for the first fault.

use super::link;
use super::message::{Message, Tcm, bytes_of, code};
use crate::linux::ability::{Ability, Part};
use crate::linux::sys::netlink::{Netlink, Refusal, index_of};
use std::path::Path;

/// What asks for a kind of qdisc without options answers: net/sched/sch_api.c gives `ENOENT` for a kind that is
/// unknown, and the kind's own `init` gives `EINVAL` before anything is attached (sch_netem.c, sch_prio.c).
const fn kind(module: &'static str) -> Part {
    Part { module, present: libc::EINVAL, absent: libc::ENOENT, capability: "NET_ADMIN", call: "sendto" }
}

/// netem, which delays, loses and shapes.
pub const NETEM: Part = kind("sch_netem");
/// prio, whose bands part what is met from what is not.
pub const PRIO: Part = kind("sch_prio");
/// Devices for incoming packets: one with an address of zeros is refused by `ifb_validate` (drivers/net/ifb.c) with
/// `EADDRNOTAVAIL`; a kernel without ifb answers `EOPNOTSUPP` (net/core/rtnetlink.c).
pub const IFB: Part = Part { module: "ifb", present: libc::EADDRNOTAVAIL, absent: libc::EOPNOTSUPP, ..NETEM };

/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_LINKINFO`, `IFLA_INFO_KIND` (linux/if_link.h).
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// The name that a device would have which is never made.
const NOBODY: &str = "ca05probe";

/// Whether there is a kind of qdisc that cannot do without options, such as [`NETEM`] and [`PRIO`]: it is asked for
/// on the loopback, only if nobody's qdisc is there, and without any.
pub fn qdisc(socket: &Netlink, part: &Part) -> Ability {
    let Some(ifindex) = index_of("lo") else { return Ability::Untold(part.module) };
    let tcm = Tcm { ifindex, handle: 0, parent: code::ROOT, info: 0 };
    let mut request = Message::tc(code::RTM_NEWQDISC, code::CREATE | code::EXCL, tcm);
    request.string(code::TCA_KIND, part.module.trim_start_matches("sch_"));
    let answer = socket.request(request.bytes());
    if answer.is_ok() {
        // A kind that needs no options after all: away with it, and the loopback is as it was.
        let _ = super::undone(socket, &Message::tc(code::RTM_DELQDISC, 0, tcm));
    }
    judge(part, answer)
}

/// Whether there are [`IFB`] devices.
pub fn ifb(socket: &Netlink) -> Ability {
    let body = bytes_of(&[0, 0, 0, 0]);
    let mut request = Message::new(code::RTM_NEWLINK, code::CREATE | code::EXCL, &body);
    request.string(IFNAME, NOBODY);
    request.attribute(ADDRESS, &[0; 6]);
    let info = request.begin(LINKINFO);
    request.string(INFO_KIND, "ifb");
    request.end(info);
    let answer = socket.request(request.bytes());
    if answer.is_ok() {
        let _ = link::delete_link(socket, NOBODY);
    }
    judge(&IFB, answer)
}

fn judge(part: &Part, answer: Result<Vec<u8>, Refusal>) -> Ability {
    part.judge(answer.map(drop).map_err(|refusal| refusal.source.raw_os_error().unwrap_or_default()))
}

/// Whether a module is loaded, or built in and shown. Not more: one that could be loaded is untold, because a
/// classifier cannot be asked for without a qdisc to hang it on. `sys` is where `/sys` is.
pub fn module(sys: &Path, name: &'static str) -> Ability {
    match sys.join("module").join(name).symlink_metadata() {
        Ok(_) => Ability::Possible,
        Err(_) => Ability::Untold(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::ability::Refused;
    use crate::linux::sys::task;

    #[test]
    fn a_kind_that_no_kernel_has_is_absent_and_nothing_is_left() {
        let socket = Netlink::open().unwrap();
        let before = super::super::qdiscs(&socket, index_of("lo")).unwrap();
        const NONE: Part = Part { module: "sch_nosuchqdisc", ..NETEM };
        let wanted = match task::has_capability(task::CAP_NET_ADMIN) {
            true if before.iter().all(|qdisc| qdisc.handle == 0) => Ability::Missing("sch_nosuchqdisc"),
            true => Ability::Untold("sch_nosuchqdisc"),
            false => Ability::Refused(Refused::Capability("NET_ADMIN")),
        };
        assert_eq!(qdisc(&socket, &NONE), wanted);
        let _ = (qdisc(&socket, &NETEM), ifb(&socket));
        assert_eq!(super::super::qdiscs(&socket, index_of("lo")).unwrap(), before);
        assert_eq!(link::link(&socket, NOBODY).unwrap(), None);
        assert_eq!(module(Path::new("/nowhere"), "cls_u32"), Ability::Untold("cls_u32"));
    }
}
