//! A table of figures beside their goals.

use std::process::ExitCode;

/// The table while it is printed.
pub struct Rows {
    good: bool,
}

impl Rows {
    /// Prints the head.
    pub fn new() -> Rows {
        println!("{:<62} {:>14} {:>14}", "figure", "measured", "goal");
        Rows { good: true }
    }

    /// Prints a figure; more than the goal is too much.
    pub fn row(&mut self, figure: &str, measured: f64, goal: f64, unit: &str) {
        let verdict = if measured <= goal { "ok" } else { "over" };
        self.good &= measured <= goal;
        let (measured, goal) = (format!("{measured:.1} {unit}"), format!("{goal} {unit}"));
        println!("{figure:<62} {measured:>14} {goal:>14}  {verdict}");
    }

    /// Whether every goal was met.
    pub fn end(self) -> ExitCode {
        if self.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
