//! `chaos-agent status`: what the agent that runs here is doing.

use super::exporter::Asking;
use crate::error::Result;
use crate::text::output;

/// Prints the running agent's `/status`.
///
/// # Errors
/// A wrong command line (exit 64); nobody answers (exit 1).
pub fn run(args: &[String]) -> Result<u8> {
    let asking = Asking::parse("status", args)?;
    let path = if asking.json { "/status" } else { "/status?format=text" };
    output::print(&asking.ask(path)?);
    Ok(0)
}
