//! What a kernel can do, as a value: it is asked by a request, judged by the errno of its answer, and never by its
//! version, because distributions take features back and forth, modules are not installed, and a container may be
//! refused what the kernel has.

use std::fmt::{self, Display};
use std::io;

/// Whether something can be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// The kernel has what it takes.
    Possible,
    /// This module is not there and could not be loaded.
    Missing(&'static str),
    /// It was refused whatever the kernel has, and what it would have taken.
    Refused(Refused),
    /// It cannot be known without doing it; the first use of this part will show.
    Untold(&'static str),
}

/// Why the kernel refuses what it may well have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `EPERM` or `EACCES`: the calling thread lacks this capability, in the user namespace that owns the resource.
    Capability(&'static str),
    /// `ENOSYS`: the kernel is older than this system call, or a seccomp profile answers in its place.
    Call(&'static str),
}

/// What is asked of the kernel, and how its answers are to be read. The errnos are those of a request that it must
/// refuse in any case, with another one where the part is there than where it is not.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The module, as modprobe(8) knows it.
    pub module: &'static str,
    /// The errno of a kernel that has it.
    pub present: i32,
    /// The errno of a kernel that has not.
    pub absent: i32,
    /// The capability without which nothing is answered.
    pub capability: &'static str,
    /// The system call that asks.
    pub call: &'static str,
}

impl Part {
    /// What the answer to the request means.
    pub fn judge(&self, answer: Result<(), i32>) -> Ability {
        match answer {
            Ok(()) => Ability::Possible,
            Err(errno) if errno == self.present => Ability::Possible,
            Err(errno) if errno == self.absent => Ability::Missing(self.module),
            Err(libc::EPERM | libc::EACCES) => Ability::Refused(Refused::Capability(self.capability)),
            Err(libc::ENOSYS) => Ability::Refused(Refused::Call(self.call)),
            // Others are in the way (EEXIST, EBUSY), or there is no memory: nothing about the part.
            Err(_) => Ability::Untold(self.module),
        }
    }
}

impl Ability {
    /// Whether a failed system call means that the kernel cannot do this at all, so that another way is to be tried:
    /// `ENOSYS` and `EOPNOTSUPP`. Everything else is about this one call.
    pub fn is_lacking(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
    }
}

/// What is missing and who can bring it; empty for what is possible.
impl Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ability::Possible => Ok(()),
            Ability::Missing(module) => write!(
                f,
                "the kernel has no {module}: on the node, modprobe {module}, or install the package with the extra \
                 kernel modules"
            ),
            Ability::Refused(Refused::Capability(name)) => {
                write!(f, "the container needs the capability {name} and uid 0")
            }
            Ability::Refused(Refused::Call(name)) => {
                write!(f, "the kernel has no {name}, or the container's seccomp profile denies it")
            }
            Ability::Untold(part) => write!(f, "whether the kernel has {part} shows at the first fault"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Part = Part {
        module: "sch_netem",
        present: libc::EINVAL,
        absent: libc::ENOENT,
        capability: "NET_ADMIN",
        call: "sendto",
    };

    #[test]
    fn an_older_kernel_is_known_by_its_errno() {
        for (answer, ability, said) in [
            (Ok(()), Ability::Possible, ""),
            (Err(libc::EINVAL), Ability::Possible, ""),
            (
                Err(libc::ENOENT),
                Ability::Missing("sch_netem"),
                "the kernel has no sch_netem: on the node, modprobe sch_netem, or install the package with the \
                 extra kernel modules",
            ),
            (
                Err(libc::EPERM),
                Ability::Refused(Refused::Capability("NET_ADMIN")),
                "the container needs the capability NET_ADMIN and uid 0",
            ),
            (
                Err(libc::ENOSYS),
                Ability::Refused(Refused::Call("sendto")),
                "the kernel has no sendto, or the container's seccomp profile denies it",
            ),
            (
                Err(libc::EEXIST),
                Ability::Untold("sch_netem"),
                "whether the kernel has sch_netem shows at the first fault",
            ),
        ] {
            let found = PART.judge(answer);
            assert_eq!((found, found.to_string().as_str()), (ability, said), "{answer:?}");
        }
    }

    #[test]
    fn what_another_way_would_serve_for_is_told_from_what_no_way_would() {
        let lacking = |errno| Ability::is_lacking(&io::Error::from_raw_os_error(errno));
        assert!(lacking(libc::ENOSYS) && lacking(libc::EOPNOTSUPP));
        assert!(!lacking(libc::EPERM) && !lacking(libc::ENOSPC) && !lacking(libc::ENOENT));
    }
}
