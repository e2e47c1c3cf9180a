//! Threads, started by one function: the standard library's is generic, and each copy of it takes a kilobyte and more.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread of this name (15 bytes are shown) with a stack of so many bytes.
///
/// # Errors
/// There is no thread or no memory left.
#[inline(never)]
pub fn spawn(name: &str, stack: usize, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(body)
}
