//! What is ready and what is not, before anything is injected: every failure of a config, and what they stand on.
//! Touches nothing.

mod place;
mod surroundings;

use crate::cancel::Cancel;
use crate::error::{Context, Result};
use crate::exporter::metrics::{Family, Metrics};
use crate::failures::{Failure, Host, KINDS};
use crate::steady::Probe;
use std::net::SocketAddr;
use std::path::Path;

static READY: Family = Family::gauge(
    "chaos_failure_ready",
    "Whether every enabled failure of this type could be injected here (1) or not (0).",
    &["failure_type"],
);

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A failure that could be injected.
    Ready,
    /// A failure that could not be.
    NotReady,
    /// A failure of which that cannot be known now.
    Untold,
    /// A failure that is not enabled.
    Off,
    /// Something that is as it should be, or that only needs to be known.
    Good,
    /// Something that the reader may want to change.
    Warning,
}

impl State {
    /// As a word, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::NotReady => "not ready",
            State::Untold => "not yet",
            State::Off => "off",
            State::Good => "ok",
            State::Warning => "warning",
        }
    }
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: the name of an entry, or a word such as `rights`.
    pub subject: String,
    /// The failure's type; `None` for what surrounds them.
    pub failure_type: Option<&'static str>,
    /// How good or bad it is.
    pub state: State,
    /// What was found, and what to do.
    pub text: String,
}

impl Finding {
    fn new(subject: &str, state: State, text: impl Into<String>) -> Finding {
        Finding { subject: subject.to_owned(), failure_type: None, state, text: text.into() }
    }
}

/// An entry of a config: type, name, the failure itself.
pub type Subject<'a> = (&'static str, &'a str, &'a dyn Failure);

/// Whether a failure could be injected.
#[derive(Debug)]
pub struct Readiness<'a> {
    /// Its type.
    pub failure_type: &'static str,
    /// The entry's name.
    pub name: &'a str,
    /// Whether all was looked at that decides about it.
    pub looked: bool,
    /// What an injection would do now, or why there would be none.
    pub result: Result<String>,
}

/// Asks each of these failures, in their order. Some scans of `/proc` and some requests to the kernel; milliseconds,
/// or more where the kernel looks for a module that it does not have.
pub fn readiness<'a>(subjects: &[Subject<'a>], host: &Host) -> Vec<Readiness<'a>> {
    let ask = |(failure_type, name, failure): &Subject<'a>| Readiness {
        failure_type,
        name,
        looked: true,
        result: failure.ready(host),
    };
    subjects.iter().map(ask).collect()
}

/// Asks them only what can be known without the kernel doing anything for it, such as loading a module.
pub fn glance<'a>(subjects: &[Subject<'a>], host: &Host) -> Vec<Readiness<'a>> {
    let look = |(failure_type, name, failure): &Subject<'a>| {
        let looked = !failure.asks_kernel();
        let result = match looked {
            true => failure.ready(host),
            false => failure.check(host).map(|()| failure.describe(host)),
        };
        // What cannot even be begun with needs no closer look.
        Readiness { failure_type, name, looked: looked || result.is_err(), result }
    };
    subjects.iter().map(look).collect()
}

/// Logs a line for each, and shows in the metrics whether all of a type are ready. Types that are not among them,
/// or of which none was looked at, vanish from there.
pub fn publish(readiness: &[Readiness<'_>], metrics: &Metrics) {
    for kind in KINDS {
        let of_kind = || readiness.iter().filter(|one| one.failure_type == kind.name);
        match of_kind().all(|one| one.result.is_ok()) {
            // Nothing is known, for there is none or nobody looked.
            true if of_kind().all(|one| !one.looked) => metrics.forget(&READY, &[kind.name]),
            all => metrics.set(&READY, &[kind.name], f64::from(all)),
        }
    }
    for Readiness { name, looked, result, .. } in readiness {
        match result {
            Ok(plan) if !*looked => {
                log::info!("{name}: not looked at in a dry run, chaos-agent doctor does: {plan}");
            }
            Ok(plan) => log::info!("{name}: ready: {plan}"),
            Err(error) => log::warn!("{name}: not ready: {error}"),
        }
    }
}

/// What is looked at beside the failures.
pub struct Surroundings<'a> {
    /// Where the kernel's files are.
    pub host: &'a Host,
    /// The config file; `None` for a built-in one.
    pub config: Option<&'a Path>,
    /// Where the exporter will listen; `None` if there is none.
    pub exporter: Option<SocketAddr>,
    /// The steady-state probes; each is asked once.
    pub probes: &'a [Probe],
}

impl Surroundings<'_> {
    /// Everything that can be known.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn examine(&self) -> Result<Vec<Finding>> {
        let mut findings = surroundings::all(self.host);
        findings.extend(self.config.map(|config| place::config(config, &self.host.proc)));
        findings.extend(self.exporter.map(place::port));
        let cancel = Cancel::new().doing("open", "an eventfd")?;
        for probe in self.probes {
            let subject = format!("steady state {}", probe.name);
            findings.push(match probe.ask(&self.host.proc, &cancel) {
                Ok(()) => Finding::new(&subject, State::Good, "the application is well"),
                Err(error) => Finding::new(
                    &subject,
                    State::Warning,
                    format!("the application is not well, so no fault would start: {error}"),
                ),
            });
        }
        Ok(findings)
    }
}

/// The findings about an entry.
pub fn finding(entry: Readiness<'_>, enabled: bool) -> Finding {
    let (state, text) = match (enabled, entry.result) {
        (true, Ok(plan)) => (State::Ready, plan),
        (true, Err(error)) => (State::NotReady, error.to_string()),
        (false, Ok(plan)) => (State::Off, format!("not enabled; {plan}")),
        (false, Err(error)) => (State::Off, format!("not enabled, and not ready: {error}")),
    };
    let failure_type = Some(entry.failure_type);
    Finding { subject: entry.name.to_owned(), failure_type, state, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::failures::{Injection, Outcome};

    struct Fault(Option<&'static str>);

    /// Something that only the kernel knows.
    struct Deep(Option<&'static str>);

    impl Failure for Deep {
        fn check(&self, host: &Host) -> Result<()> {
            Fault(self.0).check(host)
        }

        fn describe(&self, host: &Host) -> String {
            Fault(self.0).describe(host)
        }

        fn ready(&self, _: &Host) -> Result<String> {
            Err(Error::refused("no module"))
        }

        fn asks_kernel(&self) -> bool {
            true
        }

        fn inject(&self, _: &Injection<'_>) -> Result<Outcome> {
            Ok(Outcome::Success)
        }
    }

    impl Failure for Fault {
        fn check(&self, _: &Host) -> Result<()> {
            self.0.map_or(Ok(()), |why| Err(Error::refused(why)))
        }

        fn describe(&self, _: &Host) -> String {
            "does nothing".to_owned()
        }

        fn inject(&self, _: &Injection<'_>) -> Result<Outcome> {
            Ok(Outcome::Success)
        }
    }

    #[test]
    fn what_a_glance_cannot_tell_is_not_called_ready() {
        let (deep, wrong) = (Deep(None), Deep(Some("no such interface")));
        let subjects: [Subject<'_>; 2] = [("network", "a", &deep), ("network", "b", &wrong)];
        let found = glance(&subjects, &Host::default());
        let told: Vec<_> = found.iter().map(|one| (one.looked, one.result.is_ok())).collect();
        assert_eq!(told, [(false, true), (true, false)]);
        let shown = |found: &[Readiness<'_>]| {
            let metrics = Metrics::new("0", 0);
            publish(found, &metrics);
            let mut out = Vec::new();
            metrics.render(&mut out);
            let text = String::from_utf8(out).unwrap();
            text.lines().find(|line| line.starts_with("chaos_failure_ready{")).map(str::to_owned)
        };
        assert_eq!(shown(&found[..1]), None);
        assert_eq!(shown(&found).as_deref(), Some("chaos_failure_ready{failure_type=\"network\"} 0"));
        let close = readiness(&subjects[..1], &Host::default());
        assert_eq!(shown(&close).as_deref(), Some("chaos_failure_ready{failure_type=\"network\"} 0"));
    }

    #[test]
    fn a_type_is_ready_when_all_of_its_entries_are_and_gone_when_it_has_none() {
        let metrics = Metrics::new("0", 0);
        let shown = || {
            let mut out = Vec::new();
            metrics.render(&mut out);
            let text = String::from_utf8(out).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("chaos_failure_ready{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (good, bad) = (Fault(None), Fault(Some("no right; get one")));
        let all: [Subject<'_>; 3] = [("cpu", "a", &good), ("cpu", "b", &bad), ("memory", "c", &good)];
        publish(&readiness(&all, &Host::default()), &metrics);
        let wanted =
            ["chaos_failure_ready{failure_type=\"cpu\"} 0", "chaos_failure_ready{failure_type=\"memory\"} 1"];
        assert_eq!(shown(), wanted);
        publish(&readiness(&all[..1], &Host::default()), &metrics);
        assert_eq!(shown(), ["chaos_failure_ready{failure_type=\"cpu\"} 1"]);
        let findings: Vec<_> = readiness(&all, &Host::default())
            .into_iter()
            .zip([true, true, false])
            .map(|(entry, enabled)| finding(entry, enabled))
            .map(|finding| (finding.subject, finding.state, finding.text))
            .collect();
        let wanted = [
            ("a", State::Ready, "does nothing"),
            ("b", State::NotReady, "no right; get one"),
            ("c", State::Off, "not enabled; does nothing"),
        ];
        assert_eq!(findings, wanted.map(|(name, state, text)| (name.to_owned(), state, text.to_owned())));
    }
}
