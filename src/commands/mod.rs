//! The command line. [`table`] has every sub-command with its options; from it come the reader of the words
//! ([`words`], [`values`]), the help ([`help`]) and the completion of shells ([`completion`]). The commands
//! themselves are a file each: what was said in, exit code out.

pub mod cli;
mod completion;
mod doctor;
mod exporter;
mod guard;
mod halt;
mod healthcheck;
mod help;
mod inject;
mod plan;
mod reference;
mod revert;
mod run;
mod status;
pub mod table;
mod tc;
mod validate;
mod values;
pub mod words;
