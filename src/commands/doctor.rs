//! `chaos-agent doctor`: for each failure of a config, ready or not, why, and what to do.

use super::exporter::Asking;
use super::words::Parsed;
use crate::config::{self, Config, Loaded};
use crate::doctor::{self, Finding, State, Surroundings};
use crate::error::Result;
use crate::failures::Host;
use crate::linux::sys::poll;
use crate::text::json::{self, Object};
use crate::text::output;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks for the application.
const STEP: Duration = Duration::from_millis(100);
/// What a fault of these types takes away, its next one needs.
const TAKING: [&str; 2] = ["memory", "disk"];

/// Prints what was found: 1 if a failure that is enabled could not be injected, else 0. What cannot be judged before
/// the application runs is no hindrance, unless it was waited for. Changes nothing.
///
/// # Errors
/// A config that cannot be used (exit 64).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let Loaded { config, warnings, path, .. } = config::load(parsed.path("--config"))?;
    let limit = parsed.time("--wait");
    limit.inspect(|limit| wait(&config, *limit));
    let mut findings = entries(&config, parsed, limit);
    let all = |state| findings.iter().all(|found| found.state != state);
    let able = all(State::NotReady);
    let ready = able && all(State::Untold);
    findings.extend(warnings.iter().map(|text| note("config", text)));
    findings.extend(modes(&config));
    findings.extend(surroundings(&config, path.as_deref())?);
    output::print(&if parsed.is_json() { as_json(&findings, ready) } else { as_text(&findings) });
    Ok(u8::from(!able))
}

/// Until every failure that is enabled can be judged, or the time is over.
fn wait(config: &Config, limit: Duration) {
    let host = host(config);
    let end = Instant::now().checked_add(limit);
    let enabled = || config.entries.iter().filter(|entry| entry.enabled);
    while enabled().filter_map(|entry| entry.failure.as_deref()).any(|one| one.untold(&host).is_some())
        && end.is_none_or(|end| Instant::now() < end)
    {
        let _ = poll::poll(&mut [], Some(STEP));
    }
}

fn host(config: &Config) -> Host {
    let exporter = &config.agent.metrics;
    Host { metrics_port: exporter.enabled.then_some(exporter.port), ..Host::default() }
}

/// A finding for each entry that is complete enough, also where it is not enabled. `waited`: how long for those that
/// could not be judged.
fn entries(config: &Config, parsed: &Parsed<'_>, waited: Option<Duration>) -> Vec<Finding> {
    let host = host(config);
    let mut findings = Vec::new();
    let mut metrics = None;
    for entry in &config.entries {
        let Some(failure) = entry.failure.as_deref() else { continue };
        let subject = (entry.kind.name, entry.name(), failure);
        let readiness = doctor::readiness(&[subject], &host);
        for one in readiness {
            let mut found = doctor::finding(one, entry.enabled);
            let (state, text) = match found.state {
                State::Ready => match (failure.untold(&host), waited) {
                    (None, _) => (State::Ready, found.text),
                    (Some(why), None) => (State::Untold, why),
                    (Some(why), Some(limit)) => {
                        (State::NotReady, format!("after {} s: {why}", limit.as_secs_f64()))
                    }
                },
                State::NotReady if TAKING.contains(&entry.kind.name) => {
                    let metrics = metrics.get_or_insert_with(|| Asking::new(parsed).ask("/metrics"));
                    match metrics.as_ref().is_ok_and(|text| is_active(text, entry.kind.name)) {
                        true => (
                            State::Untold,
                            format!(
                                "cannot be judged while a {} fault of the agent is in force: {}",
                                entry.kind.name, found.text
                            ),
                        ),
                        false => (State::NotReady, found.text),
                    }
                }
                state => (state, found.text),
            };
            (found.state, found.text) = (state, text);
            findings.push(found);
        }
    }
    findings
}

/// Whether the agent with these metrics has a fault of a type in force.
fn is_active(metrics: &str, kind: &str) -> bool {
    let name = format!("chaos_injection_active{{failure_type=\"{kind}\"}} ");
    metrics.lines().filter_map(|line| line.strip_prefix(&name)).any(|value| value != "0")
}

fn note(subject: &str, text: &str) -> Finding {
    Finding { subject: subject.to_owned(), failure_type: None, state: State::Warning, text: text.to_owned() }
}

/// Why nothing would be injected although it could be.
fn modes(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.agent.dry_run {
        findings.push(note("agent", "agent.dry_run is true: injections are described, never made"));
    }
    if config.agent.halt {
        findings.push(note("agent", "agent.halt is true: the dice rest"));
    }
    if let Some(file) = config.agent.halt_file.as_ref().filter(|file| file.exists()) {
        findings.push(note("agent", &format!("the halt file {} is there: the dice rest", file.display())));
    }
    findings
}

fn surroundings(config: &Config, path: Option<&Path>) -> Result<Vec<Finding>> {
    let exporter = &config.agent.metrics;
    let exporter = exporter.enabled.then(|| SocketAddr::new(exporter.address, exporter.port));
    Surroundings { host: &host(config), config: path, exporter, probes: &config.agent.steady }.examine()
}

fn as_text(findings: &[Finding]) -> String {
    let width = |of: fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or(0);
    let (states, subjects) =
        (width(|found| found.state.name().len()), width(|found| found.subject.chars().count()).min(40));
    let mut text = String::new();
    for found in findings {
        text += &format!("{:states$}  {:subjects$}  {}\n", found.state.name(), found.subject, found.text);
    }
    let count = |state| findings.iter().filter(|found| found.state == state).count();
    let (ready, not, untold) = (count(State::Ready), count(State::NotReady), count(State::Untold));
    let all = ready + not + untold;
    text += &match (all, not, untold) {
        (0, ..) => "no failure is enabled\n".to_owned(),
        (_, 0, 0) => format!("all {all} enabled failures are ready\n"),
        (_, 0, _) => format!("{untold} of {all} enabled failures cannot be judged yet\n"),
        (_, _, 0) => format!("{not} of {all} enabled failures are not ready\n"),
        _ => format!("{not} of {all} enabled failures are not ready, {untold} cannot be judged yet\n"),
    };
    text
}

fn as_json(findings: &[Finding], ready: bool) -> String {
    let list = json::list(findings.iter().map(|found| {
        let mut object = Object::new();
        object.text("subject", &found.subject).optional("failure_type", found.failure_type);
        object.text("state", found.state.name()).text("text", &found.text).end()
    }));
    let mut object = Object::new();
    object.text("version", env!("CARGO_PKG_VERSION")).truth("ready", ready).raw("findings", &list);
    object.end() + "\n"
}
