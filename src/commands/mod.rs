//! The sub-commands, a file each: words in, exit code out.

pub mod guard;
pub mod inject;
pub mod revert;
pub mod run;
pub mod tc;
pub mod validate;
