//! The listening socket, and the attempts to get it when its port is taken.

use crate::error::{Context, Result};
use crate::linux::sys::net;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// A socket that listens, or the time of the next attempt to have one.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    socket: Option<TcpListener>,
    next_try: Option<Instant>,
    delay: Duration,
}

impl Listener {
    /// Tries once. A failure is reported here, and only here; then [`Listener::retry`] takes over.
    pub(super) fn new(address: SocketAddr) -> Listener {
        let mut listener = Listener { address, socket: None, next_try: None, delay: FIRST_RETRY };
        match bind(address) {
            Ok(socket) => listener.take(socket),
            Err(error) => {
                let advice = format!(
                    "{}; trying again in the background, the agent goes on without metrics",
                    hint(error.errno())
                );
                log::warn!("{}", error.hint(advice));
                listener.next_try = Instant::now().checked_add(FIRST_RETRY);
            }
        }
        listener
    }

    /// The address that the socket has, with the real port when port 0 was asked for.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.local_addr().ok()
    }

    /// When [`Listener::retry`] wants to be called; `None` while the socket listens.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.next_try
    }

    /// Tries again when it is time: after 1, 2, 4, ... at most 30 seconds.
    pub(super) fn retry(&mut self, now: Instant) {
        if self.next_try.is_none_or(|at| now < at) {
            return;
        }
        match bind(self.address) {
            Ok(socket) => {
                self.take(socket);
                tell(self.local());
            }
            Err(error) => {
                log::debug!("{error}");
                self.delay = (self.delay * 2).min(LAST_RETRY);
                self.next_try = now.checked_add(self.delay);
            }
        }
    }

    fn take(&mut self, socket: TcpListener) {
        self.next_try = None;
        self.socket = Some(socket);
    }

    /// -1 while nothing listens.
    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// The next connection that waits; `None` when there is none.
    pub(super) fn accept(&self) -> io::Result<Option<TcpStream>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        match net::accept(socket) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Says where the metrics are.
pub(super) fn tell(local: Option<SocketAddr>) {
    if let Some(local) = local {
        log::info!("metrics on http://{local}/metrics");
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let socket = match listen(address) {
        Err(error) if lacks_ipv6(address, &error) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        other => other,
    };
    socket.doing("listen on", address)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    net::set_backlog(&socket, BACKLOG)?;
    net::set_nodelay(&socket)?;
    Ok(socket)
}

/// `::` stands for "every address"; on a kernel without IPv6 those are the IPv4 ones.
fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    let everywhere = address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    everywhere && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn hint(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::EADDRINUSE) => "set agent.metrics.port to a free one, or end what listens there",
        Some(libc::EACCES) => "ports below 1024 are for root: set agent.metrics.port to a higher one",
        Some(libc::EADDRNOTAVAIL) => "set agent.metrics.address to 0.0.0.0, :: or an address of this machine",
        _ => "check agent.metrics.address and agent.metrics.port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unspecified_address_falls_back_and_only_without_ipv6() {
        let lacks =
            |address: &str, errno| lacks_ipv6(address.parse().unwrap(), &io::Error::from_raw_os_error(errno));
        assert!(lacks("[::]:80", libc::EAFNOSUPPORT));
        assert!(!lacks("[::]:80", libc::EADDRINUSE));
        assert!(!lacks("[::1]:80", libc::EAFNOSUPPORT));
    }

    #[test]
    fn a_taken_port_is_tried_again_ever_more_slowly_until_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut listener = Listener::new(taken.local_addr().unwrap());
        assert!(listener.local().is_none() && listener.fd() == -1);
        let mut delays = Vec::new();
        for _ in 0..7 {
            let at = listener.next_try().unwrap();
            listener.retry(at - Duration::from_millis(1));
            assert_eq!(listener.next_try(), Some(at), "before its time nothing is tried");
            listener.retry(at);
            delays.push((listener.next_try().unwrap() - at).as_secs());
        }
        assert_eq!(delays, [2, 4, 8, 16, 30, 30, 30]);
        let address = taken.local_addr().unwrap();
        drop(taken);
        listener.retry(listener.next_try().unwrap());
        assert_eq!((listener.local(), listener.next_try()), (Some(address), None));
    }
}
