//! A chaos-engineering sidecar: rolls dice every interval, injects faults into the pod it shares, reports
//! them to Prometheus and takes back everything it did, whatever happens to it.
//!
//! The library exists so that tests and benches can link; the product is the binary. Rooms by floor, top to
//! bottom: a room imports only from floors below its own, never from a sibling. Then the floors inside of rooms
//! that have some (`tests/layers.rs` checks both against this table):
//!
//! ```text
//! 10 main
//! 9 commands
//! 8 agent plan
//! 7 board config doctor
//! 6 failures steady
//! 5 client
//! 4 revert exporter settings dice cancel
//! 3 text
//! 2 linux
//! 1 error
//!
//! linux 4 route
//! linux 3 cgroup claim command plain proc tc trusted watch
//! linux 2 ability
//! linux 1 sys
//! text 2 logging
//! text 1 civil json output redact
//! exporter 2 http
//! exporter 1 metrics
//! revert 2 guard
//! revert 1 undo
//! dice 2 decide
//! dice 1 schedule
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout))]

pub mod agent;
pub mod board;
pub mod cancel;
pub mod client;
pub mod commands;
pub mod config;
pub mod dice;
pub mod doctor;
pub mod error;
pub mod exporter;
pub mod failures;
pub mod linux;
pub mod plan;
pub mod revert;
pub mod settings;
pub mod steady;
pub mod text;
