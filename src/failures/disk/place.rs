//! Where a disk fault works: the directory, what is mounted there, and what is free on it.

use crate::cgroup::{Cgroup, unescape};
use crate::error::{Context, Error, Result};
use crate::failures::Host;
use crate::sys::disk;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The directory of the file system that is mounted; not `/` for a directory of a larger one.
    root: String,
    /// Where.
    point: PathBuf,
    /// The type of the file system.
    kind: String,
}

impl Mount {
    /// The mount with this number. One that is not listed is above the root directory of this process, so what
    /// it holds is the root file system.
    fn find(mounts: &str, id: &str) -> Mount {
        let read = |line: &str| {
            let mut words = line.split_whitespace();
            if words.next()? != id {
                return None;
            }
            let root = unescape(words.nth(2)?);
            let point = PathBuf::from(unescape(words.next()?));
            let kind = line.rsplit_once(" - ")?.1.split_whitespace().next()?.to_owned();
            Some(Mount { root, point, kind })
        };
        let root = || Mount { root: "/".into(), point: "/".into(), kind: "unknown file system".into() };
        mounts.lines().find_map(read).unwrap_or_else(root)
    }

    /// Whether this is the root file system: the container's own, whose writable layer is on the node's disk, or
    /// the node's, mounted whole somewhere. A directory of the node's disk that was mounted by itself (emptyDir,
    /// hostPath) is not: somebody meant it to be written.
    fn is_root(&self) -> bool {
        self.point == Path::new("/") || self.root == "/" && self.point.join("etc/os-release").exists()
    }
}

/// A directory that is there.
#[derive(Debug)]
pub struct Place {
    /// As configured.
    pub path: PathBuf,
    folder: File,
    mount: Mount,
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
        let own = host.proc.join("self");
        let info = own.join(format!("fdinfo/{}", folder.as_raw_fd()));
        let info = fs::read_to_string(&info).doing("read", info.display())?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or("").trim();
        let mounts = own.join("mountinfo");
        let mounts = fs::read(&mounts).doing("read", mounts.display())?;
        let mount = Mount::find(&String::from_utf8_lossy(&mounts), id);
        if mount.is_root() && !allow_root {
            return Err(Error::refused(format!(
                "cannot use the disk of {}: it is on the root file system ({}), which others share; mount a volume \
                 and name it, or set `allow_root_filesystem: true`",
                path.display(),
                mount.kind,
            )));
        }
        Ok(Place { path: path.to_owned(), folder, mount })
    }

    /// "/data (ext4)".
    pub fn shown(&self) -> String {
        let memory = if self.is_memory() { ", which is memory" } else { "" };
        format!("{} ({}{memory})", self.path.display(), self.mount.kind)
    }

    /// Whether files there are memory, which counts against the memory limit of who writes them.
    pub fn is_memory(&self) -> bool {
        matches!(self.mount.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
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
    pub fn left(&self) -> io::Result<u64> {
        let space = disk::space(self.folder.as_fd())?;
        // One without a size of its own is never full.
        Ok(if space.total == 0 { u64::MAX } else { space.free })
    }

    /// Whether files can be made there, before one is.
    ///
    /// # Errors
    /// Why not.
    pub fn writable(&self) -> Result<()> {
        let name = CString::new(self.path.as_os_str().as_bytes()).map_err(io::Error::from);
        let may = name.and_then(|name| disk::may_write(&name));
        may.doing("make a file in", self.shown()).map_err(explained)
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
        31 27 254:1 / /usr/.. rw - ext4 /dev/vda rw\n";

    #[test]
    fn the_mount_is_found_by_its_number() {
        let data = Mount::find(MOUNTS, "30");
        assert_eq!((data.point.to_str().unwrap(), data.kind.as_str()), ("/my data", "ext4"));
        assert!(data.root.ends_with("empty-dir/d") && !data.is_root(), "an emptyDir on the node's disk");
        assert!(!Mount::find(MOUNTS, "28").is_root());
        assert!(Mount::find(MOUNTS, "27").is_root(), "the container's own layer");
        assert!(Mount::find(MOUNTS, "7").is_root() && Mount::find("", "").is_root(), "above a chroot");
        assert!(Mount::find(MOUNTS, "31").is_root(), "a whole system, as a hostPath of /");
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
            let _ = crate::sys::pidfd::become_user(65534); // who is not root cannot, and need not
            Place::open(Path::new("/usr"), &Host::default(), true).unwrap().writable()
        });
        let error = stranger.join().unwrap().unwrap_err().to_string();
        let said = "): Permission denied; the agent's user may not write there: ";
        assert!(error.starts_with("cannot make a file in /usr (") && error.contains(said), "{error}");
    }
}
