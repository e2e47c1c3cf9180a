//! Whole configs against stand-ins for the four kinds of failure.

use super::*;
use crate::dice::decide::{Limits, StopAfter};
use crate::error::{Error, Result};
use crate::failures::{Failure, Host, Injection, KINDS, Kind, Outcome};
use crate::settings::{Keys, Section, keys};
use std::time::Duration;

struct Nothing;

impl Failure for Nothing {
    fn check(&self, _: &Host) -> Result<()> {
        Ok(())
    }

    fn describe(&self, _: &Host) -> String {
        String::new()
    }

    fn inject(&self, _: &Injection<'_>) -> Result<Outcome> {
        Ok(Outcome::Success)
    }
}

fn done() -> Option<Box<dyn Failure>> {
    Some(Box::new(Nothing))
}

fn cpu(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    section.integer("cores");
    done()
}

fn memory(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    section.integer("mb");
    done()
}

fn process(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    section.require("target_name");
    section.text("target_name")?;
    done()
}

fn network(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    section.text("interface");
    section.number("delay_ms");
    section.choice("tc");
    done()
}

const CPU: Keys = keys! { "cores" Whole "0 to 1024" = "1": "how many"; };
const MEMORY: Keys = keys! { "mb" Whole "1 to 1048576" = "100": "how much"; };
const PROCESS: Keys = keys! { "target_name" Text "a text" or "required": "who"; };
const NETWORK: Keys = keys! {
    "interface" Text "a text" = "eth0": "where";
    "delay_ms" Number "0 to 10000" = "100": "how long";
    "tc" Choice "auto, builtin, system" = "auto": "by what";
};

static FOUR: [Kind; 4] = [
    Kind { name: "cpu", timed: true, guarded: false, keys: CPU, parse: cpu },
    Kind { name: "memory", timed: true, guarded: false, keys: MEMORY, parse: memory },
    Kind { name: "process", timed: false, guarded: true, keys: PROCESS, parse: process },
    Kind { name: "network", timed: true, guarded: true, keys: NETWORK, parse: network },
];

fn good(text: &str) -> Loaded {
    parse("f", text.as_bytes(), &FOUR).unwrap_or_else(|error| panic!("{error}\nin {text}"))
}

fn bad(text: &str) -> String {
    match parse("f", text.as_bytes(), &FOUR) {
        Err(Error::Config(text)) => text,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("no problem in {text}"),
    }
}

/// The shipped configs and the fixtures, by path.
fn shipped() -> Vec<(String, String)> {
    let mut files = vec!["config/config.yaml".to_owned()];
    for folder in ["config/examples", "tests/program/configs"] {
        let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.extend(names.map(|path| path.to_str().unwrap().to_owned()));
    }
    assert!(files.len() >= 8);
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn real(text: &str) -> Loaded {
    parse("f", text.as_bytes(), KINDS).unwrap_or_else(|error| panic!("{error}\nin {text}"))
}

#[test]
fn every_shipped_config_and_every_one_of_the_predecessor_loads() {
    for (path, text) in shipped() {
        let loaded = real(&text);
        assert!(loaded.warnings.is_empty(), "{path}: {:?}", loaded.warnings);
        assert_eq!(loaded.config.agent.dry_run, path == "config/config.yaml", "{path}");
    }
    assert!(embedded().unwrap().config.agent.dry_run);
}

#[test]
fn the_effective_config_loads_again_to_the_same() {
    let small = "failures: {}".to_owned();
    for (path, text) in shipped().into_iter().chain([("small".to_owned(), small)]) {
        let effective = real(&text).effective;
        assert_eq!(real(&effective).effective, effective, "{path}");
    }
}

#[test]
fn the_default_config_shows_every_key_and_the_defaults() {
    let text = std::fs::read_to_string("config/config.yaml").unwrap();
    let loaded = real(&text);
    // In a comment or not: a section and its keys, for each section of the effective config.
    let lines = |text: &str| text.lines().map(|line| line.replacen("# ", "", 1)).collect::<Vec<_>>();
    let documented = lines(&text);
    for line in loaded.effective.lines() {
        // An item of a list has no key.
        let Some((key, _)) = line.split_once(':') else { continue };
        let known = documented.iter().any(|found| found.split(':').next() == Some(key));
        assert!(known || key == "    type", "{key:?} is not in config/config.yaml");
    }
    let defaults = real("failures: {}").config;
    assert_eq!(defaults.logging, loaded.config.logging);
    assert_eq!(Agent { dry_run: true, ..defaults.agent }, loaded.config.agent);
}

#[test]
fn every_commented_key_of_the_default_config_is_a_key() {
    let text = std::fs::read_to_string("config/config.yaml").unwrap();
    let mut tried = 0;
    for line in text.lines().filter(|line| line.trim_start().starts_with("# ") && line.starts_with(' ')) {
        tried += 1;
        let with = text.replace(line, &line.replacen("# ", "", 1));
        // Some need another key, or exclude one; but every one must be known.
        let said =
            parse("f", with.as_bytes(), KINDS).map_or_else(|error| error.to_string(), |_| String::new());
        assert!(!said.contains("known key") && !said.contains("not valid YAML"), "{line}: {said}");
        assert!(!said.contains("is not allowed:"), "{line}: {said}");
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn values_arrive_in_the_model() {
    let config = good(
        "agent: {interval_seconds: 0.5, dry_run: yes, seed: 18446744073709551615, max_concurrent: 2,\n\
         \x20 metrics: {enabled: off, address: '::', port: 65535}}\n\
         failures:\n\
         \x20 a: {type: cpu, enabled: true, probability: 1e-3, duration_seconds: 2.5, cores: 0}\n\
         \x20 process: {enabled: false}\n\
         logging: {level: warning, format: JSON, command_lines: on, console: {enabled: no},\n\
         \x20 file: {enabled: true, path: /tmp/x, max_size_mb: 0.5, backup_count: 0}}\n",
    )
    .config;
    let metrics = Metrics { enabled: false, address: "::".parse().unwrap(), port: 65_535 };
    let (interval, seed) = (Duration::from_millis(500), Some(u64::MAX));
    let limits = Limits { max_concurrent: Some(2), ..Limits::default() };
    assert_eq!(
        config.agent,
        Agent {
            interval,
            dry_run: true,
            seed,
            metrics,
            limits,
            halt: false,
            halt_file: None,
            rest_when_gone: Vec::new(),
            steady: Vec::new(),
            audit_file: None,
            audit_log: false
        }
    );
    let [a, process] = config.entries.as_slice() else { panic!("two entries") };
    assert_eq!((a.name(), a.kind.name, a.enabled, a.rule.probability), ("a", "cpu", true, Some(0.001)));
    assert_eq!(a.duration, Duration::from_millis(2500));
    assert!(a.failure.is_some() && process.failure.is_none() && !process.enabled);
    let logging = crate::text::logging::Options {
        level: log::LevelFilter::Warn,
        json: true,
        console: false,
        file: true,
        path: "/tmp/x".into(),
        max_size: 512 << 10,
        backups: 0,
        command_lines: true,
    };
    assert_eq!(config.logging, logging);
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let said =
        bad("agent:\n  interval_seconds: 0\n  metrics: {port: 70000, address: here}\n  dryrun: true\n\
         failures:\n  cpu:\n    enabled: true\n    probability: 1.5\n    core: 2\n\
         \x20 netwrk: {enabled: true, probability: 1}\n  other: {type: disc}\n  process:\n    enabled: true\n\
         \x20 memory: {probability: .inf}\n\
         extra: 1\nlogging: {level: LOUD}\n");
    assert_eq!(
        said,
        "f:2:21: agent.interval_seconds: 0 is not allowed: a number of seconds from 0.001 to 86400\n\
         f:3:19: agent.metrics.port: 70000 is not allowed: a whole number from 1 to 65535\n\
         f:3:35: agent.metrics.address: \"here\" is no IP address; for example 0.0.0.0, :: or 127.0.0.1\n\
         f:4:3: agent.dryrun: is not a known key; did you mean dry_run?\n\
         f:6:3: failures.cpu.duration_seconds: is missing\n\
         f:8:18: failures.cpu.probability: 1.5 is not allowed: a number from 0 to 1\n\
         f:9:5: failures.cpu.core: is not a known key; did you mean cores?\n\
         f:10:3: failures.netwrk: is not a type of failure, and there is no type: in it; \
         did you mean network? known: cpu, memory, process, network\n\
         f:11:17: failures.other.type: \"disc\" is not a type of failure; one of cpu, memory, process, network\n\
         f:12:3: failures.process.probability: is missing\n\
         f:12:3: failures.process.target_name: is missing\n\
         f:14:25: failures.memory.probability: .inf is not allowed: a number from 0 to 1\n\
         f:15:1: extra: is not a known key; known here: agent, failures, logging\n\
         f:16:18: logging.level: \"LOUD\" is not allowed: one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
    );
}

#[test]
fn a_config_without_failures_is_refused() {
    for (text, said) in [
        ("", "f:1:1: the file is empty; a config needs a failures section"),
        ("# nothing\n", "f:1:1: the file is empty; a config needs a failures section"),
        ("~", "f:1:1: the file is empty; a config needs a failures section"),
        ("- a", "f:1:1: the file is no config: it must be a mapping (key: value lines)"),
        ("agent", "f:1:1: the file is no config: it must be a mapping (key: value lines)"),
        ("agent: {}", "f:1:1: failures: is missing or empty; write failures: {} for an agent without faults"),
        (
            "failures:",
            "f:1:10: failures: is missing or empty; write failures: {} for an agent without faults",
        ),
        ("failures: [cpu]", "f:1:1: failures: a list of 1 is not allowed: a mapping (key: value lines)"),
        ("failures: {cpu: true}", "f:1:17: failures.cpu: true is not allowed: a mapping (key: value lines)"),
    ] {
        assert_eq!(bad(text), said, "{text:?}");
    }
}

#[test]
fn what_can_be_used_but_is_odd_is_a_warning() {
    let warnings = |text: &str| good(text).warnings.join("\n");
    assert_eq!(warnings("failures: {}"), "f:1:1: failures: nothing is enabled: the agent will do nothing");
    let entry = "failures: {cpu: {enabled: true, probability: 0, duration_seconds: 1}}";
    assert_eq!(
        warnings(entry),
        "f:1:46: failures.cpu.probability: 0 is the probability of an enabled entry: it will never happen"
    );
    let entry = "failures: {process: {enabled: true, probability: 1, duration_seconds: 5, target_name: abc}}";
    assert_eq!(
        warnings(entry),
        "f:1:71: failures.process.duration_seconds: 5 has no effect: process takes no time"
    );
    let entry = "failures: {cpu: {enabled: true, probability: 1, duration_seconds: 1}}";
    for (interval, warned) in [("0.99", true), ("1", false), ("300", false), ("300.5", true)] {
        let text = format!("{entry}\nagent: {{interval_seconds: {interval}}}");
        assert_eq!(warnings(&text).contains("agent.interval_seconds: "), warned, "{interval}");
    }
}

#[test]
fn entries_can_share_an_anchor() {
    let loaded = good(
        "x-common: &common {enabled: true, probability: 0.5, duration_seconds: 1}\n\
         failures:\n  a: {<<: *common, type: cpu}\n  b: {<<: *common, type: memory, probability: 1}\n",
    );
    let read: Vec<_> =
        loaded.config.entries.iter().map(|entry| (entry.enabled, entry.rule.probability)).collect();
    assert_eq!(read, [(true, Some(0.5)), (true, Some(1.0))]);
}

#[test]
fn what_bounds_the_dice_arrives_in_the_model() {
    let text = "agent: {max_injections_per_hour: 3, stop_after: 90m, halt: true, halt_file: /run/halt,\n\
         \x20 audit_file: /tmp/audit, audit_log: true, schedule: '* 9-17 * * mon-fri', timezone: '+02:00'}\n\
         failures:\n\
         \x20 own: {type: cpu, enabled: true, schedule: '0 12 * * *', timezone: Z, duration_seconds: 1}\n\
         \x20 both: {type: cpu, enabled: true, schedule: '@hourly', probability: 0.5, duration_seconds: 1}\n";
    let loaded = good(text);
    let agent = &loaded.config.agent;
    let minutes = Duration::from_secs(5400);
    assert_eq!((agent.limits.per_hour, agent.limits.stop_after), (Some(3), Some(StopAfter::Time(minutes))));
    assert!(agent.halt && agent.audit_log);
    assert_eq!(agent.halt_file.as_deref(), Some(std::path::Path::new("/run/halt")));
    assert_eq!(agent.audit_file.as_deref(), Some(std::path::Path::new("/tmp/audit")));
    // 2026-11-24, a Tuesday, 12:00 UTC.
    let noon = 1_795_521_600;
    assert!(agent.limits.schedule.unwrap().matches(noon));
    assert!(!agent.limits.schedule.unwrap().matches(noon + 4 * 3600), "18:00 at +02:00");
    let rules: Vec<_> = loaded.config.entries.iter().map(|entry| &entry.rule).collect();
    assert_eq!((rules[0].probability, rules[1].probability), (None, Some(0.5)));
    assert!(rules[0].schedule.unwrap().matches(noon) && rules[1].schedule.unwrap().matches(noon));
    assert_eq!(rules[1].schedule.unwrap().offset.minutes(), 120, "the agent's");
    let again = good(&loaded.effective);
    assert_eq!(again.effective, loaded.effective);
    let settings = |loaded: &Loaded| loaded.config.entries[1].settings.clone();
    assert_eq!(settings(&again), settings(&loaded));
    assert_ne!(
        settings(&good(&text.replace("+02:00", "+03:00"))),
        settings(&loaded),
        "another time of the day"
    );
}

#[test]
fn what_bounds_the_dice_is_checked() {
    let agent = |keys: &str| bad(&format!("agent: {{{keys}}}\nfailures: {{}}\n"));
    for (keys, said) in [
        ("schedule: '* * *'", "agent.schedule: \"* * *\" is no schedule; "),
        ("schedule: '0 0 30 2 *'", "agent.schedule: \"0 0 30 2 *\" is no schedule; it never comes"),
        ("timezone: Europe/Berlin", "agent.timezone: \"Europe/Berlin\" is no offset; "),
        (
            "stop_after: soon",
            "agent.stop_after: \"soon\" is not allowed; a number of seconds, a time such as",
        ),
        ("stop_after: 0 injections", "agent.stop_after: "),
        ("stop_after: -5", "agent.stop_after: "),
        ("max_injections_per_hour: 0", "agent.max_injections_per_hour: "),
        ("halt: maybe", "agent.halt: "),
        (
            "interval_seconds: 61, schedule: '* * * * *'",
            "agent.interval_seconds: 61 is too long for a schedule",
        ),
    ] {
        let problems = agent(keys);
        assert!(problems.contains(said) && problems.lines().count() == 1, "{keys}: {problems}");
    }
    let entry = "failures: {cpu: {enabled: true, duration_seconds: 1}}";
    assert!(bad(entry).contains("failures.cpu.probability: is missing"));
}

#[test]
fn equal_files_have_equal_hashes() {
    let hash = |text: &str| good(text).config.hash;
    assert_eq!(hash("failures: {}"), hash("failures: {}"));
    assert_ne!(hash("failures: {}"), hash("failures: {} "));
}

#[test]
fn no_mutation_of_a_config_panics_or_passes_without_a_config() {
    let text = std::fs::read("tests/program/configs/predecessor.yaml").unwrap();
    let words = [
        "true",
        "~",
        "-1",
        ".nan",
        "1e309",
        "99999999999999999999999999999999999999999",
        "[]",
        "{}",
        "&a",
        "*a",
        "<<",
        "!x",
        "\"",
        "- ",
        "\t",
        "---\n",
        ": ",
        "\u{feff}",
        "cpu",
    ];
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..2000 {
        let mut bytes = text.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bytes.len());
            let end = (at + random.usize(..9)).min(bytes.len());
            let word = words[random.usize(..words.len())].as_bytes();
            match random.usize(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.splice(at..end, word.iter().copied())),
                _ => drop(bytes.splice(at..at, word.iter().copied())),
            }
        }
        match parse("f", &bytes, &FOUR) {
            Ok(loaded) => {
                assert!(loaded.config.entries.iter().all(|entry| !entry.enabled || entry.failure.is_some()))
            }
            Err(error) => assert!(!error.to_string().is_empty() && error.exit_code() == 64),
        }
    }
}

/// Every declared key, as a row of its table: kind's letter, allowed, default, help.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let tables = [TOP, keys::ENTRY, keys::LOGGING, crate::steady::KEYS];
    let tables = tables.into_iter().chain(KINDS.iter().map(|kind| kind.keys));
    tables.flat_map(|keys| keys.0.lines()).map(|row| row.split_once('|').unwrap()).map(split).collect()
}

fn split((name, rest): (&'static str, &'static str)) -> (&'static str, Vec<&'static str>) {
    (name, rest.split('|').collect())
}

#[test]
fn every_declaration_is_sound() {
    for (name, row) in rows() {
        let [kind, allowed, default, help] = row[..] else { panic!("{name}: a | in {row:?}") };
        assert!(!help.is_empty() || kind == "m", "{name} has no help");
        assert!(!allowed.is_empty() || kind == "b" || help.is_empty(), "{name}: what is allowed?");
        // A default that would be refused if it stood in a file is none.
        let value = default.strip_prefix('=').map(|value| value.split(',').next().unwrap());
        if let Some(value) = value {
            let (low, high) = allowed.split_once(" to ").unwrap_or(("", ""));
            let fits = match kind {
                "b" => value == "true" || value == "false",
                "w" | "n" | "s" => {
                    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::MAX);
                    number(low) <= number(value) && number(value) <= number(high)
                }
                "c" => allowed.split(", ").any(|word| word == value),
                _ => true,
            };
            assert!(fits, "{name}: {value} is not in {allowed}");
        }
        if ["w", "n", "s"].contains(&kind) {
            let (low, high) = allowed.split_once(" to ").unwrap();
            assert!(low.parse::<f64>().is_ok(), "{name}: {low}");
            assert!(high.parse::<f64>().is_ok() || (kind == "w" && high == "2^64-1"), "{name}: {high}");
        }
    }
    let kinds: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert!(keys::ENTRY.0.contains(&format!("type|t|{}|", kinds.join(", "))));
    assert_eq!(real("failures: {}").config.logging, crate::text::logging::Options::default());
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_declarations() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let mut tables = 0;
    for table in reference(None).split_inclusive("<!-- end -->\n") {
        let first = table.lines().next().unwrap();
        assert!(readme.contains(table), "README.md differs behind {first}: run ./build.sh docs");
        tables += 1;
    }
    assert_eq!(readme.matches("<!-- keys: ").count(), tables, "a table of keys that nobody makes");
    assert_eq!(reference(Some("cpu")).lines().count(), 4 + KINDS[0].keys.0.lines().count());
    assert_eq!(reference(Some("nothing")), "");
}

#[test]
fn the_help_of_a_kind_has_its_keys_within_a_terminal() {
    for kind in KINDS {
        let help = crate::failures::help(kind);
        assert!(help.lines().all(|line| line.chars().count() < 100), "{help}");
        let names: Vec<_> = crate::failures::key_names(kind).collect();
        assert!(
            names.len() > 4
                && names.iter().all(|name| help.contains(&format!("\n  {name}: "))
                    || help.starts_with(&format!("  {name}: ")))
        );
    }
    let help = crate::failures::help(&KINDS[0]);
    assert!(
        help.starts_with(
            "  cores: 0 to 1024, fractions too, or \"50%\"; default: 1\n      threads that burn;"
        ),
        "{help}"
    );
    let help = crate::failures::help(KINDS.iter().find(|kind| kind.name == "network").unwrap());
    assert!(
        help.contains("\n    targets.cidr: 10.0.0.0/8, fd00::1; default: any\n        range of addresses\n"),
        "{help}"
    );
}

#[test]
fn one_wrong_value_hides_no_other_problem() {
    for (entry, wanted) in [
        ("type: memory, mb: 1Gi, percent: 5", &["mb: \"1Gi\" is not allowed", "stands beside `mb`"][..]),
        ("type: memory, mb: 1Gi, percent: 0", &["mb: \"1Gi\"", "stands beside", "percent: 0 is not allowed"]),
        ("type: disk, path: 5, mb: x, percent: 3", &["path: 5", "mb: \"x\"", "stands beside"]),
        ("type: process, target_name: myapp, pick: all, count: []", &["count: "]),
        ("type: process, target_name: myapp, signal: [HUP, TERM]", &["signal: a list of 2 is not allowed"]),
        (
            "type: network, interface: 3, interfaces: [a]",
            &["interface: 3 stands", "interface: 3 is not allowed"],
        ),
        (
            "type: tpyo, enabled: 5, probability: 7",
            &["enabled: 5", "probability: 7", "no type|is not a type"],
        ),
    ] {
        let text = format!("failures: {{a: {{{entry}}}}}");
        let said = parse("f", text.as_bytes(), KINDS).err().unwrap().to_string();
        for words in wanted {
            assert!(words.split('|').any(|words| said.contains(words)), "{entry}: no {words} in {said}");
        }
        assert!(said.lines().count() <= 3, "{said}");
    }
}

#[test]
fn the_effective_config_shows_the_values_that_hold() {
    let shown = |entry: &str| {
        let text = format!("failures: {{a: {{{entry}}}}}");
        let effective = real(&text).effective;
        assert_eq!(real(&effective).effective, effective);
        effective
    };
    let kill = shown("type: process, target_name: myapp");
    assert!(kill.contains("\n    count: 1\n") && kill.contains("\n    signal: TERM\n"), "{kill}");
    assert!(shown("type: process, target_name: myapp, signal: 9").contains("\n    signal: 9\n"));
    let pause = shown("type: process, target_name: myapp, action: pause, duration_seconds: 5");
    assert!(pause.contains("\n    signal: null\n"), "{pause}");
    let all = shown("type: process, target_name: myapp, pick: all");
    assert!(!all.contains("\n    count:"), "{all}");
    let io = shown("type: disk, path: /data, action: io, read_mb_per_s: 3");
    assert!(io.contains("write_mb_per_s: 0\n") && io.contains("fsync_per_s: 0\n"), "{io}");
}

#[test]
fn a_mistyped_key_is_told_with_its_nearest_wherever_it_is_read() {
    for (entry, wanted) in [
        ("type: memory, precent: 50", "did you mean percent?"),
        ("type: process, target_name: myapp, exclud: [{name: x}]", "did you mean exclude?"),
        ("type: process, target_name: myapp, mach: {uid: 1}", "did you mean match?"),
        ("type: network, interfcaes: [eth0]", "did you mean interfaces?"),
        ("type: network, los_model: {type: state}", "did you mean loss_model?"),
        ("type: network, targets: [{cidr: 10.0.0.0/8, hosst: a}]", "did you mean host?"),
        ("type: disk, path: /data, precent: 50", "did you mean percent?"),
    ] {
        let text = format!("failures: {{a: {{{entry}}}}}");
        let said = parse("f", text.as_bytes(), KINDS).err().unwrap().to_string();
        assert!(said.contains(wanted) && said.lines().count() == 1, "{entry}: {said}");
    }
    // What stands beside another key is one problem, and a key all the same.
    for entry in [
        "type: network, targets: [{cidr: 10.0.0.0/8, host: a}]",
        "type: memory, mb: 5, percent: 5, of: limit",
        "type: network, loss_model: {type: state, p13: 1, r: 5}",
    ] {
        let text = format!("failures: {{a: {{{entry}}}}}");
        let said = parse("f", text.as_bytes(), KINDS).err().unwrap().to_string();
        assert!(!said.contains("not a known key") && said.lines().count() == 1, "{entry}: {said}");
    }
}

#[test]
fn a_halt_file_is_an_absolute_path() {
    let agent = |keys: &str| format!("agent: {{{keys}}}\nfailures: {{}}\n");
    for (value, said) in [
        ("halt", "\"halt\" is not an absolute path; a relative one is another file in every folder"),
        ("./halt", "is not an absolute path"),
        ("~/halt", "is not an absolute path"),
        ("''", "is not an absolute path"),
        ("/run/", "names a folder"),
        ("“/run/halt”", "is in quotes that mean nothing here; the typographic quotes are part of the name"),
        ("/run/halt”", "is in quotes that mean nothing here"),
        ("‘/run/halt’", "is in quotes that mean nothing here"),
        ("«/run/halt»", "is in quotes that mean nothing here"),
        ("[/run/halt]", "is not allowed: a text"),
    ] {
        let problems = bad(&agent(&format!("halt_file: {value}")));
        assert!(problems.contains("agent.halt_file: ") && problems.contains(said), "{value}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for value in ["/run/halt", "/run/l’halt/x", "/ä b"] {
        assert_eq!(
            good(&agent(&format!("halt_file: {value}"))).config.agent.halt_file.unwrap().to_str(),
            Some(value)
        );
    }
}

#[test]
fn texts_in_typographic_quotes_are_warned_of_wherever_they_stand() {
    let text = "agent: {audit_file: “/tmp/a”, halt_file: /run/halt}\nfailures:\n  a: {type: cpu, schedule: ‘* * * * *’}\n";
    let said = bad(text);
    assert!(said.contains("is no schedule"), "{said}");
    let text = "agent: {audit_file: “/tmp/a”}\nlogging: {file: {path: „x“}}\nfailures: {}\n";
    let warned = good(text).warnings.join("\n");
    for key in ["f:1:21: agent.audit_file: ", "f:2:24: logging.file.path: "] {
        assert!(warned.contains(&format!("{key}begins with a typographic quote")), "{warned}");
    }
}

#[test]
fn names_that_must_be_there_are_one_or_a_list() {
    let names = |value: &str| {
        let text = format!("agent: {{rest_when_gone: {value}}}\nfailures: {{}}\n");
        parse("f", text.as_bytes(), &FOUR).map(|loaded| loaded.config.agent.rest_when_gone)
    };
    assert_eq!(names("' MyApp '").unwrap(), ["myapp"]);
    assert_eq!(names("[nginx, 8080]").unwrap(), ["nginx", "8080"]);
    assert!(names("~").unwrap().is_empty() && names("[]").unwrap().is_empty());
    for wrong in ["''", "[a, ' ']"] {
        let said = names(wrong).unwrap_err().to_string();
        assert!(said.contains("agent.rest_when_gone: ") && said.contains("has an empty name"), "{said}");
    }
    assert!(names("{a: b}").is_err());
}
