//! Files that a program of any uid may write to without being led astray: below a folder that others can write to, they
//! may put a link, a FIFO or a file of somebody else in the way.
//!
//! A path is walked name by name below held folders. Links are followed only where root or this very uid has put them
//! (as `fs.protected_symlinks` of proc_sys_fs(5) does for sticky folders), the file itself is none, and is of the same two.

use super::sys::{entry, task};
use crate::error::{Context, Error, Result};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// As many links as path_resolution(7) allows.
const LINKS: u32 = 40;

/// A file and the folder that it was opened in.
#[derive(Debug)]
pub struct Appended {
    folder: OwnedFd,
    name: OsString,
    /// Open for appending.
    pub file: File,
}

impl Appended {
    /// Opens a file to add to it; makes it, and the folders above, where there are none.
    ///
    /// # Errors
    /// It cannot be had, or somebody else could use it to write elsewhere: it is no regular file, belongs to another uid, has
    /// a second name, or the way leads through another uid's link.
    pub fn open(path: &Path) -> Result<Appended> {
        let (folder, name) = place(path)?;
        if let Some(there) = look(&folder, &name, path)? {
            judge(&there, path)?;
        }
        let file = entry::append(folder.as_fd(), &text(&name, path)?);
        let file = File::from(file.map_err(|failed| failed.doing("open", path.display().to_string()))?);
        // What was put there in between is looked at again.
        judge(&file.metadata().doing("open", path.display())?, path)?;
        Ok(Appended { folder, name, file })
    }

    /// Whether the file ends in the middle of a line, as far as it may be read: a full disk or a kill can have torn the last
    /// one of an earlier writer.
    pub fn is_torn(&self, path: &Path) -> bool {
        let size = self.file.metadata().map_or(0, |data| data.len());
        let mut last = [b'\n'];
        let read = text(&self.name, path).map(|name| entry::read(self.folder.as_fd(), &name));
        if let (Ok(Ok(file)), Some(at)) = (read, size.checked_sub(1)) {
            _ = File::from(file).read_at(&mut last, at);
        }
        last != [b'\n']
    }

    /// Whether the file is still the one at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        let here = self.file.metadata().ok();
        let there = place(path).and_then(|(folder, name)| look(&folder, &name, path)).ok().flatten();
        let identity = |data: Metadata| (data.dev(), data.ino());
        here.is_some() && here.map(identity) == there.map(identity)
    }

    /// Gives the file, or `NAME.from` for a number above 0, the name `NAME.to`, in its folder.
    ///
    /// # Errors
    /// As rename(2), or one of the two names is that of somebody else's file, which is neither moved nor lost.
    pub fn rename(&self, from: u32, to: u32, path: &Path) -> Result<()> {
        let name = |number: u32| {
            let mut name = self.name.clone();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            name
        };
        let (from, to) = (name(from), name(to));
        for name in [&from, &to] {
            let foreign = look(&self.folder, name, path)?.filter(|data| !is_own(data));
            if let Some(data) = foreign {
                let (path, name, uid) = (path.display(), name.display(), data.uid());
                return Err(Error::refused(format!(
                    "cannot rotate {path}: {name} belongs to uid {uid}; remove it, or name another file"
                )));
            }
        }
        entry::rename(self.folder.as_fd(), &text(&from, path)?, &text(&to, path)?)
            .map_err(|failed| failed.doing("rotate", path.display().to_string()))
    }
}

/// A name as the kernel takes it.
fn text(name: &OsStr, path: &Path) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Error::refused(format!("{path:?} has a byte 0 in it")))
}

/// The folder of a file, and the file's name in it.
fn place(path: &Path) -> Result<(OwnedFd, OsString)> {
    let Some(name) = path.file_name() else {
        return Err(Error::refused(format!("{} is no name of a file", path.display())));
    };
    Ok((folder(path.parent().unwrap_or(Path::new("")), path)?, name.to_owned()))
}

/// What has this name in a folder.
fn look(folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<Metadata>> {
    match entry::at(Some(folder.as_fd()), &text(name, path)?) {
        Ok(found) => File::from(found).metadata().map(Some).doing("look at", path.display()),
        Err(failed) if failed.kind() == ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(failed.doing("open", path.display().to_string())),
    }
}

/// Whether nobody but root and this uid could have put it there.
fn is_own(data: &Metadata) -> bool {
    data.uid() == 0 || data.uid() == task::uid()
}

/// Refuses what is no file to write to.
fn judge(data: &Metadata, path: &Path) -> Result<()> {
    let kind = data.file_type();
    let why = if kind.is_symlink() {
        "it is a link, which is not followed; name the file itself".to_owned()
    } else if kind.is_dir() {
        "it is a folder; name a file in it".to_owned()
    } else if kind.is_fifo() {
        "it is a FIFO, whose reader could stop; name a regular file".to_owned()
    } else if !kind.is_file() {
        "it is a device or a socket; name a regular file".to_owned()
    } else if !is_own(data) {
        format!("it belongs to uid {}; remove it, or name another", data.uid())
    } else if data.nlink() > 1 {
        "it has a second name, a hard link; remove it, or name another".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::refused(format!("cannot open {}: {why}", path.display())))
}

/// Opens a folder, made where there is none; `whole` is what errors name.
fn folder(path: &Path, whole: &Path) -> Result<OwnedFd> {
    let failed = |verb| move |failed: super::sys::Failed| failed.doing(verb, whole.display().to_string());
    let start = |path: &Path| entry::at(None, if path.is_absolute() { c"/" } else { c"." });
    let mut at = start(path).map_err(failed("open"))?;
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        let name = text(&name, whole)?;
        let next = match entry::at(Some(at.as_fd()), &name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match entry::make_folder(at.as_fd(), &name) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(error.doing("make the folder of", whole.display().to_string()));
                    }
                    _ => entry::at(Some(at.as_fd()), &name),
                }
            }
            other => other,
        };
        let next = File::from(next.map_err(failed("open"))?);
        let data = next.metadata().doing("open", whole.display())?;
        let next = OwnedFd::from(next);
        if data.is_dir() {
            at = next;
        } else if data.is_symlink() {
            links += 1;
            if !is_own(&data) || links > LINKS {
                let why = match links > LINKS {
                    true => "too many links".to_owned(),
                    false => format!("it leads through a link of uid {}", data.uid()),
                };
                return Err(Error::refused(format!("cannot open {}: {why}", whole.display())));
            }
            let target =
                PathBuf::from(OsString::from_vec(entry::target(next.as_fd()).map_err(failed("open"))?));
            if target.is_absolute() {
                at = start(&target).map_err(failed("open"))?;
            }
            ahead.extend(names(&target));
        } else {
            return Err(Error::refused(format!(
                "cannot open {}: {} is no folder",
                whole.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(at)
}

/// The names of a path, the last first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{chown, lchown, symlink};

    fn refused(path: &Path) -> String {
        Appended::open(path).unwrap_err().to_string()
    }

    #[test]
    fn folders_are_made_and_own_links_followed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        symlink(at("link"), at("again")).unwrap();
        let mut opened = Appended::open(&at("again/new/../new/./log")).unwrap();
        opened.file.write_all(b"x").unwrap();
        assert_eq!(fs::read(at("real/new/log")).unwrap(), b"x");
        assert_eq!(fs::metadata(at("real/new/log")).unwrap().mode() & 0o7777, 0o600);
        assert!(opened.is_at(&at("real/new/log")));
        opened.rename(0, 1, &at("real/new/log")).unwrap();
        assert!(!opened.is_at(&at("real/new/log")) && at("real/new/log.1").exists());
        symlink("loop", at("loop")).unwrap();
        assert!(refused(&at("loop/log")).contains("too many links"));
        assert!(refused(&at("real/new/log.1/log")).contains("log.1 is no folder"));
    }

    #[test]
    fn what_somebody_put_in_the_way_is_refused_and_untouched() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("secret"), "secret").unwrap();
        symlink("secret", at("link")).unwrap();
        symlink("not-there", at("hanging")).unwrap();
        fs::hard_link(at("secret"), at("hard")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        for (name, why) in [
            ("link", "a link"),
            ("hanging", "a link"),
            ("hard", "hard link"),
            ("folder", "folder"),
            ("fifo", "FIFO"),
        ] {
            assert!(refused(&at(name)).contains(why), "{}", refused(&at(name)));
        }
        assert!(refused(Path::new("/dev/null")).contains("device"));
        assert!(!at("not-there").exists());
        assert_eq!(fs::read(at("secret")).unwrap(), b"secret");
        if task::uid() == 0 {
            fs::write(at("foreign"), "").unwrap();
            chown(at("foreign"), Some(65534), None).unwrap();
            assert!(refused(&at("foreign")).contains("belongs to uid 65534"));
            fs::rename(at("foreign"), at("log.1")).unwrap();
            fs::write(at("log.2"), "old").unwrap();
            let own = Appended::open(&at("log")).unwrap();
            for (from, to) in [(0, 1), (1, 2)] {
                let error = own.rename(from, to, &at("log")).unwrap_err().to_string();
                assert!(error.contains("/log: log.1 belongs to uid 65534; remove it"), "{error}");
            }
            assert_eq!(fs::read(at("log.2")).unwrap(), b"old");
            assert_eq!(fs::metadata(at("log.1")).unwrap().uid(), 65534);
            own.rename(0, 2, &at("log")).unwrap();
            fs::create_dir(at("root")).unwrap();
            symlink("root", at("trap")).unwrap();
            lchown(at("trap"), Some(65534), None).unwrap();
            assert!(refused(&at("trap/new/log")).contains("through a link of uid 65534"));
            assert_eq!(fs::read_dir(at("root")).unwrap().count(), 0);
        }
    }
}
