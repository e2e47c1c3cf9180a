//! Text for people and programs: JSON, dates, the log, what is printed.

pub mod civil;
pub mod json;
pub mod logging;
pub mod output;
pub mod redact;
