//! A log file that is rotated by size.
//!
//! Others rotate too (logrotate(8), a person with mv): whether the file is still the one at its path is looked at before
//! each rotation, when somebody asks for it, and once a minute while lines come.

use super::queue::Sink;
use crate::error::{Context, Error, Result};
use crate::linux::trusted::Appended;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a file that could not be opened is left alone, and one that could is not looked for at its path.
const RETRY: Duration = Duration::from_secs(60);

/// How often everybody was asked to look where his file is.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Has every file looked for at its path before its next line, as SIGHUP asks for after a rotation from outside.
pub fn reopen() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// The file `path` with its older parts `path.1` (the newest), `path.2` and so on.
pub struct RotatedFile {
    path: PathBuf,
    /// In bytes; 0 never rotates.
    max_size: u64,
    backups: u32,
    opened: Option<Appended>,
    size: u64,
    /// Whether the last attempt failed, and that was told.
    failed: bool,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    /// When a file is opened again, or looked for.
    due: Option<Instant>,
    asked: u32,
}

impl RotatedFile {
    /// A file that the first line will open.
    pub fn new(path: PathBuf, max_size: u64, backups: u32) -> RotatedFile {
        let asked = ASKED.load(Ordering::Relaxed);
        RotatedFile {
            path,
            max_size,
            backups,
            opened: None,
            size: 0,
            failed: false,
            torn: false,
            due: None,
            asked,
        }
    }

    /// The way out for a queue of lines; `tell` hears once when it begins to fail.
    pub fn into_sink(mut self, tell: impl Fn(Error) + Send + 'static) -> Sink {
        Box::new(move |line| {
            if let Some(why) = self.write(line) {
                tell(why);
            }
        })
    }

    fn open(&mut self) -> Result<()> {
        self.opened = None;
        self.due = Instant::now().checked_add(RETRY);
        let opened = Appended::open(&self.path)?;
        self.size = opened.file.metadata().map_or(0, |data| data.len());
        self.torn = opened.is_torn(&self.path);
        self.opened = Some(opened);
        Ok(())
    }

    /// Appends a line, after a rotation if it is time for one. Returns what the reader of the console should
    /// know: that the file has begun to fail, once.
    fn write(&mut self, line: &str) -> Option<Error> {
        let due = self.due.is_none_or(|at| Instant::now() >= at);
        let asked = ASKED.load(Ordering::Relaxed);
        let asked = std::mem::replace(&mut self.asked, asked) != asked;
        if self.opened.is_none() && !due && !asked {
            return None;
        }
        let failed_before = self.failed;
        let result = self.stay(due || asked).and_then(|()| self.rotate(line.len() as u64));
        let result = result.and_then(|()| self.append(line));
        self.failed = result.is_err();
        result
            .err()
            .filter(|_| !failed_before)
            .map(|error| error.hint("its lines are lost until it can be written"))
    }

    /// Sees to it that an open file is the one at the path, as far as that is looked at now.
    fn stay(&mut self, look: bool) -> Result<()> {
        let Some(opened) = &self.opened else { return self.open() };
        let Ok(data) = opened.file.metadata() else { return self.open() };
        // Somebody may have cut it, or taken its name.
        self.size = data.len();
        if data.nlink() == 0 || (look && !opened.is_at(&self.path)) {
            return self.open();
        }
        if look {
            self.due = Instant::now().checked_add(RETRY);
        }
        Ok(())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let Some(Appended { file, .. }) = self.opened.as_mut() else { return Ok(()) };
        let mut bytes = line.as_bytes();
        // A full disk or a kill may have left half a line; the next one must not continue it.
        let end = if self.torn && self.size > 0 { file.write(b"\n") } else { Ok(0) };
        let mut written = end.doing("write", self.path.display())?;
        self.torn = false;
        let result = loop {
            match file.write(bytes) {
                Ok(0) => break Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    bytes = bytes.get(count..).unwrap_or_default();
                    self.torn = !bytes.is_empty();
                    if bytes.is_empty() {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.size += written as u64;
        result.doing("write", self.path.display())
    }

    /// Makes room for `coming` more bytes.
    fn rotate(&mut self, coming: u64) -> Result<()> {
        if !self.is_full(coming) {
            return Ok(());
        }
        // Only what is at the path is moved or cut: after a rotation from outside that would be the archive.
        self.stay(true)?;
        let Some(opened) = self.opened.as_ref().filter(|_| self.is_full(coming)) else { return Ok(()) };
        let moved = match self.backups {
            0 => Ok(()),
            // Parts that are not there yet are no failure; the file itself must go.
            backups => {
                (1..backups).rev().for_each(|number| _ = opened.rename(number, number + 1, &self.path));
                opened.rename(0, 1, &self.path)
            }
        };
        if self.backups > 0 && moved.is_ok() {
            return self.open();
        }
        // Nothing to move it to: start over, so that the disk is safe.
        opened.file.set_len(0).doing("truncate", self.path.display())?;
        self.size = 0;
        moved
    }

    fn is_full(&self, coming: u64) -> bool {
        self.max_size > 0 && self.size > 0 && self.size.saturating_add(coming) > self.max_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap())
            .map(|file| {
                (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap_or_default())
            })
            .collect();
        files.sort();
        files
    }

    fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let folder = folder();
        let deep = folder.path().join("made");
        let mut file = RotatedFile::new(deep.join("a.log"), 8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "a long line\n", "end\n"] {
            assert!(file.write(line).is_none(), "{line}");
        }
        assert_eq!(
            files(&deep),
            pairs(&[("a.log", "end\n"), ("a.log.1", "a long line\n"), ("a.log.2", "five\n")])
        );
    }

    #[test]
    fn an_old_file_is_continued_and_without_backups_it_starts_over() {
        let folder = folder();
        fs::write(folder.path().join("a.log"), "old\n").unwrap();
        let mut file = RotatedFile::new(folder.path().join("a.log"), 8, 0);
        assert!(file.write("two\n").is_none());
        assert_eq!(files(folder.path()), pairs(&[("a.log", "old\ntwo\n")]));
        assert!(file.write("x\n").is_none());
        assert_eq!(files(folder.path()), pairs(&[("a.log", "x\n")]));
        let mut endless = RotatedFile::new(folder.path().join("a.log"), 0, 0);
        (0..100).for_each(|_| assert!(endless.write("0123456789\n").is_none()));
        assert_eq!(files(folder.path())[0].1.len(), 1102);
    }

    #[test]
    fn a_file_that_cannot_be_had_is_told_once() {
        let folder = folder();
        fs::write(folder.path().join("no-folder"), "").unwrap();
        let mut file = RotatedFile::new(folder.path().join("no-folder/a.log"), 8, 2);
        let error = file.write("x\n").unwrap().to_string();
        assert!(error.contains("no-folder is no folder; its lines are lost"), "{error}");
        assert!(file.write("x\n").is_none(), "already told");
        // Once it is possible, and the pause is over, it works.
        fs::remove_file(folder.path().join("no-folder")).unwrap();
        file.due = None;
        assert!(file.write("y\n").is_none());
        assert_eq!(files(&folder.path().join("no-folder")), pairs(&[("a.log", "y\n")]));
    }

    #[test]
    fn half_a_line_of_an_earlier_writer_is_not_continued() {
        let folder = folder();
        let path = folder.path().join("a.log");
        for (old, new) in [("half", "half\nnew\n"), ("whole\n", "whole\nnew\n"), ("", "new\n")] {
            fs::write(&path, old).unwrap();
            assert!(RotatedFile::new(path.clone(), 0, 0).write("new\n").is_none());
            assert_eq!(fs::read_to_string(&path).unwrap(), new);
        }
        // One that may be written but not read is taken for whole.
        fs::write(&path, "half").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o200)).unwrap();
        assert!(RotatedFile::new(path.clone(), 0, 0).write("new\n").is_none());
    }

    #[test]
    fn after_a_rotation_from_outside_the_archive_is_left_alone() {
        let folder = folder();
        let (path, archive) = (folder.path().join("a.log"), folder.path().join("archive"));
        let mut file = RotatedFile::new(path.clone(), 8, 0);
        assert!(file.write("one\n").is_none());
        // Moved away: found out when somebody asks, and before anything is cut.
        fs::rename(&path, &archive).unwrap();
        reopen();
        assert!(file.write("two\n").is_none());
        fs::rename(&path, folder.path().join("other")).unwrap();
        assert!(file.write("a longer line\n").is_none());
        let after = [("a.log", "a longer line\n"), ("archive", "one\n"), ("other", "two\n")];
        assert_eq!(files(folder.path()), pairs(&after));
        // Copied and cut: nothing is at its old place in the file.
        fs::write(&path, "").unwrap();
        assert!(file.write("six\n").is_none() && file.write("ten\n").is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "six\nten\n");
        // Removed: found out at once.
        fs::remove_file(&path).unwrap();
        assert!(file.write("new\n").is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        // Another's link in its place is never followed.
        fs::remove_file(&path).unwrap();
        symlink(&archive, &path).unwrap();
        assert!(file.write("x\n").unwrap().to_string().contains("it is a link"));
        assert_eq!(fs::read_to_string(&archive).unwrap(), "one\n");
    }

    #[test]
    fn a_folder_in_the_way_of_the_rotation_does_not_fill_the_disk() {
        let folder = folder();
        fs::create_dir_all(folder.path().join("a.log.1/x")).unwrap();
        let mut file = RotatedFile::new(folder.path().join("a.log"), 4, 1);
        assert!(file.write("one\n").is_none());
        assert!(file.write("two\n").unwrap().to_string().starts_with("cannot rotate "));
        assert!(file.write("six\n").is_none());
        assert_eq!(fs::read_to_string(folder.path().join("a.log")).unwrap(), "six\n");
    }
}
