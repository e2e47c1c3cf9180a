//! `chaos-agent healthcheck`: for exec probes and HEALTHCHECK, in an image without curl.

use super::exporter::Asking;
use crate::error::Result;
use crate::text::output;

/// Asks the agent's `/healthz`, or any plain http address, and prints what it says.
///
/// # Errors
/// A wrong command line (exit 64); nobody answers, or the answer is not a good one (exit 1).
pub fn run(args: &[String]) -> Result<u8> {
    output::print(&Asking::parse("healthcheck", args)?.ask("/healthz")?);
    Ok(0)
}
