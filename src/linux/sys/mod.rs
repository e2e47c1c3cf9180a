//! Every `unsafe` block of the program: one system call a function, safe signature, `io::Result`, `OwnedFd`.
//!
//! `EINTR` is retried inside unless the doc comment says otherwise.
#![allow(unsafe_code)]

pub mod bell;
pub mod clock;
pub mod disk;
pub mod event;
pub mod file;
pub mod image;
pub mod inotify;
pub mod memory;
pub mod net;
pub mod netlink;
pub mod pidfd;
pub mod poll;
pub mod sched;
pub mod signal;
pub mod task;
#[cfg(target_env = "musl")]
pub mod thread_name;
#[cfg(all(panic = "abort", target_env = "musl"))]
pub mod unwind;
pub mod usage;

use std::io;

/// Turns the kernel's -1 into the errno.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Repeats `call` while a signal handler interrupts it.
pub(crate) fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
