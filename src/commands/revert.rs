//! `chaos-agent revert`: takes back by hand what agents left behind in this network namespace.

use super::words::Parsed;
use crate::error::Result;
use crate::revert::undo;
use crate::text::output;

/// Removes every mark of earlier agents, or only says what would be removed. The faults of an agent that runs
/// in this namespace are ended too.
///
/// # Errors
/// The kernel does not tell what there is; exit code 1 when something stays.
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let dry_run = parsed.flag("--dry-run");
    let (mut nothing, mut code) = (true, 0);
    undo::take_back(
        &mut |undo| {
            nothing = false;
            if dry_run {
                output::print(&format!("would undo: {undo}\n"));
            }
            !dry_run
        },
        &mut |undo, done| match done {
            Ok(_) => output::print(&format!("undone: {undo}\n")),
            Err(error) => {
                output::complain(&format!("chaos-agent: {error}"));
                code = 1;
            }
        },
    )?;
    if nothing {
        output::print("nothing to undo\n");
    }
    Ok(code)
}
