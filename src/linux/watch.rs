//! Files whose content or presence matters: told by inotify(7) as soon as they change, and looked at now and then
//! all the same, because network file systems and some mounts tell nothing.

use crate::linux::sys::clock;
use crate::linux::sys::inotify::{Event, Inotify};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

/// One file under watch. All but [`File::is_meant`] may take as long as its file system likes.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    name: OsString,
    inotify: Option<Arc<Inotify>>,
    /// The number of the folder's watch; -1 without one (no such folder, none left): then only looks find what changed.
    watch: AtomicI32,
    /// As [`File::is_elsewhere`] at the last look.
    elsewhere: AtomicBool,
    seen: Mutex<Option<Identity>>,
}

impl File {
    /// A file, present or not, that was not looked at yet.
    pub fn new(path: &Path, inotify: Option<Arc<Inotify>>) -> File {
        File {
            path: path.to_owned(),
            name: path.file_name().unwrap_or_default().to_owned(),
            inotify,
            watch: AtomicI32::new(-1),
            elsewhere: AtomicBool::default(),
            seen: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an event may be about it; a file that was only made ([`Event::created`]) may still be written.
    pub fn is_meant(&self, event: &Event) -> bool {
        let here = event.watch == self.watch.load(Ordering::Acquire);
        event.overflow || here && (event.name == self.name || event.name == KUBELET)
    }

    /// Whether its folder tells of every change, as far as was seen at the last look.
    pub fn is_told(&self) -> bool {
        self.watch.load(Ordering::Acquire) >= 0 && !self.elsewhere.load(Ordering::Acquire)
    }

    /// Sees to it that changes are told, from now on: the folder may be another one than at the last look.
    pub fn watch(&self) {
        let watch = self.inotify.as_ref().and_then(|inotify| inotify.add(self.folder()).ok());
        self.watch.store(watch.unwrap_or(-1), Ordering::Release);
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Whether what is written may be in a folder that nobody watches: behind a link, or mounted over this very name.
    fn is_elsewhere(&self, now: Option<Identity>) -> bool {
        let linked = fs::read_link(&self.path).is_ok_and(|target| !target.starts_with(KUBELET));
        let device = Identity::of(self.folder()).map(|folder| folder.device);
        linked || now.is_some_and(|now| Some(now.device) != device)
    }

    /// Whether the file differs from what it was at the last call that said so, or at the first: its content may have
    /// changed. One that is being written just now is left for the next call, unless its end was `told`; where nothing
    /// tells of the end of a writer, waiting for it would be waiting for the next look.
    pub fn changed(&self, told: bool) -> bool {
        self.watch();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Identity::of(&self.path);
        self.elsewhere.store(self.is_elsewhere(now), Ordering::Release);
        let patient = self.watch.load(Ordering::Acquire) >= 0;
        if patient && !told && now != *seen && now.is_some_and(|now| now.is_fresh()) {
            return false;
        }
        // Told and the same by its identity: written again within one tick of the file system's clock.
        std::mem::replace(&mut *seen, now) != now || told
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

    /// A file and whether it has changed, as told by its folder or found by a look.
    fn watched(path: &Path) -> (File, impl Fn(&File) -> bool) {
        let inotify = Arc::new(Inotify::new().unwrap());
        let file = File::new(path, Some(Arc::clone(&inotify)));
        assert!(!file.is_meant(&Event { watch: 1, created: false, overflow: false, name: "x".into() }));
        (file, move |file: &File| {
            let told = inotify.events().iter().any(|event| !event.created && file.is_meant(event));
            file.changed(told)
        })
    }

    #[test]
    fn a_written_replaced_or_removed_file_has_changed_once() {
        let folder = Folder::new("plain");
        let (path, other) = (folder.0.join("config.yaml"), folder.0.join("other"));
        fs::write(&path, "a").unwrap();
        let (file, look) = watched(&path);
        let changed = || (look(&file), look(&file));
        file.changed(true);
        assert_eq!(changed(), (false, false));
        fs::write(&other, "x").unwrap();
        assert_eq!(changed(), (false, false), "another file of the folder");
        fs::write(&path, "b").unwrap();
        assert_eq!(changed(), (true, false));
        fs::rename(&other, &path).unwrap();
        assert_eq!(changed(), (true, false));
        fs::remove_file(&path).unwrap();
        assert_eq!(changed(), (true, false));
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
        let path = folder.0.join("config.yaml");
        symlink("..data/config.yaml", &path).unwrap();
        let (file, look) = watched(&path);
        file.changed(true);
        symlink("..2", folder.0.join("..data_tmp")).unwrap();
        fs::rename(folder.0.join("..data_tmp"), &data).unwrap();
        assert!(look(&file) && file.is_told());
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        // A file behind another link changes without a word.
        fs::remove_file(&path).unwrap();
        symlink(two.join("config.yaml"), &path).unwrap();
        assert!(look(&file) && !file.is_told());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "c").unwrap();
        assert!(look(&file) && file.is_told());
        let other = Identity { device: u64::MAX, ..Identity::of(&path).unwrap() };
        assert!(file.is_elsewhere(Some(other)));
    }

    #[test]
    fn a_folder_that_comes_late_or_again_is_found_by_a_look_and_tells_from_then_on() {
        let folder = Folder::new("late");
        let late = folder.0.join("late");
        let path = late.join("halt");
        let (file, look) = watched(&path);
        assert!(!look(&file));
        for _ in 0..2 {
            fs::create_dir(&late).unwrap();
            look(&file);
            fs::write(&path, "").unwrap();
            assert!(look(&file), "told");
            fs::remove_dir_all(&late).unwrap();
            assert!(look(&file) && !look(&file));
        }
        // Without anybody who tells, looks find it, fresh or not.
        let blind = File::new(&path, None);
        assert!(!blind.changed(false));
        fs::create_dir(&late).unwrap();
        fs::write(&path, "").unwrap();
        assert!(blind.changed(false) && !blind.changed(false));
    }
}
