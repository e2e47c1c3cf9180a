//! `chaos-agent status`: what the agent that runs here is doing.

use super::exporter::Asking;
use super::words::Parsed;
use crate::error::Result;
use crate::text::output;

/// Prints the running agent's `/status`.
///
/// # Errors
/// Nobody answers (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let path = if parsed.is_json() { "/status" } else { "/status?format=text" };
    output::print(&Asking::new(parsed).ask(path)?);
    Ok(0)
}
