//! `chaos-agent doctor`: for each failure of a config, ready or not, why, and what to do.

use super::words::Parsed;
use crate::config::{self, Config, Loaded};
use crate::doctor::{self, Finding, State, Surroundings};
use crate::error::Result;
use crate::failures::Host;
use crate::text::json::{self, Object};
use crate::text::output;
use std::net::SocketAddr;
use std::path::Path;

/// Prints what was found: 0 if every failure that is enabled could be injected, else 1. Changes nothing.
///
/// # Errors
/// A config that cannot be used (exit 64).
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    let Loaded { config, warnings, path, .. } = config::load(parsed.path("--config"))?;
    let mut findings = entries(&config);
    let ready = findings.iter().all(|found| found.state != State::NotReady);
    findings.extend(warnings.iter().map(|text| note("config", text)));
    findings.extend(modes(&config));
    findings.extend(surroundings(&config, path.as_deref())?);
    output::print(&if parsed.is_json() { as_json(&findings, ready) } else { as_text(&findings) });
    Ok(u8::from(!ready))
}

fn host(config: &Config) -> Host {
    let exporter = &config.agent.metrics;
    Host { metrics_port: exporter.enabled.then_some(exporter.port), ..Host::default() }
}

/// A finding for each entry that is complete enough, also where it is not enabled.
fn entries(config: &Config) -> Vec<Finding> {
    let host = host(config);
    let mut findings = Vec::new();
    for entry in &config.entries {
        let Some(failure) = entry.failure.as_deref() else { continue };
        let subject = (entry.kind.name, entry.name(), failure);
        let readiness = doctor::readiness(&[subject], &host);
        findings.extend(readiness.into_iter().map(|one| doctor::finding(one, entry.enabled)));
    }
    findings
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
    let (ready, not) = (count(State::Ready), count(State::NotReady));
    text += &match (ready, not) {
        (0, 0) => "no failure is enabled\n".to_owned(),
        (all, 0) => format!("all {all} enabled failures are ready\n"),
        _ => format!("{not} of {} enabled failures are not ready\n", ready + not),
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
