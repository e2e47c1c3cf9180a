//! What the process has used and may use: clocks, page size, limits.

use super::{Result, clock};
use std::time::Duration;

/// CPU time of all threads of this process since it began (clock_gettime(2), `CLOCK_PROCESS_CPUTIME_ID`).
///
/// # Errors
/// The kernel has no such clock.
pub fn cpu_time() -> Result<Duration> {
    clock::of(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Time since the machine started, suspended time included (`CLOCK_BOOTTIME`).
///
/// # Errors
/// The kernel has no such clock.
pub fn since_boot() -> Result<Duration> {
    clock::of(libc::CLOCK_BOOTTIME)
}

/// Bytes in a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: takes an integer and returns one; no pointer is involved.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The name of this machine, which in a pod is the name of the pod (gethostname(2)); `None` for one that is not UTF-8.
pub fn hostname() -> Option<String> {
    let mut name = [0u8; 65];
    // SAFETY: `name` is a live buffer whose size is told; one byte is kept back for the end.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    super::done(result, "gethostname(...)", 0, 0).ok()?;
    let end = name.iter().position(|byte| *byte == 0)?;
    name.get(..end).and_then(|name| str::from_utf8(name).ok()).map(str::to_owned)
}

/// How many file descriptors this process may have open: the soft `RLIMIT_NOFILE`; `None` without a limit.
///
/// # Errors
/// As getrlimit(2); none is known for this resource.
pub fn open_file_limit() -> Result<Option<u64>> {
    let limit = open_files()?;
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

/// The most file descriptors to which this process may raise that limit by itself: the hard `RLIMIT_NOFILE`; `None`
/// without one.
///
/// # Errors
/// As [`open_file_limit`].
pub fn hard_open_file_limit() -> Result<Option<u64>> {
    let limit = open_files()?.rlim_max;
    Ok((limit != libc::RLIM_INFINITY).then_some(limit))
}

/// Lets this process, and those that it starts, open as many files as it may allow itself: the soft `RLIMIT_NOFILE`
/// becomes the hard one.
///
/// # Errors
/// As getrlimit(2) and setrlimit(2); none is known for this.
pub fn raise_open_file_limit() -> Result<()> {
    let mut limit = open_files()?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live rlimit of this frame, which the kernel only reads.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    super::done(result, "setrlimit(RLIMIT_NOFILE, ...)", 0, 0)
}

fn open_files() -> Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit of this frame, which the kernel fills and does not keep.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    super::done(result, "getrlimit(RLIMIT_NOFILE, ...)", 0, 0)?;
    Ok(limit)
}
