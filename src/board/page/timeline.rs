//! The time line of the last hour as inline SVG: a row an entry, a bar an injection.
//!
//! Places are in percent, so that the bars take the width there is while the letters keep their size.

use super::html::{Html, ago, clock, end, span};
use crate::board::{BARS, Bar, LOOK_BACK, Live, State};
use crate::exporter::metrics::Status;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rows, and letters of a name, at most.
const ROWS: usize = 40;
const LETTERS: usize = 60;
/// Pixels from row to row, from the top of a row to its bars, and of a bar.
const ROW: usize = 40;
const BAR_TOP: usize = 19;
const BAR: usize = 14;
/// Between two lines of the grid.
const GRID: u64 = 600;
/// Percent of the width that the shortest injection still gets.
const NARROWEST: f64 = 0.35;

/// What the picture is made of.
struct Line<'a, 'b> {
    page: &'b mut Html,
    state: &'a State,
    now: SystemTime,
}

/// Draws it. Nothing is known of what was before `started`.
pub fn draw(page: &mut Html, state: &State, started: SystemTime, now: SystemTime) {
    let (entries, more) = entries(state);
    if entries.is_empty() {
        return;
    }
    let labels: Vec<String> = entries.iter().map(|entry| label(state, entry, now)).collect();
    let height = entries.len() * ROW + 20;
    page.put("<h2>The last hour</h2>\n", &[]);
    page.put(
        "<svg role=\"img\" width=\"100%\" height=\"$\" aria-label=\"Injections of the last hour. $\">\n",
        &[&height.to_string(), &labels.join("; ")],
    );
    let known = known_since(&state.bars, started);
    let mut line = Line { page, state, now };
    let unknown = line.place(known);
    if unknown > 0.0 {
        let width = percent(unknown);
        line.page
            .put("<rect class=\"off\" width=\"$%\" height=\"$\"/>\n", &[&width, &(height - 20).to_string()]);
    }
    line.grid(height);
    for (index, (entry, label)) in entries.iter().zip(&labels).enumerate() {
        line.row(index * ROW, entry, label);
    }
    page.0.push_str("</svg>\n");
    page.more("<p>$</p>\n", more);
    page.0.push_str(
        "<p class=\"key\"><i class=\"now\"></i>active <i class=\"success\"></i>success <i class=\"failed\"></i>failed. \
         Times are UTC; the right edge is now.",
    );
    if unknown > 0.0 {
        let why = if known > started {
            " Only the newest are kept: nothing is shown from before $."
        } else {
            " The agent started at $."
        };
        page.put(why, &[&clock(known, now)]);
    }
    page.0.push_str("</p>\n");
}

/// The names of entries in the order of the config, then those that are gone, and how many are left out.
fn entries(state: &State) -> (Vec<&str>, usize) {
    let mut names: Vec<&str> = Vec::new();
    let configured = state.ready.iter().map(|ready| ready.entry.as_str());
    let live = state.live.iter().map(|live| live.entry.as_str());
    for name in configured.chain(live) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for bar in &state.bars {
        if !names.iter().any(|name| bar.is_of(name)) {
            names.push(&bar.entry);
        }
    }
    let more = names.len().saturating_sub(ROWS);
    names.truncate(ROWS);
    (names, more)
}

/// Since when nothing is missing: old bars make room for new ones.
fn known_since(bars: &VecDeque<Bar>, started: SystemTime) -> SystemTime {
    let oldest = bars.front().filter(|_| bars.len() == BARS);
    oldest.map_or(started, |bar| started.max(end(bar.started, bar.took)))
}

/// "NAME: 3 injections, 1 failed, active now", with the first letters of a long name.
fn label(state: &State, entry: &str, now: SystemTime) -> String {
    let shown = state.bars.iter().filter(|bar| bar.is_of(entry) && is_shown(bar, now));
    let (all, failed) = shown
        .fold((0, 0), |(all, failed), bar| (all + 1, failed + usize::from(bar.status == Status::Failed)));
    let mut label: String = entry.chars().take(LETTERS).collect();
    label += &match all {
        0 => ": no injection".to_owned(),
        1 => ": 1 injection".to_owned(),
        _ => format!(": {all} injections"),
    };
    if failed > 0 {
        label += &format!(", {failed} failed");
    }
    if live(state, entry).next().is_some() {
        label += ", active now";
    }
    label
}

fn live<'a>(state: &'a State, entry: &'a str) -> impl Iterator<Item = &'a Live> {
    let live = state.live.iter().filter(move |live| live.entry == entry && live.remaining().is_some());
    live.map(|live| &**live)
}

fn is_shown(bar: &Bar, now: SystemTime) -> bool {
    ago(bar.started, bar.took, now) < LOOK_BACK
}

fn percent(value: f64) -> String {
    format!("{value:.2}")
}

impl Line<'_, '_> {
    /// Percent of the width at which a time stands.
    fn place(&self, time: SystemTime) -> f64 {
        let ago = ago(time, Duration::ZERO, self.now);
        100.0 * (1.0 - ago.as_secs_f64() / LOOK_BACK.as_secs_f64()).max(0.0)
    }

    /// A line and its time at each round ten minutes.
    fn grid(&mut self, height: usize) {
        let now = self.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let last = now - now % GRID;
        for back in 0..=LOOK_BACK.as_secs() / GRID {
            let time = end(UNIX_EPOCH, Duration::from_secs(last.saturating_sub(back * GRID)));
            let place = self.place(time);
            // Those at the edges would be cut.
            if place > 5.0 && place < 95.0 {
                let (at, time) = (percent(place), clock(time, time));
                self.page.put(
                    "<line x1=\"$%\" x2=\"$%\" y2=\"$\"/><text x=\"$%\" y=\"$\" text-anchor=\"middle\">$</text>\n",
                    &[&at, &at, &(height - 17).to_string(), &at, &(height - 4).to_string(), time.get(..5).unwrap_or_default()],
                );
            }
        }
    }

    fn row(&mut self, top: usize, entry: &str, label: &str) {
        let (state, now) = (self.state, self.now);
        let (text, foot) = ((top + 13).to_string(), (top + BAR_TOP + BAR).to_string());
        self.page.put(
            "<text y=\"$\">$</text><line x2=\"100%\" y1=\"$\" y2=\"$\"/>\n",
            &[&text, label, &foot, &foot],
        );
        for bar in state.bars.iter().filter(|bar| bar.is_of(entry) && is_shown(bar, now)) {
            self.bar(top, bar.started, bar.took, bar.status.name());
        }
        for live in live(state, entry) {
            self.bar(top, live.started, live.since.elapsed(), "now");
        }
    }

    fn bar(&mut self, top: usize, started: SystemTime, took: Duration, class: &str) {
        let right = if class == "now" { 100.0 } else { self.place(end(started, took)) };
        let start = self.place(started).min(right - NARROWEST).max(0.0);
        let (word, time) = (if class == "now" { "active for" } else { class }, clock(started, self.now));
        self.page.put(
            "<rect class=\"$\" x=\"$%\" y=\"$\" width=\"$%\" height=\"$\"><title>$ $ $</title></rect>\n",
            &[
                class,
                &percent(start),
                &(top + BAR_TOP).to_string(),
                &percent((right - start).max(NARROWEST)),
                &BAR.to_string(),
                &time,
                word,
                &span(took),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn now() -> SystemTime {
        UNIX_EPOCH + NOW
    }

    fn bar(ago: u64, took: u64, status: Status) -> Bar {
        let started = now() - Duration::from_secs(ago);
        Bar { entry: "e".to_owned(), started, took: Duration::from_secs(took), status }
    }

    fn drawn(bars: Vec<Bar>, started: SystemTime) -> String {
        let mut html = Html(String::new());
        draw(&mut html, &State { bars: bars.into(), ..State::default() }, started, now());
        html.0
    }

    #[test]
    fn bars_stand_where_their_times_are() {
        let page = drawn(
            vec![
                bar(4000, 300, Status::Success), // it has left
                bar(3960, 720, Status::Success),
                bar(1800, 360, Status::Success),
                bar(900, 0, Status::Failed),
            ],
            UNIX_EPOCH,
        );
        let bars: Vec<&str> = page.lines().filter(|line| line.starts_with("<rect")).collect();
        assert_eq!(bars.len(), 3, "{page}");
        for (bar, place) in bars.iter().zip([
            "class=\"success\" x=\"0.00%\" y=\"19\" width=\"10.00%\"",
            "class=\"success\" x=\"50.00%\" y=\"19\" width=\"10.00%\"",
            "class=\"failed\" x=\"74.65%\" y=\"19\" width=\"0.35%\"",
        ]) {
            assert!(bar.contains(place), "{place} in {bar}");
        }
        assert!(bars[1].contains("<title>07:30:00 success 6 min 0 s</title>"), "{page}");
        assert!(page.contains(">e: 3 injections, 1 failed</text>"), "{page}");
        // The round ten minutes that are not at an edge.
        for time in ["07:10", "07:20", "07:30", "07:40", "07:50"] {
            assert!(page.contains(&format!(">{time}</text>")), "{time} in {page}");
        }
        assert_eq!(page.matches("<line x1").count(), 5, "{page}");
        assert!(!page.contains("class=\"off\""), "{page}");
    }

    #[test]
    fn what_is_not_known_is_not_shown_as_calm() {
        let page = drawn(vec![bar(10, 5, Status::Success)], now() - Duration::from_secs(900));
        assert!(page.contains("<rect class=\"off\" width=\"75.00%\""), "{page}");
        assert!(page.contains("The agent started at 07:45:00."), "{page}");
        let many = (0..BARS as u64).rev().map(|index| bar(index + 1, 1, Status::Success)).collect();
        let page = drawn(many, UNIX_EPOCH);
        assert!(page.contains("nothing is shown from before 07:51:29."), "{page}");
        assert!(page.contains(">e: 512 injections</text>"), "{page}");
    }

    #[test]
    fn a_board_without_entries_has_no_time_line() {
        assert_eq!(drawn(Vec::new(), now()), "");
    }
}
