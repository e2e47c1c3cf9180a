//! Control groups of version 1. The controller of processor time is not version 2's any more after this, so no test that
//! needs it there has a name behind this one's.

use crate::grouped::{Agent, LIMIT};
use crate::support::{agent_path, run, wait_for};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Version 1, where the whole tree is mounted, and after it the own group, or somebody else's. Of processor time: the
/// controller of memory does not change versions once it was used, and this one does not change back at once.
#[test]
fn the_tightest_limit_counts_beside_the_hosts_tree() {
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
}
