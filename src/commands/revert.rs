//! `chaos-agent revert`: takes back by hand what agents left behind in this network namespace.

use crate::error::{Error, Result};
use crate::revert::undo::{self, Tools};
use crate::text::output;

/// Removes every mark of earlier agents, or only says what would be removed. The faults of an agent that runs
/// in this namespace are ended too.
///
/// # Errors
/// The kernel does not tell what there is; exit code 1 when something stays.
pub fn run(args: &[String]) -> Result<u8> {
    let dry_run = match args {
        [] => false,
        [option] if option == "--dry-run" => true,
        _ => return Err(Error::usage("revert knows --dry-run and nothing else")),
    };
    let tools = Tools::default();
    let found = undo::leftovers(&tools)?;
    if found.is_empty() {
        output::print("nothing to undo\n");
    }
    let mut code = 0;
    for undo in found {
        if dry_run {
            output::print(&format!("would undo: {undo}\n"));
            continue;
        }
        match undo.perform(&tools) {
            Ok(_) => output::print(&format!("undone: {undo}\n")),
            Err(error) => {
                output::complain(&format!("chaos-agent: {error}"));
                code = 1;
            }
        }
    }
    Ok(code)
}
