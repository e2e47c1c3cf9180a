//! One connection: what it waits for, until when, and its bytes.

use super::request::{MAX_HEAD, Parsed, parse};
use super::{Handler, Reply, reply};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};
use tiny_http::Method;

/// From the connection or the first byte of a request to the end of its head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Between two requests; longer than the usual scrape intervals.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// For a response, which is small.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// For the peer to read our last word and close.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Bytes thrown away in that time.
const DRAIN_BYTES: usize = 256 << 10;
/// How long a request that was sent ahead waits after the answer before it. Hardly anybody sends ahead but who does
/// not read either, and a few dozen of those would keep the thread busy.
const PACE: Duration = Duration::from_millis(100);

/// Buffers that all connections share: most requests and responses fit into one read and one write, so
/// that a connection at rest holds no memory of its own.
#[derive(Debug)]
pub(super) struct Scratch {
    read: Box<[u8]>,
    /// The head of a response.
    head: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { read: vec![0; MAX_HEAD].into_boxed_slice(), head: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For a request or the rest of one.
    Reading,
    /// For the peer to take the rest of the response.
    Writing,
    /// For the peer to close after we did: closing with unread bytes would reset the connection, and the
    /// peer could lose the response.
    Draining,
}

/// What is to be done with the connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait until [`Conn::events`], [`Conn::due`] or [`Conn::deadline`].
    Wait,
    /// The answer is out and the connection goes on.
    Sent,
    Close,
}

#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    state: State,
    /// When it began to wait for what it waits for. A byte now and then does not count as progress.
    since: Instant,
    /// Whether it was answered before and is between two requests.
    pub(super) rested: bool,
    /// Bytes that are not a whole request yet, or requests sent ahead.
    input: Vec<u8>,
    /// When the next request that was sent ahead is answered.
    due: Option<Instant>,
    /// The part of the response that the socket did not take.
    output: Vec<u8>,
    close: bool,
    drained: usize,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Conn {
        Conn {
            stream,
            state: State::Reading,
            since: now,
            rested: false,
            input: Vec::new(),
            due: None,
            output: Vec::new(),
            close: false,
            drained: 0,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// None while something waits to be answered: more is not read, and an end is told unasked.
    pub(super) fn events(&self) -> libc::c_short {
        match self.state {
            State::Writing => libc::POLLOUT,
            _ if self.due.is_some() => 0,
            _ => libc::POLLIN,
        }
    }

    /// When it wants a turn although nothing came.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn deadline(&self) -> Instant {
        let time = match self.state {
            State::Reading if self.rested => IDLE_TIME,
            State::Reading => HEAD_TIME,
            State::Writing => WRITE_TIME,
            State::Draining => DRAIN_TIME,
        };
        self.since + time
    }

    /// Does all that can be done without waiting.
    pub(super) fn advance(&mut self, scratch: &mut Scratch, handler: &Handler, now: Instant) -> Next {
        match self.state {
            State::Reading => self.read(scratch, handler, now),
            State::Writing => self.write_rest(now),
            State::Draining => self.drain(scratch),
        }
    }

    fn read(&mut self, scratch: &mut Scratch, handler: &Handler, now: Instant) -> Next {
        if self.due.take().is_some() {
            let input = std::mem::take(&mut self.input);
            return self.answer(&input, &mut scratch.head, handler, now);
        }
        let length = match self.stream.read(&mut scratch.read) {
            Ok(0) => return Next::Close,
            Ok(length) => length,
            Err(error) => return when_blocked(error.kind()),
        };
        let bytes = &scratch.read[..length];
        if self.rested {
            self.rested = false;
            self.since = now;
        }
        if self.input.is_empty() {
            return self.answer(bytes, &mut scratch.head, handler, now);
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        self.answer(&input, &mut scratch.head, handler, now)
    }

    /// Answers the first request in `input` and keeps what is left for later turns: one answer a turn, so that nobody
    /// waits for more than one of each of the others.
    fn answer(&mut self, input: &[u8], head: &mut Vec<u8>, handler: &Handler, now: Instant) -> Next {
        let (body, used, keep_alive) = match parse(input) {
            Parsed::Incomplete => {
                self.rested = false;
                self.input = input.to_vec();
                return Next::Wait;
            }
            Parsed::Refused(status, next) => (
                reply::print(Reply::status(status), next.is_some(), false, head),
                next.unwrap_or(0),
                next.is_some(),
            ),
            Parsed::Complete { request, next, keep_alive } => {
                let head_only = request.method == Method::Head;
                (reply::print(handler(&request), keep_alive, head_only, head), next, keep_alive)
            }
        };
        self.close = !keep_alive;
        let rest = &input[used..];
        match self.write(head, &body, rest, now) {
            Next::Sent => self.keep(rest.to_vec(), now),
            other => other,
        }
    }

    /// What came behind a request that is answered now.
    fn keep(&mut self, input: Vec<u8>, now: Instant) -> Next {
        self.due = if input.is_empty() { None } else { now.checked_add(PACE) };
        self.input = input;
        Next::Wait
    }

    /// Sends a response, behind which `rest` was read already.
    fn write(&mut self, head: &[u8], body: &[u8], rest: &[u8], now: Instant) -> Next {
        self.since = now;
        let sent = match when_taken(self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])) {
            Ok(sent) => sent,
            Err(next) => return next,
        };
        if sent == head.len() + body.len() {
            return self.sent(!rest.is_empty());
        }
        self.state = State::Writing;
        self.rested = false;
        self.output = [head, body].concat().split_off(sent);
        self.input = if self.close { Vec::new() } else { rest.to_vec() };
        Next::Wait
    }

    fn write_rest(&mut self, now: Instant) -> Next {
        match when_taken(self.stream.write(&self.output)) {
            Ok(sent) => drop(self.output.drain(..sent)),
            Err(next) => return next,
        }
        if !self.output.is_empty() {
            return Next::Wait;
        }
        self.output = Vec::new();
        self.since = now;
        // Whether the peer had sent more than we read is not known any more: assume it.
        match self.sent(true) {
            Next::Sent => {
                let input = std::mem::take(&mut self.input);
                self.keep(input, now)
            }
            other => other,
        }
    }

    /// The response is out: on to the next request, or to the end.
    fn sent(&mut self, unread: bool) -> Next {
        if !self.close {
            self.state = State::Reading;
            self.rested = true;
            return Next::Sent;
        }
        if !unread || self.stream.shutdown(Shutdown::Write).is_err() {
            return Next::Close;
        }
        self.state = State::Draining;
        Next::Wait
    }

    fn drain(&mut self, scratch: &mut Scratch) -> Next {
        match self.stream.read(&mut scratch.read) {
            Ok(0) => Next::Close,
            Ok(length) => {
                self.drained += length;
                if self.drained > DRAIN_BYTES { Next::Close } else { Next::Wait }
            }
            Err(error) => when_blocked(error.kind()),
        }
    }
}

/// How many bytes the socket took, which may be none now; the rest waits until it takes more.
fn when_taken(written: io::Result<usize>) -> Result<usize, Next> {
    match written {
        Ok(0) => Err(Next::Close),
        Ok(sent) => Ok(sent),
        Err(error) if when_blocked(error.kind()) == Next::Wait => Ok(0),
        Err(_) => Err(Next::Close),
    }
}

fn when_blocked(error: ErrorKind) -> Next {
    match error {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Next::Wait,
        _ => Next::Close,
    }
}
