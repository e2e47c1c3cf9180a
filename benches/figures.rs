//! How figures are taken.

use std::time::Instant;

/// The middle one.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// How long `work` takes; what it returns is dropped after that.
pub fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let made = work();
    let took = start.elapsed();
    drop(made);
    took.as_secs_f64() * 1e3
}
