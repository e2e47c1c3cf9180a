//! Properties: what must hold for every input, on inputs that proptest makes up and makes small again when one fails.
//! Part of the unit tier.
//!
//! The inputs are the same in each run: the seed is fixed, so that a change is judged by itself. For other ones set
//! `PROPTEST_RNG_SEED`, for more `PROPTEST_CASES`. A failing case is printed with its smallest input; nothing is
//! written into the tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calendar;
mod config;
mod json;
mod nearest;
mod seeds;
mod tc;
mod undo;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, unless the environment says otherwise.
fn cases(count: u32) -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(20_260_101);
    }
    config
}
