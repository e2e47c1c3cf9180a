//! Signals that ask for something rather than end the program: each is noted and rings an eventfd.

use super::Result;
use super::event::{EventFd, signal_raw};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The eventfd to ring; -1 before [`watch`].
static FD: AtomicI32 = AtomicI32::new(-1);
/// A bit for each signal that came since the last [`take`].
static CAME: AtomicU64 = AtomicU64::new(0);

/// Notes each of `signals` (1 to 63) and rings `bell`, which must live as long as the process, from now on.
///
/// # Errors
/// sigaction(2): a number that is no signal or cannot be caught.
pub fn watch(signals: &[i32], bell: &'static EventFd) -> Result<()> {
    FD.store(bell.as_fd().as_raw_fd(), Ordering::Release);
    for signal in signals {
        // SAFETY: sigaction is plain data for which zero bytes are a valid value: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_flags = libc::SA_RESTART;
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `action` outlives the call; its handler only uses atomics and write(2), which are
        // async-signal-safe (signal-safety(7)).
        let result = unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) };
        super::done(result, "rt_sigaction($, {sa_flags=SA_RESTART}, NULL, 8)", i64::from(*signal), 0)?;
    }
    Ok(())
}

extern "C" fn note(signal: libc::c_int) {
    CAME.fetch_or(1 << (signal & 63), Ordering::AcqRel);
    signal_raw(FD.load(Ordering::Acquire));
}

/// Which signals came since the last call, as a test of their numbers.
pub fn take() -> impl Fn(i32) -> bool {
    let came = CAME.swap(0, Ordering::AcqRel);
    move |signal| came & (1 << (signal & 63)) != 0
}
