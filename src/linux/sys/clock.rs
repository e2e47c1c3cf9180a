//! clock_gettime(2) where the standard library does not reach: values that cross process borders, and the wall clock.
//!
//! On 32 bits the time of the C library ends on 2038-01-19, and `SystemTime::now` ends the process from then on; a board
//! without a battery may be there today. So nobody else asks for the time of day.

use super::Result;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds of `CLOCK_BOOTTIME`: the same number in every process of the machine, also after a suspend.
pub fn boot_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call and is the timespec that clock_gettime(2) writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    debug_assert!(result == 0, "{:?}", std::io::Error::last_os_error());
    // Both are 32 bits wide on a 32-bit machine; the clock never goes below zero.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Time of a clock that ends nowhere near (clock_gettime(2)): not the wall clock.
pub(super) fn of(id: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call and is the timespec that clock_gettime(2) writes.
    let result = unsafe { libc::clock_gettime(id, &raw mut time) };
    super::done(result, "clock_gettime(%, ...)", id.into(), 0)?;
    Ok(Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0)))
}

/// Seconds and nanoseconds: `struct __kernel_timespec` of linux/time_types.h, 64 bits each on every machine.
type Wide = [i64; 2];

/// Now, by the wall clock. A clock before 1970 counts as 1970, and so does one that cannot be read.
pub fn now() -> SystemTime {
    UNIX_EPOCH + unix()
}

/// Time since 1970-01-01, by the wall clock; zero before it.
pub fn unix() -> Duration {
    read(&[wide, narrow])
}

/// The first answer.
fn read(calls: &[fn(&mut Wide) -> bool]) -> Duration {
    let mut time = [0; 2];
    let told = calls.iter().any(|call| call(&mut time));
    let [seconds, nanoseconds] = time.map(|part| u64::try_from(part).ok());
    let known = seconds.filter(|_| told).zip(nanoseconds);
    known.map_or(Duration::ZERO, |(seconds, nanoseconds)| {
        Duration::new(seconds, nanoseconds as u32 % 1_000_000_000)
    })
}

/// clock_gettime64(2), number 403 on every machine of 32 bits; Linux 5.1 and newer.
#[cfg(target_pointer_width = "32")]
fn wide(time: &mut Wide) -> bool {
    const CLOCK_GETTIME64: libc::c_long = 403;
    // SAFETY: `time` is a live pair of 64-bit integers, which is what this call fills, and which it does not keep.
    unsafe { libc::syscall(CLOCK_GETTIME64, libc::CLOCK_REALTIME, time.as_mut_ptr()) == 0 }
}

/// Where the C library's time is 64 bits wide already.
#[cfg(not(target_pointer_width = "32"))]
fn wide(_: &mut Wide) -> bool {
    false
}

/// By the C library: without a system call where the machine has a way; on 32 bits up to 2038.
fn narrow(time: &mut Wide) -> bool {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call and is the timespec that clock_gettime(2) writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    #[allow(clippy::unnecessary_cast, reason = "32 bits wide on a machine of 32 bits")]
    let told = [now.tv_sec as i64, now.tv_nsec as i64];
    *time = told;
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_2040: i64 = 2_209_032_000;

    #[test]
    fn the_clock_is_the_one_that_everybody_has() {
        let between = SystemTime::now().duration_since(now()).unwrap_or_else(|error| error.duration());
        assert!(between < Duration::from_secs(60), "{between:?}");
        let mut time = [0; 2];
        assert!(narrow(&mut time) && time[0] > 1_700_000_000);
        assert_eq!(wide(&mut time), cfg!(target_pointer_width = "32"));
    }

    /// As the call answers on a board whose clock is ahead; in 32 bits this is a time before 1970.
    #[test]
    fn a_clock_after_2038_is_read_on_every_machine() {
        assert!(i32::try_from(IN_2040).is_err());
        let told: fn(&mut Wide) -> bool = |time| {
            *time = [IN_2040, 7_000_000];
            true
        };
        let time = UNIX_EPOCH + read(&[told, narrow]);
        assert_eq!(time.duration_since(UNIX_EPOCH).unwrap(), Duration::new(IN_2040 as u64, 7_000_000));
        // What the C library's call says then.
        let overflow: fn(&mut Wide) -> bool = |_| false;
        assert_eq!(read(&[overflow, overflow]), Duration::ZERO);
        assert_eq!(read(&[overflow, told]), Duration::new(IN_2040 as u64, 7_000_000));
        let before: fn(&mut Wide) -> bool = |time| {
            *time = [-5, 0];
            true
        };
        assert_eq!(read(&[before]), Duration::ZERO);
    }
}
