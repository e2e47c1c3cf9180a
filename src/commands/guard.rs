//! `chaos-agent guard`: the other end of [`crate::revert::guard`]. Only the agent starts it.

use super::words::Parsed;
use crate::error::Result;
use crate::revert::serve::{Words, serve};
use std::io;

/// Serves the pipe on standard input until its end.
///
/// # Errors
/// None; the exit code is 1 when something could not be undone.
pub fn run(_: &Parsed<'_>) -> Result<u8> {
    let mut words = Words::default();
    let left = serve(io::stdin().lock(), &mut |line| words.say(&line));
    words.end();
    Ok(u8::from(left > 0))
}
