//! Config files: any bytes are a config or a list of problems, and what a config amounts to loads to the same.

use chaos_agent::config;
use chaos_agent::error::Error;
use chaos_agent::failures::KINDS;
use chaos_agent::settings::{self, Report};
use proptest::prelude::*;
use std::fmt::Write;

/// Lines that are nearly a config: keys of all places with values of all kinds.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("agent"),
        Just("failures"),
        Just("logging"),
        Just("metrics"),
        Just("cpu"),
        Just("memory"),
        Just("disk"),
        Just("enabled"),
        Just("probability"),
        Just("duration_seconds"),
        Just("interval_seconds"),
        Just("type"),
        Just("schedule"),
        Just("mb"),
        Just("cores"),
        Just("<<"),
        Just("? x"),
        Just("- a"),
        Just("&a b"),
    ];
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("~".to_owned()),
        Just("*a".to_owned()),
        Just("[1, {a: 2}]".to_owned()),
        Just("|\n  text".to_owned()),
        Just("!!str x".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[ -~]{0,12}",
        Just(String::new()),
    ];
    let line = (0..4usize, key, value)
        .prop_map(|(depth, key, value)| format!("{}{key}: {value}\n", "  ".repeat(depth)));
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.concat())
}

fn total(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut report = Report::default();
    if let Some(text) = settings::decode(bytes, &mut report) {
        let node = settings::parse(&text, &mut report);
        prop_assert!(node.is_some() || !report.is_clean(), "neither a tree nor a problem");
    }
    match config::parse("f", bytes, KINDS) {
        Ok(loaded) => {
            prop_assert!(loaded.config.entries.iter().all(|entry| !entry.enabled || entry.failure.is_some()));
            prop_assert_eq!(again(&loaded.effective)?, loaded.effective);
        }
        Err(Error::Config(text)) => prop_assert!(text.lines().all(|line| line.starts_with("f:")), "{}", text),
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

/// The effective config of an effective config.
fn again(text: &str) -> Result<String, TestCaseError> {
    let loaded = config::parse("f", text.as_bytes(), KINDS);
    loaded.map(|loaded| loaded.effective).map_err(|error| TestCaseError::fail(format!("{error}\nin {text}")))
}

/// What is given for one entry: its keys by name, each with a value that is allowed or none.
fn entry() -> impl Strategy<Value = String> {
    let (share, time) = (0.0..=1.0f64, 0.001..=86_400.0f64);
    let common = (any::<bool>(), share, time).prop_map(|(enabled, probability, duration)| {
        format!("enabled: {enabled}, probability: {probability}, duration_seconds: {duration}")
    });
    let own = prop_oneof![
        (1..64u32, 1..=100u32)
            .prop_map(|(cores, load)| format!("type: cpu, cores: {cores}, load_percent: {load}")),
        (1..=1u32 << 20).prop_map(|mb| format!("type: memory, mb: {mb}")),
        (1..=1u32 << 20, 0..100u32)
            .prop_map(|(mb, keep)| format!("type: disk, path: /x, mb: {mb}, headroom_mb: {keep}")),
        (0.0..=100.0f64, 0.0..=1e4f64)
            .prop_map(|(loss, delay)| format!("type: network, loss_percent: {loss}, delay_ms: {delay}")),
    ];
    (common, own).prop_map(|(common, own)| format!("{{{common}, {own}}}"))
}

proptest! {
    #![proptest_config(crate::cases(500))]

    #[test]
    fn any_bytes_are_a_config_or_problems(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        total(&bytes)?;
        total(text.as_bytes())?;
    }

    #[test]
    fn nearly_a_config_is_a_config_or_problems(text in nearly()) {
        total(text.as_bytes())?;
    }

    #[test]
    fn the_effective_config_loads_to_the_same(
        interval in 0.01..=1e4f64, seed in proptest::option::of(any::<u64>()), dry_run in any::<bool>(),
        entries in proptest::collection::vec(entry(), 0..5),
    ) {
        let mut text = format!("agent: {{interval_seconds: {interval}, dry_run: {dry_run}");
        if let Some(seed) = seed {
            write!(text, ", seed: {seed}").unwrap();
        }
        text += "}\nfailures:\n";
        for (number, entry) in entries.iter().enumerate() {
            writeln!(text, "  e{number}: {entry}").unwrap();
        }
        if entries.is_empty() {
            text += "  {}\n";
        }
        let effective = again(&text)?;
        prop_assert_eq!(again(&effective)?, effective);
    }
}
