//! The keys of a memory entry.

use super::MIB;
use super::hoard::Pattern;
use crate::failures::Failure;
use crate::settings::{Keys, Section, keys};
use std::time::Duration;

/// Amounts end at a TiB, ramps at a day.
pub(super) const KEYS: Keys = keys! {
    "mb" Whole "1 to 1048576" = "100": "MiB that are mapped, touched, held, and given back at once at the end";
    "percent" Number "0.01 to 100" or "none":
        "instead of `mb`: a share of the container's limit or of what is available";
    "of" Choice "limit, available" = "limit": "what `percent` is a share of";
    "ramp_seconds" Seconds "0 to 86400" = "0": "time from nothing to the full amount";
    "keep_resident" Bool "" = "false": "keep it out of reach of swap";
    "pattern" Choice "random, zero" = "random": "data that cannot be compressed, or zeros";
    "headroom_mb" Whole "0 to 1048576" = "16":
        "stays free below the limit: what would exceed it is refused, and when others grow the fault gives memory back first";
    "max_available_percent" Number "1 to 100" = "50":
        "where the container has no limit: the most of the machine's available memory";
    "allow_oom" Bool "" = "false": "fill although the kernel may then kill";
};

/// How much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    Bytes(u64),
    /// Percent of the container's limit.
    OfLimit(f64),
    /// Percent of what is free when the injection starts.
    OfAvailable(f64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) amount: Amount,
    pub(super) ramp: Duration,
    pub(super) keep_resident: bool,
    pub(super) pattern: Pattern,
    /// Bytes that stay free.
    pub(super) headroom: u64,
    /// Without a limit: percent of the machine's available memory that may be taken.
    pub(super) share: f64,
    pub(super) allow_oom: bool,
}

pub(super) fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    let amount = amount(section);
    let memory = Memory {
        amount: amount.unwrap_or(Amount::Bytes(0)),
        ramp: section.seconds("ramp_seconds").unwrap_or_default(),
        keep_resident: section.boolean("keep_resident"),
        pattern: match section.choice("pattern") {
            Some("zero") => Pattern::Zero,
            _ => Pattern::Random,
        },
        headroom: section.integer("headroom_mb").unwrap_or_default() * MIB,
        share: section.number("max_available_percent").unwrap_or_default(),
        allow_oom: section.boolean("allow_oom"),
    };
    amount.map(|_| Box::new(memory) as Box<dyn Failure>)
}

/// `mb: 300`, or `percent: 50` with `of: limit` or `of: available`.
fn amount(section: &mut Section<'_>) -> Option<Amount> {
    if !section.has("percent") {
        if section.has("of") {
            section.problem("of", "stands without `percent`", "give both or neither");
        }
        return Some(Amount::Bytes(section.integer("mb").unwrap_or_default() * MIB));
    }
    if section.has("mb") {
        section.problem("percent", "stands beside `mb`", "give one of them");
    }
    let percent = section.number("percent");
    match section.choice("of") {
        Some("available") => percent.map(Amount::OfAvailable),
        _ => percent.map(Amount::OfLimit),
    }
}
