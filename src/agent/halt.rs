//! Halting: while there is any reason, nothing is rolled, and what was active is reverted at once.

use super::Agent;
use super::why::Why;
use crate::exporter::metrics::{Family, Metrics};

pub(super) static HALTED: Family =
    Family::gauge("chaos_halted", "Whether the dice rest for this reason (1) or not (0).", &["reason"]);

/// Every reason, as the values of the label.
const REASONS: [&str; 6] = ["config", "file", "gone", "signal", "steady_state", "stop_after"];

/// The reasons that hold, each with what is known about it.
#[derive(Debug, Default)]
pub struct Halts(Vec<(&'static str, String)>);

impl Halts {
    /// Whether any reason holds.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The first reason with what is known about it.
    pub fn text(&self) -> Option<String> {
        self.0.first().map(|(reason, detail)| format!("{reason}: {detail}"))
    }

    /// Sets or lifts one reason; says whether that is another state than before. What is known about a reason that
    /// goes on is kept up to date.
    fn set(&mut self, reason: &'static str, detail: Option<String>) -> bool {
        let known = self.0.iter().position(|(other, _)| *other == reason);
        match (known, detail) {
            (None, Some(detail)) => self.0.push((reason, detail)),
            (Some(index), None) => _ = self.0.remove(index),
            (Some(index), Some(detail)) => {
                self.0[index].1 = detail;
                return false;
            }
            (None, None) => return false,
        }
        true
    }
}

/// Makes the series of every reason appear.
pub fn register(metrics: &Metrics) {
    for reason in REASONS {
        metrics.touch(&HALTED, &[reason]);
    }
}

impl Agent {
    /// Halts for a reason (with what is known about it), or lifts that reason.
    pub(super) fn halt(&mut self, reason: &'static str, detail: Option<String>) {
        let text = detail.clone();
        if !self.halts.set(reason, detail) {
            if text.is_some() {
                self.injector.board.set_halts(self.halts.0.clone());
            }
            return;
        }
        // First what must happen at once.
        if text.is_some() {
            let why = if reason == "steady_state" { Why::Steady } else { Why::Halt };
            self.end_all(why);
        }
        self.injector.metrics.set(&HALTED, &[reason], f64::from(text.is_some()));
        self.injector.board.set_halts(self.halts.0.clone());
        match &text {
            Some(detail) => {
                log::warn!("halted ({reason}): {detail}");
                self.note("halt", &format!("{reason}: {detail}"));
            }
            None => {
                let rest: Vec<&str> = self.halts.0.iter().map(|(reason, _)| *reason).collect();
                match rest.is_empty() {
                    true => log::info!("resumed: no longer halted ({reason})"),
                    false => log::info!("no longer halted ({reason}), but still ({})", rest.join(", ")),
                }
                self.note("resume", reason);
            }
        }
    }
}
