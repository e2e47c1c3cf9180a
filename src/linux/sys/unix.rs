//! What std's Unix sockets do not offer: a connect that never waits, and whom the kernel has at the other end.

use super::Result;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The process at the other end of a connection, as it was when it connected or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// 0 if it is not visible in this PID namespace.
    pub pid: u32,
    /// Its effective uid, as it is called in this user namespace (65534 where it has no name there).
    pub uid: u32,
}

/// Whom the kernel has at the other end of a connected Unix socket: getsockopt(2), `SO_PEERCRED` (unix(7)). What a
/// process says about itself does not matter here.
///
/// # Errors
/// As getsockopt(2).
pub fn peer(socket: impl AsFd) -> Result<Peer> {
    let fd = socket.as_fd().as_raw_fd();
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = size_of_val(&found) as libc::socklen_t;
    let into = (&raw mut found).cast();
    // SAFETY: `into` is the ucred of this frame and `size` its length; the kernel writes no more than that.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, into, &raw mut size) };
    super::done(result, "getsockopt(%, SOL_SOCKET, SO_PEERCRED, ..., [12])", fd.into(), 0)?;
    Ok(Peer { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid })
}

/// Connects to the abstract name `name` (at most 107 bytes, without the leading zero) of this network namespace. The
/// socket is non-blocking and closed on exec: socket(2), connect(2).
///
/// # Errors
/// `ECONNREFUSED` when nobody has the name, `EAGAIN` when its owner leaves too many connections waiting.
pub fn connect(name: &str) -> Result<UnixStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes three integers and returns a descriptor; no pointer is involved.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    let fd = super::check(fd, "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0)", 0, 0)?;
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let (address, length) = address(name);
    // SAFETY: `address` is a sockaddr_un of this frame, of which `length` bytes are set; the kernel reads them
    // during the call.
    let result = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
    super::done(result, "connect(%, {AF_UNIX, @})", fd.into(), 0)
        .map_err(|failed| failed.about(name.as_bytes()))
        .map(|()| socket)
}

/// The abstract name as the kernel takes it, and its length.
fn address(name: &str) -> (libc::sockaddr_un, libc::socklen_t) {
    let mut address = libc::sockaddr_un { sun_family: libc::AF_UNIX as _, sun_path: [0; 108] };
    for (place, byte) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *place = byte as _;
    }
    let length = size_of::<libc::sa_family_t>() + 1 + name.len().min(address.sun_path.len() - 1);
    (address, length as libc::socklen_t)
}

/// A stream socket that has a name and does not listen, for tests.
#[cfg(test)]
pub fn mute(name: &str) -> OwnedFd {
    let (address, length) = address(name);
    // SAFETY: takes three integers; no pointer is involved.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: `address` is of this frame, and `length` bytes of it are set.
    assert_eq!(unsafe { libc::bind(fd, (&raw const address).cast(), length) }, 0);
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    #[test]
    fn a_name_that_nobody_has_is_refused_and_its_owner_is_known() {
        let name = format!("chaos-agent/test/{}", std::process::id());
        let failed = connect(&name).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::ECONNREFUSED));
        assert!(failed.call().ends_with(&format!("{{AF_UNIX, {name:?}}})")), "{}", failed.call());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let near = connect(&name).unwrap();
        let (far, _) = listener.accept().unwrap();
        let me = Peer { pid: std::process::id(), uid: crate::linux::sys::task::uid() };
        assert_eq!((peer(&near).unwrap(), peer(&far).unwrap()), (me, me));
        // Nobody accepts: the queue fills, and that is told instead of waited for.
        let waiting: Vec<_> = (0..5000).map_while(|_| connect(&name).ok()).collect();
        assert!(waiting.len() < 5000);
        assert_eq!(connect(&name).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    }
}
