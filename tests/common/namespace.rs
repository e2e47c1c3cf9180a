//! Work in another network namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};

/// Runs `work` in a network namespace, on a thread of its own: it leaves the network of the others for good.
pub fn inside<T: Send + 'static>(space: File, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        // SAFETY: takes a number and a descriptor, which `space` keeps open until the end of this closure.
        #[allow(unsafe_code)]
        let entered = unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
        work()
    })
}
