//! A tree of settings to a [`Config`].
//!
//! Keys that an entry needs (probability, duration, the kind's own) may be absent while it is not enabled, as in
//! Py-Chaos-Agent; a value that is there must be right all the same, because the entry will be enabled one day,
//! and then nobody looks.

use super::keys::{ENTRY, LOGGING, TOP};
use super::model::{Agent, Config, Entry, Metrics};
use super::when;
use crate::dice::decide::{Limits, Rule};
use crate::failures::Kind;
use crate::settings::{Node, Report, Section, Value, nearest};
use crate::steady;
use crate::text::logging;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What word processors and chat programs make of straight quotes.
const QUOTES: [char; 9] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}', '\u{201f}'];

/// Reads the whole tree. Every problem goes into the report; the config is to be used only if there are none.
/// The second value is the effective config, with all defaults.
pub(super) fn check(root: &Node, kinds: &'static [Kind], report: &mut Report) -> (Option<Config>, Node) {
    match &root.value {
        Value::Map(_) => {}
        Value::Null => report.problem(root.at, "", "the file is empty; a config needs a failures section"),
        _ => report.problem(root.at, "", "the file is no config: it must be a mapping (key: value lines)"),
    }
    let mut top = Section::top(root, report, TOP);
    top.declare(LOGGING);
    let zone = when::zone(root);
    let agent = top.child("agent", |section| agent(section, zone));
    if matches!(root.value, Value::Map(_)) && !top.has("failures") {
        top.problem("failures", "is missing or empty", "write failures: {} for an agent without faults");
    }
    let entries = top.child("failures", |section| Some(entries(section, kinds, zone)));
    let logging = top.child("logging", |section| Some(logging(section)));
    // As in Compose files: room for anchors that entries share.
    for key in top.keys().into_iter().filter(|key| key.starts_with("x-")) {
        top.ignore(key);
    }
    let effective = Node::from(Value::Map(top.finish()));
    let entries = entries.unwrap_or_default();
    if let Some(agent) = &agent {
        when::steps_over(root, report, agent, &entries);
    }
    if report.is_clean() {
        for entry in entries.iter().filter(|entry| entry.enabled && entry.failure.is_none()) {
            report.problem(root.at, &format!("failures.{}", entry.name()), "is incomplete");
        }
    }
    typographic(root, "", report);
    let entries = with_settings(entries, &effective);
    let config = agent.zip(logging).map(|(agent, logging)| Config { agent, entries, logging, hash: 0 });
    (config, effective)
}

/// Gives each entry the text of its effective settings.
fn with_settings(entries: Vec<Entry>, effective: &Node) -> Vec<Arc<Entry>> {
    let failures = effective.get("failures");
    let settings = |entry: &Entry| failures.and_then(|all| all.get(entry.name())).map(Node::to_yaml);
    let shared = |mut entry: Entry| {
        entry.settings = settings(&entry).unwrap_or_default();
        Arc::new(entry)
    };
    entries.into_iter().map(shared).collect()
}

fn agent(section: &mut Section<'_>, zone: &str) -> Option<Agent> {
    let interval = section.seconds("interval_seconds").unwrap_or_default();
    if interval < Duration::from_secs(1) {
        section.warning("interval_seconds", "is below 1 s: so many ticks cost CPU time of their own");
    } else if interval > Duration::from_secs(300) {
        section.warning("interval_seconds", "is above 300 s: faults will be rare");
    }
    let (dry_run, seed) = (section.boolean("dry_run"), section.integer("seed"));
    let limits = Limits {
        schedule: when::schedule(section, zone),
        max_concurrent: section.integer("max_concurrent").map(|most| most as usize),
        per_hour: section.integer("max_injections_per_hour").map(|most| most as usize),
        stop_after: when::stop_after(section),
    };
    let halt = section.boolean("halt");
    let halt_file = halt_file(section);
    let rest_when_gone = rest_when_gone(section);
    let steady = steady::read(section).unwrap_or_default();
    let audit_file = section.text("audit_file").map(PathBuf::from);
    let audit_log = section.boolean("audit_log");
    let metrics = section.child("metrics", |section| {
        let enabled = section.boolean("enabled");
        let address = section.text("address").unwrap_or_default().parse::<IpAddr>();
        let address = address.map(|address| address.to_canonical());
        if address.is_err() {
            section.problem("address", "is no IP address", "for example 0.0.0.0, :: or 127.0.0.1");
        }
        let port = section.integer("port").unwrap_or_default() as u16;
        Some(Metrics { enabled, address: address.ok()?, port })
    });
    let metrics = metrics?;
    Some(Agent {
        interval,
        dry_run,
        seed,
        metrics,
        limits,
        halt,
        halt_file,
        rest_when_gone,
        steady,
        audit_file,
        audit_log,
    })
}

/// A halt file that is looked for at another place than it is made is a halt that does not work when it is needed.
fn halt_file(section: &mut Section<'_>) -> Option<PathBuf> {
    let text = section.text("halt_file")?;
    if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
        let hint = "the typographic quotes are part of the name; use \" or none";
        section.problem("halt_file", "is in quotes that mean nothing here", hint);
    } else if !text.starts_with('/') {
        let hint = "a relative one is another file in every folder; begin it with /";
        section.problem("halt_file", "is not an absolute path", hint);
    } else if text.ends_with('/') {
        section.problem("halt_file", "names a folder", "add the name of the file");
    }
    Some(PathBuf::from(text))
}

fn rest_when_gone(section: &mut Section<'_>) -> Vec<String> {
    let mut names = section.strings("rest_when_gone").unwrap_or_default();
    for name in &mut names {
        *name = name.trim().to_ascii_lowercase();
    }
    if names.iter().any(String::is_empty) {
        section.problem(
            "rest_when_gone",
            "has an empty name in it",
            "every process matches that; name the application",
        );
    }
    names
}

/// Warns of texts in quotes that word processors make: YAML takes them for part of the text.
fn typographic(node: &Node, path: &str, report: &mut Report) {
    match &node.value {
        Value::Text(text) if text.starts_with(QUOTES) => {
            let why = "begins with a typographic quote, which is part of the text; use \" or '";
            report.warning(node.at, path, why);
        }
        Value::List(items) => items.iter().for_each(|item| typographic(item, path, report)),
        Value::Map(pairs) => {
            for pair in pairs {
                let dot = if path.is_empty() { "" } else { "." };
                typographic(&pair.node, &format!("{path}{dot}{}", pair.key), report);
            }
        }
        _ => {}
    }
}

fn entries(section: &mut Section<'_>, kinds: &'static [Kind], zone: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in section.keys() {
        entries.extend(section.child(name, |section| entry(name, section, kinds, zone)));
    }
    if !entries.iter().any(|entry| entry.enabled) {
        section.warning("", "nothing is enabled: the agent will do nothing");
    }
    entries
}

fn entry(name: &str, section: &mut Section<'_>, kinds: &'static [Kind], zone: &str) -> Option<Entry> {
    section.declare(ENTRY);
    let kind = kind(name, section, kinds)?;
    section.declare(kind.keys);
    let enabled = section.boolean("enabled");
    section.set_required(enabled);
    let schedule = when::schedule(section, zone);
    let probability = section.number("probability");
    if !section.has("schedule") {
        section.require("probability");
    }
    if enabled && probability == Some(0.0) {
        section.warning("probability", "is the probability of an enabled entry: it will never happen");
    }
    let duration = section.seconds("duration_seconds");
    if kind.timed {
        section.require("duration_seconds");
    }
    let failure = (kind.parse)(section);
    let timed = kind.timed || failure.as_ref().is_some_and(|failure| failure.timed());
    if !timed && failure.is_some() && section.has("duration_seconds") {
        section.warning("duration_seconds", &format!("has no effect: {} takes no time", kind.name));
    }
    let duration = duration.filter(|_| timed);
    // Without either it is not enabled, or the report says so.
    let probability = if schedule.is_some() { probability } else { Some(probability.unwrap_or_default()) };
    Some(Entry {
        rule: Rule { name: name.to_owned(), probability, schedule },
        kind,
        enabled,
        duration: duration.unwrap_or_default(),
        failure,
        settings: String::new(),
    })
}

/// The entry's `type`, by default its name.
fn kind(name: &str, section: &mut Section<'_>, kinds: &'static [Kind]) -> Option<&'static Kind> {
    let given = section.has("type");
    let word = section.text_or("type", name);
    if let Some(kind) = kinds.iter().find(|kind| kind.name == word) {
        return Some(kind);
    }
    let known: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let mut hint = format!("one of {}", known.join(", "));
    if let Some(meant) = nearest(&word, known.iter().copied()) {
        hint = format!("did you mean {meant}? known: {}", known.join(", "));
    }
    match given {
        true => section.problem("type", "is not a type of failure", &hint),
        false => section.problem("", "is not a type of failure, and there is no type: in it", &hint),
    }
    section.abandon();
    None
}

fn logging(section: &mut Section<'_>) -> logging::Options {
    let mut options = logging::Options::default();
    let level = section.choice("level").and_then(logging::level);
    options.level = level.unwrap_or(options.level);
    options.json = section.choice("format") == Some("json");
    options.command_lines = section.boolean("command_lines");
    section.child("console", |section| {
        options.console = section.boolean("enabled");
        Some(())
    });
    section.child("file", |section| {
        options.file = section.boolean("enabled");
        options.path = PathBuf::from(section.text("path").unwrap_or_default());
        // 0, as in Py-Chaos-Agent: no rotation.
        let size = section.number("max_size_mb").unwrap_or_default();
        options.max_size = (size * f64::from(1 << 20)) as u64;
        options.backups = section.integer("backup_count").unwrap_or_default() as u32;
        Some(())
    });
    options
}
