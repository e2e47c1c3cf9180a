//! Victims: found in `/proc`, held by a pidfd, signalled, and watched until they are gone.

use super::{rules, text};
use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::proc::{Process, Reader};
use crate::sys::{pidfd, signal, task};
use std::fmt::{self, Display};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often a process is looked at where the kernel has no pidfd.
const LOOK: Duration = Duration::from_millis(20);

/// Whether a process is one that the entry means.
pub type Matcher<'a> = &'a dyn Fn(&Process<'_>) -> bool;

/// A process that may be a victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// Its name, printable.
    pub name: String,
}

/// All processes that match and may be victims, in ascending order of pid. Never process 1, kernel threads,
/// what has ended, the protected programs, `own` (the agent), its ancestors and its descendants.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find(reader: &mut Reader, own: u32, matches: Matcher<'_>) -> io::Result<Vec<Candidate>> {
    let mut parents = Vec::new();
    let mut found = Vec::new();
    let mut own_session = 0;
    reader.scan(&mut |process| {
        let stat = &process.stat;
        parents.push((stat.pid, stat.ppid, stat.session));
        if stat.pid == own {
            own_session = stat.session;
        }
        if may_be_victim(process, matches) {
            found.push(Candidate { pid: stat.pid, start: stat.start, name: text::printable(process.name()) });
        }
    })?;
    let family = Family { parents, own, own_session };
    found.retain(|candidate| !family.descends(candidate.pid) && !family.is_ancestor(candidate.pid));
    Ok(found)
}

fn may_be_victim(process: &Process<'_>, matches: Matcher<'_>) -> bool {
    let stat = &process.stat;
    stat.pid != 1
        && !stat.is_kernel_thread()
        && !stat.is_dead()
        && matches(process)
        && !rules::is_protected(process)
}

/// Who started whom, at one moment.
struct Family {
    /// Pid, parent and session, in ascending order of pid.
    parents: Vec<(u32, u32, u32)>,
    own: u32,
    own_session: u32,
}

impl Family {
    fn row(&self, pid: u32) -> Option<&(u32, u32, u32)> {
        let index = self.parents.binary_search_by_key(&pid, |row| row.0).ok()?;
        self.parents.get(index)
    }

    /// The parent, the parent's parent and so on; bounded, since pids read one after the other may form a ring.
    fn line(&self, pid: u32) -> impl Iterator<Item = u32> {
        let parent = move |pid: &u32| self.row(*pid).map(|row| row.1).filter(|parent| *parent != 0);
        std::iter::successors(Some(pid), parent).take(self.parents.len())
    }

    /// Whether the agent started it. As process 1 the agent also inherits strangers' orphans: those have left
    /// the agent's session or never were in it.
    fn descends(&self, pid: u32) -> bool {
        if self.own == 1 && self.row(pid).is_none_or(|row| row.2 != self.own_session) {
            return false;
        }
        self.line(pid).any(|pid| pid == self.own)
    }

    fn is_ancestor(&self, pid: u32) -> bool {
        self.line(self.own).any(|ancestor| ancestor == pid)
    }
}

/// A process that is held so that nothing else can take its place.
pub struct Victim {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// Its name, printable.
    pub name: String,
    /// Its command line for logs.
    pub cmdline: String,
    /// `None` where the kernel has no pidfds or a seccomp filter forbids them.
    fd: Option<OwnedFd>,
}

impl Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// What became of a wait for a victim's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has ended; a zombie has.
    Dead,
    /// It still lives.
    Alive,
    /// The agent stops; nobody looked further.
    Cancelled,
}

impl Victim {
    /// Takes hold of a candidate: opens its pidfd first, then reads again whether it is still the process that
    /// was found and still matches. `None` when it is not.
    ///
    /// # Errors
    /// `/proc` cannot be read, or no file descriptor is left.
    pub fn hold(reader: &mut Reader, candidate: &Candidate, matches: Matcher<'_>) -> Result<Option<Victim>> {
        let name = || format!("process {} ({})", candidate.pid, candidate.name);
        let fd = match task::pidfd(candidate.pid) {
            Ok(fd) => Some(fd),
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH) => return Ok(None),
                Some(libc::ENOSYS | libc::EPERM) => None,
                _ => return Err(error).doing("open", name()),
            },
        };
        Ok(Victim::identify(reader, candidate, matches).doing("read", name())?.map(|cmdline| Victim {
            pid: candidate.pid,
            start: candidate.start,
            name: candidate.name.clone(),
            cmdline,
            fd,
        }))
    }

    /// The command line of the candidate, if it is still itself.
    fn identify(
        reader: &mut Reader,
        candidate: &Candidate,
        matches: Matcher<'_>,
    ) -> io::Result<Option<String>> {
        let process = reader.process(candidate.pid)?;
        let still = process.filter(|now| now.stat.start == candidate.start && may_be_victim(now, matches));
        Ok(still.map(|process| text::redacted(process.cmdline)))
    }

    /// Sends a signal. False when the process has ended.
    ///
    /// # Errors
    /// It may not be signalled; the sentence says what is missing.
    pub fn send(&self, reader: &mut Reader, number: i32) -> Result<bool> {
        let through_fd = match &self.fd {
            Some(fd) => pidfd::send_signal(fd.as_fd(), number),
            None => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        };
        let sent = match through_fd {
            // a filter may allow the one call and not the other, so kill(2) has the last word
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                if reader.is_gone(self.pid, self.start).doing("read", self)? {
                    return Ok(false);
                }
                pidfd::kill(self.pid, number)
            }
            other => other,
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(self.forbidden(reader, number, error)),
        }
    }

    /// The sentence for a signal that was refused.
    pub(super) fn forbidden(&self, reader: &mut Reader, number: i32, source: io::Error) -> Error {
        let uid = reader.uid(self.pid);
        let whose = uid.map_or_else(|| "an unknown uid".to_owned(), |uid| format!("uid {uid}"));
        let on = format!("{} to {self} of {whose}", signal::name(number));
        let hint = match source.raw_os_error() {
            Some(libc::EPERM) if !task::has_capability(task::CAP_KILL) => {
                format!("the agent lacks CAP_KILL: add the capability KILL, or run the agent as {whose}")
            }
            Some(libc::EPERM) => "the agent has CAP_KILL, so a user namespace or a security module refuses: \
                 run both containers in the same one"
                .to_owned(),
            Some(libc::EACCES) => {
                "a security module (AppArmor, SELinux) refuses, whatever the capabilities: \
                 give both containers the same profile"
                    .to_owned()
            }
            _ => return Error::Io { doing: "send", on, source, hint: None },
        };
        Error::Io { doing: "send", on, source, hint: Some(hint) }
    }

    /// Waits until it has ended, for at most `time`.
    ///
    /// # Errors
    /// `/proc` cannot be read, where there is no pidfd to wait on.
    pub fn wait(&self, reader: &mut Reader, cancel: &Cancel, time: Duration) -> Result<Fate> {
        let end = Instant::now().checked_add(time);
        if let Some(fd) = &self.fd {
            return Ok(match cancel.wait_until(end, Some(fd.as_fd())) {
                Waited::Ready => Fate::Dead,
                Waited::Elapsed => Fate::Alive,
                Waited::Cancelled => self.last_look(reader)?.unwrap_or(Fate::Cancelled),
            });
        }
        loop {
            if let Some(fate) = self.last_look(reader)? {
                return Ok(fate);
            }
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(Fate::Alive);
            }
            if cancel.wait(left.min(LOOK)) == Waited::Cancelled {
                return Ok(self.last_look(reader)?.unwrap_or(Fate::Cancelled));
            }
        }
    }

    fn last_look(&self, reader: &mut Reader) -> Result<Option<Fate>> {
        Ok(reader.is_gone(self.pid, self.start).doing("read", self)?.then_some(Fate::Dead))
    }

    /// The same victim as on a kernel without pidfds.
    #[cfg(test)]
    pub fn without_pidfd(self) -> Victim {
        Victim { fd: None, ..self }
    }
}
