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

/// Directories that are the group `path` or one above it, by `/proc/self/mountinfo`, each with its depth below the root
/// of the control group name space (negative above it).
///
/// The hierarchy may be mounted more than once: the host's tree beside the container's own, or a part of it that has
/// nothing to do with this process. So only mounts count whose root is the group or above it. Of several mounts at one
/// point the last covers the others. The same group may come more than once.
pub fn groups<'a>(
    mounts: &'a str,
    version: Version,
    controller: &'a str,
    path: &'a str,
) -> impl Iterator<Item = (isize, PathBuf)> + 'a {
    let fits = move |line: &&str| {
        let mut words = line.rsplit_once(" - ").map_or("", |(_, end)| end).split_whitespace();
        let (kind, options) = (words.next(), words.nth(1).unwrap_or(""));
        match version {
            Version::Two => kind == Some("cgroup2"),
            Version::One => kind == Some("cgroup") && options.split(',').any(|word| word == controller),
        }
    };
    let point = |line: &'a str| line.split_whitespace().nth(4);
    let lines = mounts.lines().enumerate().filter(move |(_, line)| fits(line));
    let visible = lines
        .filter(move |(index, line)| mounts.lines().skip(index + 1).all(|later| point(later) != point(line)));
    visible.flat_map(move |(_, line)| {
        let mut words = line.split_whitespace().skip(3).map(unescape);
        let (root, point) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        upwards(Path::new(&point), &root, path)
    })
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

/// The directories from the group `path` up to the mount point, where group `root` is, with their depths; none where
/// `root` is not above `path`.
///
/// Seen from a name space of control groups, what is outside has a path that climbs: `/..` is above everything, and
/// `/../other` is somebody else.
fn upwards(point: &Path, root: &str, path: &str) -> Vec<(isize, PathBuf)> {
    let mut above = parts(root).peekable();
    let mut below = parts(path).peekable();
    while above.peek().is_some() && above.peek() == below.peek() {
        above.next();
        below.next();
    }
    let above: Vec<&str> = above.collect();
    let below: Vec<&str> = below.collect();
    if above.iter().any(|part| *part != "..") || below.contains(&"..") {
        return Vec::new();
    }
    let depth = parts(root).map(|part| if part == ".." { -1 } else { 1 }).sum();
    let mut found = vec![(depth, point.to_owned())];
    // From an ancestor outside of the name space the way down has no names.
    for part in below.iter().filter(|_| above.is_empty()) {
        if let Some((depth, dir)) = found.last() {
            found.push((depth + 1, dir.join(part)));
        }
    }
    found
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(mounts: &str, path: &str) -> Vec<(isize, String)> {
        let found = groups(mounts, Version::Two, "cpu", path);
        found.map(|(depth, dir)| (depth, dir.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_mount_point_with_a_space_is_found() {
        let line = "1 2 0:3 / /mnt/with\\040space\\ rw - cgroup2 none rw\n";
        assert_eq!(dirs(line, "/"), [(0, "/mnt/with space\\".to_owned())]);
    }

    #[test]
    fn only_what_is_above_the_own_group_counts() {
        for (root, path, found) in [
            ("/", "/a/b", &[(0, "/m"), (1, "/m/a"), (2, "/m/a/b")][..]),
            ("/a", "/a/b", &[(1, "/m"), (2, "/m/b")]),
            ("/a/b", "/a/b", &[(2, "/m")]),
            ("/", "/", &[(0, "/m")]),
            // Others, among them one whose name begins alike.
            ("/a/c", "/a/b", &[]),
            ("/a/b/c", "/a/b", &[]),
            ("/a", "/ab", &[]),
            // A name space of control groups with the host's tree beside it.
            ("/..", "/", &[(-1, "/m")]),
            ("/../..", "/x", &[(-2, "/m")]),
            ("/../other", "/", &[]),
            // A process that was moved out of the name space.
            ("/", "/../other", &[]),
            ("/..", "/../other", &[(-1, "/m"), (0, "/m/other")]),
            ("/../..", "/../other", &[(-2, "/m")]),
        ] {
            let line = format!("1 2 0:3 {root} /m rw - cgroup2 none rw\n");
            let wanted: Vec<(isize, String)> =
                found.iter().map(|(depth, dir)| (*depth, (*dir).to_owned())).collect();
            assert_eq!(dirs(&line, path), wanted, "{root} {path}");
        }
    }

    #[test]
    fn what_another_mount_covers_does_not_count() {
        let one = "1 2 0:3 / /m rw - cgroup2 none rw\n";
        let over = "3 2 0:9 / /m rw - tmpfs none rw\n";
        assert_eq!(dirs(&[one, over].concat(), "/"), []);
        assert_eq!(dirs(&[over, one].concat(), "/").len(), 1);
        assert_eq!(dirs(&one.repeat(3), "/").len(), 1);
    }
}
