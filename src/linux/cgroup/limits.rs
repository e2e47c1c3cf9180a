//! What the groups' files say: CPU quotas, memory limits, and what is left below them.

use super::{Cgroup, Group, Version, text};
use std::fmt::{self, Display};
use std::time::Duration;

/// Version 1 writes "no limit" as the largest number of whole pages; no machine has this much.
const NO_LIMIT: u64 = 1 << 62;

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
    /// The tightest CPU quota, in CPUs; `None` when there is none.
    pub fn quota(&self) -> Option<f64> {
        self.cpu.iter().filter_map(Group::quota).min_by(f64::total_cmp)
    }

    /// What the quotas have cost so far; compare two of these.
    pub fn throttled(&self) -> Throttled {
        let mut all = Throttled::default();
        for group in &self.cpu {
            let stat = group.read("cpu.stat");
            all.periods = all.periods.saturating_add(field(&stat, "nr_throttled").unwrap_or(0));
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
}

impl Group {
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
