//! Whether the kernel has what faults need, asked without changing anything: each request is one that the kernel must
//! refuse, with another errno where the kind is there than where it is not. Where it is a module that is not loaded
//! yet, the kernel loads it to answer, as it would for the first fault.

use super::link;
use super::message::{Message, Tcm, bytes_of, code};
use crate::linux::ability::{Ability, Feature, IFB};
use crate::linux::sys::netlink::{Netlink, index_of};
use std::path::Path;

/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_LINKINFO`, `IFLA_INFO_KIND` (linux/if_link.h).
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// `RTM_NEWACTION`, `TCA_ACT_TAB`, `TCA_ACT_KIND` (linux/rtnetlink.h, linux/pkt_cls.h).
const RTM_NEWACTION: u16 = 48;
const ACT_TAB: u16 = 1;
const ACT_KIND: u16 = 1;
/// The name that a device would have which is never made.
const NOBODY: &str = "ca05probe";

/// Whether there is the kind of qdisc of a module `sch_KIND` that cannot do without options, such as netem and prio:
/// it is asked for on the loopback, only if nobody's qdisc is there (else `EEXIST`), and without any, so that it
/// refuses before anything is attached.
pub fn qdisc(socket: &Netlink, module: &'static Feature) -> Ability {
    let Some(ifindex) = index_of("lo") else { return Ability::Untold(module) };
    let tcm = Tcm { ifindex, handle: 0, parent: code::ROOT, info: 0 };
    let mut request = Message::tc(code::RTM_NEWQDISC, code::CREATE | code::EXCL, tcm);
    request.string(code::TCA_KIND, module.name.trim_start_matches("sch_"));
    match socket.request(request.bytes()) {
        Err(refusal) => module.told(refusal.source.raw_os_error()),
        Ok(_) => {
            // A kind that needs no options after all: away with it, and the loopback is as it was.
            let _ = super::undone(socket, &Message::tc(code::RTM_DELQDISC, 0, tcm));
            Ability::Possible
        }
    }
}

/// Whether there are ifb devices: one is asked for with an address of zeros, which they refuse.
pub fn ifb(socket: &Netlink) -> Ability {
    let body = bytes_of(&[0, 0, 0, 0]);
    let mut request = Message::new(code::RTM_NEWLINK, code::CREATE | code::EXCL, &body);
    request.string(IFNAME, NOBODY);
    request.attribute(ADDRESS, &[0; 6]);
    let info = request.begin(LINKINFO);
    request.string(INFO_KIND, IFB.name);
    request.end(info);
    match socket.request(request.bytes()) {
        Err(refusal) => IFB.told(refusal.source.raw_os_error()),
        Ok(_) => {
            let _ = link::delete_link(socket, NOBODY);
            Ability::Possible
        }
    }
}

/// Whether there is the kind of action of a module `act_KIND` that cannot do without options, such as gact and mirred:
/// one that no filter has is asked for without any, so that it refuses before anything is made.
pub fn action(socket: &Netlink, module: &'static Feature) -> Ability {
    // struct tcamsg (linux/rtnetlink.h): family u8, padding. Actions have numbers from 1 (TCA_ACT_MAX_PRIO).
    let mut request = Message::new(RTM_NEWACTION, code::CREATE | code::EXCL, &[0; 4]);
    let table = request.begin(ACT_TAB);
    let first = request.begin(1);
    request.string(ACT_KIND, module.name.trim_start_matches("act_"));
    request.end(first);
    request.end(table);
    match socket.request(request.bytes()) {
        Err(refusal) => module.told(refusal.source.raw_os_error()),
        Ok(_) => Ability::Possible,
    }
}

/// Whether a module is loaded, or built in and shown. Not more: one that could be loaded is [`Ability::Untold`],
/// because a classifier cannot be asked for without a qdisc to hang it on. `sys` is where `/sys` is.
pub fn module(sys: &Path, module: &'static Feature) -> Ability {
    match sys.join("module").join(module.name).symlink_metadata() {
        Ok(_) => Ability::Possible,
        Err(_) => Ability::Untold(module),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::ability::{MIRRED, NETEM, Refusal, U32};
    use crate::linux::sys::task;

    static NO_SUCH: Feature = Feature { name: "sch_nosuchqdisc", ..NETEM };

    #[test]
    fn a_kind_that_no_kernel_has_is_missing_and_nothing_is_left() {
        let socket = Netlink::open().unwrap();
        let before = super::super::qdiscs(&socket, index_of("lo")).unwrap();
        let wanted = match task::has_capability(task::CAP_NET_ADMIN) {
            false => Ability::Refused(Refusal::Lacks(task::CAP_NET_ADMIN)),
            true if before.iter().all(|qdisc| qdisc.handle == 0) => Ability::Missing(&NO_SUCH),
            true => Ability::Untold(&NO_SUCH),
        };
        assert_eq!(qdisc(&socket, &NO_SUCH), wanted);
        let _ = (qdisc(&socket, &NETEM), ifb(&socket));
        static NO_ACTION: Feature = Feature { name: "act_nosuchaction", ..MIRRED };
        let (mirred, none) = (action(&socket, &MIRRED), action(&socket, &NO_ACTION));
        if task::has_capability(task::CAP_NET_ADMIN) {
            assert_eq!(none, Ability::Missing(&NO_ACTION));
            assert!(matches!(mirred, Ability::Possible | Ability::Missing(_)), "{mirred}");
        } else {
            assert_eq!((mirred, none), (wanted, wanted));
        }
        assert_eq!(super::super::qdiscs(&socket, index_of("lo")).unwrap(), before);
        assert_eq!(link::link(&socket, NOBODY).unwrap(), None);
        assert_eq!(module(Path::new("/nowhere"), &U32), Ability::Untold(&U32));
    }
}
