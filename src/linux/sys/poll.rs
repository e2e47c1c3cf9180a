//! ppoll(2): waiting on several descriptors with nanosecond time-outs.

use super::Result;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// One row of a poll set; `fd` -1 is ignored by the kernel. Same layout as `struct pollfd` (poll.h).
pub type PollFd = libc::pollfd;

/// A row that waits for `events` (`libc::POLLIN`, `libc::POLLOUT`) on `fd`.
pub fn row(fd: RawFd, events: libc::c_short) -> PollFd {
    PollFd { fd, events, revents: 0 }
}

/// Waits until a row has something to say or `timeout` has passed (`None`: for ever); returns how many rows
/// have. A signal handler that ran counts as nothing to say (0), so that the caller looks at its flags.
///
/// # Errors
/// ppoll(2): no memory, or more rows than `RLIMIT_NOFILE`.
pub fn poll(rows: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
    let time = timeout.map(|left| libc::timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX as _),
        tv_nsec: left.subsec_nanos() as _,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `rows` is a live, exclusive slice of its own length; `time` is null or points to a timespec
    // that lives until the end of this function; the null mask leaves the signal mask alone.
    let ready = unsafe { libc::ppoll(rows.as_mut_ptr(), rows.len() as libc::nfds_t, time, std::ptr::null()) };
    match super::check(ready, "ppoll(..., %, ...)", rows.len() as i64, 0) {
        Ok(ready) => Ok(ready.unsigned_abs() as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Waits until one of up to `N` descriptors is readable or hung up; says which are. `None` is never ready.
///
/// # Errors
/// As [`poll`].
pub fn readable<const N: usize>(
    fds: &[Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N]> {
    let mut rows = fds.map(|fd| row(fd.map_or(-1, |fd| fd.as_raw_fd()), libc::POLLIN));
    poll(&mut rows, timeout)?;
    Ok(rows.map(|row| row.revents != 0))
}
