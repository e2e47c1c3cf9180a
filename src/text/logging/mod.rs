//! Log lines: to standard output as text or JSON, and, where asked for, as JSON to a file that is rotated by
//! size. env_logger filters; what it prints and where is decided here.
//!
//! Logging never ends the agent, and nobody waits for it ([`Queue`]): a file that cannot be opened or written is told
//! once and tried again later, and lines that nobody takes are dropped and counted.

mod file;
mod line;
mod queue;

pub use file::{RotatedFile, reopen};
pub use queue::{Queue, dropped};

use super::output;
use crate::linux::sys::{clock, usage};
use line::Line;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
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
    /// Whether log and audit trail show the command lines of victims, redacted.
    pub command_lines: bool,
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
            command_lines: false,
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
    COMMAND_LINES.store(options.command_lines, Ordering::Relaxed);
    let mut options = options.clone();
    let get = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (filters, trouble) = environment(&mut options, get);

    let file = options.file.then(|| {
        let file = RotatedFile::new(options.path, options.max_size, options.backups);
        Queue::new(file.into_sink(|why| log::warn!("the log file: {why}")))
    });
    let mut builder = env_logger::Builder::new();
    builder.filter_level(options.level).parse_filters(&filters);
    let filter = builder.build();
    log::set_max_level(filter.filter());
    let logger = Logger { filter, console: options.console, json: options.json, host: hostname(), file };
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
    // Refused when it is set already, by an earlier call.
    _ = log::set_logger(&SWITCH);
    trouble
}

/// Where lines go, and which.
struct Logger {
    filter: env_logger::Logger,
    console: bool,
    json: bool,
    host: String,
    file: Option<Queue>,
}

impl Logger {
    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            self.put(clock::now(), record);
        }
    }

    fn put(&self, time: SystemTime, record: &Record<'_>) {
        let put = |queue: &Queue, json: bool| {
            let text = |line: &Line<'_>, message: &fmt::Arguments<'_>| match json {
                true => line.json(message),
                false => line.text(message),
            };
            let line = Line { time, level: record.level(), target: record.target(), host: &self.host };
            let notice = |lost: u64| {
                let warning = Line { level: Level::Warn, target: module_path!(), ..line };
                text(
                    &warning,
                    &format_args!("{lost} log lines before this one were dropped: nobody took them"),
                )
            };
            queue.push(text(&line, record.args()), &notice);
        };
        if self.console {
            put(CONSOLE.get_or_init(|| Queue::console(Box::new(output::print))), self.json);
        }
        if let Some(file) = &self.file {
            put(file, true);
        }
    }
}

/// A line that waits for somebody to know whether it is worth being told.
struct Held {
    time: SystemTime,
    level: Level,
    target: String,
    text: String,
}

/// Lines that one thread may hold back; with more of them, what it does is told.
const HELD: usize = 200;

thread_local! {
    /// What this thread has said since [`hold`].
    static HOLDING: RefCell<Option<Vec<Held>>> = const { RefCell::new(None) };
}

/// Keeps what this thread says from now on, errors excepted, until [`let_go`].
pub fn hold() {
    HOLDING.set(Some(Vec::new()));
}

/// Logs what was kept, as it would have been, or as DEBUG where it is not worth being `told`.
pub fn let_go(told: bool) {
    for held in HOLDING.take().into_iter().flatten() {
        let level = if told { held.level } else { Level::Debug };
        let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
        let Some(logger) = current.as_ref() else { return };
        let metadata = Metadata::builder().level(level).target(&held.target).build();
        if logger.filter.enabled(&metadata) {
            let mut record = Record::builder();
            let record = record.metadata(metadata);
            logger.put(held.time, &record.args(format_args!("{}", held.text)).build());
        }
    }
}

/// Keeps a record if this thread holds its lines back.
fn is_held(record: &Record<'_>) -> bool {
    let full = HOLDING.with_borrow_mut(|holding| {
        let held = holding.as_mut().filter(|_| record.level() != Level::Error)?;
        let (target, text) = (record.target().to_owned(), record.args().to_string());
        held.push(Held { time: clock::now(), level: record.level(), target, text });
        Some(held.len() >= HELD)
    });
    if full == Some(true) {
        let_go(true);
    }
    full.is_some()
}

/// The way to standard output, for as long as the process lives.
static CONSOLE: OnceLock<Queue> = OnceLock::new();
/// Whether command lines of other processes may be shown, redacted, in the log and the audit trail.
pub fn command_lines() -> bool {
    COMMAND_LINES.load(Ordering::Relaxed)
}

static COMMAND_LINES: AtomicBool = AtomicBool::new(false);

/// What [`Switch`] hands every record to.
static CURRENT: RwLock<Option<Logger>> = RwLock::new(None);

/// The process's logger for good, behind which the real one can be changed.
struct Switch;

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|logger| logger.filter.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if is_held(record) {
            return;
        }
        if let Some(logger) = CURRENT.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            logger.log(record);
        }
    }

    fn flush(&self) {
        queue::flush();
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
