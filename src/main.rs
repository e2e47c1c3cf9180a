//! The program: argv to command to exit code. An error is printed once, here.

use chaos_agent::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            cli::complain(&format!("chaos-agent: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
