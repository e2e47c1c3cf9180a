//! The board as a page: no scripts, and nothing from elsewhere, so that it works wherever the port can be reached.
//!
//! The browser asks again every few seconds by itself; that needs no script.

use super::{Board, LOOK_BACK, Past, Ready, State};
use crate::civil::timestamp;
use crate::metrics::Status;
use crate::steady::Health;
use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

/// Seconds between two looks of the browser.
const REFRESH: u32 = 5;
/// Width of the time line in its own units, and of the narrowest bar.
const WIDTH: f64 = 1000.0;
const NARROWEST: f64 = 3.0;
const STYLE: &str = include_str!("page.css");

impl Board {
    /// The page; `links` are paths of this server and what they are.
    pub fn page(&self, links: &[(&str, &str)]) -> String {
        let state = self.lock();
        let mut out = String::with_capacity(8 << 10);
        let (class, title) = headline(&state);
        _ = writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta http-equiv=\"refresh\" content=\"{REFRESH}\"><title>{title} - chaos-agent</title>\
             <style>{STYLE}</style></head>\n<body><main>\n<h1 class=\"{class}\">{title}</h1>"
        );
        now(&mut out, &state);
        time_line(&mut out, &state, SystemTime::now());
        readiness(&mut out, &state);
        outcomes(&mut out, &state);
        about(&mut out, &state, self.started);
        out += "<p>";
        for (path, about) in links {
            _ = write!(out, "<a href=\"{path}\" title=\"{}\">{path}</a> ", Text(about));
        }
        out += "</p>\n</main></body></html>\n";
        out
    }
}

/// Text as it may stand between tags and in quotes; control characters become blanks.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter if letter.is_control() => f.write_char(' ')?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

fn headline(state: &State) -> (&'static str, String) {
    match state.live.iter().filter(|live| live.remaining().is_some()).count() {
        0 if !state.halts.is_empty() => ("halted", "Halted: no fault is active".to_owned()),
        0 => ("calm", "No fault is active".to_owned()),
        1 => ("active", "1 fault is active".to_owned()),
        count => ("active", format!("{count} faults are active")),
    }
}

/// What is under way, and why nothing is.
fn now(out: &mut String, state: &State) {
    for (reason, detail) in &state.halts {
        _ = writeln!(out, "<p class=\"note\"><b>Halted ({reason})</b>: {}</p>", Text(detail));
    }
    if let Some(resting) = state.resting.as_ref().filter(|_| state.halts.is_empty()) {
        _ = writeln!(out, "<p class=\"note\"><b>The dice rest</b>: {}</p>", Text(resting));
    }
    if let Some(error) = &state.reload_error {
        _ = writeln!(out, "<p class=\"note\"><b>The config on disk is not in use</b>: {}</p>", Text(error));
    }
    for live in &state.live {
        let left = match live.remaining() {
            Some(left) if !live.duration.is_zero() => format!("{:.0} s left", left.as_secs_f64().ceil()),
            Some(_) => "in force".to_owned(),
            None => "not in force: set up, or followed".to_owned(),
        };
        _ = write!(
            out,
            "<section class=\"now\"><h2>{} <small>{left}</small></h2><p>{}</p>",
            Text(&live.entry),
            Text(&live.plan)
        );
        let (victims, commands) = live.facts.get();
        for line in victims.iter().chain(&commands) {
            _ = write!(out, "<p><code>{}</code></p>", Text(line));
        }
        out.push_str("</section>\n");
    }
    let next = state.next.map(|next| next.saturating_duration_since(Instant::now()).as_secs_f64());
    if let Some(next) = next {
        _ = writeln!(out, "<p>Tick {}, the next in {next:.0} s.</p>", state.tick);
    }
}

/// A row an entry, a bar an injection.
fn time_line(out: &mut String, state: &State, now: SystemTime) {
    let mut entries: Vec<&str> = state.ready.iter().map(|ready| ready.entry.as_str()).collect();
    let others = state.bars.iter().map(|bar| bar.entry.as_str());
    for entry in others.chain(state.live.iter().map(|live| live.entry.as_str())) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return;
    }
    *out += "<h2>The last hour</h2>\n<div class=\"line\">\n";
    for entry in entries {
        let bars = state.bars.iter().filter(|bar| bar.entry == entry);
        let past = bars.map(|bar| (bar.started, bar.took, bar.status.name()));
        let live = state.live.iter().filter(|live| live.entry == entry && live.remaining().is_some());
        let live = live.map(|live| (live.started, live.since.elapsed(), "active"));
        let bars: Vec<_> = past.chain(live).filter_map(|bar| place(bar, now)).collect();
        _ = write!(
            out,
            "<b>{}</b><svg viewBox=\"0 0 {WIDTH} 20\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{} injections of {0} in the last hour\">",
            Text(entry),
            bars.len()
        );
        for Placed { left, width, class, title } in bars {
            _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{left:.1}\" width=\"{width:.1}\" y=\"2\" height=\"16\"><title>{title}</title></rect>"
            );
        }
        *out += "</svg>\n";
    }
    *out += "<b></b><div class=\"axis\"><span>60 min ago</span><span>45</span><span>30</span><span>15</span>\
             <span>now</span></div></div>\n<p class=\"key\"><i class=\"active\"></i> active <i class=\"success\"></i> \
             success <i class=\"failed\"></i> failed</p>\n";
}

/// A bar on the time line.
struct Placed {
    left: f64,
    width: f64,
    class: &'static str,
    title: String,
}

/// Where a bar stands; `None` for one that has left the line.
fn place((started, took, class): (SystemTime, Duration, &'static str), now: SystemTime) -> Option<Placed> {
    let scale = |time: Duration| time.as_secs_f64() / LOOK_BACK.as_secs_f64() * WIDTH;
    let ago = scale(now.duration_since(started).unwrap_or_default());
    let end = WIDTH - ago + scale(took);
    let left = (WIDTH - ago).max(0.0);
    let width = (end - left).max(NARROWEST);
    let title = format!("{} {class}, {:.1} s", clock(started), took.as_secs_f64());
    (end > 0.0).then(|| Placed { left: left.min(WIDTH - NARROWEST), width, class, title })
}

/// `HH:MM:SS`, UTC.
fn clock(time: SystemTime) -> String {
    timestamp(time).get(11..19).unwrap_or_default().to_owned()
}

fn readiness(out: &mut String, state: &State) {
    if !state.ready.is_empty() {
        *out += "<h2>Failures</h2>\n<table>\n";
        for Ready { entry, kind, what } in &state.ready {
            let (class, word, text) = match what {
                Ok(what) => ("success", "ready", what),
                Err(why) => ("failed", "not ready", why),
            };
            row(out, class, [entry, kind, word], text);
        }
        *out += "</table>\n";
    }
    if !state.steady.is_empty() {
        *out += "<h2>Steady state</h2>\n<table>\n";
        for (name, probe) in &state.steady {
            let well = probe.health == Health::Well;
            let (class, text) = if well { ("success", "") } else { ("failed", probe.reason.as_str()) };
            row(out, class, [name, "", probe.health.name()], text);
        }
        *out += "</table>\n";
    }
}

fn outcomes(out: &mut String, state: &State) {
    if state.past.is_empty() {
        return;
    }
    *out += "<h2>Last outcomes</h2>\n<table>\n";
    for past in state.past.iter().rev() {
        let Past { live, status, .. } = past;
        let mut text = past.reason.clone().unwrap_or_else(|| live.plan.clone());
        let (victims, _) = live.facts.get();
        if !victims.is_empty() {
            text = format!("{text}; {}", victims.join("; "));
        }
        if !past.reverted {
            text = format!("NOT REVERTED: {text}");
        }
        let class = if past.reverted { status.name() } else { Status::Failed.name() };
        let word = format!("{} after {:.1} s", status.name(), past.took.as_secs_f64());
        row(out, class, [&clock(live.started), &live.entry, &word], &text);
    }
    *out += "</table>\n";
}

/// A row of three short cells and a long one.
fn row(out: &mut String, class: &str, cells: [&str; 3], text: &str) {
    let [one, two, three] = cells.map(Text);
    _ = writeln!(
        out,
        "<tr><td>{one}</td><td>{two}</td><td class=\"{class}\">{three}</td><td>{}</td></tr>",
        Text(text)
    );
}

fn about(out: &mut String, state: &State, started: SystemTime) {
    let about = &state.about;
    let dry = if about.dry_run { ", dry run: nothing is really injected" } else { "" };
    _ = writeln!(
        out,
        "<h2>Agent</h2>\n<p>Version {}{dry}; seed {}; started {}; a tick every {} s; config {} ({:016x})</p>",
        about.version,
        about.seed,
        timestamp(started),
        about.interval.as_secs_f64(),
        Text(&about.source),
        about.hash
    );
}

#[cfg(test)]
mod tests {
    use crate::board::tests::{live, past};
    use crate::board::{About, Board, Ready};
    use crate::metrics::Status;
    use std::time::{Duration, Instant, SystemTime};

    /// Every tag that opens closes again in the right order; void ones need not.
    fn assert_well_formed(page: &str) {
        let mut open = Vec::new();
        let body = page.split_once("</style>").unwrap().1;
        for part in body.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("<{part} does not end"));
            assert!(!text.contains('>'), "a bare > in {text}");
            let name = tag.split([' ', '\n']).next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "in {page}"),
                None => open.push(name),
            }
        }
        // What was open before the style ended.
        assert_eq!(open, Vec::<&str>::new(), "in {page}");
    }

    fn shown(board: &Board) -> String {
        let page = board.page(&[("/metrics", "numbers & more"), ("/status", "all of it")]);
        // The end of head, body and html closes what stands before the style.
        let tail = page.replace("</head>", "").replace("</html>", "");
        assert_well_formed(&tail);
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains("<script"),
            "{page}"
        );
        page
    }

    #[test]
    fn the_headline_says_whether_it_is_the_chaos() {
        let board = Board::default();
        assert!(shown(&board).contains("<h1 class=\"calm\">No fault is active</h1>"));
        let one = live("burn", 3);
        board.begin(&one);
        assert!(shown(&board).contains("No fault is active"), "not yet in force");
        *one.active.lock().unwrap() = Some(Instant::now());
        let page = shown(&board);
        assert!(page.contains("<h1 class=\"active\">1 fault is active</h1>"), "{page}");
        assert!(page.contains("<h2>burn <small>3600 s left</small></h2>"), "{page}");
        board.end(past("other", 2, Status::Success, None));
        let halted = Board::default();
        halted.set_halts(vec![("file", "/run/halt is there".to_owned())]);
        let page = shown(&halted);
        assert!(page.contains("<h1 class=\"halted\">Halted: no fault is active</h1>"), "{page}");
        assert!(page.contains("<b>Halted (file)</b>: /run/halt is there"), "{page}");
    }

    #[test]
    fn whatever_stands_in_a_name_stays_text() {
        let board = Board::default();
        let evil = "<script>alert('\"&\u{1b}')</script>";
        board.set_about(About { source: evil.to_owned(), ..About::default() });
        board.set_ready(vec![Ready { entry: evil.to_owned(), kind: "cpu", what: Err(evil.to_owned()) }]);
        board.set_reload_error(evil);
        let running = live(evil, 1);
        running.facts.victim(evil.to_owned());
        board.begin(&running);
        board.end(past(evil, 2, Status::Failed, Some(evil)));
        let page = shown(&board);
        assert!(page.contains("&lt;script&gt;alert(&#39;&quot;&amp; &#39;)&lt;/script&gt;"), "{page}");
    }

    #[test]
    fn bars_stand_where_their_times_are() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |ago: u64, took: u64| {
            let bar = (now - Duration::from_secs(ago), Duration::from_secs(took), "success");
            super::place(bar, now).map(|bar| (bar.left, bar.width))
        };
        assert_eq!(at(1800, 360), Some((500.0, 100.0)));
        assert_eq!(at(3960, 720), Some((0.0, 100.0)), "half of it has left");
        assert_eq!(at(3700, 60), None);
        assert_eq!(at(1800, 0), Some((500.0, 3.0)), "seen all the same");
        assert_eq!(at(0, 0), Some((997.0, 3.0)));
    }

    #[test]
    fn a_full_page_stays_small() {
        let board = Board::default();
        for tick in 0..600 {
            board.end(past(
                "an-entry-with-a-name",
                tick,
                Status::Success,
                Some("a reason of the usual length"),
            ));
        }
        let page = shown(&board);
        assert!(page.len() < 100_000, "{}", page.len());
        assert!(page.contains("<td class=\"success\">success after 1.5 s</td>"), "{page}");
    }
}
