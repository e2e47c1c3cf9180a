//! What can be known before the first injection about the parts of the kernel that an entry needs.

use super::{Direction, Network, module_hint};
use crate::error::{Context, Error, Result};
use crate::failures::{Failure, Host};
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::probe::{self, Presence};

/// Whether the fault could be set, and what it would be.
///
/// # Errors
/// What the check refuses, or a part of the kernel that is not there.
pub fn ready(network: &Network, host: &Host) -> Result<String> {
    network.check(host)?;
    let spec = &network.spec;
    let netlink = Netlink::open().doing("open", "a netlink socket")?;
    let receives = spec.direction != Direction::Egress;
    let shapes = spec.direction != Direction::Ingress || !spec.partition;
    let spares = !spec.targets.is_empty() || !spec.exempt.is_empty() || !spec.exempt_defaults.is_empty();
    let mut text = network.describe(host);
    let mut unknown = Vec::new();
    let mut need = |name: &'static str, must: bool, presence: Presence| match presence {
        Presence::Present => Ok(()),
        Presence::Absent if must => Err(Error::refused(module_hint(name))),
        Presence::Absent => {
            text.push_str("; without sch_prio it meets the agent's own metrics too");
            Ok(())
        }
        Presence::Unknown => {
            unknown.push(name);
            Ok(())
        }
    };
    if shapes {
        need("sch_netem", true, probe::qdisc(&netlink, "netem"))?;
    }
    if shapes && spares {
        need("sch_prio", spec.aimed, probe::qdisc(&netlink, "prio"))?;
    }
    if spares || receives {
        need("cls_u32", true, probe::module(&host.sys, "cls_u32"))?;
    }
    if receives && !spec.partition {
        need("ifb", true, probe::ifb(&netlink))?;
        need("act_mirred", true, probe::module(&host.sys, "act_mirred"))?;
    }
    if !unknown.is_empty() {
        text.push_str(&format!(
            "; whether the kernel has {} shows at the first fault",
            unknown.join(" and ")
        ));
    }
    Ok(text)
}
