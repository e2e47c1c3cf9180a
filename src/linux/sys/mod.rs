//! Every `unsafe` block of the program: one system call a function, safe signature, `OwnedFd`, and a
//! [`Result`] whose error shows the call as strace(1) would.
//!
//! `EINTR` is retried inside unless the doc comment says otherwise.
#![allow(unsafe_code)]

pub mod arena;
pub mod bell;
pub mod clock;
pub mod disk;
pub mod entry;
pub mod event;
mod failed;
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
pub mod thread;
#[cfg(target_env = "musl")]
pub mod thread_name;
pub mod unix;
#[cfg(all(panic = "abort", target_env = "musl"))]
pub mod unwind;
pub mod usage;

pub use failed::{Failed, Result};
use std::io::ErrorKind;

/// Turns the kernel's -1 into the failure of `call`, with the errno; see [`Failed::last`] for the call.
pub(crate) fn check(result: libc::c_int, call: &'static str, first: i64, second: i64) -> Result<libc::c_int> {
    if result < 0 { Err(Failed::last(call, first, second)) } else { Ok(result) }
}

/// [`check`] for a call that returns nothing.
pub(crate) fn done(result: libc::c_int, call: &'static str, first: i64, second: i64) -> Result<()> {
    if result < 0 { Err(Failed::last(call, first, second)) } else { Ok(()) }
}

/// Repeats what is called while a signal handler interrupts it.
pub(crate) fn retry(
    call: &'static str,
    first: i64,
    second: i64,
    mut made: impl FnMut() -> libc::c_int,
) -> Result<libc::c_int> {
    loop {
        match check(made(), call, first, second) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
