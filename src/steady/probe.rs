//! One question to the application, how often it is asked, and how many answers count.

use crate::cancel::Cancel;
use crate::client::{self, Place, Url};
use crate::error::{Context, Error, Result};
use crate::linux::proc::{Process, Reader, base_name};
use crate::settings::{Keys, Section, keys};
use crate::text::redact;
use std::path::Path;
use std::time::Duration;

/// Most probes of a config: one thread asks them all, and each has two lines on `/metrics`, which has an end.
const MOST: usize = 100;
/// Bytes of a name.
const NAME: usize = 200;
/// The keys that say what is asked.
const KINDS: [&str; 3] = ["http", "tcp", "process"];
/// The keys of a probe. The timeout has a bound, for a probe that hangs keeps the others waiting.
pub const KEYS: Keys = keys! {
    "http" Text "an http URL" or "one of these three is required": "answers with `expect_status`";
    "expect_status" Whole "100 to 599" = "200": "http: the status that is well";
    "tcp" Text "`HOST:PORT`" or "see http": "accepts a connection";
    "process" Text "a name" or "see http": "so many processes have this name";
    "min" Whole "1 to 1000000" = "1": "process: how many at least";
    "name" Text "a text" or "the target": "in the log and in `chaos_steady_state{probe}`";
    "timeout_ms" Whole "1 to 10000" = "500": "a slower answer is a failure";
    "interval_seconds" Seconds "0.1 to 86400" = "5": "from one question to the next";
    "failures_before_halt" Whole "1 to 1000" = "2": "how many in a row end the steady state";
    "successes_before_resume" Whole "1 to 1000" = "2": "how many in a row bring it back";
    "while" Choice "always, idle" = "always": "idle: asked only while no fault is active";
};

/// An item of `agent.steady_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What it is called in the log and the metrics; no two are the same.
    pub name: String,
    what: What,
    timeout: Duration,
    /// Time between two probes, from begin to begin.
    pub interval: Duration,
    /// Failures in a row that end the steady state, from 1.
    pub failures: u32,
    /// Successes in a row that bring it back, from 1.
    pub successes: u32,
    /// Whether it rests while a fault is active.
    pub idle_only: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// Answers with this status.
    Http(Url, u16),
    /// Accepts a connection.
    Tcp(Place),
    /// So many processes have this name.
    Process(String, u64),
}

/// Reads the list `steady_state` of the section `agent`; `None` if it is absent. Problems go into the section.
pub fn read(section: &mut Section<'_>) -> Option<Vec<Probe>> {
    let mut names: Vec<String> = Vec::new();
    section.each("steady_state", "steady_state", |section| {
        section.declare(KEYS);
        let probe = probe(section)?;
        if names.len() == MOST {
            section.problem(
                "",
                "is the 101st probe",
                "100 are allowed: a probe may ask for the health of many",
            );
        }
        if names.contains(&probe.name) {
            section.problem("name", "is the name of an earlier probe too", "give each a name of its own");
        }
        names.push(probe.name.clone());
        Some(probe)
    })
}

fn probe(section: &mut Section<'_>) -> Option<Probe> {
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    if given.len() != 1 {
        let why = if given.is_empty() { "has no probe" } else { "has more than one probe" };
        section.problem("", why, "give one of http, tcp and process");
    }
    let texts =
        KINDS.map(|kind| if given.is_empty() || section.has(kind) { section.text(kind) } else { None });
    let what = what(section, &texts);
    for (key, kind) in [("expect_status", "http"), ("min", "process")] {
        if section.has(key) && !given.contains(&kind) {
            section.problem(key, &format!("has no use without {kind}"), "remove it");
        }
    }
    let target = label(&texts.into_iter().flatten().next().unwrap_or_default());
    let name = label(&section.text_or("name", &target));
    if section.has("name") && name.is_empty() {
        section.problem("name", "is empty", "leave it out, and it is the target");
    }
    let timeout = Duration::from_millis(section.integer("timeout_ms").unwrap_or_default());
    let interval = section.seconds("interval_seconds").unwrap_or_default();
    if timeout >= interval {
        section.warning(
            "timeout_ms",
            "is not below interval_seconds: a probe that hangs is asked without a pause",
        );
    }
    let mut count = |key| section.integer(key).unwrap_or_default() as u32;
    let (failures, successes) = (count("failures_before_halt"), count("successes_before_resume"));
    let idle_only = section.choice("while") == Some("idle");
    Some(Probe { name, what: what?, timeout, interval, failures, successes, idle_only })
}

/// A name for log, page and metrics: an address in it loses its query and user name, which may be secrets.
fn label(text: &str) -> String {
    redact::cut(redact::urls(text).replace("?***", "").replace("***@", ""), NAME)
}

/// What the texts of `http`, `tcp` and `process` ask for, and their own keys.
fn what(section: &mut Section<'_>, texts: &[Option<String>; 3]) -> Option<What> {
    match texts {
        [Some(http), ..] => {
            let status = section.integer("expect_status").unwrap_or_default() as u16;
            match Url::parse(http) {
                Ok(url) => Some(What::Http(url, status)),
                Err(why) => {
                    section.problem("http", why, "");
                    None
                }
            }
        }
        [_, Some(tcp), _] => match Place::parse(tcp, None) {
            Ok(place) => Some(What::Tcp(place)),
            Err(why) => {
                section.problem("tcp", why, "");
                None
            }
        },
        [_, _, Some(process)] => {
            let min = section.integer("min").unwrap_or_default();
            if process.is_empty() || process.contains('/') {
                section.problem(
                    "process",
                    "is no name of a process",
                    "the program's name without its folder",
                );
                return None;
            }
            Some(What::Process(process.clone(), min))
        }
        _ => None,
    }
}

impl Probe {
    /// Asks once. `proc` is where `/proc` is.
    ///
    /// # Errors
    /// Why the application is not well, or that `cancel` was thrown.
    pub fn ask(&self, proc: &Path, cancel: &Cancel) -> Result<()> {
        match &self.what {
            What::Http(url, wanted) => {
                let status = client::ask(url, self.timeout, cancel, client::KEPT)?.status;
                match status == *wanted {
                    true => Ok(()),
                    false => Err(Error::refused(format!("{url} answered {status}, not {wanted}"))),
                }
            }
            What::Tcp(place) => client::connect(place, self.timeout, cancel).map(drop),
            What::Process(name, min) => {
                let count = count(proc, name.as_bytes()).doing("list the processes in", proc.display())?;
                match count >= *min {
                    true => Ok(()),
                    false => Err(Error::refused(format!(
                        "{count} processes are named {name:?}, not {min} or more"
                    ))),
                }
            }
        }
    }
}

/// How many processes have this name: the kernel's (cut to 15 bytes and completed), or the exact base name of the
/// first argument, as programs that give themselves a title have. What has ended does not count, what is stopped
/// does.
fn count(proc: &Path, name: &[u8]) -> std::io::Result<u64> {
    let mut reader = Reader::new(proc)?;
    let mut pids = Vec::new();
    let named = |process: &Process<'_>| process.name() == name || base_name(process.argv0()) == name;
    reader.scan(&mut |process| {
        if named(process) {
            pids.push(process.pid);
        }
    })?;
    let mut count = 0;
    for pid in pids {
        count += u64::from(reader.stat(pid)?.is_some_and(|stat| !stat.is_dead()));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Node, Report, Value, parse};

    /// The problems and warnings of an `agent` section, what was read, and the effective section.
    fn read_text(text: &str) -> (String, Vec<Probe>, String) {
        let mut report = Report::default();
        let node = parse(text, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report, Keys(""));
        let probes = read(&mut section);
        let known = Node::from(Value::Map(section.finish())).to_yaml();
        let lines = [report.problems("f"), report.warnings("warning")].concat();
        (lines.join("\n"), probes.unwrap_or_default(), known)
    }

    #[test]
    fn every_kind_has_its_keys_and_defaults() {
        let text = "steady_state:\n- {http: 'http://[::1]:8080/healthz'}\n- {tcp: 'db:5432', name: db}\n\
                    - {process: myapp, min: 3, timeout_ms: 100, interval_seconds: 0.5, failures_before_halt: 1, \
                    successes_before_resume: 4, while: idle}\n";
        let (wrong, probes, known) = read_text(text);
        assert_eq!(wrong, "");
        let [http, tcp, process] = probes.as_slice() else { panic!("{probes:?}") };
        let url = Url::parse("http://[::1]:8080/healthz").unwrap();
        assert_eq!((http.name.as_str(), &http.what), ("http://[::1]:8080/healthz", &What::Http(url, 200)));
        assert_eq!((http.timeout.as_millis(), http.interval.as_secs()), (500, 5));
        assert_eq!((http.failures, http.successes, http.idle_only), (2, 2, false));
        assert_eq!(
            (tcp.name.as_str(), &tcp.what),
            ("db", &What::Tcp(Place::parse("db:5432", None).unwrap()))
        );
        assert_eq!(process.what, What::Process("myapp".to_owned(), 3));
        assert_eq!((process.timeout.as_millis(), process.interval.as_millis()), (100, 500));
        assert_eq!((process.failures, process.successes, process.idle_only), (1, 4, true));
        // What is printed as the effective config reads back as the same.
        let again = read_text(&known);
        assert_eq!((again.0.as_str(), again.1), ("", probes), "{known}");
        assert_eq!(read_text("{}").1, []);
    }

    #[test]
    fn a_name_has_neither_query_nor_login() {
        let name = |item: &str| read_text(&format!("steady_state: [{item}]")).1[0].name.clone();
        assert_eq!(name("{http: 'http://a/x?token=hunter2'}"), "http://a/x");
        assert_eq!(name("{http: 'http://a?token=hunter2#x'}"), "http://a");
        assert_eq!(name("{tcp: 'a:1', name: 'see https://u:p@b/?c=d'}"), "see https://b/");
        assert_eq!(name("{tcp: 'a:1', name: 'is it up?'}"), "is it up?");
        let (wrong, ..) = read_text("steady_state: [{http: 'http://a/?b'}, {http: 'http://a/?c'}]");
        assert!(
            wrong.contains("is the name of an earlier probe too; give each a name of its own"),
            "{wrong}"
        );
    }

    #[test]
    fn probes_are_a_hundred_at_most() {
        let list = |count| {
            let items: Vec<String> = (0..count).map(|number| format!("{{process: p{number}}}")).collect();
            read_text(&format!("steady_state: [{}]", items.join(", "))).0
        };
        assert_eq!(list(100), "");
        assert!(
            list(101).contains("steady_state[100]: is the 101st probe; 100 are allowed"),
            "{}",
            list(101)
        );
    }

    #[test]
    fn every_wrong_probe_is_told() {
        for (item, wanted) in [
            ("{}", "steady_state[0]: has no probe; give one of http, tcp and process"),
            ("{htp: x}", "did you mean http?"),
            ("{http: 'http://a', tcp: 'a:1'}", "has more than one probe"),
            ("{http: 'https://a'}", "steady_state[0].http: \"https://a\" needs TLS"),
            ("{http: 'http://a', expect_status: 20}", "a whole number from 100 to 599"),
            ("{http: 'http://a', min: 2}", "steady_state[0].min: 2 has no use without process; remove it"),
            ("{tcp: localhost}", "\"localhost\" has no port; write HOST:PORT"),
            ("{tcp: 5432}", "5432 is not allowed: a text"),
            ("{tcp: 'a:1', expect_status: 200}", "200 has no use without http"),
            ("{process: ''}", "is no name of a process"),
            ("{process: /bin/app}", "without its folder"),
            ("{process: a, min: 0}", "a whole number from 1"),
            ("{process: a, name: ''}", "name: \"\" is empty"),
            ("{process: a, timeout_ms: 60000}", "from 1 to 10000"),
            ("{process: a, interval_seconds: 0}", "from 0.1"),
            ("{process: a, failures_before_halt: 0}", "from 1 to 1000"),
            ("{process: a, while: busy}", "one of always, idle"),
            ("{process: a, timeout_ms: 5000}", "warning:1:41: steady_state[0].timeout_ms: 5000 is not below"),
            ("{process: a}, {process: a}", "steady_state[1].name: is the name of an earlier probe too"),
            (
                "{process: a}, {tcp: 'b:1', name: a}",
                "steady_state[1].name: \"a\" is the name of an earlier probe",
            ),
        ] {
            let (wrong, _, _) = read_text(&format!("steady_state: [{item}]"));
            assert!(wrong.contains(wanted) && wrong.lines().count() <= 2, "{item}: {wrong}");
        }
    }

    #[test]
    fn processes_are_counted_by_name_and_the_dead_are_not() {
        use std::os::unix::process::CommandExt;
        use std::process::{Child, Command};
        let word = format!("p{:x}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(&word);
        // The kernel names a process after the link.
        std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
        let start = |program: &Path, title: &str, time: &str| -> Child {
            Command::new(program).arg0(title).arg(time).spawn().unwrap()
        };
        let counts = |name: &str| count(Path::new("/proc"), name.as_bytes()).unwrap();
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let end = std::time::Instant::now() + Duration::from_secs(60);
            while !done() {
                assert!(std::time::Instant::now() < end, "{what}: {} are {word}", counts(&word));
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let mut by_name = start(&link, "sleep", "1000");
        until("a name", &|| counts(&word) == 1);
        let mut by_title = start(Path::new("sleep"), &format!("/opt/x/{word}"), "1000");
        until("a title", &|| counts(&word) == 2);
        let mut zombie = start(&link, "sleep", "0");
        let stat = format!("/proc/{}/stat", zombie.id());
        until("a zombie", &|| {
            std::fs::read_to_string(&stat).unwrap().starts_with(&format!("{} ({word}) Z", zombie.id()))
        });
        assert_eq!(counts(&word), 2);
        let part = &word[..word.len() - 1];
        assert_eq!((counts(&format!("x{word}")), counts(part)), (0, 0), "only the whole name counts");
        by_name.kill().unwrap();
        until("an end", &|| counts(&word) == 1);
        by_title.kill().unwrap();
        until("the other end", &|| counts(&word) == 0);
        for child in [&mut by_name, &mut by_title, &mut zombie] {
            child.wait().unwrap();
        }
    }
}
