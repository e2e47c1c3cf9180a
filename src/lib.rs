//! A chaos-engineering sidecar: rolls dice every interval, injects faults into the pod it shares, reports
//! them to Prometheus and takes back everything it did, whatever happens to it.
//!
//! The library exists so that tests and benches can link; the product is the binary. Layers, top to bottom;
//! a module imports only from layers below its own (`tests/layers.rs` checks it against this table):
//!
//! ```text
//! 9 main
//! 8 cli
//! 7 commands
//! 6 agent http plan
//! 5 config board doctor
//! 4 failures decide
//! 3 guard dice steady
//! 2 undo
//! 1 tc proc cgroup settings command schedule json watch audit client
//! 0 sys error civil cancel metrics logging output
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout))]

pub mod agent;
pub mod audit;
pub mod board;
pub mod cancel;
pub mod cgroup;
pub mod civil;
pub mod cli;
pub mod client;
pub mod command;
pub mod commands;
pub mod config;
pub mod decide;
pub mod dice;
pub mod doctor;
pub mod error;
pub mod failures;
pub mod guard;
pub mod http;
pub mod json;
pub mod logging;
pub mod metrics;
pub mod output;
pub mod plan;
pub mod proc;
pub mod schedule;
pub mod settings;
pub mod steady;
pub mod sys;
pub mod tc;
pub mod undo;
pub mod watch;
