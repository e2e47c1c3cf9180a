//! Where a group's files are: the lines of `/proc/self/cgroup` and `/proc/self/mountinfo`.

use super::Version;
use std::path::{Path, PathBuf};

/// Version and path of a line of `/proc/self/cgroup` ("4:cpu,cpuacct:/a/b", "0::/a/b") if it has `controller`.
pub fn membership<'a>(line: &'a str, controller: &str) -> Option<(Version, &'a str)> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.split(',').any(|word| word == controller) {
        Some((Version::One, path))
    } else {
        (id == "0" && controllers.is_empty()).then_some((Version::Two, path))
    }
}

/// Where the hierarchy is mounted, and which of its groups is at the mount point: `/proc/self/mountinfo`. The
/// last such line wins, as the last mount covers the others.
pub fn find(mounts: &str, version: Version, controller: &str) -> Option<(PathBuf, String)> {
    let fits = |line: &&str| {
        let mut words = line.rsplit_once(" - ").map_or("", |(_, end)| end).split_whitespace();
        let (kind, options) = (words.next(), words.nth(1).unwrap_or(""));
        match version {
            Version::Two => kind == Some("cgroup2"),
            Version::One => kind == Some("cgroup") && options.split(',').any(|word| word == controller),
        }
    };
    let line = mounts.lines().rev().find(fits)?;
    let mut words = line.split_whitespace();
    let root = unescape(words.nth(3)?);
    Some((PathBuf::from(unescape(words.next()?)), root))
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
pub fn unescape(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut plain = parts.next().unwrap_or("").to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(part.get(3..).unwrap_or(""));
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// The directories from the group `path` up to the mount point, where group `root` is. A path outside `root` (a
/// container that sees only its own subtree, or was moved) leaves the mount point itself.
pub fn upwards(point: &Path, root: &str, path: &str) -> impl Iterator<Item = PathBuf> {
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let climbs = below.components().any(|part| part == std::path::Component::ParentDir);
    let below = if climbs { PathBuf::new() } else { below.to_owned() };
    let point = point.to_owned();
    let depth = below.components().count();
    (0..=depth).map(move |up| {
        let kept: PathBuf = below.components().take(depth - up).collect();
        // An empty path would leave a slash at the end.
        if kept.as_os_str().is_empty() { point.clone() } else { point.join(kept) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_found() {
        let line = "1 2 0:3 / /mnt/with\\040space\\ rw - cgroup2 none rw\n";
        let (point, root) = find(line, Version::Two, "cpu").unwrap();
        assert_eq!((point.to_str().unwrap(), root.as_str()), ("/mnt/with space\\", "/"));
    }
}
