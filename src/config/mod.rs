//! The configuration: where it is found ([`load`]), what it means ([`Config`]), and what is wrong with it (all
//! of it at once, with file, line and column).

mod check;
mod keys;
mod load;
mod model;
mod when;

pub use keys::{TOP, reference};
pub use load::{Loaded, PLACES, embedded, empty, load, parse, place, read, understand};
pub use model::{Agent, Config, Entry, Metrics};
pub use when::duration;
#[cfg(test)]
mod tests;
