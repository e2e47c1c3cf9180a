//! `chaos-agent inject`: one fault now, with the checks, the guard and the revert of the agent, and with the knowledge
//! of the agent that runs here, if one does.
//!
//! What is marked `inline(never)`, here and in `agent/hand`, has early returns; within its caller each of these would drop
//! all that the caller holds, which took 1.6 kB.

mod ends;
mod settings;

use super::exporter::{Asking, Known, everywhere};
use super::words::Parsed;
use crate::agent::{self, End, Found, Injector, Run};
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::Entry;
use crate::dice::{self, Roll};
use crate::error::{Context, Error, Result};
use crate::exporter::metrics::{Metrics, Status};
use crate::linux::sys::task;
use crate::text::logging;
use ends::Ends;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// Exit code when there was nothing to inject into.
const SKIPPED: u8 = 2;
/// Exit code when the fault was ended early: that of a program that SIGINT ends, as shells tell it.
const INTERRUPTED: u8 = 130;

/// Injects one fault and returns when it is reverted: 0 held to its end, 1 failed or refused, 2 nothing to inject into,
/// 130 ended early. A dry run says the same of what would be: 0, 1 or 2. All but a failed revert leave nothing behind.
///
/// # Errors
/// The settings cannot be used (exit 64), or the fault is not allowed now (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let mut config = settings::read(parsed)?;
    for text in logging::init(&config.logging) {
        log::warn!("{text}");
    }
    let known = match Asking::new(parsed).found() {
        Ok(known) => known,
        Err(error) if parsed.flag("--config") => return Err(error),
        Err(error) => {
            log::warn!("{error}: where the agent is and a halt file in it are not known");
            Known { exporter: everywhere(), halt: false, halt_file: None }
        }
    };
    // Whose metrics a network fault spares.
    config.agent.metrics.port = known.exporter.port;
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let why = Arc::new(AtomicU8::new(u8::MAX));
    let switch = Arc::clone(&stop);
    ctrlc::set_handler(move || switch.cancel())
        .map_err(|error| Error::refused(format!("cannot handle signals: {error}")))?;
    let mut ends = Ends::default();
    if parsed.flag("--with-stdin") {
        ends.input = Some(ends::input()?);
    }
    let seed = parsed.number("--seed").unwrap_or_else(dice::random_seed);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), seed));
    let mut injector = Injector::new(&config.agent, metrics, Arc::new(Board::default()))?;
    let entry = config.entries.first().ok_or_else(|| Error::usage("there is nothing to inject"))?;
    let dry_run = parsed.flag("--dry-run");
    if !dry_run {
        enter(parsed, entry, known, &mut injector, &mut ends)?;
    }
    let injector = Arc::new(injector);
    ends.watch(Arc::clone(&injector), Arc::clone(&stop), Arc::clone(&why))?;
    let roll = Roll { value: 0.0, seed };
    let run = Run { entry, tick: 0, roll, dry_run, looks_closely: true, cancel: &stop, why: &why };
    let end = injector.inject(&run);
    injector.guard.close();
    Ok(match end {
        Some(End::Ran(Status::Failed) | End::WouldFail) | None => 1,
        Some(_) if stop.is_cancelled() => INTERRUPTED,
        Some(End::Ran(Status::Success) | End::WouldWork) => 0,
        Some(End::Ran(Status::Skipped) | End::WouldSkip) => SKIPPED,
    })
}

/// Asks the agent that runs here for leave. Where none does, what its config would forbid is forbidden all the same.
#[inline(never)]
fn enter(
    parsed: &Parsed<'_>,
    entry: &Entry,
    known: Known,
    injector: &mut Injector,
    ends: &mut Ends,
) -> Result<()> {
    let Some(failure) = entry.failure.as_deref() else { return Ok(()) };
    let forced = parsed.flag("--force");
    let port = known.exporter.port;
    let plan = injector.plan(entry, failure);
    let time = entry.duration.as_millis().to_string();
    match agent::register(port, &[entry.kind.name, &time, if forced { "1" } else { "0" }, &plan]) {
        Found::Seat(seat) => {
            log::info!("the agent at @chaos-agent/{port} knows of this fault");
            let seat = Arc::new(seat);
            ends.seat = Some(Arc::clone(&seat));
            injector.seat = Some(seat);
        }
        Found::Refused(why) => return Err(Error::refused(why)),
        Found::Unsure(why) if !forced => return Err(refusal(why)),
        Found::Unsure(why) => log::warn!("{why}: nobody else sees this fault"),
        Found::Nobody => {
            log::warn!("no agent has the name @chaos-agent/{port} here: nobody else sees this fault");
            ends.halt_file = alone(known, forced)?;
        }
    }
    Ok(())
}

fn refusal(why: String) -> Error {
    Error::refused(why).hint("--force insists")
}

/// Without an agent: the halt file of its config forbids the fault, and ends it later.
#[inline(never)]
fn alone(known: Known, forced: bool) -> Result<Option<PathBuf>> {
    let there = known.halt_file.as_ref().filter(|file| file.symlink_metadata().is_ok());
    let why = match there {
        Some(file) => format!("the halt file {} is there", file.display()),
        None if known.halt => "agent.halt is true in the config here".to_owned(),
        None => return Ok(known.halt_file),
    };
    if !forced {
        return Err(refusal(why));
    }
    log::warn!("--force insists although {why}");
    let is_there = there.is_some();
    Ok(known.halt_file.filter(|_| !is_there))
}
