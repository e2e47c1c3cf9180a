//! `chaos-agent run`: config, logging, signals, exporter, dice.

use super::exporter::{everywhere, exporter};
use super::words::Parsed;
use crate::agent::{self, Agent, look};
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::{self, Loaded};
use crate::dice;
use crate::error::{Context, Error, Result};
use crate::exporter::http;
use crate::exporter::metrics::Metrics;
use crate::linux::sys::task;
use crate::text::logging;
use std::path::PathBuf;
use std::sync::Arc;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The config cannot be used (exit 64), or the process cannot even start its few threads (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let forced = parsed.flag("--dry-run");
    let (loaded, unusable) = load(parsed)?;
    let Loaded { mut config, warnings, path, .. } = loaded;
    config.agent.dry_run |= forced;
    let dry_run = config.agent.dry_run;
    let trouble = logging::init(&config.logging);
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let seed = config.agent.seed.unwrap_or_else(dice::random_seed);
    let (metrics, board) =
        (Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), seed)), Arc::new(Board::default()));
    let exporter = config.agent.metrics.clone();
    let handler = routes(Arc::clone(&metrics), Arc::clone(&board));
    let mut served = Exporter::new(exporter.clone(), handler)?;
    // After the exporter, whose clients wait; nothing that a signal would have to take back has been done yet.
    watch_signals(&stop)?;
    let source = path.as_ref().map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
    let mode = if dry_run { ", dry run" } else { "" };
    log::info!("chaos-agent {} started{mode}, config {source}, seed {seed}", env!("CARGO_PKG_VERSION"));
    for text in trouble.iter().chain(&warnings) {
        log::warn!("{text}");
    }
    let on_reload = Box::new(move |agent: &config::Agent| served.follow(&agent.metrics));
    let options = agent::Options { config, source: path, unusable, dry_run: forced, seed, on_reload };
    let reverted = Agent::new(options, metrics, board)?.run(&stop)?;
    match reverted {
        true => log::info!("stopped, everything is reverted"),
        false => log::error!("stopped before everything was reverted; the guard goes on"),
    }
    Ok(u8::from(!reverted))
}

/// The config, or with `--rest-on-bad-config` one without entries and why the real one cannot be used.
fn load(parsed: &Parsed<'_>) -> Result<(Loaded, Option<String>)> {
    if parsed.flag("--demo") {
        return Ok((config::embedded()?, None));
    }
    let named = parsed.path("--config");
    if !parsed.flag("--rest-on-bad-config") {
        return Ok((config::load(named)?, None));
    }
    let last = config::PLACES.last().copied().unwrap_or_default();
    let path = config::place(named).unwrap_or_else(|| PathBuf::from(last));
    let content = look::read(&path, look::LIMIT);
    let metrics =
        content.as_ref().map_or_else(|_| everywhere(), |bytes| exporter(bytes).unwrap_or_else(everywhere));
    let why = match config::understand(&path, content) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(error) => error.to_string(),
    };
    let mut config = config::empty()?;
    // Where the agent that is asked how it is will be looked for.
    config.agent.metrics = metrics;
    Ok((Loaded { config, warnings: Vec::new(), effective: String::new(), path: Some(path) }, Some(why)))
}

/// The exporter and what it was started with.
struct Exporter {
    settings: config::Metrics,
    handler: Arc<http::Handler>,
    handle: Option<http::Handle>,
}

impl Exporter {
    fn new(settings: config::Metrics, handler: Arc<http::Handler>) -> Result<Exporter> {
        let mut exporter = Exporter { settings, handler, handle: None };
        exporter.start()?;
        Ok(exporter)
    }

    fn start(&mut self) -> Result<()> {
        if self.settings.enabled {
            let handler = Arc::clone(&self.handler);
            self.handle = Some(http::spawn(self.settings.address, self.settings.port, handler)?);
        }
        Ok(())
    }

    /// Serves as another config says.
    fn follow(&mut self, settings: &config::Metrics) {
        if *settings == self.settings {
            return;
        }
        self.handle = None;
        self.settings = settings.clone();
        if let Err(error) = self.start() {
            log::error!("{error}");
        }
    }
}

fn routes(metrics: Arc<Metrics>, board: Arc<Board>) -> Arc<http::Handler> {
    let shown = Arc::clone(&board);
    let status = move |request: &http::Request<'_>| match request.query {
        "format=text" => http::Reply::text(200, board.text()),
        _ => http::Reply::ok("application/json", board.json()),
    };
    http::Routes::new(metrics, move |links, query| shown.page(links, query))
        .with("/status", "what is active, and what was (?format=text for people)", status)
        .into_handler()
}

/// SIGTERM and SIGINT throw the switch, however often they come. SIGHUP is the agent's own: it is taken from ctrlc,
/// which would treat it like SIGTERM, and ignored until the agent listens to it.
fn watch_signals(stop: &Arc<Cancel>) -> Result<()> {
    let switch = Arc::clone(stop);
    ctrlc::set_handler(move || switch.cancel())
        .map_err(|error| Error::refused(format!("cannot handle signals: {error}")))?;
    task::ignore(libc::SIGHUP);
    Ok(())
}
