//! The ecosystem tier: the tools that people already have, on what the agent writes and on what comes with it:
//! a real Prometheus, promtool, Chromium, kubectl, Google's CEL, croniter, the validators of Kubernetes and Compose, logrotate,
//! and the shells. `run.sh` beside this file finds them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod chromium;
mod common;
mod cron;
mod exposition;
mod kustomize;
mod manifests;
mod monitoring;
mod policies;
mod prometheus;
mod rotation;
mod shells;
#[path = "../program/support.rs"]
mod support;
mod yaml;
