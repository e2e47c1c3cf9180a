//! The board for a person at a terminal.

use super::json::{SHOWN_ACTIVE, SHOWN_PAST};
use super::{Board, Live, Past, State};
use crate::steady::Health;
use crate::text::civil::timestamp;
use std::fmt::Write;
use std::time::Instant;

impl Board {
    /// The board as plain text: first whether it is the chaos, then everything else.
    pub fn text(&self) -> String {
        self.kept(1, || self.text_now())
    }

    fn text_now(&self) -> String {
        let state = self.lock();
        let mut out = String::new();
        headline(&mut out, &state);
        for live in &state.live {
            active(&mut out, live);
        }
        let about = &state.about;
        let dry = if about.dry_run { ", dry run" } else { "" };
        _ = writeln!(
            out,
            "\nchaos-agent {}{dry}, seed {}, started {}\nconfig {} ({:016x})",
            about.version,
            about.seed,
            timestamp(self.started),
            about.source,
            about.hash
        );
        if let Some(error) = &state.reload_error {
            let what = if about.idle { "cannot be used, nothing is injected" } else { "is not in use" };
            _ = writeln!(out, "the config on disk {what}: {error}");
        }
        let next = state.next.map(|next| next.saturating_duration_since(Instant::now()).as_secs_f64());
        let next = next.map_or(String::new(), |next| format!(", next in {next:.1} s"));
        _ = writeln!(out, "tick {}{next}, one every {} s", state.tick, about.interval.as_secs_f64());
        for (index, (name, probe)) in state.steady.iter().enumerate() {
            let head = if index == 0 { "\nsteady state:\n" } else { "" };
            let why = if probe.health == Health::Well { "" } else { &probe.reason };
            _ = writeln!(
                out,
                "{head}  {name}: {}{}{why}",
                probe.health.name(),
                if why.is_empty() { "" } else { ": " }
            );
        }
        for (index, ready) in state.ready.iter().enumerate() {
            let (word, text) = match &ready.what {
                Ok(what) if !ready.looked => ("not looked at", what),
                Ok(what) => ("ready", what),
                Err(why) => ("NOT READY", why),
            };
            let head = if index == 0 { "\nfailures:\n" } else { "" };
            _ = writeln!(out, "{head}  {} ({}): {word}: {text}", ready.entry, ready.kind);
        }
        for (index, past) in state.past.iter().rev().enumerate() {
            let head = if index == 0 { "\nlast outcomes, newest first:\n" } else { "" };
            _ = writeln!(out, "{head}{}", outcome(past));
        }
        out
    }
}

fn headline(out: &mut String, state: &State) {
    let in_force = state.live.iter().filter(|live| live.remaining().is_some()).count();
    _ = match (in_force, state.live.len()) {
        (0, 0) => writeln!(out, "no fault is active"),
        (0, _) => writeln!(out, "no fault is in force; some are being set up or followed"),
        (1, _) => writeln!(out, "1 fault is ACTIVE"),
        (count, _) => writeln!(out, "{count} faults are ACTIVE"),
    };
    for (reason, detail) in &state.halts {
        _ = writeln!(out, "HALTED ({reason}): {detail}");
    }
    if let Some(resting) = state.resting.as_ref().filter(|_| state.halts.is_empty()) {
        _ = writeln!(out, "the dice rest: {resting}");
    }
}

fn active(out: &mut String, live: &Live) {
    let left = match live.remaining() {
        Some(left) if !live.duration.is_zero() => format!("{:.1} s left", left.as_secs_f64()),
        Some(_) => "in force".to_owned(),
        None => format!("under way for {:.1} s", live.since.elapsed().as_secs_f64()),
    };
    _ = writeln!(out, "  {} ({}{}): {}; {left}", live.entry, live.kind, by_hand(live), live.plan);
    for (list, word) in live.facts.get(SHOWN_ACTIVE).iter().zip(["victim ", ""]) {
        for line in &list.lines {
            _ = writeln!(out, "    {word}{line}");
        }
        if list.all > list.lines.len() {
            _ = writeln!(out, "    {word}and {} more", list.all - list.lines.len());
        }
    }
}

fn by_hand(live: &Live) -> &'static str {
    if live.by_hand { ", by hand" } else { "" }
}

fn outcome(past: &Past) -> String {
    let live = &past.live;
    let mut line = format!(
        "  {} tick {} {}{}: {} after {:.3} s",
        timestamp(live.started),
        live.tick,
        live.entry,
        by_hand(live),
        past.status.name(),
        past.took.as_secs_f64()
    );
    if let Some(reason) = &past.reason {
        line += ": ";
        line += reason;
    }
    let [victims, _] = live.facts.get(SHOWN_PAST);
    if victims.all > 0 {
        line += "; victims ";
        line += &victims.lines.join(", ");
        if victims.all > victims.lines.len() {
            line += &format!(" and {} more", victims.all - victims.lines.len());
        }
    }
    if !past.reverted {
        line += "; NOT REVERTED";
    }
    line
}

#[cfg(test)]
mod tests {
    use crate::board::Board;
    use crate::board::tests::{live, past};
    use crate::exporter::metrics::Status;
    use std::time::Instant;

    #[test]
    fn the_first_line_says_whether_it_is_the_chaos() {
        let board = Board::default();
        assert!(board.text().starts_with("no fault is active\n"));
        let one = live("burn", 3);
        board.begin(&one);
        assert!(board.text().starts_with("no fault is in force; "), "{}", board.text());
        *one.active.lock().unwrap() = Some(Instant::now());
        one.facts.victim("9 (x)".to_owned(), None);
        let text = board.text();
        assert!(
            text.starts_with("1 fault is ACTIVE\n  burn (cpu): burns 1 of 2 allowed CPU cores; 3"),
            "{text}"
        );
        assert!(text.contains("    victim 9 (x)\n"), "{text}");
        board.set_halts(vec![("signal", "SIGUSR1".to_owned())]);
        board.end(past("other", 2, Status::Skipped, Some("nobody matches")));
        let text = board.text();
        assert!(text.contains("HALTED (signal): SIGUSR1\n"), "{text}");
        assert!(text.contains("tick 2 other: skipped after 1.500 s: nobody matches\n"), "{text}");
    }
}
