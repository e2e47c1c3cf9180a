//! The heap of the start. A start allocates thousands of small things, most of them for a moment, to read its config; a
//! general allocator maps and unmaps pages for them again and again, which is a quarter of the time from exec to the first
//! answer. Here they are cut off one fixed piece of memory, one behind the other. When the agent comes to rest the piece is
//! closed: what is allocated from then on is the C library's, and pages on which nothing lives are given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};

/// Bytes of the piece: a start with the built-in config takes 313,000; pages that nobody touched cost nothing. A larger
/// config gets the rest from the C library.
const SIZE: usize = 512 << 10;
/// Bytes that are counted together: the smallest page there is, so that a larger one is several of them.
const PAGE: usize = 4096;
/// The end of the used part once the piece is closed: nothing fits behind it.
const CLOSED: usize = usize::MAX;

static START: Arena = Arena::new();

/// The program's allocator: the piece while it is open and has room, else the C library's.
#[derive(Debug)]
pub struct Heap;

/// Closes the piece; gives back those of its pages on which nothing lives, each time it is called.
pub fn close() {
    START.close();
}

#[repr(C, align(4096))]
struct Arena {
    bytes: UnsafeCell<[u8; SIZE]>,
    /// Where the unused part begins, or [`CLOSED`].
    used: AtomicUsize,
    /// How many blocks lie on each page, wholly or in part.
    blocks: [AtomicU16; SIZE / PAGE],
}

// SAFETY: a byte of the piece belongs to the one who cut it off by the exchange of `used`, until it is freed.
unsafe impl Sync for Arena {}

impl Arena {
    const fn new() -> Arena {
        let blocks = [const { AtomicU16::new(0) }; SIZE / PAGE];
        Arena { bytes: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0), blocks }
    }

    fn base(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Where a block begins in the piece; `None` for one of somebody else's.
    fn place(&self, block: *mut u8) -> Option<usize> {
        block.addr().checked_sub(self.base().addr()).filter(|offset| *offset < SIZE)
    }

    /// Cuts a block off; `None` without room, or once closed.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut used = self.used.load(SeqCst);
        loop {
            let start = used.checked_next_multiple_of(layout.align())?;
            let end = start.checked_add(layout.size()).filter(|end| *end <= SIZE)?;
            if self.cut(used, start, end, pages(start, end)) {
                return Some(self.base().wrapping_add(start));
            }
            used = self.used.load(SeqCst);
        }
    }

    /// Moves the end of the used part to `end` if it is at `used`. The pages are counted before, so that whoever closes the
    /// piece sees them: closing exchanges `used` first and looks at the counts then.
    fn cut(&self, used: usize, start: usize, end: usize, new: RangeInclusive<usize>) -> bool {
        debug_assert!(start <= end);
        self.count(new.clone(), true);
        let cut = self.used.compare_exchange(used, end, SeqCst, SeqCst).is_ok();
        if !cut {
            self.count(new, false);
        }
        cut
    }

    fn count(&self, pages: RangeInclusive<usize>, more: bool) {
        for page in self.blocks.get(pages).unwrap_or_default() {
            if more {
                page.fetch_add(1, SeqCst)
            } else {
                page.fetch_sub(1, SeqCst)
            };
        }
    }

    /// Takes the block at `start` back; its bytes are used again only if it is the last.
    fn put(&self, start: usize, size: usize) {
        let end = start + size;
        self.count(pages(start, end), false);
        let _ = self.used.compare_exchange(end, start, SeqCst, SeqCst);
    }

    /// Makes the block at `start` larger or smaller where it is; false if that cannot be.
    fn resize(&self, start: usize, old: usize, new: usize) -> bool {
        let (before, after) = (start + old, start + new);
        if new > old {
            let more = *pages(start, before).end() + 1..=*pages(start, after).end();
            return after <= SIZE && self.cut(before, start, after, more);
        }
        self.count(*pages(start, after).end() + 1..=*pages(start, before).end(), false);
        let _ = self.used.compare_exchange(before, after, SeqCst, SeqCst);
        true
    }

    fn close(&self) {
        self.used.store(CLOSED, SeqCst);
        if super::memory::page_size() != PAGE {
            return;
        }
        let mut page = 0;
        for run in self.blocks.split(|blocks| blocks.load(SeqCst) > 0) {
            let start = self.base().wrapping_add(page * PAGE);
            if !run.is_empty() {
                // SAFETY: the pages lie in the piece, nothing lives on them, and nothing is cut off a closed piece;
                // should anybody read them, they read zeros.
                unsafe { libc::madvise(start.cast(), run.len() * PAGE, libc::MADV_DONTNEED) };
            }
            page += run.len() + 1;
        }
    }
}

/// The pages of the bytes from `start` up to `end`, which is not empty.
fn pages(start: usize, end: usize) -> RangeInclusive<usize> {
    start / PAGE..=end.saturating_sub(1).max(start) / PAGE
}

// SAFETY: a block of the piece is cut off for one caller alone, is large and aligned enough because the piece is aligned to
// a page (larger alignments are left to the C library), and is told from the C library's by its address.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= PAGE { START.take(layout) } else { None };
        // SAFETY: as of the caller.
        block.unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= PAGE { START.take(layout) } else { None };
        // SAFETY: as of the caller.
        let Some(block) = block else { return unsafe { System.alloc_zeroed(layout) } };
        // SAFETY: the block was cut off just now, with this size; others may have written there before.
        unsafe { ptr::write_bytes(block, 0, layout.size()) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match START.place(block) {
            Some(start) => START.put(start, layout.size()),
            // SAFETY: as of the caller; it is not of the piece.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = START.place(block) else {
            // SAFETY: as of the caller; it is not of the piece.
            return unsafe { System.realloc(block, layout, size) };
        };
        if START.resize(start, layout.size(), size) {
            return block;
        }
        // SAFETY: the caller says that this size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not zero, says the caller.
        let other = unsafe { self.alloc(wanted) };
        if !other.is_null() {
            // SAFETY: two blocks of their own; the old one is the smaller, or it would have been resized.
            unsafe { ptr::copy_nonoverlapping(block, other, layout.size()) };
            START.put(start, layout.size());
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// How many blocks are counted, over all pages.
    fn counted(arena: &Arena) -> usize {
        arena.blocks.iter().map(|blocks| usize::from(blocks.load(SeqCst))).sum()
    }

    #[test]
    fn the_last_block_grows_shrinks_and_goes_where_it_is() {
        let arena = Box::new(Arena::new());
        let first = arena.place(arena.take(layout(10, 1)).unwrap()).unwrap();
        let block = arena.take(layout(8, 8)).unwrap();
        let second = arena.place(block).unwrap();
        assert_eq!((first, second), (0, 16));
        assert!(!arena.resize(first, 10, 17), "another block lies behind it");
        assert!(arena.resize(second, 8, 10_000) && arena.resize(second, 10_000, 9000));
        assert_eq!((arena.used.load(SeqCst), counted(&arena)), (9016, 1 + 3));
        assert!(arena.resize(second, 9000, 8));
        arena.put(second, 8);
        assert_eq!((arena.used.load(SeqCst), counted(&arena)), (16, 1));
        assert!(arena.resize(first, 10, 4), "smaller is always possible");
        assert!(
            arena.take(layout(SIZE, 1)).is_none()
                && arena.take(layout(isize::MAX as usize - PAGE, 1)).is_none()
        );
        assert_eq!(arena.place(ptr::null_mut()), None);
        assert_eq!(arena.place(arena.base().wrapping_add(SIZE)), None);
        assert_eq!((arena.used.load(SeqCst), counted(&arena)), (16, 1));
    }

    #[test]
    fn a_closed_piece_keeps_what_lives_and_takes_nothing() {
        let arena = Box::new(Arena::new());
        let [lost, kept] = [0, 1].map(|_| arena.take(layout(PAGE, 1)).unwrap());
        for block in [lost, kept] {
            // SAFETY: the blocks are of that size and nobody else's.
            unsafe { ptr::write_bytes(block, 7, PAGE) };
        }
        arena.put(0, PAGE);
        arena.close();
        arena.close();
        // SAFETY: the block is alive.
        let alive = unsafe { std::slice::from_raw_parts(kept, PAGE) };
        assert!(alive.iter().all(|byte| *byte == 7));
        // SAFETY: the memory is the test's, although nothing lives there.
        let gone = unsafe { lost.read_volatile() };
        assert_eq!(gone, if super::super::memory::page_size() == PAGE { 0 } else { 7 });
        assert!(arena.take(layout(1, 1)).is_none() && !arena.resize(PAGE, PAGE, PAGE + 1));
        assert!(arena.resize(PAGE, PAGE, 1), "smaller is always possible");
        arena.put(PAGE, 1);
        assert_eq!((arena.used.load(SeqCst), counted(&arena)), (CLOSED, 0));
    }

    /// Blocks of many threads do not overlap, whoever grows, frees or closes meanwhile, and every count comes back to 0.
    #[test]
    fn threads_never_share_a_byte() {
        let arena = Box::new(Arena::new());
        std::thread::scope(|scope| {
            for mark in 1..=4u8 {
                let arena = &arena;
                scope.spawn(move || work(arena, mark));
            }
        });
        assert_eq!(counted(&arena), 0);
    }

    fn work(arena: &Arena, mark: u8) {
        let mut random = fastrand::Rng::with_seed(mark.into());
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        let bytes = |start: usize, size: usize| {
            // SAFETY: the block was cut off for this thread alone; that is what is tested.
            unsafe { std::slice::from_raw_parts_mut(arena.base().wrapping_add(start), size) }
        };
        for round in 0..20_000 {
            let size = random.usize(1..300);
            if let Some(block) = arena.take(layout(size, 1 << random.usize(..5))) {
                let start = arena.place(block).unwrap();
                bytes(start, size).fill(mark);
                blocks.push((start, size));
            }
            if let Some((start, size)) = blocks.pop() {
                let new = random.usize(1..600);
                let size = if arena.resize(start, size, new) {
                    bytes(start, new)[size.min(new)..].fill(mark);
                    new
                } else {
                    size
                };
                blocks.push((start, size));
            }
            while blocks.len() > random.usize(..8) {
                let (start, size) = blocks.swap_remove(random.usize(..blocks.len()));
                assert!(bytes(start, size).iter().all(|byte| *byte == mark), "a byte of another thread");
                arena.put(start, size);
            }
            if mark == 1 && round == 19_000 {
                arena.close();
            }
        }
        for (start, size) in blocks {
            assert!(bytes(start, size).iter().all(|byte| *byte == mark), "a byte of another thread");
            arena.put(start, size);
        }
    }
}
