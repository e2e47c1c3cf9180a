//! `chaos-agent reference`: the README's tables of keys, for `./build.sh docs`.

use super::words::Parsed;
use crate::config;
use crate::error::{Error, Result};
use crate::text::output;

/// Prints the tables, or that of one section.
///
/// # Errors
/// There is no such section.
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let section = parsed.raw.first().map(String::as_str);
    let text = config::reference(section);
    if text.is_empty() {
        return Err(Error::usage(format!("reference has no section {:?}", section.unwrap_or_default())));
    }
    output::print(&text);
    Ok(0)
}
