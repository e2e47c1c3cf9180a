//! `chaos-agent halt` and `chaos-agent resume`: the signals of a running agent, for an image without `kill`.

use super::exporter::Asking;
use super::words::Parsed;
use crate::error::{Context, Error, Result};
use crate::linux::proc::Reader;
use crate::linux::sys::{pidfd, poll};
use crate::text::output;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an agent may take to revert everything.
const LIMIT: Duration = Duration::from_secs(3);
/// Between two questions.
const STEP: Duration = Duration::from_millis(10);

/// Halts the agent that runs here, and waits until nothing is active any more.
///
/// # Errors
/// It cannot be asked or signalled, or does not say in time that everything is reverted.
pub fn halt(parsed: &Parsed<'_>) -> Result<u8> {
    signal(parsed, libc::SIGUSR1, "\"halted\":true", "halted: nothing is active")
}

/// Lets an agent go on that was halted by `halt` or SIGUSR1.
///
/// # Errors
/// It cannot be asked or signalled, or does not say in time that it goes on (another reason to halt may hold).
pub fn resume(parsed: &Parsed<'_>) -> Result<u8> {
    signal(parsed, libc::SIGUSR2, "\"halted\":false", "resumed")
}

fn signal(parsed: &Parsed<'_>, number: i32, wanted: &str, done: &str) -> Result<u8> {
    let asking = Asking::new(parsed);
    let pid = agent(&asking.ask("/status")?)?;
    pidfd::kill(pid, number).doing("signal", format!("the agent, process {pid}"))?;
    let end = Instant::now() + LIMIT;
    loop {
        let status = asking.ask("/status")?;
        let idle = number == libc::SIGUSR2 || status.contains("\"active\":[]");
        if idle && status.contains(wanted) {
            output::print(&format!("{done}\n"));
            return Ok(0);
        }
        if Instant::now() > end {
            return Err(Error::refused(format!(
                "the agent does not say within {} s that it is done; chaos-agent status has the reasons",
                LIMIT.as_secs()
            )));
        }
        let _ = poll::poll(&mut [], Some(STEP));
    }
}

/// The process that says this about itself, if it really is an agent: in another PID namespace than ours, its number
/// may be somebody else's here.
fn agent(status: &str) -> Result<u32> {
    let number =
        status.split_once("\"pid\":").and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok());
    let pid: u32 = number.ok_or_else(|| Error::refused("the agent does not say which process it is"))?;
    let mut reader = Reader::new(Path::new("/proc")).doing("read", "/proc")?;
    let process = reader.process(pid).doing("read", format!("process {pid}"))?;
    let is_agent = process.is_some_and(|process| {
        process.comm == b"chaos-agent" && process.cmdline.split(|byte| *byte == 0).nth(1) == Some(b"run")
    });
    match is_agent {
        true => Ok(pid),
        false => Err(Error::refused(format!(
            "process {pid}, as the agent calls itself, is not an agent here; run this in the agent's own container"
        ))),
    }
}
