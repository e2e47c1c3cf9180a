//! Space on file systems, and files that take it or load the device below: statvfs(3), fallocate(2),
//! posix_fadvise(2), openat(2) with `O_TMPFILE` and `O_DIRECT`, faccessat(2).

use super::{Result, file};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// What a file system has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// In all; 0 for one without a size of its own (a tmpfs with `size=0`).
    pub total: u64,
    /// Free for everybody: without the blocks that only root may take.
    pub free: u64,
}

/// The space of the file system on which `file` is: fstatvfs(3).
///
/// # Errors
/// `EIO`, `ESTALE` where the file system has gone away. `EINTR` is retried.
pub fn space(file: BorrowedFd<'_>) -> Result<Space> {
    // SAFETY: statvfs is plain data for which zero bytes are a valid value.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    super::retry("fstatfs(%)", file.as_raw_fd().into(), 0, || {
        // SAFETY: `answer` outlives the call and is the statvfs that fstatvfs(3) writes.
        unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut answer) }
    })?;
    let block = answer.f_frsize as u64;
    Ok(Space { total: block * answer.f_blocks as u64, free: block.saturating_mul(answer.f_bavail as u64) })
}

/// Makes the file system set blocks aside for `length` bytes from `offset`: fallocate(2), mode 0.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot; `ENOSPC`, `EDQUOT`, `EFBIG`. `EINTR` is retried.
pub fn allocate(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
    let (offset, length) = (offset as libc::off_t, length as libc::off_t);
    let call = "fallocate(%, 0, %, %)";
    let done = super::retry(call, file.as_raw_fd().into(), offset, || {
        // SAFETY: takes a descriptor, which `file` keeps open, and three integers.
        unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, length) }
    });
    done.map(drop).map_err(|failed| failed.and(length))
}

/// Takes pages out of the page cache, and starts to write back those that are dirty: posix_fadvise(2),
/// `POSIX_FADV_DONTNEED`. Advice only, so nothing to fail.
pub fn forget(file: BorrowedFd<'_>, offset: u64, length: u64) {
    let (offset, length) = (offset as libc::off_t, length as libc::off_t);
    // SAFETY: takes a descriptor, which `file` keeps open, and three integers.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, length, libc::POSIX_FADV_DONTNEED) };
}

/// Lets reads and writes pass the page cache by, or not: fcntl(2), `F_SETFL` with `O_DIRECT`.
///
/// # Errors
/// `EINVAL` where the file system cannot.
pub fn direct(file: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flags = if on { libc::O_DIRECT } else { 0 };
    // SAFETY: takes a descriptor, which `file` keeps open, and an integer. The other flags that F_SETFL changes
    // are unset on a file that was opened without them.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    let call = if on { "fcntl(%, F_SETFL, O_DIRECT)" } else { "fcntl(%, F_SETFL, 0)" };
    super::done(result, call, file.as_raw_fd().into(), 0)
}

/// Whether this process may make files in `folder`: faccessat(2).
///
/// # Errors
/// Why not: `EACCES`, `EROFS`.
pub fn may_write(folder: BorrowedFd<'_>) -> Result<()> {
    let call = "faccessat(%, \".\", W_OK|X_OK, 0)";
    // SAFETY: the name is a static NUL-terminated string; the kernel only reads it. `folder` keeps the descriptor open.
    let result = unsafe { libc::faccessat(folder.as_raw_fd(), c".".as_ptr(), libc::W_OK | libc::X_OK, 0) };
    super::done(result, call, folder.as_raw_fd().into(), 0)
}

/// Makes a file without a name on the file system of `folder`, for reading and writing, which nobody can give a name
/// later: openat(2) with `O_TMPFILE|O_EXCL`.
///
/// # Errors
/// `EOPNOTSUPP`, `EISDIR` where the file system or the kernel cannot; else as [`make_at`]. `EINTR` is retried.
pub fn make_nameless(folder: BorrowedFd<'_>) -> Result<OwnedFd> {
    let call = "openat(%, \".\", O_RDWR|O_TMPFILE|O_EXCL|O_CLOEXEC, 0600)";
    file::open(folder.as_raw_fd(), c".", libc::O_RDWR | libc::O_TMPFILE | libc::O_EXCL, call)
}

/// Makes a file named `name` in `folder`, for reading and writing: openat(2) with `O_CREAT|O_EXCL|O_NOFOLLOW`.
///
/// # Errors
/// `EEXIST`, also for a link; `EACCES`, `EROFS`, `ENOSPC`, `EDQUOT`. `EINTR` is retried.
pub fn make_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let call = "openat(%, @, O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)";
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    file::open(folder.as_raw_fd(), name, flags, call)
}

/// Takes the name `name` out of `folder`: unlinkat(2). Never that of a folder.
///
/// # Errors
/// `ENOENT`, `EISDIR`, and as for any change of a folder.
pub fn remove_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: `name` is a live NUL-terminated string; the kernel only reads it. `folder` keeps the descriptor open.
    let result = unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) };
    super::done(result, "unlinkat(%, @, 0)", folder.as_raw_fd().into(), 0)
        .map_err(|failed| failed.about(name.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn blocks_set_aside_are_gone_from_what_is_free() {
        let path = std::env::temp_dir().join(format!("sys-disk-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let before = space(file.as_fd()).unwrap();
        assert!(before.free > 0 && before.free <= before.total, "{before:?}");
        allocate(file.as_fd(), 0, 8 << 20).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 >= 8 << 20);
        forget(file.as_fd(), 0, 8 << 20);
        let error = allocate(file.as_fd(), 0, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_folder_that_is_closed_to_this_user_may_not_be_written() {
        may_write(File::open("/tmp").unwrap().as_fd()).unwrap();
        let stranger = std::thread::spawn(|| {
            let _ = crate::linux::sys::pidfd::become_user(65534); // who is not root cannot, and need not
            may_write(File::open("/usr").unwrap().as_fd()).unwrap_err().raw_os_error()
        });
        assert_eq!(stranger.join().unwrap(), Some(libc::EACCES));
    }

    #[test]
    fn a_name_in_a_folder_is_made_once_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let opened = File::open(folder.path()).unwrap();
        let file = File::from(make_at(opened.as_fd(), c"name").unwrap());
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
        let again = make_at(opened.as_fd(), c"name").unwrap_err();
        assert!(again.raw_os_error() == Some(libc::EEXIST) && again.call().contains("\"name\", O_RDWR|"));
        remove_at(opened.as_fd(), c"name").unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        assert_eq!(remove_at(opened.as_fd(), c"name").unwrap_err().raw_os_error(), Some(libc::ENOENT));
        std::os::unix::fs::symlink("/tmp/elsewhere", folder.path().join("name")).unwrap();
        assert_eq!(make_at(opened.as_fd(), c"name").unwrap_err().raw_os_error(), Some(libc::EEXIST));
    }
}
