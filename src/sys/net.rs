//! What std's `TcpListener` does not offer.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Sets how many connections may wait to be accepted; std fixes 128. The kernel caps it at
/// `net.core.somaxconn`. listen(2) may be repeated on a listening socket.
///
/// # Errors
/// As listen(2).
pub fn set_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    // SAFETY: takes two integers, the first the descriptor that `listener` keeps open; no pointer.
    super::check(unsafe { libc::listen(listener.as_raw_fd(), backlog) }).map(drop)
}

/// Sends small writes at once (`TCP_NODELAY`), on every connection that `listener` accepts from now on:
/// on Linux they inherit the option.
///
/// # Errors
/// As setsockopt(2).
pub fn set_nodelay(listener: &TcpListener) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` is an int of this frame and `size` its length; the kernel reads it during the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size,
        )
    };
    super::check(result).map(drop)
}

/// Takes one waiting connection, non-blocking and closed on exec (accept4(2)): one system call where std
/// needs two. The peer's address is not asked for.
///
/// # Errors
/// As accept4(2); `WouldBlock` when none waits on a non-blocking listener.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = super::retry(|| {
        // SAFETY: both pointers may be null when the address is not wanted; the descriptor is `listener`'s.
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) }
    })?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
