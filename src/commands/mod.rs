//! The sub-commands, a file each: words in, exit code out.

pub mod cli;
pub mod doctor;
mod exporter;
pub mod guard;
pub mod halt;
pub mod healthcheck;
pub mod inject;
mod options;
pub mod plan;
pub mod reference;
pub mod revert;
pub mod run;
pub mod status;
pub mod tc;
pub mod validate;
