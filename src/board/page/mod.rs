//! The board as a page for a browser: first of all whether it is the chaos or the application.
//!
//! Without scripts, and with nothing from elsewhere, so that it works wherever the port can be reached. The browser
//! asks again by itself (`refresh`); when the agent cannot be reached any more it then says so, where a script would go
//! on showing what was true once. Links are relative, for a proxy that serves the page under a path of its own.

mod html;
mod timeline;

use super::{Board, LOOK_BACK, Live, Past, State};
use crate::linux::sys::clock;
use crate::steady::Health;
use crate::text::civil::timestamp;
use crate::text::logging::hostname;
use html::{Html, ago, clock, end, span};
use std::time::{Duration, Instant, SystemTime};

/// Lengths of the page in bytes beyond which no further active fault, readiness and outcome is added. With the limits
/// below and those of its values and bars, the page stays under the 256 KiB that the server sends.
const ROOM: [usize; 3] = [48 << 10, 205 << 10, 225 << 10];
/// At most: lines of the problems of a config, victims and commands of a fault, victims of an outcome.
const LINES: usize = 10;
const VICTIMS: usize = 10;
const COMMANDS: usize = 4;
const PAST_VICTIMS: usize = 3;
/// The query that asks for a page that stays as it is.
const STILL: &str = "refresh=off";

const HEAD: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>$ - chaos-agent on $</title>\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    "<style>",
    include_str!("style.css"),
    "</style>\n"
);
const TURNING: &str = "<meta http-equiv=\"refresh\" content=\"5\"></head>\n<body><header>chaos-agent on <b>$</b>\
     <span>$ UTC, every 5 s. <a href=\"?refresh=off\">Hold still</a></span></header>\n";
const HELD: &str = "</head>\n<body><header>chaos-agent on <b>$</b>\
     <span>$ UTC, held still. <a href=\"./\">Show what is now</a></span></header>\n";
const OUTCOMES: &str = "<h2>Last outcomes</h2>\n<table><thead><tr><th scope=\"col\">Ended</th>\
     <th scope=\"col\">Entry</th><th scope=\"col\">Outcome</th><th scope=\"col\">Took</th>\
     <th scope=\"col\">Why, and what</th></tr></thead><tbody>\n";
const OUTCOME: &str =
    "<tr><td>$</td><th scope=\"row\">$</th><td class=\"$\">$</td><td>$</td><td>$ <small>$</small>";

impl Board {
    /// The page; `links` are paths of this server and what they are, `query` is that of the request.
    pub fn page(&self, links: &[(&str, &str)], query: &str) -> String {
        let still = query == STILL;
        self.kept(2 + usize::from(still), || self.page_now(links, still))
    }

    fn page_now(&self, links: &[(&str, &str)], still: bool) -> String {
        let (now, host, state) = (clock::now(), hostname(), self.lock());
        let mut page = Html(String::with_capacity(16 << 10));
        let (class, title) = headline(&state, now);
        page.put(HEAD, &[&title, &host]);
        page.put(if still { HELD } else { TURNING }, &[&host, &clock(now, now)]);
        page.put("<main>\n<section class=\"answer $\"><h1>$</h1>\n", &[class, &title]);
        answer(&mut page, &state, self.started, now);
        page.put("</section>\n", &[]);
        notes(&mut page, &state);
        timeline::draw(&mut page, &state, self.started, now);
        readiness(&mut page, &state);
        outcomes(&mut page, &state, now);
        about(&mut page, &state, self.started);
        for (path, about) in links {
            page.put(
                "<li><a href=\"$\">$</a> $</li>\n",
                &[path.strip_prefix('/').unwrap_or(path), path, about],
            );
        }
        page.put("</ul></main></body></html>\n", &[]);
        page.0
    }
}

/// How the page looks, and the answer in one line.
fn headline(state: &State, now: SystemTime) -> (&'static str, String) {
    let active = state.live.iter().filter(|live| live.remaining().is_some()).count();
    let text = match (active, state.live.len()) {
        (1, _) => "1 fault is ACTIVE",
        (2.., _) => return ("now", format!("{active} faults are ACTIVE")),
        _ if state.past.iter().any(|past| is_left(past, now)) => {
            return ("warn", "A fault was not wholly reverted".to_owned());
        }
        (_, 0) if state.halts.is_empty() => "No fault is active",
        (_, 0) => "Halted: no fault is active",
        _ => "No fault is in force yet",
    };
    (if active > 0 { "now" } else { "calm" }, text.to_owned())
}

/// Whether an injection left something behind within the last hour.
fn is_left(past: &Past, now: SystemTime) -> bool {
    !past.reverted && ago(past.live.started, past.took, now) < LOOK_BACK
}

/// What is under way and how to end it, or when something last was.
fn answer(page: &mut Html, state: &State, started: SystemTime, now: SystemTime) {
    for (index, live) in state.live.iter().enumerate() {
        if page.0.len() > ROOM[0] {
            page.more("<p>$</p>\n", state.live.len() - index);
            break;
        }
        fault(page, live, now);
    }
    for past in state.past.iter().rev().filter(|past| is_left(past, now)).take(LINES) {
        let time = clock(end(past.live.started, past.took), now);
        let values = [past.live.entry.as_str(), &time];
        page.put(
            "<p><b>$</b> left something behind at $; the guard goes on, the log has more.</p>\n",
            &values,
        );
    }
    if !state.live.is_empty() {
        let pid = std::process::id().to_string();
        page.put(
            "<p>To end it now: <code>chaos-agent halt</code> in the agent's container, SIGUSR1 to process $, or \
             <code>agent.halt: true</code> in the config.</p>\n",
            &[&pid],
        );
    } else if let Some(bar) = state.bars.back() {
        let ago = span(whole(ago(bar.started, bar.took, now)));
        page.put(
            "<p>The last injection, <b>$</b>, ended $ ago: $.</p>\n",
            &[&bar.entry, &ago, bar.status.name()],
        );
    } else {
        let ago = span(whole(ago(started, Duration::ZERO, now)));
        page.put("<p>There was none since the agent started, $ ago.</p>\n", &[&ago]);
    }
    if state.about.dry_run {
        page.put("<p><b>Dry run</b>: whatever the dice say, nothing is injected.</p>\n", &[]);
    }
}

fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

fn fault(page: &mut Html, live: &Live, now: SystemTime) {
    let left = match live.remaining() {
        Some(left) if live.duration.is_zero() || left.is_zero() => "in force, about to end".to_owned(),
        // Up to the next second: a fault that is active has time left.
        Some(left) => {
            let left = Duration::from_secs(left.as_secs_f64().ceil() as u64);
            format!("{} left, until {}", span(left), clock(end(now, left), now))
        }
        None => format!("being set up for {}", span(live.since.elapsed())),
    };
    let kind = live.kind.to_owned() + if live.by_hand { ", by hand" } else { "" };
    page.put(
        "<div class=\"fault\"><h2>$ <small>$</small></h2>\n<p><b>$</b></p>\n<p>$</p>\n",
        &[&live.entry, &kind, &left, &live.plan],
    );
    let [victims, commands] = live.facts.get(VICTIMS);
    page.list("<p><small>victim</small> $</p>\n", VICTIMS, &victims.lines, victims.all);
    page.list("<p><code>$</code></p>\n", COMMANDS, &commands.lines, commands.all);
    page.put("</div>\n", &[]);
}

/// Why nothing is rolled, what is not as it should be, and when the dice roll next.
fn notes(page: &mut Html, state: &State) {
    for (reason, detail) in &state.halts {
        page.put("<p class=\"note\"><b>Halted ($)</b>: $</p>\n", &[reason, detail]);
    }
    if let Some(resting) = state.resting.as_ref().filter(|_| state.halts.is_empty()) {
        page.put("<p class=\"note\"><b>The dice rest</b>: $</p>\n", &[resting]);
    }
    if let Some(error) = &state.reload_error {
        let (what, then) = match state.about.idle {
            true => ("cannot be used", "so nothing is injected until it can"),
            false => ("is not in use", "an earlier one is"),
        };
        page.put("<div class=\"note\"><b>The config on disk $</b>, $:\n", &[what, then]);
        let lines: Vec<String> = error.lines().map(str::to_owned).collect();
        page.list("<p>$</p>\n", LINES, &lines, lines.len());
        page.put("</div>\n", &[]);
    }
    let next = state.next.map(|next| span(whole(next.saturating_duration_since(Instant::now()))));
    let (tick, interval) = (state.tick.to_string(), span(state.about.interval));
    let next = next.as_deref().unwrap_or("an unknown time");
    page.put("<p>Tick $, one every $; the next in $.</p>\n", &[&tick, &interval, next]);
}

fn readiness(page: &mut Html, state: &State) {
    let mut rows = Vec::with_capacity(state.ready.len());
    for ready in &state.ready {
        let (class, verdict, text) = match &ready.what {
            Ok(what) if !ready.looked => ("", "not looked at", what),
            Ok(what) => ("success", "ready", what),
            Err(why) => ("failed", "NOT READY", why),
        };
        rows.push([ready.entry.as_str(), ready.kind, class, verdict, text]);
    }
    section(page, "Failures", &rows);
    rows.clear();
    for (name, probe) in &state.steady {
        let (class, reason) = match probe.health {
            Health::Well => ("success", ""),
            _ => ("failed", probe.reason.as_str()),
        };
        rows.push([name, "", class, probe.health.name(), reason]);
    }
    section(page, "Steady state of the application", &rows);
}

/// A list under a heading, of name, type, class, verdict and text; nothing if there is nothing in it.
fn section(page: &mut Html, title: &str, rows: &[[&str; 5]]) {
    if rows.is_empty() {
        return;
    }
    page.put("<h2>$</h2>\n<ul class=\"rows\">\n", &[title]);
    for (index, row) in rows.iter().enumerate() {
        if page.0.len() > ROOM[1] {
            page.more("<li>$</li>\n", rows.len() - index);
            break;
        }
        page.put("<li><b>$</b> <small>$</small> <span class=\"$\">$</span> <span>$</span></li>\n", row);
    }
    page.put("</ul>\n", &[]);
}

fn outcomes(page: &mut Html, state: &State, now: SystemTime) {
    if state.past.is_empty() {
        return;
    }
    page.put(OUTCOMES, &[]);
    for (index, past) in state.past.iter().rev().enumerate() {
        if page.0.len() > ROOM[2] {
            page.more("<tr><td colspan=\"5\">$</td></tr>\n", state.past.len() - index);
            break;
        }
        let live = &past.live;
        let (status, reason) = (past.status.name(), past.reason.as_deref().unwrap_or_default());
        let (ended, took) = (clock(end(live.started, past.took), now), span(past.took));
        // What would have been done says less than why it was not.
        let plan = if past.verified { live.plan.as_str() } else { "" };
        page.put(OUTCOME, &[&ended, &live.entry, status, status, &took, reason, plan]);
        let [victims, _] = live.facts.get(PAST_VICTIMS);
        page.list("<br><small>victim</small> $", PAST_VICTIMS, &victims.lines, victims.all);
        page.put(if past.reverted { "</td></tr>\n" } else { "<br><b>NOT REVERTED</b></td></tr>\n" }, &[]);
    }
    page.put("</tbody></table>\n", &[]);
}

/// What the agent runs on. Leaves the list open for the links.
fn about(page: &mut Html, state: &State, started: SystemTime) {
    let about = &state.about;
    let hash = format!("{:016x}", about.hash);
    let loaded = about.loaded.map(timestamp).unwrap_or_default();
    page.put("<h2>Agent</h2>\n<ul>\n<li>Version $, started $</li>\n", &[about.version, &timestamp(started)]);
    page.put("<li>Config $, loaded $, hash $</li>\n", &[&about.source, &loaded, &hash]);
    page.put("<li>Seed $</li>\n", &[&about.seed.to_string()]);
}

#[cfg(test)]
mod tests;
