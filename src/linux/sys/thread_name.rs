//! How a thread gets its name.
//!
//! The C library's `pthread_setname_np` can name other threads too, by a path under `/proc` that it prints with
//! snprintf(3): the only use of `printf` in the program, 12 kB with the floating-point numbers that nobody prints.
//! The standard library names no thread but its own, for which prctl(2) is enough.

/// Names the calling thread, which is the only one that std asks for; 0, or the errno.
///
/// # Safety
///
/// `name` is null-terminated, as for the function of that name in the C library.
// SAFETY: the standard library is the only caller, treats the symbol as this very function, and gives a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_setname_np(_own: libc::pthread_t, name: *const libc::c_char) -> libc::c_int {
    // SAFETY: PR_SET_NAME reads at most 16 bytes, up to the NUL that the caller's string ends with.
    let result = unsafe { libc::prctl(libc::PR_SET_NAME, name) };
    match super::done(result, "prctl(PR_SET_NAME, ...)", 0, 0) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    }
}
