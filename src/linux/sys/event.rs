//! eventfd(2): a counter that wakes whoever polls it.

use super::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A non-blocking eventfd, closed on exec.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at zero.
    ///
    /// # Errors
    /// eventfd(2): no file descriptor or memory left.
    pub fn new() -> Result<EventFd> {
        // SAFETY: takes two integers and returns a descriptor; no pointer is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let fd = super::check(fd, "eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK)", 0, 0)?;
        // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds one: the descriptor becomes readable and stays so until [`EventFd::clear`].
    pub fn signal(&self) {
        signal_raw(self.0.as_raw_fd());
    }

    /// Back to zero.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: `count` outlives the call and has the eight bytes that eventfd(2) reads into.
        // The result is ignored: EAGAIN says that it was zero already.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// [`EventFd::signal`] by number: async-signal-safe, for signal handlers. A wrong number does no harm
/// beyond a failed write as long as the descriptor lives for the rest of the process.
pub fn signal_raw(fd: RawFd) {
    let one = 1u64;
    // SAFETY: `one` outlives the call and has the eight bytes that eventfd(2) takes.
    // The result is ignored: EAGAIN says that the counter is full, so it is readable already.
    let _ = unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}
