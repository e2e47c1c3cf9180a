//! Asking the agent that runs here: where its exporter is, and what it answers.

use super::words::Parsed;
use crate::agent::look;
use crate::cancel::Cancel;
use crate::client::{self, Answer, Place, Url};
use crate::config;
use crate::error::{Context, Error, Result};
use crate::settings::{self, Report, Section};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The exporter's port where no config says another.
const PORT: u16 = 8000;
/// Longer than any answer of the agent.
const MOST: usize = 1 << 20;
/// How long the reading of the config may take.
const READING: Duration = Duration::from_secs(1);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Whom a command line asks: `--config`, `--port`, a URL or nobody in particular.
#[derive(Debug)]
pub struct Asking<'a> {
    config: Option<&'a Path>,
    port: Option<u16>,
    /// Somebody else than the agent.
    url: Option<Url>,
    limit: Duration,
}

impl<'a> Asking<'a> {
    /// What `--config`, `--port`, `URL` and `--timeout` say.
    pub fn new(parsed: &Parsed<'a>) -> Asking<'a> {
        Asking {
            config: parsed.path("--config"),
            port: parsed.number("--port").map(|port| port as u16),
            url: parsed.url("URL").cloned(),
            limit: parsed.time("--timeout").unwrap_or(LIMIT),
        }
    }

    /// Asks for `path`, or for the URL that was given, and returns the body of a good answer.
    ///
    /// # Errors
    /// Nobody answers, somebody else answers, or with another status than 200 to 299.
    pub fn ask(&self, path: &str) -> Result<String> {
        let (url, note) = match &self.url {
            Some(url) => (url.clone(), String::new()),
            None => {
                let (place, note) = self.place()?;
                (Url::new(place, path), note)
            }
        };
        let cancel = Cancel::new().doing("open", "an eventfd")?;
        let answer = match client::ask(&url, self.limit, &cancel, MOST) {
            Err(error) if note.is_empty() => return Err(error),
            Err(error) => return Err(error.hint(note)),
            Ok(answer) => answer,
        };
        self.judge(&url, answer)
    }

    fn judge(&self, url: &Url, answer: Answer) -> Result<String> {
        let Answer { status, server, body, cut } = answer;
        let body = String::from_utf8_lossy(&body).into_owned();
        // Only one program can have the port, and another one's "ok" says nothing about the agent.
        if self.url.is_none() && server != "chaos-agent" {
            let who = if server.is_empty() { String::new() } else { format!(" ({server})") };
            return Err(Error::refused(format!(
                "{url} is answered by another program{who}, not by the agent"
            )));
        }
        match status {
            200..300 if !cut => Ok(body),
            200..300 => Err(Error::refused(format!("{url} answered with more than {MOST} bytes"))),
            _ => {
                let first: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
                Err(Error::refused(format!("{url} answered with status {status}: {first}")))
            }
        }
    }

    /// Whom to ask, and what the reader should know when nobody answers there.
    fn place(&self) -> Result<(Place, String)> {
        if let Some(port) = self.port {
            return Ok((Place::local(port), String::new()));
        }
        let Some(path) = config::place(self.config) else {
            return Ok((
                Place::local(PORT),
                "there is no config here, so the default port was asked".to_owned(),
            ));
        };
        // A config that hangs must not keep the agent from being halted; one that rests on a bad config serves there.
        let elsewhere =
            |why: String| Ok((Place::local(PORT), format!("{why}, so the default port was asked")));
        let exporter = match look::read(&path, READING) {
            Err(why) => return elsewhere(why.to_string()),
            Ok(bytes) => match exporter(&bytes) {
                None => return elsewhere(format!("{} cannot be read as a config", path.display())),
                Some(exporter) => exporter,
            },
        };
        if !exporter.enabled {
            return Err(Error::refused(format!(
                "the agent cannot be asked: agent.metrics.enabled is false in {}",
                path.display()
            )));
        }
        let port = exporter.port;
        let place = match exporter.address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Place::at(Ipv4Addr::LOCALHOST.into(), port),
            // Both families, or IPv4 where there is no IPv6.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Place::local(port),
            address => Place::at(address, port),
        };
        Ok((place, String::new()))
    }

    /// What the config that `run` would take says about the agent, whatever else is wrong in it; the default without one.
    ///
    /// # Errors
    /// It cannot be read, or is no YAML.
    pub fn found(&self) -> Result<Known> {
        let mut known = match config::place(self.config) {
            None => Known { exporter: everywhere(), halt: false, halt_file: None },
            Some(path) => known(&look::read(&path, READING)?)
                .ok_or_else(|| Error::Config(format!("{} cannot be read as a config", path.display())))?,
        };
        known.exporter.port = self.port.unwrap_or(known.exporter.port);
        Ok(known)
    }
}

/// How an agent is reached, and when it rests.
pub struct Known {
    /// `agent.metrics`; the port is that by which the agent is known, whether its exporter is enabled or not.
    pub exporter: config::Metrics,
    /// `agent.halt`.
    pub halt: bool,
    /// `agent.halt_file`.
    pub halt_file: Option<PathBuf>,
}

/// `agent.metrics` of a config, whatever else is wrong in it: an agent that runs keeps its old config when a new
/// one is bad, and must not be taken for dead because of that; one that rests on a bad config serves there.
/// `None` for what is no YAML at all: then the agent that rests serves [`everywhere`].
pub fn exporter(bytes: &[u8]) -> Option<config::Metrics> {
    known(bytes).map(|known| known.exporter)
}

/// The same with what halts the agent.
fn known(bytes: &[u8]) -> Option<Known> {
    let mut report = Report::default();
    let tree = settings::decode(bytes, &mut report).and_then(|text| settings::parse(&text, &mut report))?;
    let mut top = Section::top(&tree, &mut report, config::TOP);
    let mut known = Known { exporter: everywhere(), halt: false, halt_file: None };
    top.child("agent", |agent| {
        known.halt = agent.boolean("halt");
        known.halt_file = agent.text("halt_file").map(PathBuf::from);
        let exporter = &mut known.exporter;
        agent.child("metrics", |section| {
            exporter.enabled = section.boolean("enabled");
            exporter.address =
                section.text("address").and_then(|text| text.parse().ok()).unwrap_or(exporter.address);
            exporter.port = section.integer("port").map_or(PORT, |port| port as u16);
            Some(())
        })
    });
    Some(known)
}

/// Where an agent serves that knows of no other place.
pub fn everywhere() -> config::Metrics {
    config::Metrics { enabled: true, address: Ipv4Addr::UNSPECIFIED.into(), port: PORT }
}

#[cfg(test)]
mod tests {
    use super::super::{table, words};
    use super::*;

    #[test]
    fn a_config_says_whom_to_ask_whatever_else_is_wrong_in_it() {
        let folder = std::env::temp_dir().join(format!("exporter-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("c.yaml");
        let ask = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let words = ["--config".to_owned(), path.display().to_string()];
            Asking::new(&words::parse(table::find("healthcheck").unwrap(), &words).unwrap())
                .place()
                .map(|(place, note)| (place.to_string(), note.is_empty()))
        };
        for (text, place, sure) in [
            ("", "127.0.0.1:8000", true),
            ("agent: {metrics: {address: 127.0.0.2, port: 9}}", "127.0.0.2:9", true),
            ("agent: {metrics: {address: '::'}}", "localhost:8000", true),
            ("agent: {metrics: {address: '::1'}}", "[::1]:8000", true),
            ("agent: {typo: 1, metrics: {port: 7, more: 2}}\nfailures: {cpu: 5}", "127.0.0.1:7", true),
            ("agent: {metrics: {port: 7", "localhost:8000", false),
        ] {
            assert_eq!(ask(text).unwrap(), (place.to_owned(), sure), "{text}");
        }
        let why = ask("agent: {metrics: {enabled: no}}").unwrap_err().to_string();
        assert!(why.contains("agent.metrics.enabled is false"), "{why}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_command_line_names_one_to_be_asked() {
        let words = ["--port=7", "--timeout", "500ms"].map(str::to_owned);
        let parsed = words::parse(table::find("healthcheck").unwrap(), &words).unwrap();
        let asking = Asking::new(&parsed);
        assert_eq!((asking.port, asking.limit), (Some(7), Duration::from_millis(500)));
        assert!(asking.config.is_none() && asking.url.is_none());
    }
}
