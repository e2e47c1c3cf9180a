//! Log lines: to standard output as text or JSON, and, where asked for, as JSON to a file that is rotated by
//! size. env_logger filters; what it prints and where is decided here.
//!
//! Logging never ends the agent: a file that cannot be opened or written is told on the console once, and
//! tried again later.

mod file;
mod line;

pub use file::RotatedFile;

use crate::linux::sys::usage;
use line::Line;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// The names of the levels in configs and in `LOG_LEVEL`. The log crate knows nothing above an error, so
/// CRITICAL shows what ERROR shows.
pub const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// What is logged, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The least important level that is shown.
    pub level: LevelFilter,
    /// JSON on the console instead of text. The file is JSON always, as Py-Chaos-Agent's was.
    pub json: bool,
    /// Whether there are lines on standard output.
    pub console: bool,
    /// Whether there is a file. Off by default, unlike in Py-Chaos-Agent: the image has a read-only root, and
    /// a sidecar's log belongs to the container runtime.
    pub file: bool,
    /// The file; rotated ones are called `PATH.1` (the newest), `PATH.2` and so on.
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated; 0 never rotates.
    pub max_size: u64,
    /// How many rotated files are kept; with 0 the file starts over instead.
    pub backups: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            level: LevelFilter::Info,
            json: false,
            console: true,
            file: false,
            path: PathBuf::from("./logs/agent.log"),
            max_size: 10 << 20,
            backups: 5,
        }
    }
}

/// The filter behind one of [`LEVELS`], in capitals or not.
pub fn level(name: &str) -> Option<LevelFilter> {
    const FILTERS: [LevelFilter; 5] =
        [LevelFilter::Debug, LevelFilter::Info, LevelFilter::Warn, LevelFilter::Error, LevelFilter::Error];
    let index = LEVELS.iter().position(|level| level.eq_ignore_ascii_case(name))?;
    FILTERS.get(index).copied()
}

/// Starts logging, or changes how it is done when called again. The environment goes over `options`:
/// `LOG_LEVEL`, `LOG_FORMAT` (or `JSON_LOGS`), `LOG_FILE` (which turns the file on), `ENABLE_FILE_LOGGING`,
/// `ENABLE_CONSOLE_LOGGING`, and `RUST_LOG` over all. Returns what is wrong with these, for the log.
pub fn init(options: &Options) -> Vec<String> {
    static SWITCH: Switch = Switch;
    let mut options = options.clone();
    let get = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (filters, mut trouble) = environment(&mut options, get);

    let mut file = None;
    if options.file {
        let mut rotated = RotatedFile::new(options.path.clone(), options.max_size, options.backups);
        trouble.extend(rotated.open().err().map(|why| format!("{why}; the log goes on without the file")));
        file = Some(Mutex::new(rotated));
    }
    let (console, json, host) = (options.console, options.json, hostname());
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Stdout).filter_level(options.level).parse_filters(&filters);
    builder.format(move |out, record| {
        let mut print = |line: &Line<'_>, message: &fmt::Arguments<'_>| match (console, json) {
            (false, _) => Ok(()),
            (true, true) => out.write_all(line.json(message).as_bytes()),
            (true, false) => out.write_all(line.text(message).as_bytes()),
        };
        let line =
            Line { time: SystemTime::now(), level: record.level(), target: record.target(), host: &host };
        print(&line, record.args())?;
        let Some(file) = &file else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.write(&line.json(record.args())) {
            Some(why) => print(&Line { level: Level::Warn, ..line }, &format_args!("{why}")),
            None => Ok(()),
        }
    });
    let logger = builder.build();
    log::set_max_level(logger.filter());
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
    // Refused when it is set already, by an earlier call.
    _ = log::set_logger(&SWITCH);
    trouble
}

/// What [`Switch`] hands every record to.
static CURRENT: RwLock<Option<env_logger::Logger>> = RwLock::new(None);

/// The process's logger for good, behind which the real one can be changed.
struct Switch;

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = CURRENT.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            logger.log(record);
        }
    }

    fn flush(&self) {
        _ = std::io::stdout().flush();
    }
}

/// Applies the environment. Returns the directives of `RUST_LOG` that make sense, and what does not.
fn environment(options: &mut Options, get: impl Fn(&str) -> Option<String>) -> (String, Vec<String>) {
    let mut trouble = Vec::new();
    let get = |name: &str| get(name).filter(|value| !value.is_empty());
    let mut wrong = |name: &str, value: &str, allowed: &str| {
        trouble.push(format!("{name}={value:?} is ignored: {allowed}"));
    };
    let mut truth = |name: &str, into: &mut bool| {
        let Some(value) = get(name) else { return };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => *into = true,
            "false" | "0" | "no" | "off" => *into = false,
            _ => wrong(name, &value, "true or false"),
        }
    };
    truth("JSON_LOGS", &mut options.json);
    truth("ENABLE_CONSOLE_LOGGING", &mut options.console);
    options.file |= get("LOG_FILE").is_some();
    truth("ENABLE_FILE_LOGGING", &mut options.file);
    if let Some(path) = get("LOG_FILE") {
        options.path = PathBuf::from(path);
    }
    if let Some(value) = get("LOG_LEVEL") {
        match level(&value) {
            Some(level) => options.level = level,
            None => wrong("LOG_LEVEL", &value, &format!("one of {}", LEVELS.join(", "))),
        }
    }
    if let Some(value) = get("LOG_FORMAT") {
        match value.to_ascii_lowercase().as_str() {
            "json" => options.json = true,
            "text" => options.json = false,
            _ => wrong("LOG_FORMAT", &value, "text or json"),
        }
    }
    let filters = get("RUST_LOG").unwrap_or_default();
    // env_logger would print its complaints with a macro that panics when standard error is closed, and take
    // a misspelt level for the name of a module.
    let (sense, nonsense): (Vec<_>, Vec<_>) =
        filters.split(',').map(str::trim).filter(|part| !part.is_empty()).partition(|part| directive(part));
    for part in nonsense {
        wrong("RUST_LOG", part, "off, error, warn, info, debug or trace, or MODULE=LEVEL");
    }
    (sense.join(","), trouble)
}

fn directive(text: &str) -> bool {
    match text.split_once('=') {
        Some((module, level)) => !module.is_empty() && level.parse::<LevelFilter>().is_ok(),
        None => text.parse::<LevelFilter>().is_ok() || text.starts_with("chaos_agent"),
    }
}

/// The name of this machine, which in a pod is the name of the pod.
pub fn hostname() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).or_else(usage::hostname);
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(pairs: &[(&str, &str)]) -> (Options, String, Vec<String>) {
        let mut options = Options::default();
        let get =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let (filters, trouble) = environment(&mut options, get);
        (options, filters, trouble)
    }

    #[test]
    fn the_environment_goes_over_the_config() {
        let (options, filters, trouble) = apply(&[
            ("LOG_LEVEL", "warning"),
            ("JSON_LOGS", "Yes"),
            ("LOG_FILE", "/var/log/a.log"),
            ("ENABLE_CONSOLE_LOGGING", "0"),
            ("RUST_LOG", "info,chaos_agent::linux::sys=debug"),
        ]);
        let expected = Options {
            level: LevelFilter::Warn,
            json: true,
            console: false,
            file: true,
            path: "/var/log/a.log".into(),
            ..Options::default()
        };
        assert_eq!((options, filters.as_str()), (expected, "info,chaos_agent::linux::sys=debug"));
        assert_eq!(trouble, [""; 0]);
        let (options, ..) = apply(&[
            ("LOG_FILE", "x"),
            ("ENABLE_FILE_LOGGING", "false"),
            ("JSON_LOGS", "true"),
            ("LOG_FORMAT", "TEXT"),
        ]);
        assert!(!options.file && !options.json);
        assert_eq!(apply(&[("LOG_LEVEL", ""), ("LOG_FILE", ""), ("RUST_LOG", "")]).0, Options::default());
    }

    #[test]
    fn wrong_words_in_the_environment_are_told_and_ignored() {
        let (options, filters, trouble) = apply(&[
            ("LOG_LEVEL", "loud"),
            ("JSON_LOGS", "maybe"),
            ("LOG_FORMAT", "xml"),
            ("RUST_LOG", "inof,x=bogus,warn"),
        ]);
        assert_eq!((options, filters.as_str()), (Options::default(), "warn"));
        assert_eq!(
            trouble,
            [
                r#"JSON_LOGS="maybe" is ignored: true or false"#,
                r#"LOG_LEVEL="loud" is ignored: one of DEBUG, INFO, WARNING, ERROR, CRITICAL"#,
                r#"LOG_FORMAT="xml" is ignored: text or json"#,
                r#"RUST_LOG="inof" is ignored: off, error, warn, info, debug or trace, or MODULE=LEVEL"#,
                r#"RUST_LOG="x=bogus" is ignored: off, error, warn, info, debug or trace, or MODULE=LEVEL"#,
            ]
        );
    }

    #[test]
    fn every_level_has_its_filter() {
        assert_eq!(level("critical"), Some(LevelFilter::Error));
        assert_eq!(LEVELS.map(|name| level(name).is_some()), [true; 5]);
        assert_eq!(level("trace"), None);
    }
}
