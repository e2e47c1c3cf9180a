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
    let (asking, end) = signal(parsed, libc::SIGUSR1)?;
    loop {
        let status = asking.ask("/status")?;
        if status.contains("\"halted\":true") && status.contains("\"active\":[]") {
            output::print("halted: nothing is active\n");
            return Ok(0);
        }
        wait(end)?;
    }
}

/// Lets an agent go on that was halted by `halt` or SIGUSR1, and says why the dice rest all the same.
///
/// # Errors
/// It cannot be asked or signalled, does not say in time that it goes on, or is still halted for another reason.
pub fn resume(parsed: &Parsed<'_>) -> Result<u8> {
    let (asking, end) = signal(parsed, libc::SIGUSR2)?;
    loop {
        let text = asking.ask("/status?format=text")?;
        let lines = |start| text.lines().filter_map(move |line| line.strip_prefix(start));
        let halts: Vec<&str> = lines("HALTED ").collect();
        if halts.is_empty() {
            let rests: String =
                lines("the dice rest: ").map(|why| format!(", but the dice rest: {why}")).collect();
            output::print(&format!("resumed{rests}\n"));
            return Ok(0);
        }
        if !halts.iter().any(|halt| halt.starts_with("(signal)")) {
            return Err(Error::refused(format!("still halted {}", halts.join("; "))));
        }
        wait(end)?;
    }
}

/// Signals the agent that runs here, and says until when it may take to answer.
fn signal<'a>(parsed: &Parsed<'a>, number: i32) -> Result<(Asking<'a>, Instant)> {
    let asking = Asking::new(parsed);
    let pid = agent(&asking.ask("/status")?)?;
    pidfd::kill(pid, number).doing("signal", format!("the agent, process {pid}"))?;
    Ok((asking, Instant::now() + LIMIT))
}

fn wait(end: Instant) -> Result<()> {
    if Instant::now() > end {
        return Err(Error::refused(format!(
            "the agent does not say within {} s that it is done; chaos-agent status has the reasons",
            LIMIT.as_secs()
        )));
    }
    let _ = poll::poll(&mut [], Some(STEP));
    Ok(())
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
