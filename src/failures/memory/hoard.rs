//! The memory held: one anonymous mapping, filled piece by piece so that a stop waits for one piece at most.

use crate::cancel::Cancel;
use crate::error::{Context, Result};
use crate::linux::ability::POPULATE;
use crate::linux::sys::memory::{Advice, Mapping, page_size};
use std::io;

/// Filled between two looks at the clock and the stop: a huge page, well below a millisecond of work.
pub const PIECE: usize = 2 << 20;

/// What the memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Nothing that zswap, zram or a page merger could make smaller.
    Random,
    /// Zeros: the fastest way to be resident.
    Zero,
}

/// Memory being filled or held; given back to the kernel when dropped.
#[derive(Debug)]
pub struct Hoard {
    mapping: Mapping,
    pattern: Pattern,
    filled: usize,
    random: u64,
    /// Whether the kernel can fill pages by itself (`MADV_POPULATE_WRITE`).
    populates: bool,
}

impl Hoard {
    /// Reserves the address space; nothing is resident yet. `seed` decides the random bytes.
    ///
    /// # Errors
    /// The kernel does not give that much.
    pub fn reserve(bytes: u64, pattern: Pattern, seed: u64) -> Result<Hoard> {
        let length = usize::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM).into());
        let mapping = length.and_then(Mapping::anonymous);
        let mapping = mapping.doing("map", format_args!("{} MiB of memory", bytes >> 20))?;
        // All advice is for speed and good manners: a kernel that does not know it still has the memory.
        for advice in [Advice::DontFork, Advice::DontDump] {
            let _ = mapping.advise(advice);
        }
        // With larger pages (64 KiB on some arm64 kernels) a huge one may be larger than the whole wish.
        if page_size() <= 4096 {
            let _ = mapping.advise(Advice::Huge);
        }
        Ok(Hoard { mapping, pattern, filled: 0, random: seed, populates: true })
    }

    /// Bytes filled so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes to fill in all.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether everything is filled.
    pub fn is_full(&self) -> bool {
        self.filled == self.mapping.len()
    }

    /// Whether nothing is asked for; never, as the kernel makes no empty mapping.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// Fills the next piece.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub fn fill_piece(&mut self) -> Result<()> {
        let (start, end) = (self.filled, (self.filled + PIECE).min(self.mapping.len()));
        if self.populates {
            match self.mapping.populate(start, end - start) {
                Err(error) if POPULATE.told(error.raw_os_error()).is_missing() => {
                    self.populates = false;
                }
                other => other.doing("fill", format_args!("memory beyond {} MiB", start >> 20))?,
            }
        }
        let populated = self.populates;
        let piece = self.mapping.bytes().get_mut(start..end).unwrap_or_default();
        match self.pattern {
            Pattern::Random => randomize(piece, &mut self.random),
            Pattern::Zero if populated => {}
            Pattern::Zero => touch(piece),
        }
        self.filled = end;
        Ok(())
    }

    /// Keeps the kernel from taking pages away or merging them: locks them where that is allowed, and says
    /// whether it was.
    pub fn keep(&self) -> bool {
        let _ = self.mapping.advise(Advice::Unmergeable);
        self.mapping.lock().is_ok()
    }

    /// Uses every page, so that none looks idle; brings back what was swapped out.
    pub fn touch(&mut self, cancel: &Cancel) {
        let filled = self.filled;
        for piece in self.mapping.bytes().get_mut(..filled).unwrap_or_default().chunks_mut(PIECE) {
            if cancel.is_cancelled() {
                return;
            }
            touch(piece);
        }
    }

    /// Bytes that are in memory now.
    ///
    /// # Errors
    /// The kernel cannot tell.
    pub fn resident(&self) -> Result<usize> {
        self.mapping.resident().doing("count", "the resident pages")
    }
}

/// Writes each page without changing it.
fn touch(bytes: &mut [u8]) {
    for page in bytes.chunks_mut(page_size()) {
        if let Some(first) = page.first_mut() {
            // The black box makes it a read and a write that the compiler cannot leave out.
            *first = std::hint::black_box(*first);
        }
    }
}

/// Fills with bytes that do not compress, about as fast as memory is: a counter that steps by an odd number, and
/// both halves of a wide product, each mixed with what hides its weak bits. The counter goes on, so no two pages
/// are alike.
fn randomize(bytes: &mut [u8], state: &mut u64) {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut counter = *state; // stays in a register
    let (words, rest) = bytes.as_chunks_mut::<16>();
    for word in words {
        counter = counter.wrapping_add(STEP);
        *word = mixed(counter);
    }
    counter = counter.wrapping_add(STEP);
    rest.copy_from_slice(mixed(counter).get(..rest.len()).unwrap_or_default());
    *state = counter;
}

#[inline(always)] // a call a word, which a build for size prefers, takes several times as long
fn mixed(counter: u64) -> [u8; 16] {
    let wide = u128::from(counter) * u128::from(counter ^ 0xe703_7ed1_a0b4_28db);
    (wide ^ (wide >> 64) ^ (u128::from(counter.rotate_left(32)) << 64)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(bytes: u64, pattern: Pattern) -> Hoard {
        let mut hoard = Hoard::reserve(bytes, pattern, 7).unwrap();
        assert_eq!((hoard.filled(), hoard.resident().unwrap()), (0, 0));
        while !hoard.is_full() {
            hoard.fill_piece().unwrap();
        }
        hoard
    }

    #[test]
    fn every_byte_asked_for_is_resident_and_no_more() {
        for bytes in [1, 4096, (5 << 20) + 1, 32 << 20] {
            for pattern in [Pattern::Random, Pattern::Zero] {
                let hoard = full(bytes, pattern);
                assert_eq!(hoard.filled() as u64, bytes);
                let pages = bytes.next_multiple_of(page_size() as u64);
                assert_eq!(hoard.resident().unwrap() as u64, pages, "{bytes} bytes, {pattern:?}");
            }
        }
    }

    #[test]
    fn pages_fill_without_the_help_of_a_new_kernel() {
        let mut hoard = Hoard::reserve(8 << 20, Pattern::Zero, 0).unwrap();
        hoard.populates = false;
        hoard.fill_piece().unwrap();
        let resident = hoard.resident().unwrap();
        assert!((PIECE..=8 << 20).contains(&resident), "{resident}");
    }

    #[test]
    fn random_data_has_no_two_equal_words_and_all_bytes_alike() {
        let mut hoard = full(4 << 20, Pattern::Random);
        let mut seen = std::collections::HashSet::new();
        let mut counts = [0u32; 256];
        for word in hoard.mapping.bytes().chunks(8) {
            assert!(seen.insert(word.to_vec()), "eight bytes came twice");
            word.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        }
        // 16384 of each expected, standard deviation 128: eight of these never happen by chance.
        assert!(counts.iter().all(|count| count.abs_diff(16384) < 1024), "{counts:?}");
        let zeros = full(4 << 20, Pattern::Zero).mapping.bytes().iter().all(|byte| *byte == 0);
        assert!(zeros);
    }

    #[test]
    fn touching_and_keeping_change_nothing() {
        let mut hoard = full(3 << 20, Pattern::Random);
        let before = hoard.mapping.bytes().to_vec();
        let cancel = Cancel::new().unwrap();
        hoard.touch(&cancel);
        hoard.keep();
        cancel.cancel();
        hoard.touch(&cancel);
        assert!(hoard.mapping.bytes() == before);
    }

    #[test]
    fn what_no_machine_has_is_an_error_that_names_the_amount() {
        let error = Hoard::reserve(1 << 60, Pattern::Zero, 0).unwrap_err().to_string();
        assert!(error.starts_with("cannot map 1099511627776 MiB of memory: "), "{error}");
    }
}
