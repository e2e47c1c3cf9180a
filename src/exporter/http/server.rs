//! The one thread of the exporter: ppoll(2) over the stop switch, the listener and the connections.

use super::Handler;
use super::conn::{Conn, Next, Scratch};
use super::listener::Listener;
use crate::linux::sys::event::EventFd;
use crate::linux::sys::poll::{PollFd, poll, row};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections at a time; one more evicts another.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Connections accepted before the others get their turn again.
const ACCEPT_TURN: usize = 64;
/// How long the listener rests when the process has no file descriptor left and no connection to give up.
const PAUSE: Duration = Duration::from_millis(200);
/// Rows of the poll set before the connections: stop switch, listener.
const FIXED: usize = 2;

pub(super) struct Server {
    listener: Listener,
    handler: Arc<Handler>,
    connections: Vec<Conn>,
    scratch: Scratch,
    /// Until when nothing is accepted.
    pause: Option<Instant>,
}

impl Server {
    pub(super) fn new(listener: Listener, handler: Arc<Handler>) -> Server {
        let connections = Vec::with_capacity(MAX_CONNECTIONS);
        Server { listener, handler, connections, scratch: Scratch::new(), pause: None }
    }

    /// Serves until `stop` is signalled. Nothing wakes the thread while no connection is open.
    pub(super) fn run(mut self, stop: &EventFd) {
        let mut rows = [row(-1, 0); FIXED + MAX_CONNECTIONS];
        loop {
            let used = self.fill(&mut rows, stop);
            let rows = &mut rows[..used];
            if poll(rows, self.timeout(Instant::now())).is_err() {
                // More rows than RLIMIT_NOFILE allows now, or no memory: fewer connections need less.
                self.evict();
                std::thread::park_timeout(PAUSE);
                continue;
            }
            if rows[0].revents != 0 {
                return;
            }
            let now = Instant::now();
            self.turn(&rows[FIXED..], now);
            if rows[1].revents != 0 {
                self.accept(now);
            }
            if self.pause.is_some_and(|until| until <= now) {
                self.pause = None;
            }
            self.listener.retry(now);
        }
    }

    /// Writes the poll set; returns its length.
    fn fill(&self, rows: &mut [PollFd; FIXED + MAX_CONNECTIONS], stop: &EventFd) -> usize {
        let listener = if self.pause.is_some() { -1 } else { self.listener.fd() };
        rows[0] = row(stop.as_fd().as_raw_fd(), libc::POLLIN);
        rows[1] = row(listener, libc::POLLIN);
        for (place, connection) in rows[FIXED..].iter_mut().zip(&self.connections) {
            *place = row(connection.fd(), connection.events());
        }
        FIXED + self.connections.len()
    }

    /// Until the first deadline of anything; for ever without one.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let deadlines = self.connections.iter().map(|one| one.due().unwrap_or(one.deadline()));
        let first = deadlines.chain(self.pause).chain(self.listener.next_try()).min()?;
        Some(first.saturating_duration_since(now))
    }

    /// Gives every connection that has something to say its turn, and ends those past their deadline.
    /// `rows` are those that [`Server::fill`] wrote, in the same order.
    fn turn(&mut self, rows: &[PollFd], now: Instant) {
        let Server { connections, scratch, handler, .. } = self;
        let mut rows = rows.iter();
        connections.retain_mut(|connection| {
            let ready = rows.next().is_some_and(|row| row.revents != 0);
            if (ready || connection.due().is_some_and(|due| due <= now))
                && connection.advance(scratch, &**handler, now) == Next::Close
            {
                return false;
            }
            now < connection.deadline()
        });
    }

    fn accept(&mut self, now: Instant) {
        let mut stuck = true;
        for _ in 0..ACCEPT_TURN {
            match self.listener.accept() {
                Ok(Some(stream)) => {
                    self.admit(stream, now);
                    stuck = false;
                }
                Ok(None) => return,
                Err(error) if is_shortage(&error) && !self.evict() => {
                    stuck = true;
                    break;
                }
                Err(_) => {} // ECONNABORTED, EPROTO, ...: that one is gone, the next may be well
            }
        }
        if stuck {
            self.pause = Some(now + PAUSE);
        }
    }

    /// Takes a connection in, and answers at once what it brought along.
    fn admit(&mut self, stream: TcpStream, now: Instant) {
        let mut connection = Conn::new(stream, now);
        if connection.advance(&mut self.scratch, &*self.handler, now) == Next::Close {
            return;
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.evict();
        }
        self.connections.push(connection);
    }

    /// Gives up the connection that has waited longest; false if there is none. Connections that were
    /// answered before (a Prometheus between two scrapes) go last, unless they hold more than half the
    /// places: then nobody new would get one for long.
    fn evict(&mut self) -> bool {
        let rested = self.connections.iter().filter(|connection| connection.rested).count();
        let spare_rested = rested <= MAX_CONNECTIONS / 2;
        let candidates = self.connections.iter().enumerate();
        let victim =
            candidates.min_by_key(|(_, connection)| (connection.rested == spare_rested, connection.since()));
        let Some((at, _)) = victim else { return false };
        self.connections.remove(at);
        true
    }
}

/// Whether giving up a connection may help accept(2).
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
