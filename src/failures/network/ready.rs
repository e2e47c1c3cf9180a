//! What can be known before the first injection about the parts of the kernel that an entry needs.

use super::{Direction, Network};
use crate::error::{Context, Error, Result};
use crate::failures::{Failure, Host};
use crate::linux::ability::Ability;
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::probe;

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
    let mut untold = Vec::new();
    let mut need = |ability: Ability, must: bool| match ability {
        Ability::Possible => Ok(()),
        Ability::Missing(_) if !must => {
            text.push_str("; without sch_prio it meets the agent's own metrics too");
            Ok(())
        }
        Ability::Missing(_) | Ability::Refused(_) => Err(Error::refused(ability.to_string())),
        Ability::Untold(part) => {
            untold.push(part);
            Ok(())
        }
    };
    if shapes {
        need(probe::qdisc(&netlink, &probe::NETEM), true)?;
    }
    if shapes && spares {
        need(probe::qdisc(&netlink, &probe::PRIO), spec.aimed)?;
    }
    if spares || receives {
        need(probe::module(&host.sys, "cls_u32"), true)?;
    }
    if receives && !spec.partition {
        need(probe::ifb(&netlink), true)?;
        need(probe::module(&host.sys, "act_mirred"), true)?;
    }
    if !untold.is_empty() {
        text.push_str(&format!("; whether the kernel has {} shows at the first fault", untold.join(" and ")));
    }
    Ok(text)
}
