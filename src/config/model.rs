//! What a config file says, checked and with every default filled in.

use crate::failures::{Failure, Kind};
use crate::logging;
use std::net::IpAddr;
use std::time::Duration;

/// A whole config.
pub struct Config {
    /// The `agent` section.
    pub agent: Agent,
    /// The `failures` section, in the order of the file.
    pub entries: Vec<Entry>,
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
    /// How many injections may be active at once, from 1; `None` for any number.
    pub max_concurrent: Option<usize>,
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
    /// Its key.
    pub name: String,
    /// Its `type`.
    pub kind: &'static Kind,
    /// Whether it is rolled for.
    pub enabled: bool,
    /// The chance of an injection at each tick, 0 to 1.
    pub probability: f64,
    /// How long an injection holds; zero for kinds without a duration.
    pub duration: Duration,
    /// The fault itself; always there if the entry is enabled.
    pub failure: Option<Box<dyn Failure>>,
}
