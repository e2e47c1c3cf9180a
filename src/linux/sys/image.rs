//! The program's own file as it lies in memory.

use libc::{c_int, c_void, dl_phdr_info, size_t};

/// Bytes that a page that is used again brings along at most. That is what most kernels do by themselves; newer ones
/// (Linux 6.18) bring the whole folio of the page cache, which can be the whole program.
const PIECE: usize = 64 << 10;

/// Gives back the pages of the program's file that are mapped and cannot have been written: its code and constants
/// (madvise(2), `MADV_DONTNEED`). What is used again comes back from the page cache by itself, some pages at a time;
/// what only the start needed stays away. Says how many bytes of the address space that was: 0 where the C library
/// does not tell where the program lies. So are the pages of the start's heap on which nothing lives.
pub fn give_back() -> usize {
    super::arena::close();
    let mut bytes = 0usize;
    // SAFETY: `look` has the type that is asked for and does not keep its arguments; `bytes` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut bytes).cast()) };
    bytes
}

/// The first object is the program itself; 1 ends the walk there.
extern "C" fn look(object: *mut dl_phdr_info, _size: size_t, bytes: *mut c_void) -> c_int {
    // SAFETY: the C library gives a description that lives until this function returns.
    let object = unsafe { &*object };
    // SAFETY: `give_back` passes the address of a usize that only this call uses.
    let bytes = unsafe { &mut *bytes.cast::<usize>() };
    if object.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: the headers are a table of that many entries in the program's file, mapped for as long as it runs.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let page = super::memory::page_size();
    for header in headers {
        // A segment that was ever writable holds what the loader wrote, which the file does not have.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Whole pages only: the ends may lie in a page of another segment.
        let start = (object.dlpi_addr as usize + header.p_vaddr as usize).next_multiple_of(page);
        let end =
            (object.dlpi_addr as usize + header.p_vaddr as usize + header.p_memsz as usize) & !(page - 1);
        let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else { continue };
        // What the kernel brings along ends with the mapping, and neighbours that differ in a flag are two mappings.
        // This flag only says what a core dump leaves out, which is these pages anyway (core(5)).
        for piece in (start + PIECE..end).step_by(2 * PIECE) {
            // SAFETY: the range lies in the program's mapping; the advice changes neither bytes nor access.
            let _ =
                unsafe { libc::madvise(piece as *mut c_void, PIECE.min(end - piece), libc::MADV_DONTDUMP) };
        }
        // SAFETY: these pages are a private mapping of the program's file that was never writable: the kernel reads
        // the same bytes again when one is touched, this code among them.
        if unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) } == 0 {
            *bytes += length;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_there_again_when_it_is_used() {
        static WORDS: [&str; 3] = ["constants", "and their", "addresses"];
        let before: Vec<String> = WORDS.iter().map(|word| word.to_uppercase()).collect();
        for _ in 0..3 {
            assert!(give_back() > 0, "the test's own code is mapped");
            let after: Vec<String> = WORDS.iter().map(|word| word.to_uppercase()).collect();
            assert_eq!(after, before);
        }
    }
}
