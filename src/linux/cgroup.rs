//! What the container may use: the limits of the control groups around this process, versions 2, 1 and both.
//!
//! The limit that counts is the tightest of all visible groups from the own one up, because a process need not
//! be in the group that the runtime limited. Whatever is missing, unreadable or odd counts as "no limit known";
//! nothing here is an error. Formats: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel,
//! cgroups(7), proc(5).

use crate::linux::sys::sched;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version 1 writes "no limit" as the largest number of whole pages; no machine has this much.
const NO_LIMIT: u64 = 1 << 62;

/// The groups of this process that have a say, for each resource the own group first, then those above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    memory: Vec<Group>,
    cpu: Vec<Group>,
    meminfo: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// How much memory may still be used, in bytes, under the bound that leaves the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What leaves the least.
    pub bound: Bound,
    /// What may be used in all: the group's limit or the machine's memory.
    pub limit: u64,
    /// What is in use and cannot be reclaimed at once.
    pub used: u64,
}

/// What bounds the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `memory.max`, `memory.limit_in_bytes`: above it the kernel kills.
    Limit,
    /// `memory.high`: above it the kernel stalls the whole group.
    High,
    /// No group has a limit: the machine itself.
    Machine,
}

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Limit => "the container's memory limit",
            Bound::High => "the container's memory.high",
            Bound::Machine => "the machine's memory",
        })
    }
}

impl Room {
    /// Bytes that may still be used.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// How often and how long the CPU quotas around this process have stopped it, since the groups were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Periods in which a quota was used up (`nr_throttled`).
    pub periods: u64,
    /// Time lost, summed over CPUs.
    pub time: Duration,
}

impl Cgroup {
    /// Finds the groups of this process. `proc` and `sys` are where `/proc` and `/sys` are.
    pub fn of_self(proc: &Path, sys: &Path) -> Cgroup {
        let own = text(&proc.join("self/cgroup"));
        let mounts = text(&proc.join("self/mountinfo"));
        let find = |controller: &str, probe: [&str; 2]| {
            let mut groups = Vec::new();
            for line in own.lines() {
                let Some((version, path)) = membership(line, controller) else { continue };
                let Some((point, root)) = mount(&mounts, version, controller) else { continue };
                let point = match point.strip_prefix("/sys") {
                    Ok(rest) => sys.join(rest),
                    Err(_) => point,
                };
                groups.extend(upwards(&point, &root, path).map(|dir| Group { dir, version }));
            }
            // In a hybrid set-up only one version has the controller, so its files decide.
            groups
                .retain(|group| probe.iter().any(|file| fs::symlink_metadata(group.dir.join(file)).is_ok()));
            groups
        };
        Cgroup {
            memory: find("memory", ["memory.current", "memory.usage_in_bytes"]),
            cpu: find("cpu", ["cpu.max", "cpu.cfs_quota_us"]),
            meminfo: proc.join("meminfo"),
        }
    }

    /// CPUs that this thread may keep busy on average: its affinity, and the tightest quota (which may be a
    /// fraction). At least a hundredth; one where nothing is known.
    pub fn cpus(&self) -> f64 {
        let affinity = sched::allowed_cpus().map_or(1, |cpus| cpus.len().max(1));
        self.quota().unwrap_or(f64::INFINITY).min(affinity as f64).max(0.01)
    }

    /// The tightest CPU quota, in CPUs; `None` when there is none.
    pub fn quota(&self) -> Option<f64> {
        self.cpu.iter().filter_map(Group::quota).min_by(f64::total_cmp)
    }

    /// What the quotas have cost so far; compare two of these.
    pub fn throttled(&self) -> Throttled {
        let mut all = Throttled::default();
        for group in &self.cpu {
            let stat = group.read("cpu.stat");
            all.periods += field(&stat, "nr_throttled").unwrap_or(0);
            let nanoseconds = field(&stat, "throttled_time");
            let microseconds = field(&stat, "throttled_usec").map(Duration::from_micros);
            all.time += nanoseconds.map(Duration::from_nanos).or(microseconds).unwrap_or_default();
        }
        all
    }

    /// The lowest hard memory limit (`memory.max`, `limit_in_bytes`) in bytes; `None` when there is none.
    pub fn memory_limit(&self) -> Option<u64> {
        self.memory.iter().filter_map(Group::hard_limit).min()
    }

    /// Which version of control groups bounds the memory, for people; `None` where none does.
    pub fn memory_source(&self) -> Option<&'static str> {
        self.memory.first().map(Group::source)
    }

    /// Which version of control groups bounds the CPU time, for people; `None` where none does.
    pub fn cpu_source(&self) -> Option<&'static str> {
        self.cpu.first().map(Group::source)
    }

    /// The bound that leaves the least memory. File cache that is not in active use counts as free: the kernel
    /// takes it back before it kills. `None` when neither a limit nor `MemAvailable` is known.
    pub fn room(&self) -> Option<Room> {
        self.memory.iter().flat_map(Group::rooms).chain(self.machine()).min_by_key(Room::free)
    }

    /// The machine's own room, by `MemAvailable` of `/proc/meminfo`.
    pub fn machine(&self) -> Option<Room> {
        let info = text(&self.meminfo);
        let limit = field(&info, "MemTotal:")?.checked_mul(1024)?;
        let available = field(&info, "MemAvailable:")?.checked_mul(1024)?;
        Some(Room { bound: Bound::Machine, limit, used: limit.saturating_sub(available) })
    }

    /// The file that the kernel marks (`POLLPRI`) when a group meets its memory limit; version 2 only. Events
    /// travel up, so it is that of the highest visible group.
    pub fn memory_events(&self) -> Option<PathBuf> {
        let two = self.memory.iter().rev().filter(|group| group.version == Version::Two);
        two.map(|group| group.dir.join("memory.events")).find(|file| fs::symlink_metadata(file).is_ok())
    }
}

impl Group {
    fn source(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup v1",
            Version::Two => "cgroup v2",
        }
    }

    fn read(&self, file: &str) -> String {
        text(&self.dir.join(file))
    }

    fn quota(&self) -> Option<f64> {
        let (quota, period) = match self.version {
            Version::Two => {
                let line = self.read("cpu.max");
                let mut words = line.split_whitespace();
                (number(words.next()?)?, number(words.next().unwrap_or("100000"))?)
            }
            Version::One => {
                (number(&self.read("cpu.cfs_quota_us"))?, number(&self.read("cpu.cfs_period_us"))?)
            }
        };
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }

    fn hard_limit(&self) -> Option<u64> {
        match self.version {
            Version::Two => limit(&self.read("memory.max")),
            // The second one also knows the limits above the groups that a container can see.
            Version::One => {
                let own = limit(&self.read("memory.limit_in_bytes"));
                let above = field(&self.read("memory.stat"), "hierarchical_memory_limit");
                own.into_iter().chain(above.filter(|above| *above < NO_LIMIT)).min()
            }
        }
    }

    fn rooms(&self) -> Vec<Room> {
        let (usage, cache) = match self.version {
            Version::Two => ("memory.current", "inactive_file"),
            Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        let high = if self.version == Version::Two { limit(&self.read("memory.high")) } else { None };
        let bounds = [(Bound::Limit, self.hard_limit()), (Bound::High, high)];
        if bounds.iter().all(|(_, limit)| limit.is_none()) {
            return Vec::new();
        }
        let Some(usage) = number(&self.read(usage)) else { return Vec::new() };
        let used = usage.saturating_sub(field(&self.read("memory.stat"), cache).unwrap_or(0));
        let room = |(bound, limit): (Bound, Option<u64>)| limit.map(|limit| Room { bound, limit, used });
        bounds.into_iter().filter_map(room).collect()
    }
}

/// A file's text; empty when it cannot be read.
pub fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A limit; `None` for "max" and for what version 1 writes instead.
fn limit(text: &str) -> Option<u64> {
    number(text).filter(|limit| *limit < NO_LIMIT)
}

/// The number behind `key` in lines of "key number ...".
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? == key { number(words.next()?) } else { None }
    })
}

/// Version and path of a line of `/proc/self/cgroup` ("4:cpu,cpuacct:/a/b", "0::/a/b") if it has `controller`.
fn membership<'a>(line: &'a str, controller: &str) -> Option<(Version, &'a str)> {
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
fn mount(mounts: &str, version: Version, controller: &str) -> Option<(PathBuf, String)> {
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
fn upwards(point: &Path, root: &str, path: &str) -> impl Iterator<Item = PathBuf> {
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
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A made-up `/proc` and `/sys`, gone when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Tree {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let tree = Tree(std::env::temp_dir().join(format!("cgroup-{}-{number}", std::process::id())));
            for (name, text) in files {
                tree.write(name, text);
            }
            tree
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self) -> Cgroup {
            Cgroup::of_self(&self.0.join("proc"), &self.0.join("sys"))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const V2: &str = "24 21 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const MIB: u64 = 1 << 20;

    #[test]
    fn version_two_with_a_namespace_of_its_own() {
        let tree = Tree::new(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2),
            ("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 8000 kB\n"),
            ("sys/fs/cgroup/memory.current", "3145728\n"),
            ("sys/fs/cgroup/memory.max", "5242880\n"),
            ("sys/fs/cgroup/memory.high", "max\n"),
            ("sys/fs/cgroup/memory.stat", "anon 5\ninactive_file 1048576\nactive_file 7\n"),
            ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 1500\n"),
        ]);
        let group = tree.read();
        assert_eq!(group.memory_limit(), Some(5 * MIB));
        let room = group.room().unwrap();
        assert_eq!(room, Room { bound: Bound::Limit, limit: 5 * MIB, used: 2 * MIB });
        assert_eq!(room.free(), 3 * MIB);
        assert_eq!(group.quota(), Some(1.5));
        assert_eq!(group.throttled(), Throttled { periods: 3, time: Duration::from_micros(1500) });
        assert_eq!(group.memory_events(), None);
        tree.write("sys/fs/cgroup/memory.events", "low 0\n");
        assert_eq!(group.memory_events(), Some(tree.0.join("sys/fs/cgroup/memory.events")));

        tree.write("sys/fs/cgroup/memory.high", "4194304\n");
        assert_eq!(group.room().unwrap(), Room { bound: Bound::High, limit: 4 * MIB, used: 2 * MIB });
        assert_eq!(group.memory_limit(), Some(5 * MIB), "high is no hard limit");

        tree.write("sys/fs/cgroup/memory.max", "max\n");
        tree.write("sys/fs/cgroup/memory.high", "max\n");
        assert_eq!(group.memory_limit(), None);
        assert_eq!(group.room().unwrap().bound, Bound::Machine);
        assert_eq!(group.room().unwrap().free(), 8000 * 1024);
    }

    #[test]
    fn version_two_nested_takes_the_tightest_on_the_way_up() {
        let tree = Tree::new(&[
            ("proc/self/cgroup", "0::/pod/box/leaf\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/pod/memory.max", "8388608\n"),
            ("sys/fs/cgroup/pod/memory.current", "7340032\n"),
            ("sys/fs/cgroup/pod/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/box/memory.max", "4194304\n"),
            ("sys/fs/cgroup/pod/box/memory.current", "1048576\n"),
            ("sys/fs/cgroup/pod/box/cpu.max", "20000\n"),
            ("sys/fs/cgroup/pod/box/leaf/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/box/leaf/memory.current", "1048576\n"),
        ]);
        let group = tree.read();
        assert_eq!(group.memory_limit(), Some(4 * MIB));
        assert_eq!(group.room().unwrap(), Room { bound: Bound::Limit, limit: 8 * MIB, used: 7 * MIB });
        assert_eq!(group.quota(), Some(0.2));
        for inner in ["leaf/", "", "../"] {
            tree.write(&format!("sys/fs/cgroup/pod/box/{inner}memory.events"), "");
        }
        assert!(group.memory_events().unwrap().ends_with("sys/fs/cgroup/pod/memory.events"));
    }

    #[test]
    fn version_one_in_a_container_that_sees_only_its_own_subtree() {
        let mounts = "1 2 0:3 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      1 2 0:3 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        let tree = Tree::new(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "3145728\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 1\nhierarchical_memory_limit 6291456\ntotal_inactive_file 1048576\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_throttled 2\nthrottled_time 7000\n"),
        ]);
        let group = tree.read();
        assert_eq!(group.memory_limit(), Some(6 * MIB));
        assert_eq!(group.room().unwrap(), Room { bound: Bound::Limit, limit: 6 * MIB, used: 2 * MIB });
        assert_eq!(group.quota(), Some(0.5));
        assert_eq!(group.throttled(), Throttled { periods: 2, time: Duration::from_nanos(7000) });
        assert_eq!(group.memory_events(), None);

        tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        tree.write("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 9223372036854771712\n");
        assert_eq!((group.quota(), group.memory_limit(), group.room()), (None, None, None));
    }

    #[test]
    fn hybrid_takes_each_controller_where_it_is() {
        let mounts = "1 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      1 2 0:4 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
        let tree = Tree::new(&[
            ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/unified/b/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "0\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
        ]);
        let group = tree.read();
        assert_eq!((group.quota(), group.memory_limit()), (Some(1.0), Some(4096)));
    }

    #[test]
    fn what_is_missing_or_odd_means_no_limit_known() {
        let empty = Tree::new(&[("proc/self/status", "")]).read();
        assert_eq!((empty.quota(), empty.memory_limit(), empty.room()), (None, None, None));
        assert_eq!(empty.throttled(), Throttled::default());
        assert!(empty.cpus() >= 0.01);
        for odd in ["", "\n", "x", "-5", "1e3", "99999999999999999999999", "\0\u{fffd}", "max max"] {
            let group = Tree::new(&[
                ("proc/self/cgroup", &format!("0::/../other\n{odd}\n0\n0:\n")),
                ("proc/self/mountinfo", &format!("{odd}\n - cgroup2\n{V2}")),
                ("proc/meminfo", odd),
                ("sys/fs/cgroup/memory.current", odd),
                ("sys/fs/cgroup/memory.max", odd),
                ("sys/fs/cgroup/memory.stat", odd),
                ("sys/fs/cgroup/cpu.max", odd),
                ("sys/fs/cgroup/cpu.stat", odd),
            ])
            .read();
            assert_eq!((group.quota(), group.memory_limit(), group.room()), (None, None, None), "{odd:?}");
            assert_eq!(group.throttled(), Throttled::default(), "{odd:?}");
        }
    }

    #[test]
    fn a_mount_point_with_a_space_is_found() {
        let line = "1 2 0:3 / /mnt/with\\040space\\ rw - cgroup2 none rw\n";
        let (point, root) = mount(line, Version::Two, "cpu").unwrap();
        assert_eq!((point.to_str().unwrap(), root.as_str()), ("/mnt/with space\\", "/"));
    }

    #[test]
    fn this_very_machine_can_be_read() {
        let group = Cgroup::of_self(Path::new("/proc"), Path::new("/sys"));
        let machine = group.machine().unwrap();
        assert!(machine.limit > MIB && machine.used <= machine.limit, "{machine:?}");
        assert!(group.room().unwrap().free() <= machine.free().max(machine.limit));
    }
}
