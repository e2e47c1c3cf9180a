//! What can be known before the first injection about the parts of the kernel that an entry needs.

use super::settings::{Exempt, Spec};
use super::{Direction, Network};
use crate::error::{Context, Result};
use crate::failures::{Failure, Host};
use crate::linux::ability::{Ability, GACT, MIRRED, NETEM, PRIO, U32};
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
    let mut need = |ability: Ability| {
        if let Ability::Untold(part) = ability {
            untold.push(part.name);
        }
        ability.required()
    };
    if shapes {
        need(probe::qdisc(&netlink, &NETEM))?;
    }
    if shapes && spares {
        let prio = probe::qdisc(&netlink, &PRIO);
        // Only what is aimed must not meet anything else.
        if prio.is_missing() && !spec.aimed {
            text.push_str("; without sch_prio it meets the agent's own metrics too");
        } else {
            need(prio)?;
        }
    }
    if spares || receives {
        need(probe::module(&host.sys, &U32))?;
    }
    if receives && !spec.partition {
        need(probe::ifb(&netlink))?;
        need(probe::action(&netlink, &MIRRED))?;
    }
    if receives && spec.partition {
        need(probe::action(&netlink, &GACT))?;
    }
    if !untold.is_empty() {
        text.push_str(&format!("; whether the kernel has {} shows at the first fault", untold.join(" and ")));
    }
    if cuts_off(spec) {
        text.push_str(
            "; in Kubernetes the kubelet's probes of the application are dropped too, so that it is restarted, unless \
             exempt_defaults names probes",
        );
    }
    Ok(text)
}

/// Whether nothing gets through to the application, so that whoever watches over it from outside takes it for dead.
fn cuts_off(spec: &Spec) -> bool {
    spec.partition && spec.targets.is_empty() && !spec.exempt_defaults.contains(&Exempt::Probes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::network::{keys, settings};
    use crate::settings::{Report, Section, parse};

    #[test]
    fn a_partition_that_meets_the_probes_is_told() {
        for (text, wanted) in [
            ("{partition: true}", true),
            ("{partition: true, exempt_defaults: [metrics, node]}", true),
            ("{partition: true, exempt_defaults: [metrics, probes]}", false),
            ("{partition: true, targets: [{port: 5432}]}", false),
            ("{delay_ms: 100}", false),
        ] {
            let mut report = Report::default();
            let node = parse(text, &mut report).unwrap();
            let spec = settings::read(&mut Section::top(&node, &mut report, keys::KEYS)).unwrap();
            assert_eq!(cuts_off(&spec), wanted, "{text}");
        }
    }
}
