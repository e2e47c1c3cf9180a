//! A file system as its users meet it.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const MIB: u64 = 1 << 20;

/// Bytes free for everybody, by the file system.
pub fn free(folder: &Path) -> u64 {
    let name = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: statvfs is plain data for which zero bytes are a valid value.
    #[allow(unsafe_code)]
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `name` and `answer` outlive the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::statvfs(name.as_ptr(), &raw mut answer) };
    assert_eq!(result, 0, "statvfs {}: {}", folder.display(), std::io::Error::last_os_error());
    answer.f_bavail * answer.f_frsize
}

/// Bytes that the files below `folder` take which a process holds open; the agent's have no name there.
pub fn taken(pid: u32, folder: &Path) -> u64 {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|link| link.path());
    let ours = links.filter(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(folder)));
    let files = ours.flat_map(|link| fs::metadata(link).ok()).filter(|data| data.is_file());
    files.map(|data| data.blocks() * 512).sum()
}
