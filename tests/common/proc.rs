//! Processes as the kernel shows them.

use std::fs;

/// The state letter of a process (proc_pid_stat(5)); `None` once it is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
