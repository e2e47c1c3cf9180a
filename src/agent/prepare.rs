//! Before the first fault: saying what the agent runs on, removing what an earlier one left, starting the guard.

use super::Agent;
use crate::board::About;
use crate::config::Config;
use crate::linux::sys::clock;
use crate::revert::undo;

impl Agent {
    /// Says what the agent runs on, everywhere where it is said.
    pub(super) fn announce(&mut self) {
        let Config { agent, entries, hash, .. } = &self.config;
        let injector = &self.injector;
        for entry in entries.iter().filter(|entry| entry.enabled) {
            injector.register(entry.kind.name);
            for (family, labels) in entry.failure.iter().flat_map(|failure| failure.series()) {
                injector.metrics.touch(family, labels);
            }
        }
        let source =
            self.source.as_ref().map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
        injector.board.set_about(About {
            version: env!("CARGO_PKG_VERSION"),
            seed: self.seed,
            source,
            hash: *hash,
            idle: self.idle,
            dry_run: agent.dry_run,
            interval: agent.interval,
            loaded: Some(clock::now()),
        });
        injector.event("start", |line| {
            line.text("version", env!("CARGO_PKG_VERSION")).seed(self.seed);
            line.number("interval_seconds", agent.interval.as_secs_f64());
            line.text("config_hash", &format!("{hash:016x}")).truth("dry_run", agent.dry_run);
        });
    }

    /// What must be ready before the first fault: nothing of an earlier agent is left, and the guard runs
    /// where any configured fault needs it.
    pub(super) fn prepare(&self) {
        if self.config.agent.dry_run {
            return;
        }
        let live = || self.config.entries.iter().filter(|entry| entry.enabled);
        let failures = live().filter_map(|entry| entry.failure.as_deref());
        let found = failures.flat_map(|failure| failure.sweep(&self.injector.host));
        for done in undo::sweep().into_iter().chain(found) {
            match done {
                Ok(undo) => log::warn!("removed what an earlier agent had left: {undo}"),
                Err(error) => log::error!("an earlier agent left something that stays: {error}"),
            }
        }
        self.ensure_guard();
    }

    pub(super) fn ensure_guard(&self) {
        let needed = self.config.entries.iter().any(|entry| entry.enabled && entry.kind.guarded);
        if needed
            && !self.config.agent.dry_run
            && let Err(error) = self.injector.guard.ensure()
        {
            log::error!("{error}; faults that need it will fail");
        }
    }
}
