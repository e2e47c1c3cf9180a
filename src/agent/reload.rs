//! Another config while the agent runs: checked first, taken over between two ticks, and what it no longer wants
//! is ended at once.

use super::why::Why;
use super::{Agent, halt};
use crate::config::{self, Entry, Loaded};
use crate::error::Result;
use crate::text::logging;
use std::sync::Arc;

impl Agent {
    /// Takes over what was read from the config's file if it is another config and right; after a SIGHUP also if it is
    /// the same. Says whether it was taken over.
    pub(super) fn reload(&mut self, content: Result<Vec<u8>>) -> bool {
        let Some(path) = self.source.as_deref() else { return false };
        let forced = std::mem::take(&mut self.forced);
        match config::understand(path, content) {
            Ok(loaded) if loaded.config.hash == self.config.hash && !forced && self.refused.is_none() => {
                false
            }
            Ok(loaded) => {
                self.take_over(loaded);
                true
            }
            Err(error) => {
                self.refuse(error.to_string());
                false
            }
        }
    }

    /// Keeps the old config; says why once, however often the same file is looked at.
    pub(super) fn refuse(&mut self, why: String) {
        self.injector.metrics.reloaded(false);
        if self.refused.as_ref() == Some(&why) {
            return;
        }
        match self.idle {
            true => log::error!("there is no config to use; nothing is injected until there is:\n{why}"),
            false => log::error!("the new config is not used, the old one stays:\n{why}"),
        }
        self.injector.board.set_reload_error(&why);
        self.note("reload_failed", &why);
        self.refused = Some(why);
    }

    fn take_over(&mut self, loaded: Loaded) {
        let Loaded { mut config, warnings, .. } = loaded;
        config.agent.dry_run |= self.dry_run;
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        // What was meant to be harmless from now on must not go on.
        let all = new.agent.dry_run != old.agent.dry_run;
        let kept = |entry: &Entry| !all && new.entries.iter().any(|other| is_same(entry, other));
        let mut ended = self.end(Why::Reload, |entry| !kept(entry));
        if all {
            ended += self.hands.end(Why::Reload);
        }
        self.keep_entries();
        let entries = &self.config.entries;
        self.injector.repeats.keep(|name| entries.iter().any(|entry| entry.name() == name));
        self.seed = self.config.agent.seed.unwrap_or(self.seed);
        self.refused = None;
        let first = std::mem::take(&mut self.idle);
        if self.config.logging != old.logging {
            for text in logging::init(&self.config.logging) {
                log::warn!("{text}");
            }
        }
        for text in &warnings {
            log::warn!("{text}");
        }
        let (audit, before) = (&self.config.agent, &old.agent);
        if (&audit.audit_file, audit.audit_log) != (&before.audit_file, before.audit_log) {
            self.open_audit();
        }
        self.announce();
        self.hands.listen(self.config.agent.metrics.port);
        match first {
            true => self.prepare(),
            false => self.ensure_guard(),
        }
        self.look_around();
        self.probe();
        (self.on_reload)(&self.config.agent);
        self.injector.metrics.reloaded(true);
        log::info!("config loaded again, seed {}; {ended} injections ended by it", self.seed);
        self.apply_halt();
    }

    /// Says of each entry whether it could be injected now, in the log, the metrics and on the board. Some look at file
    /// systems and ask name servers; nothing waits for that.
    pub(super) fn look_around(&self) {
        self.readiness.look(&self.config);
    }

    /// Entries that did not change stay the very same, so that what they remember stays too.
    fn keep_entries(&mut self) {
        for entry in &mut self.config.entries {
            let running = self.running.iter().map(|run| &run.entry).find(|old| is_same(old, entry));
            if let Some(old) = running {
                *entry = Arc::clone(old);
            }
        }
    }

    /// Halts if the config says so, or no longer.
    pub(super) fn apply_halt(&mut self) {
        let halt = self.config.agent.halt;
        self.halt("config", halt.then(|| "agent.halt is true".to_owned()));
    }

    /// What is set up at the start as well as by a reload.
    pub(super) fn begin(&mut self) {
        halt::register(&self.injector.metrics);
        self.open_audit();
        self.announce();
        self.apply_halt();
    }
}

/// Whether two entries are the same in name and in every setting.
fn is_same(one: &Entry, other: &Entry) -> bool {
    one.name() == other.name() && one.settings == other.settings
}
