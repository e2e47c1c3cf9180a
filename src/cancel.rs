//! Stopping: a flag that every wait of an injection watches, so that a stop interrupts all of them at once.
//!
//! An eventfd instead of a condition variable, because some waits are on file descriptors too (a pidfd, a
//! child's output): one `ppoll` covers both, and nothing polls in a loop.

use crate::linux::sys::{self, event::EventFd, poll};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a wait came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The whole time passed.
    Elapsed,
    /// Somebody called [`Cancel::cancel`].
    Cancelled,
    /// The file descriptor waited on has something to say.
    Ready,
}

/// A one-way switch from "go on" to "stop now".
#[derive(Debug)]
pub struct Cancel {
    flag: AtomicBool,
    event: EventFd,
}

impl Cancel {
    /// A switch in position "go on".
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> sys::Result<Cancel> {
        Ok(Cancel { flag: AtomicBool::new(false), event: EventFd::new()? })
    }

    /// Ends every present and future wait.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Release);
        self.event.signal();
    }

    /// Whether [`Cancel::cancel`] was called; cheap enough for a busy loop.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Waits for `time`, or less if cancelled.
    pub fn wait(&self, time: Duration) -> Waited {
        self.wait_until(Instant::now().checked_add(time), None)
    }

    /// Waits until `fd` is readable or hung up, `time` has passed or the switch is thrown, which wins.
    pub fn wait_fd(&self, fd: BorrowedFd<'_>, time: Duration) -> Waited {
        self.wait_until(Instant::now().checked_add(time), Some(fd))
    }

    /// Waits until `deadline` (`None`: for ever), like [`Cancel::wait_fd`].
    pub fn wait_until(&self, deadline: Option<Instant>, fd: Option<BorrowedFd<'_>>) -> Waited {
        self.wait_for(deadline, fd, libc::POLLIN)
    }

    /// The same until `fd` can be written to or has failed: also the end of a connect(2).
    pub fn wait_writable(&self, deadline: Option<Instant>, fd: Option<BorrowedFd<'_>>) -> Waited {
        self.wait_for(deadline, fd, libc::POLLOUT)
    }

    /// The same for a file that the kernel marks when it changes (`POLLPRI`), as those of a control group.
    pub fn wait_changed(&self, deadline: Option<Instant>, file: Option<BorrowedFd<'_>>) -> Waited {
        self.wait_for(deadline, file, libc::POLLPRI)
    }

    fn wait_for(
        &self,
        deadline: Option<Instant>,
        fd: Option<BorrowedFd<'_>>,
        events: libc::c_short,
    ) -> Waited {
        loop {
            if self.is_cancelled() {
                return Waited::Cancelled;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Waited::Elapsed;
            }
            let other = poll::row(fd.map_or(-1, |fd| fd.as_raw_fd()), events);
            let mut rows = [poll::row(self.event.as_fd().as_raw_fd(), libc::POLLIN), other];
            let ready = poll::poll(&mut rows, left);
            if self.is_cancelled() {
                return Waited::Cancelled;
            }
            if ready.is_ok() && rows[1].revents != 0 {
                return Waited::Ready;
            }
        }
    }
}

impl AsFd for Cancel {
    /// Readable once the switch was thrown.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    #[test]
    fn a_wait_ends_by_time_by_cancel_or_by_descriptor() {
        let cancel = Arc::new(Cancel::new().unwrap());
        assert_eq!(cancel.wait(Duration::from_millis(5)), Waited::Elapsed);
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        assert_eq!(cancel.wait_fd(a.as_fd(), Duration::from_secs(60)), Waited::Ready);
        let other = Arc::clone(&cancel);
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), Waited::Cancelled);
        assert_eq!(cancel.wait_fd(a.as_fd(), Duration::from_secs(60)), Waited::Cancelled, "cancel wins");
    }

    #[test]
    fn a_time_beyond_the_clock_waits_for_the_cancel() {
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        assert_eq!(cancel.wait(Duration::MAX), Waited::Cancelled);
    }
}
