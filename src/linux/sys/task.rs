//! What a process says about itself: its name, its signals, its children, its capabilities.

use super::Result;
use std::os::fd::{FromRawFd, OwnedFd};

/// Sets the name of the calling thread (`/proc/self/comm`), cut to 15 bytes: prctl(2), `PR_SET_NAME`.
/// A program started through `/proc/self/exe` is called "exe" without it.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: `name` is a live NUL-terminated string; the kernel copies at most 16 bytes of it.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Ignores a signal: signal(2), `SIG_IGN`. Children inherit this through exec.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is no function; no code of ours runs in signal context.
    let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The effective uid of this process: geteuid(2).
pub fn uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// A descriptor that becomes readable when process `pid` ends: pidfd_open(2), Linux 5.3.
///
/// # Errors
/// `ESRCH` when there is no such process, `ENOSYS` on an older kernel, `EPERM` under some seccomp filters.
pub fn pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers; no pointer is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    let fd = super::check(fd as libc::c_int, "pidfd_open(%, 0)", pid.into(), 0)?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The pid of some child that has ended and was not waited for, left as it is: waitid(2) with `WNOWAIT`.
pub fn ended_child() -> Option<u32> {
    // SAFETY: siginfo_t is plain data for which zero bytes are a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` outlives the call and is the siginfo_t that waitid(2) writes.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    if result != 0 {
        return None;
    }
    // SAFETY: waitid(2) filled `info` as for SIGCHLD, or left it zero when no child has ended.
    let pid = unsafe { info.si_pid() };
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// Takes away the zombie `pid`: waitpid(2). Nothing happens if there is none.
pub fn reap(pid: u32) {
    let mut status = 0;
    // SAFETY: `status` outlives the call and is the int that waitpid(2) writes.
    let _ = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, libc::WNOHANG) };
}

/// The capability to change interfaces and qdiscs (linux/capability.h).
pub const CAP_NET_ADMIN: u32 = 12;
/// The capability to signal processes of other users (linux/capability.h).
pub const CAP_KILL: u32 = 5;

/// Whether the calling thread's effective set holds `capability` (its number in linux/capability.h).
pub fn has_capability(capability: u32) -> bool {
    capabilities() & 1 << (capability % 64) != 0
}

/// The calling thread's effective set, a bit a capability: capget(2), version 3 (linux/capability.h).
pub fn capabilities() -> u64 {
    /// `struct __user_cap_header_struct`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// `struct __user_cap_data_struct`; version 3 writes two, for capabilities 0-31 and 32-63.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: `header` and the two `data` outlive the call and have the layouts that version 3 asks for.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    // Nothing was written where the kernel refused.
    if result == 0 { u64::from(data[1].effective) << 32 | u64::from(data[0].effective) } else { 0 }
}
