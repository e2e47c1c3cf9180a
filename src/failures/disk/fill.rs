//! The file that takes the space. It has no name, so that the kernel gives every byte back with the process.

use super::place::{Place, explained};
use crate::error::{Context, Result};
use crate::linux::ability::{FALLOCATE, TMPFILE};
use crate::linux::sys::{self, disk};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Set aside between two looks at the clock and the stop: an extent of ext4, a millisecond of work.
const PIECE: u64 = 128 << 20;
/// The same in memory, where every page is cleared, and the most that is written in one piece.
const SMALL_PIECE: u64 = 1 << 20;
/// Share of what was asked for that must be taken on the disk for the fault to count as in force.
const TAKEN: f64 = 0.999;

/// A file of its own that grows to its length.
#[derive(Debug)]
pub struct Fill {
    file: File,
    shown: String,
    length: u64,
    filled: u64,
    piece: u64,
    /// Whether the file system sets blocks aside without being written to.
    allocates: bool,
    random: fastrand::Rng,
    data: Vec<u8>,
}

impl Fill {
    /// Makes the file. `written`: with data that reads can fetch from the device, not only set aside.
    ///
    /// # Errors
    /// The directory takes no files.
    pub fn create(place: &Place, length: u64, written: bool, seed: u64) -> Result<Fill> {
        let shown = place.shown();
        let file = nameless(place, seed).doing("make a file in", &shown).map_err(explained)?;
        let piece = if place.is_memory() { SMALL_PIECE } else { PIECE };
        let random = fastrand::Rng::with_seed(seed);
        Ok(Fill { file, shown, length, filled: 0, piece, allocates: !written, random, data: Vec::new() })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes so far.
    pub fn filled(&self) -> u64 {
        self.filled
    }

    /// Whether there is nothing left to take.
    pub fn is_full(&self) -> bool {
        self.filled >= self.length
    }

    /// Takes the next piece, at most up to `end`. With `all`, the end of the space is the end of the file.
    ///
    /// # Errors
    /// The space is not there, or may not be taken.
    pub fn grow(&mut self, end: u64, all: bool) -> Result<()> {
        let end = end.min(self.filled + self.piece).min(self.length);
        let more = end - self.filled;
        let done = if self.allocates { self.allocate(more) } else { self.write(more) };
        match done {
            Err(error) if all && error.raw_os_error() == Some(libc::ENOSPC) => {
                if self.piece > SMALL_PIECE {
                    self.piece /= 2; // some file systems give a piece or nothing
                } else if self.taken() as f64 >= self.length as f64 * 0.99 {
                    self.length = self.filled;
                } else {
                    return self.refused(Err(error));
                }
                Ok(())
            }
            other => self.refused(other),
        }
    }

    fn refused(&self, done: sys::Result<()>) -> Result<()> {
        let what = format_args!("{} beyond {} MiB", self.shown, self.filled >> 20);
        done.doing("fill", what).map_err(explained)
    }

    fn allocate(&mut self, more: u64) -> sys::Result<()> {
        match disk::allocate(self.file.as_fd(), self.filled, more) {
            Err(error) if FALLOCATE.told(error.raw_os_error()).is_missing() => {}
            // Some file systems (ZFS) say yes and set nothing aside.
            Ok(()) if self.filled > 0 || self.taken() >= more / 2 => {
                self.filled += more;
                return Ok(());
            }
            Ok(()) => {}
            other => return other,
        }
        self.allocates = false;
        self.piece = SMALL_PIECE;
        self.write(more)
    }

    /// Writes what does not compress.
    fn write(&mut self, more: u64) -> sys::Result<()> {
        let more = more.min(SMALL_PIECE);
        self.data.resize(SMALL_PIECE as usize, 0);
        self.random.fill(&mut self.data);
        let data = self.data.get(..more as usize).unwrap_or_default();
        self.file.write_all_at(data, self.filled)?;
        // The cache would count against the container's memory.
        disk::forget(self.file.as_fd(), self.filled, more);
        self.filled += more;
        Ok(())
    }

    /// Bytes that the file takes on the disk.
    pub fn taken(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.blocks() * 512)
    }

    /// Whether the space is really taken; else the file is written out first, and asked again.
    pub fn verify(&self) -> bool {
        let enough = || self.taken() as f64 >= self.length as f64 * TAKEN;
        enough() || (self.file.sync_data().is_ok() && enough())
    }
}

/// A file without a name in the directory that was looked at: `O_TMPFILE`, or else one that loses its name at once.
fn nameless(place: &Place, seed: u64) -> sys::Result<File> {
    match disk::make_nameless(place.folder()) {
        Err(error) if TMPFILE.told(error.raw_os_error()).is_missing() => named_for_a_moment(place, seed),
        made => made.map(File::from),
    }
}

/// For file systems without `O_TMPFILE`.
fn named_for_a_moment(place: &Place, seed: u64) -> sys::Result<File> {
    let name = CString::new(format!(".chaos-agent-{seed:016x}"))?;
    let file = File::from(disk::make_at(place.folder(), &name)?);
    disk::remove_at(place.folder(), &name)?;
    match file.metadata()?.nlink() {
        0 => Ok(file),
        // It would outlive the agent. It is empty, and who may write there has it now.
        _ => Err(io::Error::other("somebody moved or linked the new file before it lost its name").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::Host;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_swap_for_a_link_after_the_look_moves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved, other) =
            (folder.path().join("volume"), folder.path().join("moved"), folder.path().join("other"));
        fs::create_dir(&path).unwrap();
        fs::create_dir(&other).unwrap();
        let place = Place::open(&path, &Host::default(), true).unwrap();
        fs::rename(&path, &moved).unwrap();
        symlink(&other, &path).unwrap();
        let before = fs::metadata(&other).unwrap();
        place.writable().unwrap();
        for file in [nameless(&place, 1).unwrap(), named_for_a_moment(&place, 1).unwrap()] {
            let at = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            assert!(at.starts_with(&moved), "{}", at.display());
            assert_eq!(file.metadata().unwrap().nlink(), 0);
        }
        let after = fs::metadata(&other).unwrap();
        assert_eq!(
            (before.mtime(), before.mtime_nsec()),
            (after.mtime(), after.mtime_nsec()),
            "something was made there"
        );
        // Nothing at all at the path: what was opened is still there.
        fs::remove_file(&path).unwrap();
        place.writable().unwrap();
        nameless(&place, 1).unwrap();
    }

    #[test]
    fn a_name_that_is_taken_or_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path(), &Host::default(), true).unwrap();
        let name = folder.path().join(".chaos-agent-0000000000000007");
        symlink(folder.path().join("victim"), &name).unwrap();
        let error = named_for_a_moment(&place, 7).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        assert!(
            !folder.path().join("victim").exists() && name.is_symlink(),
            "the link was followed or removed"
        );
    }
}
