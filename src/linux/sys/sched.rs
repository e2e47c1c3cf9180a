//! Where and how eagerly the calling thread runs, and how much CPU it has used.

use super::{Result, clock};
use std::io;
use std::time::Duration;

/// Most CPUs that a mask of ours can name; the kernel's own bound (`NR_CPUS` of every distribution).
const MOST_CPUS: usize = 8192;
/// Bits in a word of the mask: the kernel's `unsigned long`.
const BITS: usize = libc::c_ulong::BITS as usize;

type Mask = [libc::c_ulong; MOST_CPUS / BITS];

/// The CPUs that the calling thread may run on, in ascending order: sched_getaffinity(2). A cpuset shows here.
///
/// # Errors
/// `EINVAL` on a machine with more than 8192 CPUs.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let mut mask: Mask = [0; MOST_CPUS / BITS];
    // SAFETY: `mask` outlives the call and has the length that is passed; the kernel writes whole words.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<Mask>(), mask.as_mut_ptr().cast()) };
    super::check(result, "sched_getaffinity(0, %, ...)", size_of::<Mask>() as i64, 0)?;
    let set = |cpu: &usize| mask.get(cpu / BITS).is_some_and(|word| word >> (cpu % BITS) & 1 != 0);
    Ok((0..MOST_CPUS).filter(set).collect())
}

/// Binds the calling thread to one CPU: sched_setaffinity(2).
///
/// # Errors
/// `EINVAL`: the CPU is gone or not allowed here.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut mask: Mask = [0; MOST_CPUS / BITS];
    match mask.get_mut(cpu / BITS) {
        Some(word) => *word = 1 << (cpu % BITS),
        None => return Err(io::Error::from_raw_os_error(libc::EINVAL).into()),
    }
    // SAFETY: `mask` outlives the call and has the length that is passed; the kernel only reads it.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<Mask>(), mask.as_ptr().cast()) };
    super::done(result, "sched_setaffinity(0, %, [%])", size_of::<Mask>() as i64, cpu as i64)
}

/// Sets the nice value (-20 to 19) of the calling thread alone: setpriority(2), which on Linux takes a thread.
///
/// # Errors
/// `EACCES`, `EPERM`: below the present value without CAP_SYS_NICE or `RLIMIT_NICE`.
pub fn set_nice(nice: i32) -> Result<()> {
    // SAFETY: takes three integers; no pointer is involved. Zero is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, nice) };
    super::done(result, "setpriority(PRIO_PROCESS, 0, %)", nice.into(), 0)
}

/// Lets the calling thread have the processor as soon as it wants it, for one that mostly waits: `SCHED_RR` where
/// allowed (CAP_SYS_NICE or `RLIMIT_RTPRIO`), else nice -20 (CAP_SYS_NICE or `RLIMIT_NICE`), else, which needs no right, the
/// shortest time slice, which comes to its turn soonest (sched_setattr(2), Linux 6.12). Not for children.
///
/// # Errors
/// None of these was allowed.
pub fn hurry() -> Result<()> {
    /// `SCHED_RESET_ON_FORK` of linux/sched.h.
    const NOT_FOR_CHILDREN: libc::c_int = 0x4000_0000;
    /// The lowest real-time priority is above all that is not real-time.
    static PRIORITY: libc::c_int = 1;
    /// The kernel's least slice, in nanoseconds.
    const SLICE: u64 = 100_000;
    /// `struct sched_attr` of linux/sched/types.h, as of `SCHED_ATTR_SIZE_VER0`.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    // SAFETY: takes two integers and a live int, which is the sched_param that the kernel reads (musl's own
    // wrapper refuses to call).
    let result = unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_RR | NOT_FOR_CHILDREN, &raw const PRIORITY)
    };
    if result == 0 || set_nice(-20).is_ok() {
        return Ok(());
    }
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes {
        size,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: SLICE,
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attributes` outlives the call and has the layout and size that it names; zero is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0u32) };
    super::done(result as libc::c_int, "sched_setattr(0, {sched_runtime=%}, 0)", SLICE as i64, 0)
}

/// CPU time that the calling thread has used so far, user and system: `CLOCK_THREAD_CPUTIME_ID`.
pub fn thread_cpu() -> Duration {
    // The clock is there since Linux 2.6.12; the call cannot fail with this clock.
    clock::of(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

/// CPU time that all threads of another process have used so far, also the ended ones; to the nanosecond, unlike
/// `/proc/PID/stat`. The clock's number is made as in clock_getcpuclockid(3).
///
/// # Errors
/// `EINVAL`: there is no such process.
pub fn process_cpu(pid: u32) -> Result<Duration> {
    /// `CPUCLOCK_SCHED` of linux/posix-timers.h.
    const SCHED: libc::clockid_t = 2;
    clock::of((!(pid as libc::clockid_t) << 3) | SCHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_each_cpu_that_it_may_use_and_to_no_other() {
        let cpus = allowed_cpus().unwrap();
        assert!(!cpus.is_empty());
        for cpu in &cpus {
            let seen = std::thread::scope(|scope| {
                scope.spawn(|| pin_to(*cpu).and_then(|()| allowed_cpus())).join().unwrap().unwrap()
            });
            assert_eq!(seen, [*cpu]);
        }
        assert!(pin_to(MOST_CPUS - 1).is_err());
        assert!(pin_to(MOST_CPUS).is_err());
        assert_eq!(allowed_cpus().unwrap(), cpus, "the other threads stay as they were");
    }

    #[test]
    fn a_thread_can_be_made_nicer_alone_and_knows_its_own_cpu_time() {
        let before = thread_cpu();
        std::thread::spawn(|| set_nice(19).unwrap()).join().unwrap();
        while thread_cpu() == before {
            std::hint::spin_loop();
        }
        let mine = thread_cpu();
        assert!(process_cpu(std::process::id()).unwrap() >= mine);
        // PID_MAX_LIMIT (linux/threads.h): never a process.
        assert!(process_cpu(4_194_304).is_err());
        // SAFETY: takes two integers; no pointer is involved.
        assert_ne!(unsafe { libc::getpriority(libc::PRIO_PROCESS as _, 0) }, 19);
    }
}
