//! A file system that never answers.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file system of which every file keeps whoever looks at it waiting, laid over a folder: FUSE, served by nobody.
pub struct Stalled {
    folder: PathBuf,
    device: Option<File>,
}

impl Stalled {
    /// `None` where this user may not mount.
    pub fn over(folder: &Path) -> Option<Stalled> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let text = |text: &str| CString::new(text).unwrap();
        let at = CString::new(folder.as_os_str().as_bytes()).unwrap();
        let data = text(&format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd()));
        let (source, kind) = (text("stalled"), text("fuse"));
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        #[allow(unsafe_code)]
        // SAFETY: every pointer is that of a string with a NUL at its end that outlives the call.
        let result =
            unsafe { libc::mount(source.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
        if result != 0 {
            println!("SKIPPED: no FUSE can be mounted here: {}", io::Error::last_os_error());
            return None;
        }
        Some(Stalled { folder: folder.to_owned(), device: Some(device) })
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // Without its server, whoever waits gets an error.
        drop(self.device.take());
        let at = CString::new(self.folder.as_os_str().as_bytes()).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: the pointer is that of a string with a NUL at its end that outlives the call.
        let _ = unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
}
