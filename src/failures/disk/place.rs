//! Where a disk fault works: the directory, what is mounted there, and what is free on it.

use crate::error::{Context, Error, Result};
use crate::failures::Host;
use crate::linux::cgroup::{Cgroup, text, unescape};
use crate::linux::sys::{self, disk};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Type of the file system, and mount point if it is to be refused as a root file system, of the mount with the
/// number `id` in `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
///
/// Refused is the container's own root, whose writable layer is on the node's disk, and the node's if it is mounted
/// whole. A directory of the node's disk that was mounted by itself (emptyDir, hostPath) is not: somebody meant it
/// to be written. A mount that is not listed is above the root directory of this process, so it is a root.
fn mount(mounts: &str, id: &str) -> (String, bool) {
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |index: usize| words.get(index).copied().unwrap_or("");
        if word(0) == id {
            let (root, point) = (word(3), unescape(word(4)));
            let dash = words.iter().position(|word| *word == "-").unwrap_or(0);
            let is_root = point == "/" || root == "/" && fs::metadata(point + "/etc/os-release").is_ok();
            return (word(dash + 1).to_owned(), is_root);
        }
    }
    ("unknown file system".to_owned(), true)
}

/// A directory that is there.
#[derive(Debug)]
pub struct Place {
    /// As configured, for people only.
    path: PathBuf,
    folder: File,
    /// The type of the file system.
    kind: String,
}

impl Place {
    /// Opens the directory and finds out what is mounted there.
    ///
    /// # Errors
    /// It is not there, no directory, or on the root file system without `allow_root`.
    pub fn open(path: &Path, host: &Host, allow_root: bool) -> Result<Place> {
        let open = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path);
        let folder = open.doing("open", path.display()).map_err(explained)?;
        // The number says which of several mounts above each other it is.
        let info = text(&host.proc.join(format!("self/fdinfo/{}", folder.as_raw_fd())));
        let id = info.split("mnt_id:").nth(1).and_then(|rest| rest.split_whitespace().next());
        let (kind, is_root) = mount(&text(&host.proc.join("self/mountinfo")), id.unwrap_or("none"));
        if is_root && !allow_root {
            return Err(Error::refused(format!(
                "cannot use the disk of {}: it is on the root file system ({kind}), which others share; mount a \
                 volume and name it, or set `allow_root_filesystem: true`",
                path.display(),
            )));
        }
        Ok(Place { path: path.to_owned(), folder, kind })
    }

    /// "/data (ext4)".
    pub fn shown(&self) -> String {
        let memory = if self.is_memory() { ", which is memory" } else { "" };
        format!("{} ({}{memory})", self.path.display(), self.kind)
    }

    /// Whether files there are memory, which counts against the memory limit of who writes them.
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }

    /// Bytes free there, of memory too where files are memory.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn free(&self, cgroup: &Cgroup) -> Result<u64> {
        let left = self.left().doing("ask for the free space of", self.path.display())?;
        let room = if self.is_memory() { cgroup.room().map(|room| room.free()) } else { None };
        Ok(room.map_or(left, |room| room.min(left)))
    }

    /// Bytes free on the file system alone.
    ///
    /// # Errors
    /// It does not answer.
    pub fn left(&self) -> sys::Result<u64> {
        let space = disk::space(self.folder.as_fd())?;
        // One without a size of its own is never full.
        Ok(if space.total == 0 { u64::MAX } else { space.free })
    }

    /// Whether files can be made there, before one is.
    ///
    /// # Errors
    /// Why not.
    pub fn writable(&self) -> Result<()> {
        disk::may_write(self.folder.as_fd()).doing("make a file in", self.shown()).map_err(explained)
    }

    /// The directory that was looked at. What is made is made below it, whatever stands at its path by now.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// The same error with what to do about it.
pub fn explained(error: Error) -> Error {
    let advice = match error.errno() {
        Some(libc::ENOENT) => "the volume must be mounted in the agent's own container",
        Some(libc::ENOTDIR) => "`path` is a mounted directory",
        Some(libc::EACCES | libc::EPERM) => {
            "the agent's user may not write there: `fsGroup` in the pod gives it the right"
        }
        Some(libc::EROFS) => "it is mounted read-only: look for `readOnly` at the agent's volume mount",
        Some(libc::ENOSPC) => {
            "others filled it meanwhile, or the file system keeps blocks or has no inodes left"
        }
        Some(libc::EDQUOT) => "a quota of this user, group or volume is used up: raise it or ask for less",
        Some(libc::EFBIG) => "the file system or RLIMIT_FSIZE allows no larger file: ask for less",
        _ => return error,
    };
    error.hint(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        27 1 254:0 / / rw,relatime - overlay overlay rw,upperdir=/x\n\
        28 27 0:25 / /tmp rw - tmpfs shm rw,size=4k\n\
        30 27 254:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/d /my\\040data rw shared:9 - ext4 /dev/vda rw\n\
        31 27 254:1 / /usr/.. rw - ext4 /dev/vda rw\n\
        32 27 254:2 / /usr rw,nosuid master:2 - xfs /dev/vdb rw\n";

    #[test]
    fn the_mount_is_found_by_its_number() {
        let found = |id| mount(MOUNTS, id);
        assert_eq!(found("30"), ("ext4".to_owned(), false), "an emptyDir on the node's disk");
        assert_eq!(found("28"), ("tmpfs".to_owned(), false));
        assert_eq!(found("27"), ("overlay".to_owned(), true), "the container's own layer");
        assert_eq!(found("31"), ("ext4".to_owned(), true), "a whole system, as a hostPath of /");
        assert_eq!(found("32"), ("xfs".to_owned(), false), "a volume of its own");
        assert!(found("7").1 && mount("", "").1, "above a chroot");
    }

    #[test]
    fn a_place_on_the_root_file_system_is_refused_unless_asked() {
        let host = Host::default();
        let error = Place::open(Path::new("/"), &host, false).unwrap_err().to_string();
        assert!(error.starts_with("cannot use the disk of /: it is on the root file system ("), "{error}");
        let root = Place::open(Path::new("/"), &host, true).unwrap();
        assert!(root.free(&Cgroup::default()).unwrap() > 0);
        for (path, said) in [
            ("/no/such", "cannot open /no/such: No such file or directory; the volume must be mounted in"),
            ("/proc/self/stat", "cannot open /proc/self/stat: Not a directory; `path` is"),
        ] {
            let error = Place::open(Path::new(path), &host, true).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let stranger = std::thread::spawn(|| {
            let _ = crate::linux::sys::pidfd::become_user(65534); // who is not root cannot, and need not
            Place::open(Path::new("/usr"), &Host::default(), true).unwrap().writable()
        });
        let error = stranger.join().unwrap().unwrap_err().to_string();
        let said = ", \".\", W_OK|X_OK, 0)]; the agent's user may not write there: ";
        assert!(error.starts_with("cannot make a file in /usr (") && error.contains(said), "{error}");
    }
}
