//! `chaos-agent tc`: the built-in tc, also when the program is called `tc`.

use crate::error::Result;
use crate::linux::{sys::task, tc};
use std::io;

/// Carries out the words; prints like tc.
///
/// # Errors
/// None; failures are printed in tc's way and told by tc's exit code.
pub fn run(args: &[String]) -> Result<u8> {
    task::set_name(c"tc");
    Ok(tc::run(args, &mut io::stdout().lock(), &mut io::stderr().lock()))
}
