//! cpu and memory: figures beside their goals, with stress-ng (where it is installed) and a bare loop at their side.
//!
//! `cargo bench --bench local -- [cpu|memory] [--runs N] [--seconds N]`; five runs of ten seconds when not said.
//! Run it on a machine that does nothing else. Medians are printed, and the worst where the goal is about that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod cpu;
#[path = "../figures.rs"]
mod figures;
mod memory;
mod peer;
mod rival;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.first().map(String::as_str) {
        Some("child") => return cpu::child(&words[1..]),
        Some("rival") => rival::spin(),
        _ => {}
    }
    let option = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (runs, seconds) = (option("--runs", 5) as usize, option("--seconds", 10));
    let wanted = |name: &str| {
        !words.iter().any(|word| word == "cpu" || word == "memory") || words.iter().any(|w| w == name)
    };
    if wanted("memory") {
        memory::figures(runs);
    }
    if wanted("cpu") {
        cpu::figures(runs, seconds);
    }
}
