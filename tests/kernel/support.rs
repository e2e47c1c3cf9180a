//! Hands for the cases of this tier: network namespaces joined by veth, control groups, `tc`, `ping`, the agent,
//! and waiting for what must come true. Everything that a case makes here is gone when it drops it.

#![allow(dead_code, reason = "not every case needs every hand")]

use crate::common::wait::until;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The product under test, as a command to complete.
pub fn agent() -> Command {
    Command::new(agent_path())
}

/// Where the product is.
pub fn agent_path() -> PathBuf {
    std::env::var_os("CHAOS_AGENT").map_or_else(|| PathBuf::from("/chaos-agent"), PathBuf::from)
}

/// Asks `probe` until it gives something, and fails the test when `limit` passes first.
pub fn wait_for<T>(limit: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(limit, what, probe, String::new)
}

/// Runs a command line (words by blanks, no shell) and gives its output; fails the test when it fails.
pub fn run(line: &str) -> String {
    checked(line, words(line).output())
}

fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

fn checked(line: &str, output: std::io::Result<Output>) -> String {
    outcome(line, output).unwrap_or_else(|text| panic!("{text}"))
}

fn outcome(line: &str, output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{line}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(format!("{line}: {}: {text}{errors}", output.status)) }
}

/// iproute2's `tc` in a namespace: the judge.
pub fn tc(space: &Namespace, arguments: &str) -> String {
    space.run(&format!("tc {arguments}"))
}

/// The qdiscs of an interface as iproute2 tells them, each a JSON object.
pub fn qdiscs_of(space: &Namespace, interface: &str) -> Vec<Value> {
    let shown = tc(space, &format!("-j qdisc show dev {interface}"));
    serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// A network namespace with its loopback up, named after the case.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let space = Self { name };
        space.run("ip link set lo up");
        space
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command line inside; fails the test when it fails.
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|text| panic!("in {}: {text}", self.name))
    }

    /// Runs a command line inside: its output, or what it said when it failed.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        outcome(line, self.command(words.next().expect("a program")).args(words).output())
    }

    /// `count` pings, 50 ms apart.
    pub fn ping(&self, address: &str, count: u32) -> Ping {
        let line = format!("ping -n -i 0.05 -W 5 -c {count} {address}");
        let text = self.try_run(&line).unwrap_or_else(|text| text);
        let received = text.split(", ").find_map(|part| part.strip_suffix(" received")?.parse().ok());
        let times = text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
        let mut times = times.unwrap_or("").split(['/', ' ']).map_while(|time| time.parse().ok());
        Ping {
            received: received.unwrap_or_else(|| panic!("{line}: {text}")),
            min_ms: times.next().unwrap_or(f64::NAN),
            mean_ms: times.next().unwrap_or(f64::NAN),
            max_ms: times.next().unwrap_or(f64::NAN),
        }
    }

    /// The qdiscs of every interface as iproute2 shows them, to compare before with after.
    pub fn qdiscs(&self) -> String {
        tc(self, "-j qdisc show")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = words(&format!("ip netns del {}", self.name)).output();
    }
}

/// What `ping` found.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    pub received: u32,
    pub min_ms: f64,
    pub mean_ms: f64,
    pub max_ms: f64,
}

/// Two namespaces joined by a veth pair, each with an IPv4 and an IPv6 address on it.
pub struct Link {
    pub near: Namespace,
    pub far: Namespace,
    pub near_interface: String,
    pub far_interface: String,
    pub near_address: String,
    pub far_address: String,
    pub near_address6: String,
    pub far_address6: String,
}

impl Link {
    pub fn new(name: &str) -> Self {
        let (near, far) = (Namespace::new(&format!("{name}-near")), Namespace::new(&format!("{name}-far")));
        near.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", far.name));
        for (space, last) in [(&near, 1), (&far, 2)] {
            space.run(&format!("ip address add 10.77.0.{last}/24 dev eth0"));
            space.run(&format!("ip address add fd77::{last}/64 dev eth0 nodad"));
            space.run("ip link set eth0 up");
        }
        let link = Self {
            near,
            far,
            near_interface: "eth0".into(),
            far_interface: "eth0".into(),
            near_address: "10.77.0.1".into(),
            far_address: "10.77.0.2".into(),
            near_address6: "fd77::1".into(),
            far_address6: "fd77::2".into(),
        };
        wait_for(Duration::from_secs(30), "the link to carry packets", || {
            (link.near.ping(&link.far_address, 1).received == 1).then_some(())
        });
        link
    }
}

/// A control group (v2) under the root, with the memory, cpu, pids and cpuset controllers.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub fn new(name: &str) -> Self {
        let path = PathBuf::from("/sys/fs/cgroup").join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    /// Writes one of its files, such as `memory.max`.
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.path.join(file), value).unwrap_or_else(|error| panic!("{file} = {value}: {error}"));
    }

    /// Reads one of its files.
    pub fn get(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// A command that moves itself into the group and becomes `program`; it sees the groups of the whole machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entering("exec \"$@\"", program)
    }

    /// Like `command`, with the view of a process in a container: the group is the root of `/sys/fs/cgroup`.
    pub fn contained(&self, program: impl AsRef<OsStr>) -> Command {
        let inner = "umount /sys/fs/cgroup && mount -t cgroup2 cgroup /sys/fs/cgroup && exec \"$@\"";
        self.entering(&format!("exec unshare --cgroup --mount sh -c '{inner}' sh \"$@\""), program)
    }

    /// Like `command`, in a mount name space (and one of control groups if asked for) that `script` arranges.
    pub fn arranged(&self, own_groups: bool, script: &str, program: impl AsRef<OsStr>) -> Command {
        let groups = if own_groups { "--cgroup" } else { "" };
        let inner = format!("exec unshare {groups} --mount sh -c '{script} && exec \"$@\"' sh \"$@\"");
        self.entering(&inner, program)
    }

    fn entering(&self, then: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        let script = format!("echo $$ >{}/cgroup.procs && {then}", self.path.display());
        command.args(["-c", &script, "sh"]).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let end = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
