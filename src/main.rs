//! The program: argv to command to exit code. An error is printed once, here.

use chaos_agent::commands::cli;
use chaos_agent::error::Error;
use chaos_agent::linux::sys::arena::Heap;
use chaos_agent::text::output;
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            match &error {
                // Lines that start with FILE:LINE:COLUMN, as editors and other tools expect them.
                Error::Config(lines) => output::complain(lines),
                other => output::complain(&format!("chaos-agent: {other}")),
            }
            ExitCode::from(error.exit_code())
        }
    }
}
