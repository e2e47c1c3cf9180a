//! A hold on one process, so that a signal reaches it or nobody.

use super::Reader;
use crate::linux::ability::{Ability, PIDFD};
use crate::linux::sys::{Result, pidfd, task};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process by number and start time, and by pidfd where the kernel has them.
#[derive(Debug)]
pub struct Handle {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// `None` before Linux 5.3 or where a seccomp filter forbids it.
    fd: Option<OwnedFd>,
}

impl Handle {
    /// Takes hold of the process that started at `start` under this pid; `None` when it has ended. The pidfd
    /// comes first and the comparison second, so that no other process can slip in between.
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn open(reader: &mut Reader, pid: u32, start: u64) -> Result<Option<Handle>> {
        let fd = match task::pidfd(pid) {
            Ok(fd) => Some(fd),
            Err(error) => match PIDFD.told(error.raw_os_error()) {
                Ability::Possible => return Ok(None), // for a process that is there
                Ability::Missing(_) | Ability::Refused(_) => None,
                Ability::Untold(_) => return Err(error),
            },
        };
        Ok((!reader.is_gone(pid, start)?).then_some(Handle { pid, start, fd }))
    }

    /// Becomes readable when the process ends; `None` where there are no pidfds.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Sends a signal. False when the process has ended.
    ///
    /// # Errors
    /// As kill(2): `EPERM` without the right; `EACCES` where a security module refuses.
    pub fn send(&self, reader: &mut Reader, signal: i32) -> Result<bool> {
        let through_fd = match &self.fd {
            Some(fd) => pidfd::send_signal(fd.as_fd(), signal),
            None => Err(io::Error::from_raw_os_error(libc::ENOSYS).into()),
        };
        let sent = match through_fd {
            // a filter may allow the one call and not the other, so kill(2) has the last word
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                if self.is_gone(reader)? {
                    return Ok(false);
                }
                pidfd::kill(self.pid, signal)
            }
            other => other,
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it has ended; a zombie has.
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn is_gone(&self, reader: &mut Reader) -> Result<bool> {
        reader.is_gone(self.pid, self.start)
    }

    /// The same as on a kernel without pidfds.
    #[cfg(test)]
    pub fn without_pidfd(self) -> Handle {
        Handle { fd: None, ..self }
    }
}
