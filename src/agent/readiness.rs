//! Whether each entry could be injected, looked at beside the loop.

use super::injector::Injector;
use super::look::Looker;
use crate::board::Ready;
use crate::config::{Config, Entry};
use crate::doctor::{self, Subject};
use crate::linux::sys::event::EventFd;
use std::sync::{Arc, Mutex, PoisonError};

/// What is to be looked at: the entries that are enabled, and whether the agent is in a dry run.
type Wanted = (Vec<Arc<Entry>>, bool);

/// Looks at the entries of the newest config.
pub struct Readiness {
    wanted: Arc<Mutex<Wanted>>,
    looker: Looker,
}

impl Readiness {
    /// Tells the log, the metrics and the board of `injector`, and then signals `wake`.
    pub fn new(injector: &Arc<Injector>, wake: &Arc<EventFd>) -> Readiness {
        let wanted: Arc<Mutex<Wanted>> = Arc::default();
        let (own, list) = (Arc::clone(injector), Arc::clone(&wanted));
        let looker = Looker::new(wake, move || {
            let (entries, dry_run) = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
            look(&own, &entries, dry_run);
            None
        });
        Readiness { wanted, looker }
    }

    /// Looks at this config, after a look that is under way.
    pub fn look(&self, config: &Config) {
        let entries = config.entries.iter().filter(|entry| entry.enabled).cloned().collect();
        let wanted = (entries, config.agent.dry_run);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        self.looker.ask();
    }

    /// Whether nothing is being looked at.
    pub fn is_idle(&self) -> bool {
        self.looker.is_idle()
    }
}

fn look(injector: &Injector, entries: &[Arc<Entry>], dry_run: bool) {
    let subjects: Vec<Subject<'_>> = entries
        .iter()
        .filter_map(|entry| Some((entry.kind.name, entry.name(), entry.failure.as_deref()?)))
        .collect();
    // A dry run touches nothing, not even what makes the kernel load a module.
    let found = match dry_run {
        true => doctor::glance(&subjects, &injector.host),
        false => doctor::readiness(&subjects, &injector.host),
    };
    doctor::publish(&found, &injector.metrics);
    let ready = found.into_iter().map(|one| Ready {
        entry: one.name.to_owned(),
        kind: one.failure_type,
        looked: one.looked,
        what: one.result.map_err(|error| error.to_string()),
    });
    injector.board.set_ready(ready.collect());
}
