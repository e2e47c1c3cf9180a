//! `chaos-agent run`: config, logging, signals, exporter, dice.

use super::words::Parsed;
use crate::agent::{self, Agent};
use crate::board::Board;
use crate::cancel::Cancel;
use crate::config::{self, Loaded};
use crate::error::{Context, Error, Result};
use crate::exporter::http;
use crate::exporter::metrics::Metrics;
use crate::linux::sys::task;
use crate::text::logging;
use std::sync::Arc;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The config cannot be used (exit 64), or the process cannot even start its few threads (exit 1).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    task::set_name(c"chaos-agent");
    let forced = parsed.flag("--dry-run");
    let Loaded { mut config, warnings, path, .. } = match parsed.flag("--demo") {
        true => config::embedded()?,
        false => config::load(parsed.path("--config"))?,
    };
    config.agent.dry_run |= forced;
    let dry_run = config.agent.dry_run;
    let trouble = logging::init(&config.logging);
    let stop = Arc::new(Cancel::new().doing("open", "an eventfd")?);
    let seed = config.agent.seed.unwrap_or_else(|| fastrand::u64(..));
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
    let options = agent::Options { config, source: path, dry_run: forced, seed, on_reload };
    let reverted = Agent::new(options, metrics, board)?.run(&stop)?;
    match reverted {
        true => log::info!("stopped, everything is reverted"),
        false => log::error!("stopped before everything was reverted; the guard goes on"),
    }
    log::logger().flush();
    Ok(u8::from(!reverted))
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
