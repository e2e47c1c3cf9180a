//! Waiting for what must come true.

use std::thread;
use std::time::{Duration, Instant};

/// Asks `probe` until it gives something; fails the test when `limit` passes first, with what was last said. The
/// pause between two tries is short beside anything that a test waits for.
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
    said: impl Fn() -> String,
) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {limit:?}: {}", said());
        thread::park_timeout(Duration::from_millis(5));
    }
}
