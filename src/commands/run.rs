//! `chaos-agent run`: config, logging, signals, exporter, dice.

use crate::agent::Agent;
use crate::cancel::Cancel;
use crate::config::{self, Loaded};
use crate::error::{Context, Error, Result};
use crate::metrics::Metrics;
use crate::sys::task;
use crate::{http, logging};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Default)]
struct Options {
    config: Option<PathBuf>,
    demo: bool,
    dry_run: bool,
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The config cannot be used (exit 64), or the process cannot even start its few threads (exit 1).
pub fn run(args: &[String]) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let options = parse(args)?;
    let Loaded { mut config, warnings, path, .. } = match options.demo {
        true => config::embedded()?,
        false => config::load(options.config.as_deref())?,
    };
    config.agent.dry_run |= options.dry_run;
    let dry_run = config.agent.dry_run;
    let trouble = logging::init(&config.logging);
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    watch_signals(&stop)?;

    let seed = config.agent.seed.unwrap_or_else(|| fastrand::u64(..));
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), seed));
    let agent = Agent::new(config, seed, Arc::clone(&metrics))?;
    let exporter = agent.config().agent.metrics.clone();
    let served = match exporter.enabled {
        true => Some(http::spawn(exporter.address, exporter.port, routes(metrics))?),
        false => None,
    };
    let source = path.map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
    let mode = if dry_run { ", dry run" } else { "" };
    log::info!("chaos-agent {} started{mode}, config {source}, seed {seed}", env!("CARGO_PKG_VERSION"));
    for text in trouble.iter().chain(&warnings) {
        log::warn!("{text}");
    }
    let reverted = agent.run(&stop);
    drop(served);
    match reverted {
        true => log::info!("stopped, everything is reverted"),
        false => log::error!("stopped before everything was reverted; the guard goes on"),
    }
    log::logger().flush();
    Ok(u8::from(!reverted))
}

fn routes(metrics: Arc<Metrics>) -> Arc<http::Handler> {
    http::Routes::new(env!("CARGO_PKG_VERSION"), metrics).into_handler()
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--demo" => options.demo = true,
            "--dry-run" => options.dry_run = true,
            "--config" => {
                let file = words.next().ok_or_else(|| Error::usage("--config needs a FILE"))?;
                options.config = Some(file.into());
            }
            other => match other.strip_prefix("--config=") {
                Some(file) => options.config = Some(file.into()),
                None => return Err(Error::usage(format!("run does not know {other:?}"))),
            },
        }
    }
    if options.demo && options.config.is_some() {
        return Err(Error::usage("--demo brings its own config; leave out --config"));
    }
    Ok(options)
}

/// SIGTERM and SIGINT throw the switch, however often they come. SIGHUP is kept for reloading and must not
/// end the agent, so it is taken from ctrlc, which would treat it like SIGTERM.
fn watch_signals(stop: &Arc<Cancel>) -> Result<()> {
    let switch = Arc::clone(stop);
    ctrlc::set_handler(move || switch.cancel())
        .map_err(|error| Error::refused(format!("cannot handle signals: {error}")))?;
    task::ignore(libc::SIGHUP);
    Ok(())
}
