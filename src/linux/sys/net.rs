//! What std's `TcpListener` and `TcpStream` do not offer.

use super::Result;
use std::ffi::{CStr, CString};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Sets how many connections may wait to be accepted; std fixes 128. The kernel caps it at
/// `net.core.somaxconn`. listen(2) may be repeated on a listening socket.
///
/// # Errors
/// As listen(2).
pub fn set_backlog(listener: &TcpListener, backlog: i32) -> Result<()> {
    // SAFETY: takes two integers, the first the descriptor that `listener` keeps open; no pointer.
    let result = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
    super::done(result, "listen(%, %)", listener.as_raw_fd().into(), backlog.into())
}

/// Sends small writes at once (`TCP_NODELAY`), on every connection that `listener` accepts from now on:
/// on Linux they inherit the option.
///
/// # Errors
/// As setsockopt(2).
pub fn set_nodelay(listener: &TcpListener) -> Result<()> {
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
    super::done(result, "setsockopt(%, SOL_TCP, TCP_NODELAY, [1], 4)", listener.as_raw_fd().into(), 0)
}

/// Takes one waiting connection, non-blocking and closed on exec (accept4(2)): one system call where std
/// needs two. The peer's address is not asked for.
///
/// # Errors
/// As accept4(2); `WouldBlock` when none waits on a non-blocking listener.
pub fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let call = "accept4(%, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK)";
    let fd = super::retry(call, listener.as_raw_fd().into(), 0, || {
        // SAFETY: both pointers may be null when the address is not wanted; the descriptor is `listener`'s.
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) }
    })?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A TCP socket of either family that is not connected yet, non-blocking and closed on exec: socket(2).
///
/// # Errors
/// As socket(2): no descriptor left, or `EAFNOSUPPORT` on a kernel without that family.
pub fn tcp_socket(ipv6: bool) -> Result<TcpStream> {
    let (family, call) = match ipv6 {
        true => (libc::AF_INET6, "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0)"),
        false => (libc::AF_INET, "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0)"),
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes three integers and returns a descriptor; no pointer is involved.
    let fd = super::check(unsafe { libc::socket(family, kind, 0) }, call, 0, 0)?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Connects a socket of the family of `to`: connect(2), where std only has the blocking one. Not repeated when
/// interrupted: the kernel goes on.
///
/// # Errors
/// `EINPROGRESS` when it has only begun: the socket becomes writable at the end, and `take_error` says how that
/// was. Else as connect(2).
pub fn connect(socket: &TcpStream, to: SocketAddr) -> Result<()> {
    let port = to.port().to_be();
    let result = match to {
        SocketAddr::V4(to) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: port,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
                sin_zero: [0; 8],
            };
            let length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` is a sockaddr_in of this frame and `length` its size; the kernel reads it during
            // the call.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }
        }
        SocketAddr::V6(to) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: port,
                sin6_flowinfo: to.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                sin6_scope_id: to.scope_id(),
            };
            let length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` is a sockaddr_in6 of this frame and `length` its size; the kernel reads it during
            // the call.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }
        }
    };
    let failed = |failed: super::Failed| failed.about(to.to_string().as_bytes());
    super::done(result, "connect(%, @)", socket.as_raw_fd().into(), 0).map_err(failed)
}

/// The addresses of a name of one family, by /etc/hosts and DNS: getaddrinfo(3), which goes on until its resolver gives
/// up and cannot be interrupted. Each family is to be asked by itself: musl's answers nothing where one of two
/// questions fails.
///
/// # Errors
/// The resolver's words: there is no such name, none of this family, or no server answers.
pub fn addresses(name: &str, ipv6: bool) -> std::result::Result<Vec<IpAddr>, &'static str> {
    let name = CString::new(name).map_err(|_| "a name has no NUL")?;
    // SAFETY: addrinfo is plain data for which zero bytes are a valid value.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: `name` is NUL-terminated, `hints` and `list` are of this frame; all three outlive the call.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    if code != 0 {
        // SAFETY: takes an integer and returns a pointer to a text of the library's.
        let text = unsafe { libc::gai_strerror(code) };
        // SAFETY: that text ends with NUL and is never freed.
        let text: &'static CStr = unsafe { CStr::from_ptr(text) };
        return Err(text.to_str().unwrap_or("the resolver fails"));
    }
    let (mut found, mut at) = (Vec::new(), list);
    // SAFETY: `at` is null or a row of the list, which lives until it is freed below.
    while let Some(row) = unsafe { at.as_ref() } {
        at = row.ai_next;
        match row.ai_family {
            libc::AF_INET => {
                // SAFETY: a row of this family points to a sockaddr_in, which lives as long as the row.
                let address = unsafe { row.ai_addr.cast::<libc::sockaddr_in>().as_ref() };
                found.extend(address.map(|at| IpAddr::from(at.sin_addr.s_addr.to_ne_bytes())));
            }
            libc::AF_INET6 => {
                // SAFETY: a row of this family points to a sockaddr_in6, which lives as long as the row.
                let address = unsafe { row.ai_addr.cast::<libc::sockaddr_in6>().as_ref() };
                found.extend(address.map(|at| IpAddr::from(at.sin6_addr.s6_addr)));
            }
            _ => {}
        }
    }
    // SAFETY: the list is the one that getaddrinfo made, and no reference into it is left.
    unsafe { libc::freeaddrinfo(list) };
    Ok(found)
}
