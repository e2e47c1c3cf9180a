//! `chaos-agent healthcheck`: for exec probes and HEALTHCHECK, in an image without curl.

use super::exporter::Asking;
use super::words::Parsed;
use crate::error::Result;
use crate::text::output;

/// Asks the agent's `/healthz`, or any plain http address, and prints what it says.
///
/// # Errors
/// Nobody answers, or the answer is not a good one (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    output::print(&Asking::new(parsed).ask("/healthz")?);
    Ok(0)
}
