//! The program: argv to command to exit code. An error is printed once, here.

use chaos_agent::commands::cli;
use chaos_agent::error::Error;
use chaos_agent::linux::sys::arena::Heap;
use chaos_agent::linux::sys::task;
use chaos_agent::text::output;
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> ExitCode {
    // A limit of file sizes is an error of the write that meets it, not the end of the program (setrlimit(2)).
    task::ignore(libc::SIGXFSZ);
    let result = cli::run(std::env::args_os());
    log::logger().flush();
    match result {
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
