//! What a kernel can do, as it says itself: told by the errno of a request, never by a version, because
//! distributions carry features back and leave modules out. What is missing or refused is named together with what
//! would have been needed. Whether that is the end or there is another way is decided at each use:
//! [`Ability::required`] or a look at the value.

use super::sys::task;
use crate::error::{Error, Result};
use std::fmt::{self, Display};

/// A part of the kernel that may be missing, or denied to this process.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// What the kernel calls it: a module, a system call, a flag.
    pub name: &'static str,
    /// Who needs it, to be put behind the name; empty where the fault says it.
    pub purpose: &'static str,
    /// What a kernel that has it answers to a request that it cannot grant.
    pub there: &'static [i32],
    /// What a kernel without it answers, beside `ENOSYS`.
    pub absent: &'static [i32],
    /// The capability that it takes (its number in linux/capability.h).
    pub right: Option<u32>,
    /// How it comes to a kernel without it.
    pub bring: Bring,
}

/// How a part comes to a kernel that has it not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// By modprobe, or with a package of the distribution: its name where that is known.
    Module(&'static str),
    /// Not without another kernel or file system.
    Nothing,
}

/// What the kernel can do for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It can.
    Possible,
    /// It has no such thing, and could not load it.
    Missing(&'static Feature),
    /// It has, but not for this process.
    Refused(Refusal),
    /// It would not say; the first use will.
    Untold(&'static Feature),
}

/// What stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This capability is not held.
    Lacks(u32),
    /// This capability is held, but does not count here: a user namespace, or a security module.
    Confined(u32),
    /// No capability is needed, so a seccomp filter forbids the call.
    Filter(&'static Feature),
    /// A security module, whatever the capabilities.
    Policy,
}

/// A module without options of its own: asked for by rtnetlink, needs `NET_ADMIN`.
const MODULE: Feature = Feature {
    name: "",
    purpose: "",
    there: &[],
    absent: &[libc::ENOENT],
    right: Some(task::CAP_NET_ADMIN),
    bring: Bring::Module(""),
};
/// A system call or a flag that older kernels, or some file systems, do not know.
const CALL: Feature = Feature { absent: &[], right: None, bring: Bring::Nothing, ..MODULE };

/// Delay, loss and the rest. Without options its `init` answers `EINVAL` (sch_netem.c); `ENOENT` is
/// net/sched/sch_api.c's word for a kind that nobody has.
pub static NETEM: Feature = Feature {
    name: "sch_netem",
    there: &[libc::EINVAL],
    bring: Bring::Module(" (kernel-modules-extra on RHEL and its kin)"),
    ..MODULE
};
/// Bands, so that some packets can be spared. As [`NETEM`] (sch_prio.c).
pub static PRIO: Feature = Feature { name: "sch_prio", there: &[libc::EINVAL], ..MODULE };
/// The place to which filters of incoming packets are tied.
pub static INGRESS: Feature = Feature { name: "sch_ingress", ..MODULE };
/// Filters by address and port.
pub static U32: Feature = Feature { name: "cls_u32", ..MODULE };
/// Packets sent on to another interface. Without options its `init` answers `EINVAL` (act_mirred.c).
pub static MIRRED: Feature = Feature { name: "act_mirred", there: &[libc::EINVAL], ..MODULE };
/// Packets let pass or dropped by a filter. As [`MIRRED`] (act_gact.c).
pub static GACT: Feature = Feature { name: "act_gact", ..MIRRED };
/// The interface on which incoming packets can be queued: `EADDRNOTAVAIL` for an address of zeros
/// (`ifb_validate`, drivers/net/ifb.c), `EOPNOTSUPP` for a kind of link that nobody has (net/core/rtnetlink.c).
pub static IFB: Feature = Feature {
    name: "ifb",
    purpose: ", which faults on incoming traffic need",
    there: &[libc::EADDRNOTAVAIL],
    absent: &[libc::EOPNOTSUPP],
    ..MODULE
};
/// Signals to processes of other users.
pub static SIGNALS: Feature =
    Feature { name: "kill(2)", there: &[libc::ESRCH], right: Some(task::CAP_KILL), ..CALL };
/// A hold on a process that nobody else can take over: Linux 5.3.
pub static PIDFD: Feature = Feature { name: "pidfd_open(2)", there: &[libc::ESRCH], ..CALL };
/// Files that never had a name. `EISDIR` and `EINVAL` are the words of a kernel that does not know the flag and
/// sees a directory to be written.
pub static TMPFILE: Feature =
    Feature { name: "O_TMPFILE", absent: &[libc::EOPNOTSUPP, libc::EISDIR, libc::EINVAL], ..CALL };
/// Blocks set aside without being written.
pub static FALLOCATE: Feature = Feature { name: "fallocate(2)", absent: &[libc::EOPNOTSUPP], ..CALL };
/// Pages filled by the kernel itself: Linux 5.14.
pub static POPULATE: Feature = Feature { name: "MADV_POPULATE_WRITE", absent: &[libc::EINVAL], ..CALL };

impl Feature {
    /// What this errno of a request says about it; `None` is an error that the kernel did not give.
    pub fn told(&'static self, errno: Option<i32>) -> Ability {
        // Only one answer needs another question.
        let held = if errno == Some(libc::EPERM) { task::capabilities() } else { 0 };
        self.judge(errno, held)
    }

    /// Whether this process holds what it takes, before it is asked for.
    pub fn allowed(&'static self) -> Ability {
        match self.right {
            Some(right) if !task::has_capability(right) => Ability::Refused(Refusal::Lacks(right)),
            _ => Ability::Possible,
        }
    }

    /// `held`: a bit a capability.
    fn judge(&'static self, errno: Option<i32>, held: u64) -> Ability {
        let Some(errno) = errno else { return Ability::Untold(self) };
        match errno {
            libc::EPERM => Ability::Refused(match self.right {
                None => Refusal::Filter(self),
                Some(right) if held >> right & 1 == 0 => Refusal::Lacks(right),
                Some(right) => Refusal::Confined(right),
            }),
            libc::EACCES => Ability::Refused(Refusal::Policy),
            _ if self.there.contains(&errno) => Ability::Possible,
            _ if errno == libc::ENOSYS || self.absent.contains(&errno) => Ability::Missing(self),
            _ => Ability::Untold(self),
        }
    }
}

impl Ability {
    /// For what cannot be done without it. What nobody knows yet may be tried.
    ///
    /// # Errors
    /// What is missing or in the way, and what to do.
    pub fn required(self) -> Result<()> {
        match self {
            Ability::Possible | Ability::Untold(_) => Ok(()),
            Ability::Missing(_) | Ability::Refused(_) => Err(Error::refused(self.to_string())),
        }
    }

    /// For what can be done in another way: whether that is due, because the kernel has it not.
    pub fn is_missing(self) -> bool {
        matches!(self, Ability::Missing(_))
    }
}

impl Display for Ability {
    /// What is missing or in the way, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ability::Possible => f.write_str("possible"),
            Ability::Untold(_) => f.write_str("not known before the first use"),
            Ability::Missing(Feature { name, purpose, bring, .. }) => {
                write!(f, "the kernel has no {name}{purpose}")?;
                match bring {
                    Bring::Nothing => f.write_str(", or the container's seccomp profile denies it"),
                    Bring::Module(package) => write!(
                        f,
                        ": on the node, modprobe {name}, or install the package with the extra kernel modules{package}"
                    ),
                }
            }
            Ability::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Refusal {
    /// What else would do where the refused thing belongs to another container, whose user is `whose` ("uid 101"); to
    /// be put behind the sentence.
    pub fn beside(self, whose: &str) -> String {
        match self {
            Refusal::Lacks(_) => format!(", or run the agent as {whose}"),
            Refusal::Confined(_) => ": run both containers in the same one".to_owned(),
            Refusal::Policy => ": give both containers the same profile".to_owned(),
            Refusal::Filter(_) => String::new(),
        }
    }
}

impl Display for Refusal {
    /// What is in the way, and for the first what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Lacks(right) => {
                let name = capability(*right);
                write!(
                    f,
                    "the agent lacks CAP_{name}: add the capability {name} to the container and run it as uid 0"
                )
            }
            Refusal::Confined(right) => write!(
                f,
                "the agent has CAP_{}, so a user namespace or a security module refuses",
                capability(*right)
            ),
            Refusal::Filter(feature) => {
                write!(f, "a seccomp filter refuses {}: allow it in the container's profile", feature.name)
            }
            Refusal::Policy => {
                f.write_str("a security module (AppArmor, SELinux) refuses, whatever the capabilities")
            }
        }
    }
}

/// The capabilities by number, from 0 (linux/capability.h).
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO \
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
    CHECKPOINT_RESTORE";

/// The names of the capabilities, without `CAP_`, in the order of their numbers.
pub fn capability_names() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.split(' ')
}

/// The name of a capability, without `CAP_`; empty for a number that has none.
pub fn capability(number: u32) -> &'static str {
    capability_names().nth(number as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET_ADMIN: u64 = 1 << task::CAP_NET_ADMIN;

    #[test]
    fn kernels_of_every_age_are_told_by_their_errno() {
        use Ability::{Missing, Possible, Refused, Untold};
        for (feature, errno, held, wanted) in [
            // A kernel that has it, one that has not, one where somebody's qdisc stands on the loopback.
            (&NETEM, libc::EINVAL, NET_ADMIN, Possible),
            (&NETEM, libc::ENOENT, NET_ADMIN, Missing(&NETEM)),
            (&NETEM, libc::EEXIST, NET_ADMIN, Untold(&NETEM)),
            (&NETEM, libc::EPERM, 0, Refused(Refusal::Lacks(task::CAP_NET_ADMIN))),
            (&NETEM, libc::EPERM, NET_ADMIN, Refused(Refusal::Confined(task::CAP_NET_ADMIN))),
            (&IFB, libc::EADDRNOTAVAIL, NET_ADMIN, Possible),
            (&IFB, libc::EOPNOTSUPP, NET_ADMIN, Missing(&IFB)),
            (&IFB, libc::ENOENT, NET_ADMIN, Untold(&IFB)),
            (&U32, libc::ENOENT, NET_ADMIN, Missing(&U32)),
            // Linux 5.2, a runtime of that time on a newer kernel, a newer one.
            (&PIDFD, libc::ENOSYS, 0, Missing(&PIDFD)),
            (&PIDFD, libc::EPERM, u64::MAX, Refused(Refusal::Filter(&PIDFD))),
            (&PIDFD, libc::ESRCH, 0, Possible),
            (&PIDFD, libc::EMFILE, 0, Untold(&PIDFD)),
            // Linux 3.10, an overlay without it, a full disk.
            (&TMPFILE, libc::EISDIR, 0, Missing(&TMPFILE)),
            (&TMPFILE, libc::EOPNOTSUPP, 0, Missing(&TMPFILE)),
            (&TMPFILE, libc::ENOSPC, 0, Untold(&TMPFILE)),
            (&FALLOCATE, libc::ENOSYS, 0, Missing(&FALLOCATE)),
            // Linux 5.13.
            (&POPULATE, libc::EINVAL, 0, Missing(&POPULATE)),
            (&SIGNALS, libc::EPERM, !(1 << task::CAP_KILL), Refused(Refusal::Lacks(task::CAP_KILL))),
            (&SIGNALS, libc::EACCES, u64::MAX, Refused(Refusal::Policy)),
            (&SIGNALS, libc::ESRCH, 0, Possible),
        ] {
            let found = feature.judge(Some(errno), held);
            assert_eq!(found, wanted, "{} answers {errno}", feature.name);
            let fatal = matches!(wanted, Missing(_) | Refused(_));
            assert_eq!(found.required().is_err(), fatal, "{} answers {errno}", feature.name);
            assert_eq!(found.is_missing(), matches!(wanted, Missing(_)));
        }
        assert_eq!(NETEM.judge(None, u64::MAX), Untold(&NETEM));
    }

    #[test]
    fn what_would_have_been_needed_is_said() {
        for (ability, wanted) in [
            (
                NETEM.judge(Some(libc::ENOENT), 0),
                "the kernel has no sch_netem: on the node, modprobe sch_netem, or install the package with the \
                 extra kernel modules (kernel-modules-extra on RHEL and its kin)",
            ),
            (
                IFB.judge(Some(libc::EOPNOTSUPP), 0),
                "the kernel has no ifb, which faults on incoming traffic need: on the node, modprobe ifb, or \
                 install the package with the extra kernel modules",
            ),
            (
                PIDFD.judge(Some(libc::ENOSYS), 0),
                "the kernel has no pidfd_open(2), or the container's seccomp profile denies it",
            ),
            (
                PIDFD.judge(Some(libc::EPERM), 0),
                "a seccomp filter refuses pidfd_open(2): allow it in the container's profile",
            ),
            (
                U32.judge(Some(libc::EPERM), 0),
                "the agent lacks CAP_NET_ADMIN: add the capability NET_ADMIN to the container and run it as uid 0",
            ),
            (
                SIGNALS.judge(Some(libc::EPERM), u64::MAX),
                "the agent has CAP_KILL, so a user namespace or a security module refuses",
            ),
            (
                SIGNALS.judge(Some(libc::EACCES), 0),
                "a security module (AppArmor, SELinux) refuses, whatever the capabilities",
            ),
            (U32.judge(Some(libc::EBUSY), 0), "not known before the first use"),
        ] {
            assert_eq!(ability.to_string(), wanted);
        }
    }

    #[test]
    fn capabilities_have_their_names() {
        let of = [task::CAP_KILL, task::CAP_NET_ADMIN, 21, 40, 41].map(capability);
        assert_eq!(of, ["KILL", "NET_ADMIN", "SYS_ADMIN", "CHECKPOINT_RESTORE", ""]);
        let wanted = task::has_capability(task::CAP_KILL);
        assert_eq!(SIGNALS.allowed() == Ability::Possible, wanted);
    }
}
