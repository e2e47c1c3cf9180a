//! clock_gettime(2) where `std::time::Instant` does not reach: values that cross process borders.

/// Milliseconds of `CLOCK_BOOTTIME`: the same number in every process of the machine, also after a suspend.
pub fn boot_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call and is the timespec that clock_gettime(2) writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    debug_assert!(result == 0, "{:?}", std::io::Error::last_os_error());
    // Both are 32 bits wide on a 32-bit machine; the clock never goes below zero.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
