//! `chaos-agent inject`: one fault now, with the checks, the guard and the revert of the agent.

use super::words::Parsed;
use crate::agent::{End, Injector, Run};
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::{self, Config};
use crate::dice::{self, Roll};
use crate::error::{Context, Error, Result};
use crate::exporter::metrics::{Metrics, Status};
use crate::failures::{self, KINDS};
use crate::linux::sys::task;
use crate::text::json;
use crate::text::logging;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

/// How long a fault holds when nobody says how long.
const DEFAULT: Duration = Duration::from_secs(30);
/// Exit code when there was nothing to inject into.
const SKIPPED: u8 = 2;
/// Exit code when Ctrl-C or SIGTERM ended the fault: that of a program that SIGINT ends, as shells tell it.
const INTERRUPTED: u8 = 130;
/// The name of the entry.
const NAME: &str = "inject";

/// Injects one fault and returns when it is reverted: 0 held to its end, 1 failed, 2 nothing to inject into (or a dry
/// run of what would fail), 130 ended early by a signal. All but a failed revert leave nothing behind.
///
/// # Errors
/// The settings cannot be used (exit 64).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let config = settings(parsed)?;
    for text in logging::init(&config.logging) {
        log::warn!("{text}");
    }
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let switch = Arc::clone(&stop);
    ctrlc::set_handler(move || switch.cancel())
        .map_err(|error| Error::refused(format!("cannot handle signals: {error}")))?;
    let seed = parsed.number("--seed").unwrap_or_else(dice::random_seed);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), seed));
    let injector = Injector::new(&config.agent, metrics, Arc::new(Board::default()))?;
    let entry = config.entries.first().ok_or_else(|| Error::usage("there is nothing to inject"))?;
    let why = AtomicU8::new(u8::MAX);
    let roll = Roll { value: 0.0, seed };
    let dry_run = parsed.flag("--dry-run");
    let run = Run { entry, tick: 0, roll, dry_run, cancel: &stop, why: &why };
    let end = injector.inject(&run);
    injector.guard.close();
    Ok(match end {
        Some(End::Ran(Status::Failed)) | None => 1,
        Some(_) if stop.is_cancelled() => INTERRUPTED,
        Some(End::Ran(Status::Success) | End::WouldWork) => 0,
        Some(End::Ran(Status::Skipped) | End::WouldFail) => SKIPPED,
    })
}

/// The settings as a config with one entry, read and checked like any other.
fn settings(parsed: &Parsed<'_>) -> Result<Config> {
    let kind = parsed.text("TYPE").unwrap_or_default();
    let mut text = format!("failures:\n  {NAME}:\n    type: {kind}\n    enabled: true\n    probability: 1\n");
    let pairs = || parsed.all("KEY=VALUE").filter_map(|pair| pair.split_once('='));
    let paused = pairs().any(|pair| pair == ("action", "pause"));
    let given = pairs().any(|(key, _)| key == "duration_seconds");
    let timed = paused || failures::kind(kind).is_some_and(|kind| kind.timed);
    let duration = parsed.time("--for");
    if duration.is_some() || (timed && !given) {
        let seconds = duration.unwrap_or(DEFAULT).as_secs_f64();
        _ = writeln!(text, "    duration_seconds: {seconds}");
    }
    for (key, value) in pairs() {
        text += "    ";
        json::string(&mut text, key);
        // A value is YAML, as it would stand in a config: 2, 50%, [a, b], {port: 80}.
        match value.contains(['\n', '\r']) || value.is_empty() {
            true => return Err(Error::usage(format!("the value of {key} is not allowed: one line of text"))),
            false => _ = writeln!(text, ": {value}"),
        }
    }
    match config::parse("", text.as_bytes(), KINDS) {
        Ok(loaded) => Ok(loaded.config),
        Err(Error::Config(lines)) => Err(Error::Config(plain(&lines))),
        Err(error) => Err(error),
    }
}

/// Without the places in a file that nobody wrote.
fn plain(lines: &str) -> String {
    let line = |line: &str| {
        let text = line.split_once(": ").map_or(line, |(_, text)| text);
        let text = text.strip_prefix("failures.").unwrap_or(text);
        format!("chaos-agent inject: {}", text.strip_prefix("inject.").unwrap_or(text))
    };
    lines.lines().map(line).collect::<Vec<_>>().join("\n")
}
