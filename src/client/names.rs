//! Host names to addresses, with a time limit.

use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::linux::sys::event::EventFd;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Room for getaddrinfo(3), which keeps packets on its stack.
const STACK: usize = 256 << 10;
/// Lookups under way at a time. One that nobody waits for any more goes on until the resolver gives up.
const MOST: usize = 8;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// The addresses of a name by /etc/hosts and DNS, IPv4 first. getaddrinfo(3) cannot be interrupted, so it gets a
/// thread that nobody waits for longer than the limit.
///
/// # Errors
/// The name has no address, is not resolved within `limit` or before `cancel` is thrown, or eight lookups hang.
pub fn lookup(name: &str, limit: Duration, cancel: &Cancel) -> Result<Vec<IpAddr>> {
    let answer = Arc::new((Mutex::new(None), EventFd::new().doing("open", "an eventfd")?));
    let (theirs, asked) = (Arc::clone(&answer), name.to_owned());
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= MOST {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        return Err(Error::refused(format!("cannot resolve {name}: {MOST} names wait for DNS already")));
    }
    let thread = std::thread::Builder::new().name("resolve".to_owned()).stack_size(STACK);
    let started = thread.spawn(move || {
        let found: std::io::Result<Vec<IpAddr>> =
            (asked.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
        *theirs.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        theirs.1.signal();
    });
    if let Err(error) = started {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        return Err(error).doing("start", "a thread");
    }
    if cancel.wait_fd(answer.1.as_fd(), limit) != Waited::Ready {
        let limit = limit.as_secs_f64();
        return Err(Error::refused(format!("the host name {name} was not resolved within {limit} s")));
    }
    let answered = answer.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut found = Vec::new();
    for address in answered.unwrap_or_else(|| Ok(Vec::new())).doing("resolve", name)? {
        if let Err(place) = found.binary_search(&address) {
            found.insert(place, address);
        }
    }
    match found.is_empty() {
        true => Err(Error::refused(format!("the host name {name} has no address"))),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hosts_file_resolves_and_a_stop_interrupts() {
        let cancel = Cancel::new().unwrap();
        assert!(
            lookup("localhost", Duration::from_secs(60), &cancel).unwrap().iter().all(IpAddr::is_loopback)
        );
        cancel.cancel();
        assert!(lookup("localhost", Duration::from_secs(60), &cancel).is_err());
    }
}
