//! clock_gettime(2) where `std::time::Instant` does not reach: values that cross process borders.

use std::io;

/// Milliseconds of `CLOCK_BOOTTIME`: the same number in every process of the machine, also after a suspend.
pub fn boot_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call and is the timespec that clock_gettime(2) writes.
    let result = super::check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) });
    debug_assert!(result.is_ok(), "{:?}", io::Error::last_os_error());
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}
