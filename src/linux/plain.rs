//! Reading a small file that a person names: a regular one, or nothing. A pipe, a terminal or a device would make the
//! reader wait for somebody, or do something to a device by being opened.

use crate::error::{Context, Error, Result};
use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// At most `most` bytes of the regular file at `path`, links followed. Opened without waiting for a writer, and judged
/// by its descriptor: what `path` means may change between two looks.
///
/// # Errors
/// There is no such file, it may not be read, or it is something else than a regular file.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    let on = || path.display();
    // Before it is opened: the opening alone rewinds a tape and lets the writer of a pipe go on.
    regular(path, &std::fs::metadata(path).doing("read", on())?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).doing("read", on())?;
    regular(path, &file.metadata().doing("read", on())?)?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes).doing("read", on())?;
    Ok(bytes)
}

fn regular(path: &Path, data: &Metadata) -> Result<()> {
    let kind = data.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let why = format!("cannot read {}: it is {}, not a regular file", path.display(), name(kind));
    let error = Error::refused(why);
    Err(match kind.is_dir() {
        true => error.hint("container runtimes make a folder where the file to mount is missing"),
        false => error,
    })
}

fn name(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// Whether anything is at `path`, be it a link that leads nowhere.
///
/// # Errors
/// It cannot be known: the folder may not be searched, or its file system fails.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "0123456789").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("link", at("link2")).unwrap();
        for name in ["file", "link", "link2"] {
            assert_eq!(read(&at(name), 4).unwrap(), b"0123");
            assert_eq!(read(&at(name), 40).unwrap(), b"0123456789");
        }
        assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        symlink("fifo", at("to-fifo")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("ring", at("ring")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, why) in [
            ("fifo", "it is a pipe (FIFO), not a regular file"),
            ("to-fifo", "it is a pipe (FIFO), not a regular file"),
            ("socket", "it is a socket, not a regular file"),
            ("", "it is a directory, not a regular file; container runtimes make a folder"),
            ("dangling", "No such file or directory"),
            ("ring", "Too many levels of symbolic links"),
            ("file/x", "Not a directory"),
        ] {
            let error = read(&at(name), 9).unwrap_err().to_string();
            let start = format!("cannot read {}: {why}", at(name).display());
            assert!(error.starts_with(&start), "{error}");
        }
        let error = read(Path::new("/dev/zero"), 9).unwrap_err().to_string();
        assert_eq!(error, "cannot read /dev/zero: it is a device, not a regular file");
        // Presence is another question.
        for name in ["file", "fifo", "dangling", "ring", "socket", ""] {
            assert!(is_there(&at(name)).unwrap(), "{name}");
        }
        assert!(!is_there(&at("none")).unwrap() && !is_there(&at("file/x")).unwrap());
        assert!(is_there(&at(&"x".repeat(300))).is_err(), "cannot be known");
    }

    #[test]
    fn of_a_huge_file_only_the_beginning_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(read(&path, 65_537).unwrap().len(), 65_537);
    }
}
