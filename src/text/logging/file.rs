//! A log file that is rotated by size.

use crate::error::{Context, Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a file that could not be opened is left alone.
const RETRY: Duration = Duration::from_secs(60);

/// The file `path` with its older parts `path.1` (the newest), `path.2` and so on.
pub struct RotatedFile {
    path: PathBuf,
    /// In bytes; 0 never rotates.
    max_size: u64,
    backups: u32,
    file: Option<File>,
    size: u64,
    /// Whether the last attempt failed, and that was told.
    failed: bool,
    retry_at: Option<Instant>,
}

impl RotatedFile {
    /// A file that [`RotatedFile::open`] or the first line will open.
    pub fn new(path: PathBuf, max_size: u64, backups: u32) -> RotatedFile {
        RotatedFile { path, max_size, backups, file: None, size: 0, failed: false, retry_at: None }
    }

    /// Opens the file, and makes its folder where there is none.
    ///
    /// # Errors
    /// Neither can be had; the next attempt is a minute away.
    pub fn open(&mut self) -> Result<()> {
        let opened = self.try_open();
        self.failed = opened.is_err();
        self.retry_at = Instant::now().checked_add(RETRY);
        opened
    }

    fn try_open(&mut self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).doing("create", folder.display())?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&self.path);
        let file = file.doing("open", self.path.display())?;
        self.size = file.metadata().map_or(0, |data| data.len());
        self.file = Some(file);
        Ok(())
    }

    /// Appends a line, after a rotation if it is time for one. Returns what the reader of the console should
    /// know: that the file has begun to fail, once.
    pub fn write(&mut self, line: &str) -> Option<Error> {
        let failed_before = self.failed;
        if self.file.is_none() {
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return None;
            }
            if let Err(error) = self.open() {
                return (!failed_before).then_some(error);
            }
        }
        let result = self.rotate(line.len() as u64).and_then(|()| self.append(line));
        self.failed = result.is_err();
        result
            .err()
            .filter(|_| !failed_before)
            .map(|error| error.hint("its lines are lost until it can be written"))
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        let mut bytes = line.as_bytes();
        // A full disk may have taken half a line; the next one must not continue it.
        let torn = self.failed && self.size > 0;
        let torn = if torn { file.write(b"\n") } else { Ok(0) };
        let mut written = torn.doing("write", self.path.display())?;
        let result = loop {
            match file.write(bytes) {
                Ok(0) => break Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    bytes = bytes.get(count..).unwrap_or_default();
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
        if self.max_size == 0 || self.size == 0 || self.size.saturating_add(coming) <= self.max_size {
            return Ok(());
        }
        let part = |number: u32| match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        let moved = match self.backups {
            0 => Ok(()),
            // Parts that are not there yet are no failure; the file itself must go.
            backups => {
                (1..backups).rev().for_each(|number| _ = fs::rename(part(number), part(number + 1)));
                fs::rename(part(0), part(1))
            }
        };
        if self.backups > 0 && moved.is_ok() {
            self.file = None;
            return self.open();
        }
        // Nothing to move it to: start over, so that the disk is safe.
        if let Some(file) = &self.file {
            file.set_len(0).doing("truncate", self.path.display())?;
        }
        self.size = 0;
        moved.doing("rotate", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A folder of its own for each test, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("chaos-log-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
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
        let folder = Folder::new("rotate");
        let deep = folder.0.join("made");
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
        let folder = Folder::new("continue");
        fs::write(folder.0.join("a.log"), "old\n").unwrap();
        let mut file = RotatedFile::new(folder.0.join("a.log"), 8, 0);
        assert!(file.write("two\n").is_none());
        assert_eq!(files(&folder.0), pairs(&[("a.log", "old\ntwo\n")]));
        assert!(file.write("x\n").is_none());
        assert_eq!(files(&folder.0), pairs(&[("a.log", "x\n")]));
        let mut endless = RotatedFile::new(folder.0.join("a.log"), 0, 0);
        (0..100).for_each(|_| assert!(endless.write("0123456789\n").is_none()));
        assert_eq!(files(&folder.0)[0].1.len(), 1102);
    }

    #[test]
    fn a_file_that_cannot_be_had_is_told_once() {
        let folder = Folder::new("refused");
        fs::write(folder.0.join("no-folder"), "").unwrap();
        let mut file = RotatedFile::new(folder.0.join("no-folder/a.log"), 8, 2);
        let error = file.open().unwrap_err().to_string();
        assert!(error.starts_with("cannot create ") && error.ends_with(": File exists"), "{error}");
        assert!(file.write("x\n").is_none(), "already told");
        // Once it is possible, and the pause is over, it works.
        fs::remove_file(folder.0.join("no-folder")).unwrap();
        file.retry_at = None;
        assert!(file.write("y\n").is_none());
        assert_eq!(files(&folder.0.join("no-folder")), pairs(&[("a.log", "y\n")]));
    }

    #[test]
    fn a_full_disk_is_told_once_and_survived() {
        let mut file = RotatedFile::new("/dev/full".into(), 0, 0);
        let error = file.write("x\n").unwrap().to_string();
        assert_eq!(
            error,
            "cannot write /dev/full: No space left on device; its lines are lost until it can be written"
        );
        assert!(file.write("x\n").is_none(), "already told");
    }

    #[test]
    fn a_folder_in_the_way_of_the_rotation_does_not_fill_the_disk() {
        let folder = Folder::new("blocked");
        fs::create_dir_all(folder.0.join("a.log.1/x")).unwrap();
        let mut file = RotatedFile::new(folder.0.join("a.log"), 4, 1);
        assert!(file.write("one\n").is_none());
        assert!(file.write("two\n").unwrap().to_string().starts_with("cannot rotate "));
        assert!(file.write("six\n").is_none());
        assert_eq!(fs::read_to_string(folder.0.join("a.log")).unwrap(), "six\n");
    }
}
