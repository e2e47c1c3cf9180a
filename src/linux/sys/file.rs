//! Files in ways that the standard library does not offer.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens `name`, relative to `folder`, for reading: openat(2). Shorter for the kernel than a whole path.
///
/// # Errors
/// As open(2).
pub fn open_at(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    loop {
        // SAFETY: `name` is a live NUL-terminated string; the kernel only reads it. No O_CREAT, so no mode.
        match super::check(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) }) {
            // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
