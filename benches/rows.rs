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
        let verdict = self.verdict(measured <= goal);
        let (measured, goal) = (format!("{measured:.1} {unit}"), format!("{goal} {unit}"));
        println!("{figure:<62} {measured:>14} {goal:>14}  {verdict}");
    }

    /// Prints the median of `ratios` of a figure to that of its rival (the medians of both, in microseconds, stand in
    /// the name), measured pair by pair; says where the pairs differ so much that the median means little.
    #[allow(dead_code)] // not every bench has a rival
    pub fn ratio(&mut self, figure: &str, ours: f64, theirs: f64, ratios: &[f64], goal: f64) {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quarter = |part: usize| sorted[(sorted.len() - 1) * part / 4];
        let measured = quarter(2);
        let verdict = self.verdict(measured <= goal);
        let noise =
            if quarter(3) - quarter(1) > 0.3 * measured { "; too noisy to tell: measure again" } else { "" };
        let figure = format!("{figure} ({ours:.0} to {theirs:.0} us)");
        let (low, high) = (quarter(1), quarter(3));
        println!(
            "{figure:<62} {:>14} {:>14}  {verdict}; half of the pairs {low:.2} to {high:.2}{noise}",
            format!("{measured:.2} x"),
            format!("{goal} x")
        );
    }

    fn verdict(&mut self, met: bool) -> &'static str {
        self.good &= met;
        if met { "met" } else { "not met" }
    }

    /// Whether every goal was met.
    pub fn end(self) -> ExitCode {
        if self.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
