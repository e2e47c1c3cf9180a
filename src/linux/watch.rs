//! Files whose content or presence matters: told by inotify(7) as soon as they change, and looked at now and then
//! all the same, because network file systems and some mounts tell nothing.

use crate::linux::sys::clock;
use crate::linux::sys::inotify::Inotify;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The link that kubelet exchanges when a ConfigMap changes; the file itself is a link through it.
const KUBELET: &str = "..data";

/// A file written less than this ago may still be written.
const FRESH: Duration = Duration::from_secs(1);

/// What tells one state of a file from another. The time alone does not: it can stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    /// Follows links; `None` when there is no such file.
    fn of(path: &Path) -> Option<Identity> {
        fs::metadata(path).ok().map(|data| Identity::from(&data))
    }
}

impl Identity {
    /// Whether it was written less than [`FRESH`] ago.
    fn is_fresh(self) -> bool {
        let now = clock::unix();
        let (seconds, nanos) = self.changed;
        let at = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
        now.checked_sub(at).is_some_and(|age| age < FRESH)
    }
}

impl From<&Metadata> for Identity {
    fn from(data: &Metadata) -> Identity {
        let changed = (data.mtime(), data.mtime_nsec());
        Identity { device: data.dev(), inode: data.ino(), size: data.size(), changed }
    }
}

/// One file under watch.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    name: OsString,
    watch: Option<i32>,
    seen: Option<Identity>,
    /// Told by inotify, not looked at yet.
    told: bool,
}

/// Files under watch, by number.
#[derive(Debug, Default)]
pub struct Files {
    inotify: Option<Inotify>,
    files: Vec<Watched>,
}

impl Files {
    /// Watches these files, present or not; their states now are known already. The number of each is its index.
    pub fn new(paths: &[&Path]) -> Files {
        let inotify = (!paths.is_empty()).then(|| Inotify::new().ok()).flatten();
        let watched = |path: &&Path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            Watched {
                path: path.to_path_buf(),
                name: path.file_name().unwrap_or_default().to_owned(),
                // Without a watch (no such folder, none left) the regular looks find what changed.
                watch: inotify.as_ref().and_then(|inotify| inotify.add(folder).ok()),
                seen: Identity::of(path),
                told: false,
            }
        };
        Files { files: paths.iter().map(watched).collect(), inotify }
    }

    /// Readable when something happened in one of the folders.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what inotify tells. A file that was only made is not told yet: its writer is still at work.
    pub fn listen(&mut self) {
        let events = self.inotify.as_ref().map(Inotify::events).unwrap_or_default();
        for event in events {
            for file in &mut self.files {
                let meant = file.watch == Some(event.watch) && !event.created && event.name == file.name;
                let swapped = file.watch == Some(event.watch) && event.name == KUBELET;
                file.told |= meant || swapped || event.overflow;
            }
        }
    }

    /// Whether the file differs from what it was at the last call that said so: its content may have changed. With
    /// `patient`, one that is being written just now is left for the next call; inotify tells when its writer has
    /// closed it.
    pub fn changed(&mut self, index: usize, patient: bool) -> bool {
        let Some(file) = self.files.get_mut(index) else { return false };
        let now = Identity::of(&file.path);
        if patient && !file.told && now != file.seen && now.is_some_and(|now| now.is_fresh()) {
            return false;
        }
        let told = std::mem::take(&mut file.told);
        let changed = now != file.seen;
        file.seen = now;
        // Told and the same by its identity: written again within one tick of the file system's clock.
        changed || told
    }

    /// Whether the file is there.
    pub fn exists(&self, index: usize) -> bool {
        self.files.get(index).is_some_and(|file| file.path.symlink_metadata().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("watch-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_written_replaced_or_removed_file_has_changed_once() {
        let folder = Folder::new("plain");
        let (file, other) = (folder.0.join("config.yaml"), folder.0.join("other"));
        fs::write(&file, "a").unwrap();
        let mut files = Files::new(&[&file]);
        let mut changed = || {
            files.listen();
            (files.changed(0, true), files.changed(0, true))
        };
        assert_eq!(changed(), (false, false));
        fs::write(&other, "x").unwrap();
        assert_eq!(changed(), (false, false), "another file of the folder");
        fs::write(&file, "b").unwrap();
        assert_eq!(changed(), (true, false));
        fs::rename(&other, &file).unwrap();
        assert_eq!(changed(), (true, false));
        fs::remove_file(&file).unwrap();
        assert_eq!(changed(), (true, false));
        assert!(!files.exists(0));
    }

    #[test]
    fn the_exchange_of_a_config_map_is_noticed() {
        let folder = Folder::new("configmap");
        let (one, two, data) = (folder.0.join("..1"), folder.0.join("..2"), folder.0.join("..data"));
        for (version, text) in [(&one, "a"), (&two, "b")] {
            fs::create_dir(version).unwrap();
            fs::write(version.join("config.yaml"), text).unwrap();
        }
        symlink("..1", &data).unwrap();
        let file = folder.0.join("config.yaml");
        symlink("..data/config.yaml", &file).unwrap();
        let mut files = Files::new(&[&file]);
        symlink("..2", folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), &data).unwrap();
        files.listen();
        assert!(files.changed(0, true));
        assert_eq!(fs::read_to_string(&file).unwrap(), "b");
    }

    #[test]
    fn without_a_folder_regular_looks_find_the_file() {
        let folder = Folder::new("late");
        let late = folder.0.join("late");
        let file = late.join("halt");
        let mut files = Files::new(&[&file]);
        assert!(!files.changed(0, false) && !files.exists(0));
        fs::create_dir(&late).unwrap();
        fs::write(&file, "").unwrap();
        assert!(files.exists(0) && files.changed(0, false));
    }
}
