//! Signals to other processes: through a pidfd, which cannot hit a process that reused the number, or by number.

use super::Result;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends `signal` to the process behind `pidfd` ([`super::task::pidfd`]): pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// `ESRCH` when it has ended, `EPERM` without the right (or under some seccomp filters), `ENOSYS` on an older
/// kernel.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it in as for kill(2); the other arguments are integers.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0u32) };
    let call = "pidfd_send_signal(%, $, NULL, 0)";
    super::done(result as libc::c_int, call, pidfd.as_raw_fd().into(), signal.into())
}

/// Sends `signal` to the process `pid`, whoever that is by now: kill(2). Never to a group: 0 and numbers that
/// do not fit are refused with `ESRCH`.
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM` without the right.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    match libc::pid_t::try_from(pid) {
        Ok(pid) if pid > 0 => {
            // SAFETY: takes two integers; no pointer is involved.
            super::done(unsafe { libc::kill(pid, signal) }, "kill(%, $)", pid.into(), signal.into())
        }
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH).into()),
    }
}

/// Makes the calling thread, and only it, act as another user without capabilities: setresuid(2) without the
/// C library, which would change every thread.
///
/// # Errors
/// `EPERM` without CAP_SETUID.
#[cfg(test)]
pub fn become_user(uid: u32) -> Result<()> {
    // SAFETY: takes three integers; no pointer is involved.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    super::done(result as libc::c_int, "setresuid(%, %, ...)", uid.into(), uid.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sys::task;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn both_ways_deliver_and_both_say_when_nobody_is_left() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let fd = task::pidfd(child.id()).unwrap();
        send_signal(fd.as_fd(), libc::SIGUSR1).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
        assert_eq!(send_signal(fd.as_fd(), 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        kill(child.id(), libc::SIGUSR2).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR2));
        assert_eq!(kill(child.id(), 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_number_that_would_mean_a_group_reaches_nobody() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert_eq!(kill(pid, 0).unwrap_err().raw_os_error(), Some(libc::ESRCH), "{pid}");
        }
    }

    /// No test: run by others as a process of its own, to be killed. `CLONE_VFORK` keeps the calling thread in
    /// uninterruptible (but killable) sleep until the child ends: clone(2).
    #[test]
    #[ignore = "a helper that sleeps until it is killed"]
    fn helper_uninterruptible() {
        let flags = libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: without CLONE_VM this is a fork(2): the child has its own copy of everything, and it only
        // sleeps; zeros mean "no stack, no thread ids, no TLS".
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: takes integers only: the child goes with its parent (PR_SET_PDEATHSIG).
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                // SAFETY: pause(2) takes nothing and touches no memory.
                unsafe { libc::pause() };
            }
        }
    }

    /// No test: run by others as a process of its own, to be killed. Its first thread ends, another goes on.
    #[test]
    #[ignore = "a helper that sleeps until it is killed"]
    fn helper_headless() {
        // SAFETY: a fork(2) of one thread, which then only uses what the C library allows after that: it has its own
        // copy of everything.
        if unsafe { libc::fork() } != 0 {
            loop {
                // SAFETY: pause(2) takes nothing and touches no memory.
                unsafe { libc::pause() };
            }
        }
        // SAFETY: takes integers only: the child goes with its parent (PR_SET_PDEATHSIG).
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        std::thread::spawn(|| {
            // SAFETY: takes integers only; again, since the thread that asked for it before is about to end.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                // SAFETY: pause(2) takes nothing and touches no memory.
                unsafe { libc::pause() };
            }
        });
        // SAFETY: exit(2) ends the calling thread alone, which owns nothing that the other uses.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}
