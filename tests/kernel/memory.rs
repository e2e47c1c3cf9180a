//! memory under limits that a kernel enforces with its killer.

use crate::grouped::{Agent, LIMIT};
use crate::support::{Cgroup, run, wait_for};
use std::fs::{self, File};

const MIB: u64 = 1 << 20;

fn group(name: &str, limit: &str) -> Cgroup {
    let group = Cgroup::new(name);
    group.set("memory.max", limit);
    group.set("memory.swap.max", "0");
    group
}

fn current(group: &Cgroup) -> u64 {
    group.get("memory.current").trim().parse().unwrap()
}

fn kills(group: &Cgroup) -> u64 {
    let events = group.get("memory.events");
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
}

#[test]
fn what_would_get_the_container_killed_is_refused() {
    let group = group("refused", "64M");
    for contained in [true, false] {
        let fault = "type: memory, mb: 60, duration_seconds: 1";
        let agent = if contained { Agent::contained(&group, fault) } else { Agent::nested(&group, fault) };
        let line = agent.wait_log("fault: failed");
        assert!(
            line.contains("cannot fill 60 MiB of memory: the container's memory limit is 64 MiB"),
            "{line}"
        );
        assert_eq!(kills(&group), 0);
    }
}

#[test]
fn a_share_of_the_limit_is_held_and_given_back() {
    let group = group("share", "128M");
    let mut agent = Agent::contained(&group, "type: memory, percent: 50, duration_seconds: 4");
    agent.wait_active("memory");
    let held = current(&group);
    agent.wait_log("fault: success");
    let after = current(&group);
    assert!(held > 64 * MIB && held < 96 * MIB, "{held} bytes while 64 MiB are held");
    assert!(held - after > 60 * MIB, "{held} bytes before, {after} after");
    assert!(
        agent.log().contains("fills 50 % of 128 MiB: 64 MiB of memory (limit 128 MiB"),
        "{}",
        agent.log()
    );
    assert_eq!((kills(&group), agent.process.0.try_wait().unwrap()), (0, None));
}

#[test]
fn others_that_grow_get_the_memory_back_before_the_kernel_kills() {
    let group = group("grow", "128M");
    let mut agent = Agent::contained(&group, "type: memory, mb: 80, headroom_mb: 24, duration_seconds: 3600");
    agent.wait_active("memory");
    // Files of a tmpfs count for the group that writes them: 80 + 70 MiB are more than the limit. At this rate
    // a real application grows; one that takes everything in one go needs more head-room.
    let file = "/dev/shm/grow";
    let script = format!(
        "i=0; while [ $i -lt 70 ]; do dd if=/dev/zero bs=1M count=1 2>/dev/null >>{file} || exit 1; i=$((i+1)); done"
    );
    let status = group.command("sh").args(["-c", &script]).status().unwrap();
    let line = agent.wait_log("gave 80 MiB back after");
    assert!(line.contains("of the container's memory limit (128 MiB) only"), "{line}");
    agent.wait_log("fault: success");
    assert_eq!(agent.metric("chaos_memory_shortened_total"), 1.0);
    assert_eq!(fs::metadata(file).unwrap().len(), 70 * MIB);
    fs::remove_file(file).unwrap();
    assert!(status.success(), "the application could not grow: {status}");
    assert_eq!((kills(&group), agent.process.0.try_wait().unwrap()), (0, None));
}

#[test]
fn file_cache_is_no_reason_to_refuse_or_to_give_back() {
    let group = group("cache", "128M");
    // What is read once from a block device is inactive file cache of the reader: the kernel takes it back for
    // whoever needs the room.
    let (file, device) = ("/dev/shm/disk", "/dev/loop6");
    File::create(file).unwrap().set_len(70 * MIB).unwrap();
    run("modprobe loop");
    run(&format!("losetup {device} {file}"));
    let open = File::open(device).unwrap(); // or the last to close it would take the cache along
    assert!(
        group
            .command("dd")
            .args([&format!("if={device}"), "of=/dev/null", "bs=1M"])
            .status()
            .unwrap()
            .success()
    );
    assert!(current(&group) > 60 * MIB, "{} bytes after reading 70 MiB", current(&group));
    let agent = Agent::contained(&group, "type: memory, mb: 80, duration_seconds: 2");
    agent.wait_log("fault: success");
    assert_eq!((kills(&group), agent.metric("chaos_memory_shortened_total")), (0, 0.0));
    drop(open);
    run(&format!("losetup -d {device}"));
    fs::remove_file(file).unwrap();
}

#[test]
fn a_soft_limit_counts_too_because_it_stalls_everybody() {
    let group = group("high", "256M");
    group.set("memory.high", "64M");
    let agent = Agent::contained(&group, "type: memory, mb: 60, duration_seconds: 1");
    let line = agent.wait_log("fault: failed");
    assert!(line.contains("the container's memory.high is 64 MiB"), "{line}");
}

#[test]
fn the_kernel_kills_where_that_is_the_wish() {
    let group = group("wish", "64M");
    let mut agent =
        Agent::contained(&group, "type: memory, mb: 200, allow_oom: true, duration_seconds: 3600");
    let status = wait_for(LIMIT, "the kernel to kill", || agent.process.0.try_wait().unwrap());
    assert!(!status.success() && kills(&group) >= 1, "{status}: {}", agent.log());
}
