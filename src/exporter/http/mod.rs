//! The exporter's HTTP: one thread that polls at most 64 connections with deadlines and size limits.
//!
//! tiny_http gives the types and writes the responses. Its `Server` must not face a network: one header
//! kills the process, an accept error ends it, and every connection costs a thread. Here nothing that a
//! client does takes more than a bounded amount of memory, descriptors and time, and the next scrape is
//! answered.

mod conn;
mod listener;
mod reply;
pub mod request;
mod routes;
mod server;

pub use reply::Reply;
pub use request::Request;
pub use routes::{HTML, Routes, TEXT_FORMAT};

use crate::error::{Context, Result};
use crate::linux::sys::{self, event::EventFd};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Answers a request. Runs on the one thread that serves everybody: it must not wait for anything.
pub type Handler = dyn Fn(&Request<'_>) -> Reply + Send + Sync;

/// Bytes of stack; the deepest call so far uses less than a third of it in a release build.
const STACK: usize = 64 << 10;

/// The running exporter; stops when dropped.
#[derive(Debug)]
pub struct Handle {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    local: Option<SocketAddr>,
}

/// Listens on `address` and `port` (0: any free one) and serves `handler` from a thread named `http`.
///
/// When this returns, connections are accepted already, unless the port is taken or the address is not
/// there: that is reported once, as a warning, and tried again in the background. `::` means every address
/// of both families where the kernel's `bindv6only` is off, and `0.0.0.0` where there is no IPv6.
///
/// # Errors
/// There is no file descriptor for the stop switch, or no thread.
pub fn spawn(address: IpAddr, port: u16, handler: Arc<Handler>) -> Result<Handle> {
    let stop = Arc::new(EventFd::new().doing("create", "the stop switch of the exporter")?);
    let listener = listener::Listener::new(SocketAddr::new(address, port));
    let local = listener.local();
    let server = server::Server::new(listener, handler);
    let switch = Arc::clone(&stop);
    let thread = sys::thread::spawn("http", STACK, Box::new(move || server.run(&switch)));
    let thread = thread.doing("start", "the thread of the exporter")?;
    // Where no other processor is free the thread would begin only after this one's time slice, with the first answer.
    thread::yield_now();
    // Only now, for the first line starts a thread too.
    listener::tell(local);
    Ok(Handle { stop, thread: Some(thread), local })
}

impl Handle {
    /// Where it listens; `None` if the port was taken when it started.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Closes the port and every connection, and waits for the thread, which takes no longer than the
    /// request it may be answering.
    pub fn stop(self) {}
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.signal();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, it has ended too.
            let _ = thread.join();
        }
    }
}
