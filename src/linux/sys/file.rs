//! Files in ways that the standard library does not offer.

use super::Result;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Opens `name`, relative to `folder`, for reading: openat(2). Shorter for the kernel than a whole path.
///
/// # Errors
/// As open(2).
pub fn open_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    open(folder.as_raw_fd(), name, libc::O_RDONLY, "openat(%, @, O_RDONLY|O_CLOEXEC)")
}

/// openat(2), closed on exec; a file that it makes has mode 0600. `call` shows it, with a place for folder and name.
pub(super) fn open(folder: RawFd, name: &CStr, flags: libc::c_int, call: &'static str) -> Result<OwnedFd> {
    let mode: libc::c_uint = 0o600;
    let fd = super::retry(call, folder.into(), 0, || {
        // SAFETY: `name` is a live NUL-terminated string; the kernel only reads it.
        unsafe { libc::openat(folder, name.as_ptr(), flags | libc::O_CLOEXEC, mode) }
    });
    let fd = fd.map_err(|failed| failed.about(name.to_bytes()))?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
