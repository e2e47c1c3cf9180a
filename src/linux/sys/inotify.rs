//! inotify(7): being told when a file appears, changes or goes, without looking for it.

use super::Result;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What tells that a name in a folder may mean something else now: made, closed after writing, renamed, deleted.
const MASK: u32 =
    libc::IN_CREATE | libc::IN_CLOSE_WRITE | libc::IN_MOVED_FROM | libc::IN_MOVED_TO | libc::IN_DELETE;
/// Bytes of `struct inotify_event` (linux/inotify.h) before the name: wd, mask, cookie, len.
const HEAD: usize = 16;

/// Reads of one call at most: some 1,000 events.
const READS: usize = 8;

/// A non-blocking inotify instance, closed on exec.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The watch, as [`Inotify::add`] returned it.
    pub watch: i32,
    /// Whether a file was only made, and may be still empty.
    pub created: bool,
    /// Whether events were lost.
    pub overflow: bool,
    /// The name in the watched folder.
    pub name: OsString,
}

impl Inotify {
    /// An instance that watches nothing.
    ///
    /// # Errors
    /// inotify_init1(2): `EMFILE` when the user has too many, `ENOSYS` in kernels without it.
    pub fn new() -> Result<Inotify> {
        // SAFETY: takes an integer and returns a descriptor; no pointer is involved.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        let fd = super::check(fd, "inotify_init1(IN_CLOEXEC|IN_NONBLOCK)", 0, 0)?;
        // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
        Ok(Inotify(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches the names in a folder. Returns the number of the watch; the same folder has the same number.
    ///
    /// # Errors
    /// inotify_add_watch(2): no such folder, it may not be read, or the user's watches are used up.
    pub fn add(&self, folder: &Path) -> Result<i32> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        let mask = MASK | libc::IN_ONLYDIR;
        // SAFETY: `folder` is a live NUL-terminated string; the kernel only reads it.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), folder.as_ptr(), mask) };
        let call = "inotify_add_watch(%, @, IN_CREATE|IN_CLOSE_WRITE|IN_MOVE|IN_DELETE|IN_ONLYDIR)";
        super::check(watch, call, self.0.as_raw_fd().into(), 0)
            .map_err(|failed| failed.about(folder.to_bytes()))
    }

    /// The events that wait; of very many the first, and the instance stays readable: who fills a folder faster than this
    /// reads must not hold the reader up for ever.
    pub fn events(&self) -> Vec<Event> {
        let mut found = Vec::new();
        let mut bytes = [0u8; 4096];
        for _ in 0..READS {
            // SAFETY: `bytes` outlives the call and the kernel writes at most its length.
            let count = unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
            let Ok(count @ 1..) = usize::try_from(count) else { return found };
            parse(bytes.get(..count).unwrap_or_default(), &mut found);
        }
        found
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn parse(mut bytes: &[u8], found: &mut Vec<Event>) {
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        u32::from_ne_bytes(four.unwrap_or_default())
    };
    while bytes.len() >= HEAD {
        let (mask, end) = (word(bytes, 4), HEAD + word(bytes, 12) as usize);
        let name = bytes.get(HEAD..end).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        found.push(Event {
            watch: word(bytes, 0).cast_signed(),
            created: mask & libc::IN_CREATE != 0,
            overflow: mask & libc::IN_Q_OVERFLOW != 0,
            name: OsStr::from_bytes(name).to_owned(),
        });
        bytes = bytes.get(end..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_names_in_a_folder_is_told() {
        let folder = std::env::temp_dir().join(format!("inotify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = inotify.add(&folder).unwrap();
        assert_eq!(inotify.events(), []);
        std::fs::write(folder.join("a"), "text").unwrap();
        std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
        std::fs::remove_file(folder.join("b")).unwrap();
        let events = inotify.events();
        let told: Vec<_> = events.iter().map(|event| (event.created, event.name.to_str().unwrap())).collect();
        assert_eq!(told, [(true, "a"), (false, "a"), (false, "a"), (false, "b"), (false, "b")]);
        assert!(events.iter().all(|event| event.watch == watch && !event.overflow));
        std::fs::remove_dir(&folder).unwrap();
        assert!(inotify.add(&folder).is_err());
    }

    #[test]
    fn of_very_many_events_the_first_are_read_and_the_others_wait() {
        let folder = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.add(folder.path()).unwrap();
        let name = |number: usize| folder.path().join(number.to_string());
        std::fs::write(name(0), "").unwrap();
        (0..2000).for_each(|number| std::fs::rename(name(number), name(number + 1)).unwrap());
        let first = inotify.events().len();
        assert!((1..=READS * 4096 / HEAD).contains(&first), "{first}");
        let mut all = first;
        while let more @ 1.. = inotify.events().len() {
            all += more;
        }
        assert_eq!(all, 2 + 2 * 2000);
    }
}
