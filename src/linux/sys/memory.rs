//! Anonymous memory: mmap(2), madvise(2), mincore(2), mlock(2).

use super::Result;
use std::ptr::NonNull;

/// How many bytes one look of mincore(2) covers: 16 KiB of answers at 4 KiB a page.
const LOOK: usize = 64 << 20;

/// A private anonymous mapping; the kernel takes it back at the latest when the process ends.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone; no thread-bound state is behind the pointer.
unsafe impl Send for Mapping {}

/// What madvise(2) can be told about a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Use huge pages where the kernel has them (`MADV_HUGEPAGE`).
    Huge,
    /// A child made by fork(2) does not get it (`MADV_DONTFORK`).
    DontFork,
    /// Leave it out of core dumps (`MADV_DONTDUMP`).
    DontDump,
    /// Never merge equal pages (`MADV_UNMERGEABLE`), even where the whole process was told to.
    Unmergeable,
}

impl Advice {
    fn number(self) -> (libc::c_int, &'static str) {
        match self {
            Advice::Huge => (libc::MADV_HUGEPAGE, "madvise(#, %, MADV_HUGEPAGE)"),
            Advice::DontFork => (libc::MADV_DONTFORK, "madvise(#, %, MADV_DONTFORK)"),
            Advice::DontDump => (libc::MADV_DONTDUMP, "madvise(#, %, MADV_DONTDUMP)"),
            Advice::Unmergeable => (libc::MADV_UNMERGEABLE, "madvise(#, %, MADV_UNMERGEABLE)"),
        }
    }
}

impl Mapping {
    /// Reserves `length` bytes of address space (more than zero), which read as zero and cost nothing yet.
    ///
    /// # Errors
    /// mmap(2): `ENOMEM` where the kernel's overcommit rule, `RLIMIT_AS` or the address space says no.
    pub fn anonymous(length: usize) -> Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a null address without MAP_FIXED lets the kernel choose a free place; nothing is replaced.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { start, length }),
            _ => {
                let call = "mmap(NULL, %, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)";
                Err(super::Failed::last(call, length as i64, 0))
            }
        }
    }

    /// Length in bytes, as asked for.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true: the kernel makes no empty mapping.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The memory itself. Touching it makes it resident.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `start` and `length` are a live mapping, readable, writable and zeroed by the kernel, that
        // belongs to `self` alone and lives as long as the borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// madvise(2) for the whole mapping.
    ///
    /// # Errors
    /// `EINVAL` where the kernel was built without the feature: the advice is then void.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let (number, call) = advice.number();
        // SAFETY: the range is this live mapping; none of the advices changes what the memory holds.
        let result = unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, number) };
        super::done(result, call, self.address(), self.length as i64)
    }

    /// Makes `length` bytes from `offset` (a multiple of the page size) resident, zeros unless written before:
    /// `MADV_POPULATE_WRITE`, Linux 5.14. Cut to the mapping's length.
    ///
    /// # Errors
    /// `EINVAL` on an older kernel; `ENOMEM`, `EFAULT` when there is no memory. `EINTR` is retried.
    pub fn populate(&self, offset: usize, length: usize) -> Result<()> {
        let offset = offset.min(self.length);
        let length = length.min(self.length - offset);
        // SAFETY: `offset` is within the mapping, so the pointer stays inside the same allocation.
        let start = unsafe { self.start.as_ptr().add(offset) };
        let call = "madvise(#, %, MADV_POPULATE_WRITE)";
        super::retry(call, start.addr() as i64, length as i64, || {
            // SAFETY: the range lies in this live mapping; populating writes no values.
            unsafe { libc::madvise(start.cast(), length, libc::MADV_POPULATE_WRITE) }
        })
        .map(drop)
    }

    /// Locks everything that is and will be touched into memory: mlock2(2), `MLOCK_ONFAULT`, Linux 4.4.
    ///
    /// # Errors
    /// `ENOMEM`, `EPERM` beyond `RLIMIT_MEMLOCK` without CAP_IPC_LOCK.
    pub fn lock(&self) -> Result<()> {
        /// `MLOCK_ONFAULT` of asm-generic/mman.h.
        const ON_FAULT: libc::c_int = 1;
        // SAFETY: the range is this live mapping; locking changes no values.
        let result = unsafe { libc::syscall(libc::SYS_mlock2, self.start.as_ptr(), self.length, ON_FAULT) };
        super::done(result as libc::c_int, "mlock2(#, %, MLOCK_ONFAULT)", self.address(), self.length as i64)
    }

    fn address(&self) -> i64 {
        self.start.as_ptr().addr() as i64
    }

    /// How many bytes are in memory now, in whole pages: mincore(2).
    ///
    /// # Errors
    /// `EAGAIN`: the kernel is short of memory itself.
    pub fn resident(&self) -> Result<usize> {
        let page = page_size();
        let mut answers = vec![0u8; LOOK / page];
        let mut pages = 0;
        for offset in (0..self.length).step_by(LOOK) {
            let length = LOOK.min(self.length - offset);
            // SAFETY: `offset` is within the mapping, so the pointer stays inside the same allocation.
            let start = unsafe { self.start.as_ptr().add(offset) };
            // SAFETY: the range lies in this live mapping and `answers` has a byte for each of its pages.
            let result = unsafe { libc::mincore(start.cast(), length, answers.as_mut_ptr().cast()) };
            super::done(result, "mincore(#, %, ...)", start.addr() as i64, length as i64)?;
            let count = length.div_ceil(page);
            pages += answers.iter().take(count).filter(|answer| **answer & 1 != 0).count();
        }
        Ok(pages * page)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this live mapping, and nobody borrows from a value that is being dropped.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Bytes in a page: sysconf(3), `_SC_PAGESIZE`.
pub fn page_size() -> usize {
    // SAFETY: sysconf takes an integer; no pointer is involved.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

/// Keeps all that this process has touched so far of what it has mapped in memory, and the rest of that once it is touched:
/// mlockall(2), `MCL_ONFAULT`, Linux 4.4.
///
/// # Errors
/// `ENOMEM`, `EPERM` beyond `RLIMIT_MEMLOCK` without CAP_IPC_LOCK.
pub fn lock_all() -> Result<()> {
    // SAFETY: takes an integer; no pointer is involved.
    super::done(
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) },
        "mlockall(MCL_CURRENT|MCL_ONFAULT)",
        0,
        0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_resident_when_touched_and_gone_when_dropped() {
        let mut mapping = Mapping::anonymous(8 << 20).unwrap();
        assert_eq!((mapping.len(), mapping.resident().unwrap()), (8 << 20, 0));
        mapping.advise(Advice::DontFork).unwrap();
        mapping.bytes()[5 << 20] = 1;
        let one = mapping.resident().unwrap();
        assert!(one >= page_size() && one < 8 << 20, "{one} bytes are resident after one touch");
        if mapping.populate(4 << 20, 64 << 20).is_ok() {
            assert_eq!(mapping.resident().unwrap(), 4 << 20, "the second half");
        }
        assert_eq!((mapping.bytes()[5 << 20], mapping.bytes()[(5 << 20) + 1]), (1, 0));
    }

    #[test]
    fn what_the_address_space_cannot_hold_is_an_error() {
        let error = Mapping::anonymous(usize::MAX / 2).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        assert!(Mapping::anonymous(0).is_err());
    }
}
