//! What a config file says, checked and with every default filled in.

use crate::dice::decide::{Limits, Rule};
use crate::failures::{Failure, Kind};
use crate::steady::Probe;
use crate::text::logging;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole config.
pub struct Config {
    /// The `agent` section.
    pub agent: Agent,
    /// The `failures` section, in the order of the file.
    pub entries: Vec<Arc<Entry>>,
    /// The `logging` section, before the environment goes over it.
    pub logging: logging::Options,
    /// FNV-1a (64 bits) of the file's bytes: equal files have equal hashes.
    pub hash: u64,
}

/// The `agent` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Time between ticks, 1 ms to a day.
    pub interval: Duration,
    /// Whether injections are described only.
    pub dry_run: bool,
    /// Replays the same decisions; `None` for a random one.
    pub seed: Option<u64>,
    /// The exporter.
    pub metrics: Metrics,
    /// What bounds all entries together.
    pub limits: Limits,
    /// Whether the dice rest and nothing is injected.
    pub halt: bool,
    /// The agent is halted while this file is there.
    pub halt_file: Option<PathBuf>,
    /// The dice rest while no process matches one of these, in ASCII lower case; empty for no such rule.
    pub rest_when_gone: Vec<String>,
    /// The probes of the application's health; no fault starts while one of them fails.
    pub steady: Vec<Probe>,
    /// Where the audit trail goes, if to a file.
    pub audit_file: Option<PathBuf>,
    /// Whether it goes to the log.
    pub audit_log: bool,
}

/// The `agent.metrics` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Whether there is an exporter.
    pub enabled: bool,
    /// Where it listens; `::` is every address, also those of IPv4.
    pub address: IpAddr,
    /// Its TCP port, from 1.
    pub port: u16,
}

/// One entry of the `failures` section.
pub struct Entry {
    /// Its key, its probability and its schedule.
    pub rule: Rule,
    /// Its `type`.
    pub kind: &'static Kind,
    /// Whether it is rolled for.
    pub enabled: bool,
    /// How long an injection holds; zero for kinds without a duration.
    pub duration: Duration,
    /// The fault itself; always there if the entry is enabled.
    pub failure: Option<Box<dyn Failure>>,
    /// Every effective setting of the entry as YAML: entries with equal texts are the same.
    pub settings: String,
}

impl Entry {
    /// Its key in the `failures` section.
    pub fn name(&self) -> &str {
        &self.rule.name
    }
}
