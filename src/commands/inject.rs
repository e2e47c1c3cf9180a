//! `chaos-agent inject`: one fault now, with the checks, the guard and the revert of the agent.

use super::options;
use crate::agent::{Injector, Run};
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::{self, Config};
use crate::dice::Roll;
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

struct Request {
    kind: String,
    /// `key=value`, as they came.
    settings: Vec<(String, String)>,
    duration: Option<Duration>,
    dry_run: bool,
    seed: Option<u64>,
}

/// Injects one fault and returns when it is reverted: 0 held to its end, 1 failed, 2 nothing to inject into (or a dry
/// run of what would fail), 130 ended early by a signal. All but a failed revert leave nothing behind.
///
/// # Errors
/// The command line or the settings cannot be used (exit 64).
pub fn run(args: &[String]) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let request = parse(args)?;
    let config = settings(&request)?;
    for text in logging::init(&config.logging) {
        log::warn!("{text}");
    }
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let switch = Arc::clone(&stop);
    ctrlc::set_handler(move || switch.cancel())
        .map_err(|error| Error::refused(format!("cannot handle signals: {error}")))?;
    let seed = request.seed.unwrap_or_else(|| fastrand::u64(..));
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), seed));
    let injector = Injector::new(&config.agent, metrics, Arc::new(Board::default()))?;
    let entry = config.entries.first().ok_or_else(|| Error::usage("there is nothing to inject"))?;
    let why = AtomicU8::new(u8::MAX);
    let roll = Roll { value: 0.0, seed };
    let run = Run { entry, tick: 0, roll, dry_run: request.dry_run, cancel: &stop, why: &why };
    let (status, would_fail) = match request.dry_run {
        true => {
            let failure = entry.failure.as_deref();
            let check = failure.map_or(Ok(()), |failure| failure.check(&injector.host));
            (injector.inject(&run), check.is_err())
        }
        false => (injector.inject(&run), false),
    };
    injector.guard.close();
    log::logger().flush();
    Ok(match status {
        Some(Status::Failed) | None => 1,
        Some(_) if stop.is_cancelled() => INTERRUPTED,
        Some(Status::Success) => 0,
        Some(Status::Skipped) if request.dry_run && !would_fail => 0,
        Some(Status::Skipped) => SKIPPED,
    })
}

fn parse(args: &[String]) -> Result<Request> {
    let mut request =
        Request { kind: String::new(), settings: Vec::new(), duration: None, dry_run: false, seed: None };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if let Some(text) = options::value(word, "--for", &mut words)? {
            let time = config::duration(text).filter(|time| !time.is_zero());
            request.duration = Some(time.ok_or_else(|| {
                Error::usage(format!("--for {text:?} is not allowed: a time such as 500ms, 30s, 5m or 1h"))
            })?);
            continue;
        }
        if let Some(text) = options::value(word, "--seed", &mut words)? {
            let seed = text.parse().map_err(|_| {
                Error::usage(format!("--seed {text:?} is not allowed: a whole number from 0 to 2^64-1"))
            })?;
            request.seed = Some(seed);
            continue;
        }
        match word.as_str() {
            "--dry-run" => request.dry_run = true,
            option if option.starts_with("--") => {
                return Err(Error::usage(format!("inject does not know {option:?}")));
            }
            _ if request.kind.is_empty() => request.kind.clone_from(word),
            _ => {
                let pair = word.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = pair.ok_or_else(|| {
                    Error::usage(format!("{word:?} is not allowed: key=value, such as cores=2"))
                })?;
                request.settings.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    let kinds = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    match request.kind.as_str() {
        "" => Err(Error::usage(format!("inject needs a type of failure: one of {}", kinds()))),
        kind if failures::kind(kind).is_none() => {
            Err(Error::usage(format!("{kind:?} is not a type of failure: one of {}", kinds())))
        }
        _ => Ok(request),
    }
}

/// The settings as a config with one entry, read and checked like any other.
fn settings(request: &Request) -> Result<Config> {
    let kind = failures::kind(&request.kind);
    let mut text =
        format!("failures:\n  {NAME}:\n    type: {}\n    enabled: true\n    probability: 1\n", request.kind);
    let paused = request.settings.iter().any(|(key, value)| key == "action" && value == "pause");
    let given = request.settings.iter().any(|(key, _)| key == "duration_seconds");
    let timed = paused || kind.is_some_and(|kind| kind.timed);
    if request.duration.is_some() || (timed && !given) {
        let seconds = request.duration.unwrap_or(DEFAULT).as_secs_f64();
        _ = writeln!(text, "    duration_seconds: {seconds}");
    }
    for (key, value) in &request.settings {
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
