//! A very small HTTP/1.1 client for plain `http://` addresses: one GET, one answer, one deadline over all of it.
//!
//! For health checks and steady-state probes. Whoever is asked may be slow, hostile or no web server at all: what
//! is kept of an answer is bounded, and every wait ends at the deadline or by the [`Cancel`].

pub mod answer;
mod names;
mod url;

pub use answer::Answer;
pub use names::lookup;
pub use url::{Place, Url, is_name};

use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Error, Result};
use crate::linux::sys::net;
use answer::Parser;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Bytes of a body that a probe keeps.
pub const KEPT: usize = 64 << 10;

/// Asks for `url` and returns the answer, whatever its status; a body of more than [`KEPT`] bytes is cut.
/// Redirections are answers like others, not followed.
///
/// # Errors
/// Nobody listens there, it is no HTTP, or the answer is not complete within `limit`, which covers everything
/// from the look-up of the name to the last byte.
pub fn get(url: &Url, limit: Duration) -> Result<Answer> {
    let cancel = Cancel::new().doing("open", "an eventfd")?;
    ask(url, limit, &cancel, KEPT)
}

/// [`get`] for a body of up to `most` bytes that ends as soon as `cancel` is thrown.
///
/// # Errors
/// As [`get`].
pub fn ask(url: &Url, limit: Duration, cancel: &Cancel, most: usize) -> Result<Answer> {
    let end = Instant::now().checked_add(limit);
    let stream = connect(&url.place, limit, cancel)?;
    match converse(stream, url, Wait { end, cancel }, most) {
        Ok(answer) => Ok(answer),
        Err(Trouble::Late) => Err(Error::refused(format!(
            "cannot get {url}: connected, but no whole answer within {} s",
            limit.as_secs_f64()
        ))),
        Err(Trouble::Io(error)) => Err(error).doing("get", url),
        Err(Trouble::Answer(why)) => Err(Error::refused(format!("cannot get {url}: {why}"))),
    }
}

/// Opens a connection; the stream does not block.
///
/// # Errors
/// Nobody accepts it, or not within `limit`.
pub fn connect(place: &Place, limit: Duration, cancel: &Cancel) -> Result<TcpStream> {
    let wait = Wait { end: Instant::now().checked_add(limit), cancel };
    let mut last = None;
    for address in place.addresses(limit, cancel)? {
        match open(address, wait) {
            Ok(stream) => return Ok(stream),
            Err(error) if is_late(&error) => {
                return Err(Error::refused(format!(
                    "cannot connect to {place}: no connection within {} s",
                    limit.as_secs_f64()
                )));
            }
            // The first address says best what is wrong: the others are often those of a family not in use.
            Err(error) => last = last.or(Some(error)),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
    Err(error).doing("connect to", place)
}

/// Until when, and who may end it earlier.
#[derive(Clone, Copy)]
struct Wait<'a> {
    end: Option<Instant>,
    cancel: &'a Cancel,
}

impl Wait<'_> {
    /// Waits until the stream can be read, or written.
    fn ready(self, stream: &TcpStream, write: bool) -> io::Result<()> {
        let fd = Some(stream.as_fd());
        let waited = match write {
            true => self.cancel.wait_writable(self.end, fd),
            false => self.cancel.wait_until(self.end, fd),
        };
        if waited == Waited::Ready { Ok(()) } else { Err(late()) }
    }

    /// Waits where that helps against this error.
    fn again(self, error: io::Error, stream: &TcpStream, write: bool) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.ready(stream, write),
            _ => Err(error),
        }
    }

    fn check(self) -> io::Result<()> {
        let over = self.cancel.is_cancelled() || self.end.is_some_and(|end| end <= Instant::now());
        if over { Err(late()) } else { Ok(()) }
    }
}

/// Without an errno, which tells it from the kernel's own `ETIMEDOUT`.
fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn is_late(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

fn open(address: SocketAddr, wait: Wait<'_>) -> io::Result<TcpStream> {
    let stream = net::tcp_socket(address.is_ipv6())?;
    match net::connect(&stream, address) {
        // An interrupted connect(2) goes on like one that has only begun.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            wait.ready(&stream, true)?;
            stream.take_error()?.map_or(Ok(()), Err)?;
        }
        other => other?,
    }
    // Where nobody listens on a local port of the range that the kernel picks from, the socket can meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(stream)
}

/// Why there is no answer.
enum Trouble {
    /// The time is over, or the wait was cancelled.
    Late,
    Io(io::Error),
    /// What came is no whole answer.
    Answer(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        if is_late(&error) { Trouble::Late } else { Trouble::Io(error) }
    }
}

/// Sends the request and reads the answer.
fn converse(
    mut stream: TcpStream,
    url: &Url,
    wait: Wait<'_>,
    most: usize,
) -> std::result::Result<Answer, Trouble> {
    let request = url.request();
    let mut left = request.as_bytes();
    while !left.is_empty() {
        match stream.write(left) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            // A server may answer and close before it has read everything: then its answer counts.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => break,
            Err(error) => wait.again(error, &stream, true)?,
        }
    }
    let mut parser = Parser::new(most);
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return parser.finish().map_err(Trouble::Answer),
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                if parser.push(bytes).map_err(Trouble::Answer)? {
                    return parser.finish().map_err(Trouble::Answer);
                }
            }
            Err(error) => wait.again(error, &stream, false)?,
        }
        // A server that never pauses keeps the wait above from looking at the clock.
        wait.check()?;
    }
}

#[cfg(test)]
mod tests;
