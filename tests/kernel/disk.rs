//! disk on file systems of its own: to the last block, within quotas, in a container whose files are memory.

use crate::common::space::{self, MIB, taken};
use crate::grouped::{Agent, LIMIT};
use crate::support::{Cgroup, agent_path, run, wait_for};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// A file system that is mounted at `point` while this lives.
pub struct Volume {
    pub point: PathBuf,
    image: PathBuf,
    device: &'static str,
}

impl Volume {
    /// On a device of 64 MiB, made by `make` (the device comes last) and mounted with `options`.
    fn new(make: &str, options: &str) -> Volume {
        let (point, image, device) = ("/tmp/volume".into(), "/dev/shm/volume".into(), "/dev/loop5");
        let volume = Volume { point, image, device };
        File::create(&volume.image).unwrap().set_len(64 * MIB).unwrap();
        run("modprobe loop");
        run(&format!("losetup {device} {}", volume.image.display()));
        run(&format!("{make} {device}"));
        fs::create_dir_all(&volume.point).unwrap();
        run("modprobe crc32c_generic");
        run("modprobe ext4");
        run(&format!("mount -t ext4 -o {options} {device} {}", volume.point.display()));
        volume
    }

    pub fn ext4() -> Volume {
        Volume::new("mke2fs -q -t ext4", "rw")
    }

    fn tmpfs(size: &str) -> Volume {
        let volume = Volume { point: "/tmp/volume".into(), image: PathBuf::new(), device: "" };
        fs::create_dir_all(&volume.point).unwrap();
        run(&format!("mount -t tmpfs -o size={size} tmpfs {}", volume.point.display()));
        volume
    }

    fn free(&self) -> u64 {
        space::free(&self.point)
    }

    /// An agent with one fault here, as this user.
    fn agent(&self, uid: u32, keys: &str) -> Agent {
        let mut command = Command::new(agent_path());
        command.uid(uid);
        Agent::start(command, &self.fault(keys))
    }

    fn fault(&self, keys: &str) -> String {
        format!("type: disk, path: {}, {keys}", self.point.display())
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.point).unwrap().flatten().all(|file| file.file_name() == "lost+found")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A case that failed before has said why; nothing here may hide that.
        let gone = |program: &str, argument: &str| Command::new(program).args(argument.split(' ')).status();
        let unmounted = gone("umount", self.point.to_str().unwrap());
        if !self.device.is_empty() {
            let _ = gone("losetup", &format!("-d {}", self.device));
            let _ = fs::remove_file(&self.image);
        }
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()), "still in use");
    }
}

fn kill_9(agent: &mut Agent) {
    agent.process.0.kill().unwrap();
    agent.process.0.wait().unwrap();
}

#[test]
fn a_full_disk_is_full_for_others_and_whole_again_after_kill_9() {
    let volume = Volume::ext4();
    let before = volume.free();
    let mut agent = volume.agent(0, "percent: 100, headroom_mb: 0, duration_seconds: 3600");
    agent.wait_active("disk");
    assert!(agent.log().contains("fills 100 % of "), "{}", agent.log());
    assert!(agent.log().contains(" on /tmp/volume (ext4) for 3600 s"), "{}", agent.log());
    // Another user's file: root may also take the blocks that are kept for it.
    let file = volume.point.join("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let mut writer = Command::new("dd");
    writer.args(["if=/dev/zero", "of=/tmp/volume/file", "bs=1M", "count=2"]);
    let said = writer.uid(12345).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("No space left on device"), "{said:?}");
    kill_9(&mut agent);
    fs::remove_file(file).unwrap();
    wait_for(LIMIT, "every block", || (volume.free() == before).then_some(()));
    assert!(volume.is_empty());
}

#[test]
fn others_that_fill_the_disk_get_the_space_back_first() {
    let volume = Volume::ext4();
    let agent = volume.agent(0, "mb: 16, headroom_mb: 16, duration_seconds: 3600");
    agent.wait_active("disk");
    assert!((16 * MIB..17 * MIB).contains(&taken(agent.process.0.id(), &volume.point)));
    let mut file = File::create(volume.point.join("grows")).unwrap();
    let more = volume.free() - 10 * MIB;
    for _ in 0..more / MIB {
        file.write_all(&vec![1; MIB as usize]).unwrap();
    }
    file.sync_all().unwrap();
    let line = agent.wait_log("gave 16 MiB back after");
    assert!(line.contains("of /tmp/volume (ext4) only ") && line.contains(" and 16 MiB must stay"), "{line}");
    agent.wait_log("fault: success");
    assert_eq!(
        (agent.metric("chaos_disk_shortened_total"), taken(agent.process.0.id(), &volume.point)),
        (1.0, 0)
    );
}

#[test]
fn a_file_system_without_fallocate_is_written_to() {
    // The other mke2fs makes file systems of the time before extents.
    let volume = Volume::new("busybox mke2fs", "rw");
    let mut agent = volume.agent(0, "mb: 20, headroom_mb: 8, duration_seconds: 3600");
    agent.wait_active("disk");
    assert!(taken(agent.process.0.id(), &volume.point) >= 20 * MIB);
    kill_9(&mut agent);
    wait_for(LIMIT, "the space", || (volume.free() > 50 * MIB).then_some(()));
}

#[test]
fn a_disk_without_inodes_or_rights_to_write_is_named() {
    let volume = Volume::new("mke2fs -q -t ext4 -N 16", "rw");
    let mut names = 0;
    while File::create(volume.point.join(format!("file-{names}"))).is_ok() {
        names += 1;
    }
    let fault = "mb: 1, headroom_mb: 0, duration_seconds: 1";
    let line = volume.agent(0, fault).wait_log("fault: failed");
    assert!(line.contains("cannot make a file in /tmp/volume (ext4): No space left on device; "), "{line}");
    let line = volume.agent(12345, fault).wait_log("fault: failed");
    let said = "cannot make a file in /tmp/volume (ext4): Permission denied [faccessat(";
    assert!(line.contains(said) && line.contains(", W_OK|X_OK, 0)]; "), "{line}");
    run("mount -o remount,ro /tmp/volume");
    let line = volume.agent(0, fault).wait_log("fault: failed");
    assert!(line.contains("Read-only file system [faccessat("), "{line}");
    assert!(line.contains(", W_OK|X_OK, 0)]; it is mounted read-only"), "{line}");
}

/// Sets the hard limit of a user's blocks: quotactl(2), `Q_SETQUOTA`, `USRQUOTA` (linux/quota.h).
fn set_quota(device: &str, uid: u32, mib: u64) {
    let device = CString::new(device).unwrap();
    // SAFETY: dqblk is plain data for which zero bytes are a valid value.
    #[allow(unsafe_code)]
    let mut limits: libc::dqblk = unsafe { std::mem::zeroed() };
    (limits.dqb_bhardlimit, limits.dqb_valid) = (mib * 1024, 1);
    // SAFETY: `device` and `limits` outlive the call, which reads both.
    #[allow(unsafe_code)]
    let result =
        unsafe { libc::quotactl(0x0080_0008 << 8, device.as_ptr(), uid as i32, (&raw mut limits).cast()) };
    assert_eq!(result, 0, "quotactl: {}", std::io::Error::last_os_error());
}

#[test]
fn a_quota_that_is_used_up_is_named() {
    run("modprobe quota_v2");
    let volume = Volume::new("mke2fs -q -t ext4 -O quota", "usrquota");
    fs::set_permissions(&volume.point, fs::Permissions::from_mode(0o777)).unwrap();
    set_quota(volume.device, 12345, 8);
    let line = volume.agent(12345, "mb: 16, duration_seconds: 1, headroom_mb: 8").wait_log("fault: failed");
    assert!(
        line.contains("cannot fill /tmp/volume (ext4) beyond ") && line.contains("; a quota of this"),
        "{line}"
    );
    let agent = volume.agent(12345, "mb: 4, duration_seconds: 1, headroom_mb: 8");
    agent.wait_log("fault: success");
}

#[test]
fn files_that_are_memory_are_held_to_the_memory_limit() {
    let volume = Volume::tmpfs("512M");
    let group = Cgroup::new("disk-tmpfs");
    group.set("memory.max", "96M");
    group.set("memory.swap.max", "0");
    let current = || group.get("memory.current").trim().parse::<u64>().unwrap();
    let agent = Agent::contained(&group, &volume.fault("mb: 90, headroom_mb: 16, duration_seconds: 1"));
    let line = agent.wait_log("fault: failed");
    assert!(line.contains("the container's memory limit is 96 MiB") && line.contains("are memory"), "{line}");
    drop(agent);
    let mut agent =
        Agent::contained(&group, &volume.fault("percent: 50, headroom_mb: 16, duration_seconds: 3600"));
    agent.wait_active("disk");
    let held = current();
    assert!(held > 40 * MIB && held < 60 * MIB, "{held} bytes for half of what 96 MiB leave");
    kill_9(&mut agent);
    wait_for(LIMIT, "the memory", || (current() < 16 * MIB).then_some(()));
    let events = group.get("memory.events");
    assert!(events.contains("oom_kill 0"), "{events}");
}

#[test]
fn files_that_are_memory_are_given_back_when_others_need_it() {
    let volume = Volume::tmpfs("512M");
    let group = Cgroup::new("disk-others");
    group.set("memory.max", "128M");
    group.set("memory.swap.max", "0");
    let agent = Agent::contained(&group, &volume.fault("mb: 64, headroom_mb: 32, duration_seconds: 3600"));
    agent.wait_active("disk");
    let script = "i=0; while [ $i -lt 64 ]; do dd if=/dev/zero bs=1M count=1 2>/dev/null >>/dev/shm/grow || exit 1; \
                  i=$((i+1)); done";
    let status = group.command("sh").args(["-c", script]).status().unwrap();
    let line = agent.wait_log("gave 64 MiB back after");
    assert!(line.contains("of the container's memory limit only "), "{line}");
    fs::remove_file("/dev/shm/grow").unwrap();
    assert!(status.success());
    let events = group.get("memory.events");
    assert!(events.contains("oom_kill 0"), "{events}");
}
