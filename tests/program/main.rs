//! The program tier: the real binary as a process, with real signals, clients and victims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod agent;
mod cli;
mod client;
mod common;
mod config;
mod disk;
mod doctor;
mod guard;
mod hand;
mod hang;
mod hostile;
mod http;
mod local;
mod logging;
mod names;
mod operate;
mod page;
mod plan;
mod process;
mod rest;
mod stall;
mod steady;
mod support;
