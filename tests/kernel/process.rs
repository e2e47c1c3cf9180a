//! A victim that no signal reaches: its system call cannot be broken off.

use crate::common::running::Running;
use crate::disk::Volume;
use crate::grouped::{Agent, LIMIT};
use crate::support::{agent_path, wait_for};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// `FIFREEZE` and `FITHAW` of linux/fs.h.
const FREEZE: u32 = 0xc004_5877;
const THAW: u32 = 0xc004_5878;

/// A file system on which every writer waits uninterruptibly while this lives.
struct Frozen(File);

impl Frozen {
    fn new(volume: &Volume) -> Frozen {
        let frozen = Frozen(File::open(&volume.point).unwrap());
        assert_eq!(frozen.ask(FREEZE), 0, "{}", std::io::Error::last_os_error());
        frozen
    }

    fn ask(&self, request: u32) -> i32 {
        // SAFETY: takes a descriptor, which `self` keeps open, and two integers; neither request uses the last.
        #[allow(unsafe_code)]
        unsafe {
            libc::ioctl(self.0.as_raw_fd(), request as _, 0)
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.ask(THAW);
    }
}

#[test]
fn a_victim_in_uninterruptible_sleep_is_named_and_dies_when_it_wakes() {
    let volume = Volume::ext4();
    let mut sleeper = None; // given up last, as it cannot be waited for before the thaw
    let frozen = Frozen::new(&volume);
    // dd takes its arguments apart where they stand: this one is "of", then the file.
    let output = format!("of={}/file", volume.point.display());
    let victim = Command::new("dd").args(["if=/dev/zero", &output, "count=1"]).spawn().unwrap();
    let victim = sleeper.insert(Running(victim));
    let stat = format!("/proc/{}/stat", victim.0.id());
    wait_for(LIMIT, "the victim's sleep", || {
        fs::read_to_string(&stat).unwrap().contains(") D ").then_some(())
    });
    let fault =
        format!("type: process, target_name: '{}', grace_seconds: 0, recovery_seconds: 0", &output[3..]);
    let agent = Agent::start(Command::new(agent_path()), &fault);
    let line = agent.wait_log("fault: failed");
    let said = format!(
        "cannot kill process {} (dd): it is there 2 s after SIGKILL, in state D; it waits",
        victim.0.id()
    );
    assert!(line.contains(&said), "{line}");
    drop(frozen);
    let status = wait_for(LIMIT, "the victim's end", || victim.0.try_wait().unwrap());
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}
