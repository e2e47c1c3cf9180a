//! Files in ways that the standard library does not offer.

use super::Result;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens `name`, relative to `folder`, for reading: openat(2). Shorter for the kernel than a whole path.
///
/// # Errors
/// As open(2).
pub fn open_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = super::retry("openat(%, @, O_RDONLY|O_CLOEXEC)", folder.as_raw_fd().into(), 0, || {
        // SAFETY: `name` is a live NUL-terminated string; the kernel only reads it. No O_CREAT, so no mode.
        unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) }
    });
    let fd = fd.map_err(|failed| failed.about(name.to_bytes()))?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
