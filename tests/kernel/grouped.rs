//! An agent in a control group, with one fault that happens at once, and what it says.

use crate::common::http::{get, sample};
use crate::common::running::Running;
use crate::common::wait::until;
use crate::support::{Cgroup, agent_path, run, wait_for};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Generous: a deadline only decides how long a broken build takes to fail.
pub const LIMIT: Duration = Duration::from_secs(120);
/// One test at a time, so that one port is enough.
const PORT: u16 = 18_000;

pub struct Agent {
    pub process: Running,
    log: PathBuf,
}

impl Agent {
    /// Starts the agent as in a container of this group: `/sys/fs/cgroup` is the group itself.
    pub fn contained(group: &Cgroup, fault: &str) -> Agent {
        Agent::start(group.contained(agent_path()), fault)
    }

    /// Starts the agent in the group, in a mount name space that `script` arranges; in a name space of control groups
    /// too if asked for.
    pub fn arranged(group: &Cgroup, own_groups: bool, script: &str, fault: &str) -> Agent {
        Agent::start(group.arranged(own_groups, script, agent_path()), fault)
    }

    /// Starts the agent in the group, but with the machine's view.
    pub fn nested(group: &Cgroup, fault: &str) -> Agent {
        Agent::start(group.command(agent_path()), fault)
    }

    /// Starts the agent by this command.
    pub fn start(mut command: Command, fault: &str) -> Agent {
        let (config, log) = (PathBuf::from("/tmp/grouped.yaml"), PathBuf::from("/tmp/grouped.log"));
        let text = format!(
            "agent: {{interval_seconds: 3600, metrics: {{address: 127.0.0.1, port: {PORT}}}}}\n\
             failures:\n  fault: {{enabled: true, probability: 1, {fault}}}\n"
        );
        fs::write(&config, text).unwrap();
        let file = File::create(&log).unwrap();
        command.arg("run").arg("--config").arg(&config);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Agent { process: Running(command.spawn().unwrap()), log }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a log line with this in it.
    pub fn wait_log(&self, needle: &str) -> String {
        let found = || self.log().lines().find(|line| line.contains(needle)).map(str::to_owned);
        until(LIMIT, &format!("{needle:?} in the log"), found, || self.log())
    }

    /// The value of a sample, by its whole name with labels.
    pub fn metric(&self, name: &str) -> f64 {
        wait_for(LIMIT, name, || sample(&get(PORT, "/metrics").ok()?.1, name))
    }

    /// Waits until the fault of this kind is in force.
    pub fn wait_active(&self, kind: &str) {
        let name = format!("chaos_injection_active{{failure_type=\"{kind}\"}}");
        wait_for(LIMIT, "the fault to be active", || (self.metric(&name) == 1.0).then_some(()));
    }
}

const REFUSED: &str = "cannot fill 60 MiB of memory: the container's memory limit is 64 MiB";
const FAULT: &str = "type: memory, mb: 60, duration_seconds: 1";

/// A group with a limit of 64 MiB.
fn limited(name: &str) -> Cgroup {
    let group = Cgroup::new(name);
    group.set("memory.max", "64M");
    group
}

/// What a hostPath of / brings: the host's groups at a second place, mounted before or after the own ones.
#[test]
fn the_hosts_tree_beside_the_own_groups_hides_no_limit() {
    let group = limited("host-too");
    let own = "umount /sys/fs/cgroup && mount -t cgroup2 cgroup /sys/fs/cgroup";
    let host = "mkdir -p /tmp/host /run/host && mount --bind /sys/fs/cgroup /tmp/host";
    let after = format!("{host} && {own} && mount --bind /tmp/host /run/host && umount /tmp/host");
    let before = format!("{host} && {own}");
    for (own_groups, script) in [
        (true, after.as_str()),
        (true, before.as_str()),
        // Without a name space of its own, as containers of version 1 are: a bind mount of the group alone.
        (false, "mkdir -p /tmp/host && mount --bind /sys/fs/cgroup/host-too /tmp/host"),
        // Somebody else's part of the tree, mounted last.
        (false, "mkdir -p /tmp/host && mount --bind /sys/fs/cgroup/stranger /tmp/host"),
    ] {
        let _stranger = Cgroup::new("stranger");
        let agent = Agent::arranged(&group, own_groups, script, FAULT);
        let line = agent.wait_log("fault: failed");
        assert!(line.contains(REFUSED), "{own_groups} {script}: {line}");
    }
}

/// The slices of systemd and of a kubelet: the limit is two groups above the own one, and another, looser, beside it.
#[test]
fn the_tightest_limit_of_nested_groups_counts() {
    let slice = Cgroup::new("kubepods.slice");
    slice.set("cgroup.subtree_control", "+memory +cpu");
    let pod = Cgroup::new("kubepods.slice/kubepods-pod1.slice");
    pod.set("memory.max", "64M");
    pod.set("cgroup.subtree_control", "+memory +cpu");
    let scope = Cgroup::new("kubepods.slice/kubepods-pod1.slice/cri-1.scope");
    scope.set("memory.max", "128M");
    scope.set("cpu.max", "40000 100000");
    let own = "umount /sys/fs/cgroup && mount -t cgroup2 cgroup /sys/fs/cgroup";
    let host = "mkdir -p /tmp/host && mount --bind /sys/fs/cgroup /tmp/host";
    for (own_groups, script) in [(false, "true"), (false, host)] {
        let agent = Agent::arranged(&scope, own_groups, script, FAULT);
        let line = agent.wait_log("fault: failed");
        assert!(line.contains(REFUSED), "{script}: {line}");
    }
    // A container sees its own limit only.
    let agent = Agent::arranged(&scope, true, own, "type: memory, mb: 120, duration_seconds: 1");
    let line = agent.wait_log("fault: failed");
    assert!(line.contains("the container's memory limit is 128 MiB"), "{line}");
    drop(agent);
    let agent = Agent::arranged(
        &scope,
        true,
        &format!("{host} && {own}"),
        "type: cpu, cores: 0, duration_seconds: 1",
    );
    agent.wait_log("fault: success");
    assert!(agent.log().contains("burns 0.4 of 0.4 allowed CPU cores"), "{}", agent.log());
}

/// Version 1, where the whole tree is mounted, and after it the own group, or somebody else's. Of processor time: the
/// controller of memory does not change versions once it was used.
#[test]
fn version_one_beside_the_hosts_tree() {
    let controllers = "/sys/fs/cgroup/cgroup.subtree_control";
    fs::write(controllers, "-cpu").unwrap();
    fs::create_dir_all("/tmp/v1").unwrap();
    // The controller leaves version 2 a moment after the last group has let go of it.
    wait_for(LIMIT, "the controller of version 1", || {
        let mounted = Command::new("mount").args(["-t", "cgroup", "-o", "cpu", "none", "/tmp/v1"]).status();
        mounted.unwrap().success().then_some(())
    });
    let groups = [("pods", 40_000), ("pods/box", 20_000), ("other", 2_000)];
    for (name, quota) in groups {
        let path = PathBuf::from("/tmp/v1").join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("cpu.cfs_quota_us"), quota.to_string()).unwrap();
    }
    for (script, box_quota, cores) in [
        ("true", 20_000, "0.2"),
        ("true", -1, "0.4"),
        ("mkdir -p /tmp/own && mount --bind /tmp/v1/pods/box /tmp/own", -1, "0.4"),
        ("mkdir -p /tmp/own && mount --bind /tmp/v1/other /tmp/own", 20_000, "0.2"),
    ] {
        fs::write("/tmp/v1/pods/box/cpu.cfs_quota_us", box_quota.to_string()).unwrap();
        let enter = format!(
            "echo $$ >/tmp/v1/pods/box/cgroup.procs && exec unshare --mount sh -c '{script} && exec \"$@\"' sh \"$@\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &enter, "sh"]).arg(agent_path());
        let agent = Agent::start(command, "type: cpu, cores: 0, duration_seconds: 1");
        agent.wait_log("fault: success");
        let said = format!("burns {cores} of {cores} allowed CPU cores");
        assert!(agent.log().contains(&said), "{script}: {}", agent.log());
    }
    for (name, _) in [groups[1], groups[0], groups[2]] {
        let path = PathBuf::from("/tmp/v1").join(name);
        wait_for(LIMIT, "the group to be empty", || fs::remove_dir(&path).ok());
    }
    run("umount /tmp/v1");
    wait_for(LIMIT, "the controller to be back", || fs::write(controllers, "+cpu").ok());
}
