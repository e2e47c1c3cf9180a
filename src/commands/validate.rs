//! `chaos-agent validate`: every problem of a config, or the effective config.

use super::words::Parsed;
use crate::config;
use crate::error::{Context, Result};
use crate::text::output;
use std::io::{self, Write};

/// Prints the warnings of a config on standard error and the config with all defaults on standard output.
///
/// # Errors
/// The config cannot be used: every problem, a line each (exit 64). Standard output cannot be written (exit 1);
/// a reader that has gone away is no error.
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let loaded = config::load(parsed.path("FILE"))?;
    let mut warnings = String::new();
    for warning in &loaded.warnings {
        warnings += &format!("warning: {warning}\n");
    }
    // The exit code says the same; a closed standard error is no reason to keep the config back.
    if !warnings.is_empty() {
        output::complain(warnings.trim_end());
    }
    let mut out = io::stdout().lock();
    match out.write_all(loaded.effective.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).doing("write", "standard output")
        }
        _ => Ok(0),
    }
}
