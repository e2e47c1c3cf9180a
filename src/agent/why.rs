//! What ends an injection before its time.

use std::sync::atomic::{AtomicU8, Ordering};

/// Why an injection was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The agent stops.
    Stop,
    /// The agent was halted.
    Halt,
    /// The entry was removed, disabled or changed.
    Reload,
    /// The application is not well.
    Steady,
    /// The standard input of `inject` was closed.
    Input,
    /// The agent that knew of a fault by hand is gone.
    Gone,
}

impl Why {
    /// Each with the value of the label `why`, and what a reader is told.
    pub(super) const ALL: [(Why, &str, &str); 6] = [
        (Why::Stop, "stop", "ended early by a stop"),
        (Why::Halt, "halt", "ended early by a halt"),
        (Why::Reload, "reload", "ended early by a new config"),
        (Why::Steady, "steady_state", "ended early: the application left its steady state"),
        (Why::Input, "stdin", "ended early: standard input was closed"),
        (Why::Gone, "agent_gone", "ended early: the agent is gone"),
    ];

    /// As the value of a label.
    pub fn name(self) -> &'static str {
        Why::ALL[self as usize].1
    }

    /// The reason of this name.
    pub fn named(name: &str) -> Option<Why> {
        Why::ALL.iter().find(|(_, known, _)| *known == name).map(|(why, _, _)| *why)
    }

    pub(super) fn words(self) -> &'static str {
        Why::ALL[self as usize].2
    }
}

/// Notes why an injection is ended, to be done before its switch is thrown; the first reason counts.
pub fn set_why(place: &AtomicU8, why: Why) {
    let none = u8::MAX;
    let _ = place.compare_exchange(none, why as u8, Ordering::AcqRel, Ordering::Acquire);
}
