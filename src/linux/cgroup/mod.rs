//! What the container may use: the limits of the control groups around this process, versions 2, 1 and both.
//!
//! The limit that counts is the tightest of all visible groups from the own one up, because a process need not
//! be in the group that the runtime limited. Whatever is missing, unreadable or odd counts as "no limit known";
//! nothing here is an error. Formats: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel,
//! cgroups(7), proc(5).

mod limits;
mod mount;

use crate::linux::sys::sched;
pub use limits::{Bound, Room, Throttled};
pub use mount::unescape;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// Below the root of the control group name space.
    depth: isize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// Finds the groups of this process. `proc` and `sys` are where `/proc` and `/sys` are.
    pub fn of_self(proc: &Path, sys: &Path) -> Cgroup {
        let own = text(&proc.join("self/cgroup"));
        let mounts = text(&proc.join("self/mountinfo"));
        let find = |controller: &str, probe: [&str; 2]| {
            let mut groups: Vec<Group> = Vec::new();
            for line in own.lines() {
                let Some((version, path)) = mount::membership(line, controller) else { continue };
                for (depth, dir) in mount::groups(&mounts, version, controller, path) {
                    let dir = dir.strip_prefix("/sys").map_or(dir.clone(), |rest| sys.join(rest));
                    // In a hybrid set-up only one version has the controller, so its files decide. By two mounts the
                    // same group may be seen twice, and would count twice.
                    let is_there = probe.iter().any(|file| fs::symlink_metadata(dir.join(file)).is_ok());
                    let known = |other: &Group| (other.version, other.depth) == (version, depth);
                    if is_there && !groups.iter().any(known) {
                        groups.push(Group { dir, version, depth });
                    }
                }
            }
            groups.sort_by_key(|group| std::cmp::Reverse(group.depth));
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

    /// Which version of control groups bounds the memory, for people; `None` where none does.
    pub fn memory_source(&self) -> Option<&'static str> {
        self.memory.first().map(Group::source)
    }

    /// Which version of control groups bounds the CPU time, for people; `None` where none does.
    pub fn cpu_source(&self) -> Option<&'static str> {
        self.cpu.first().map(Group::source)
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
}

/// A file's text; empty when it cannot be read.
pub fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
