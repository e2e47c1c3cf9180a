//! Control groups as they are met: made-up trees of both versions, and this machine.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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

/// A hostPath of / shows the host's groups as well, before or after the own mount.
#[test]
fn the_hosts_tree_beside_the_own_mount_hides_no_limit() {
    let own = "9 1 0:3 /pods/a/box /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let host = "8 1 0:3 / /sys/host/memory ro - cgroup cgroup rw,memory\n";
    let other = "7 1 0:3 /pods/b /sys/other ro - cgroup cgroup rw,memory\n";
    for mounts in [[own, host, other].concat(), [other, host, own].concat()] {
        let limit = |name, limit: u64| (format!("sys/{name}/memory.limit_in_bytes"), format!("{limit}\n"));
        let used = |name| (format!("sys/{name}/memory.usage_in_bytes"), "1048576\n".to_owned());
        let files = [
            ("proc/self/cgroup".to_owned(), "4:memory:/pods/a/box\n".to_owned()),
            ("proc/self/mountinfo".to_owned(), mounts),
            limit("fs/cgroup/memory", 8 * MIB),
            used("fs/cgroup/memory"),
            limit("host/memory/pods/a", 5 * MIB),
            used("host/memory/pods/a"),
            limit("host/memory/pods/a/box", 8 * MIB),
            used("host/memory/pods/a/box"),
            limit("host/memory", 1 << 62),
            limit("other", MIB),
            used("other"),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let tree = Tree::new(&files);
        let group = tree.read();
        assert_eq!(group.memory_limit(), Some(5 * MIB), "the pod's, which is the tightest");
        assert_eq!(group.room().unwrap(), Room { bound: Bound::Limit, limit: 5 * MIB, used: MIB });
    }
}

/// In a name space of control groups the own group is `/`, and the host's tree climbs.
#[test]
fn the_hosts_tree_beside_a_name_space_of_its_own() {
    let host = "8 1 0:3 /../.. /sys/host rw - cgroup2 cgroup2 rw\n";
    let other = "7 1 0:3 /../other /sys/other rw - cgroup2 cgroup2 rw\n";
    for mounts in [[V2, host, other].concat(), [other, host, V2].concat()] {
        let tree = Tree::new(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", &mounts),
            ("sys/fs/cgroup/memory.max", "5242880\n"),
            ("sys/fs/cgroup/memory.current", "1048576\n"),
            ("sys/fs/cgroup/memory.events", ""),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/cpu.stat", "nr_throttled 2\nthrottled_usec 7\n"),
            ("sys/host/cpu.max", "max 100000\n"),
            ("sys/host/cpu.stat", "nr_throttled 1\nthrottled_usec 1\n"),
            ("sys/host/memory.max", "1048576000\n"),
            ("sys/host/memory.current", "1048576\n"),
            ("sys/other/cpu.max", "100 100000\n"),
            ("sys/other/memory.max", "1\n"),
            ("sys/other/memory.current", "1\n"),
        ]);
        let group = tree.read();
        assert_eq!((group.memory_limit(), group.quota()), (Some(5 * MIB), Some(0.5)));
        assert_eq!(group.throttled().periods, 3, "each group once");
        assert!(group.memory_events().unwrap().ends_with("sys/fs/cgroup/memory.events"));
        tree.write("sys/host/memory.events", "");
        assert!(tree.read().memory_events().unwrap().ends_with("sys/host/memory.events"), "the highest");
    }
}

/// The same tree at two places counts once.
#[test]
fn a_group_that_is_seen_twice_counts_once() {
    let again = "8 1 0:3 / /sys/again rw - cgroup2 cgroup2 rw\n";
    let tree = Tree::new(&[
        ("proc/self/cgroup", "0::/user.slice/user-0.slice/session-1.scope\n"),
        ("proc/self/mountinfo", &[V2, again].concat()),
        ("sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n"),
        ("sys/fs/cgroup/user.slice/cpu.stat", "nr_throttled 2\nthrottled_usec 7\n"),
        ("sys/again/user.slice/cpu.max", "50000 100000\n"),
        ("sys/again/user.slice/cpu.stat", "nr_throttled 2\nthrottled_usec 7\n"),
    ]);
    let group = tree.read();
    assert_eq!((group.quota(), group.throttled().periods), (Some(0.5), 2));
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
fn this_very_machine_can_be_read() {
    let group = Cgroup::of_self(Path::new("/proc"), Path::new("/sys"));
    let machine = group.machine().unwrap();
    assert!(machine.limit > MIB && machine.used <= machine.limit, "{machine:?}");
    assert!(group.room().unwrap().free() <= machine.free().max(machine.limit));
}
