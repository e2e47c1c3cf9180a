//! What lies in a folder that is held open: openat(2), readlinkat(2), mkdirat(2), renameat(2). By name alone, never by
//! a path, so that nobody can put something else in between.

use super::{Result, file};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The longest target of a link: `PATH_MAX` of limits.h.
const PATH_MAX: usize = 4096;

fn number(folder: Option<BorrowedFd<'_>>) -> RawFd {
    folder.map_or(libc::AT_FDCWD, |folder| folder.as_raw_fd())
}

/// What has this name, be it a link, a FIFO or a device: none of them is followed, woken or waited for (`O_PATH`). Without
/// a folder the name is a path of one's own, such as `/` or `.`.
///
/// # Errors
/// As open(2): `ENOENT`, `EACCES`.
pub fn at(folder: Option<BorrowedFd<'_>>, name: &CStr) -> Result<OwnedFd> {
    file::open(
        number(folder),
        name,
        libc::O_PATH | libc::O_NOFOLLOW,
        "openat(%, @, O_PATH|O_NOFOLLOW|O_CLOEXEC)",
    )
}

/// Opens the file of this name to add to it, and makes it (mode 0600) where there is none. Never waits for the other end of
/// a FIFO.
///
/// # Errors
/// As open(2): `ELOOP` for a link, `ENXIO` for a FIFO that nobody reads, `EISDIR`, `EROFS`, `ENOSPC`.
pub fn append(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_WRONLY
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_NONBLOCK
        | libc::O_NOCTTY
        | libc::O_NOFOLLOW;
    let call = "openat(%, @, O_WRONLY|O_CREAT|O_APPEND|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC, 0600)";
    file::open(folder.as_raw_fd(), name, flags, call)
}

/// Opens the file of this name to read it. Never waits for the other end of a FIFO.
///
/// # Errors
/// As open(2): `ELOOP` for a link, `EACCES`.
pub fn read(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    file::open(
        folder.as_raw_fd(),
        name,
        flags | libc::O_NOFOLLOW,
        "openat(%, @, O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC)",
    )
}

/// Where a link that [`at`] has opened leads.
///
/// # Errors
/// `EINVAL`: it is none.
pub fn target(link: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut text = vec![0u8; PATH_MAX];
    // SAFETY: the name is a static empty string, the buffer lives and its size is told.
    let length =
        unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let length = super::check(length as libc::c_int, "readlinkat(%, \"\", ...)", link.as_raw_fd().into(), 0)?;
    text.truncate(length.unsigned_abs() as usize);
    Ok(text)
}

/// Makes a folder that all may look into (mode 0755).
///
/// # Errors
/// As mkdir(2): `EEXIST`, `EACCES`, `EROFS`.
pub fn make_folder(folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: `name` is a live NUL-terminated string; the kernel only reads it.
    let result = unsafe { libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), 0o755) };
    super::done(result, "mkdirat(%, @, 0755)", folder.as_raw_fd().into(), 0)
        .map_err(|failed| failed.about(name.to_bytes()))
}

/// Gives a file of a folder another name in it; what had that name before is gone.
///
/// # Errors
/// As rename(2): `ENOENT`, `EISDIR`.
pub fn rename(folder: BorrowedFd<'_>, from: &CStr, to: &CStr) -> Result<()> {
    let fd = folder.as_raw_fd();
    // SAFETY: both names are live NUL-terminated strings; the kernel only reads them.
    let result = unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) };
    super::done(result, "renameat(%, @, ...)", fd.into(), 0).map_err(|failed| failed.about(from.to_bytes()))
}
