//! The words of a command line as a config with one entry, read and checked like any other.

use crate::agent::INJECT;
use crate::commands::words::Parsed;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::failures::{self, KINDS};
use crate::settings::{self, Report, Value};
use crate::text::json;
use std::fmt::Write;
use std::time::Duration;

/// How long a fault holds when nobody says how long.
const DEFAULT: Duration = Duration::from_secs(30);

/// The config that the words stand for.
///
/// # Errors
/// They cannot be used (exit 64): every problem, a line each, with the key that has it.
#[inline(never)]
pub fn read(parsed: &Parsed<'_>) -> Result<Config> {
    let kind = parsed.text("TYPE").unwrap_or_default();
    let mut text =
        format!("failures:\n  {INJECT}:\n    type: {kind}\n    enabled: true\n    probability: 1\n");
    let pairs = || parsed.all("KEY=VALUE").filter_map(|pair| pair.split_once('='));
    let paused = pairs().any(|pair| pair == ("action", "pause"));
    let given = pairs().any(|(key, _)| key == "duration_seconds");
    let timed = paused || failures::kind(kind).is_some_and(|kind| kind.timed);
    let duration = parsed.time("--for");
    if duration.is_some() || (timed && !given) {
        let seconds = duration.unwrap_or(DEFAULT).as_secs_f64();
        _ = writeln!(text, "    duration_seconds: {seconds}");
    }
    for (key, value) in pairs() {
        if value.contains(['\n', '\r']) || value.is_empty() {
            return Err(Error::usage(format!("the value of {key} is not allowed: one line of text")));
        }
        text += "    ";
        json::string(&mut text, key);
        text += ": ";
        match is_yaml(value) {
            true => text += value,
            false => json::string(&mut text, value),
        }
        text.push('\n');
    }
    match config::parse("", text.as_bytes(), KINDS) {
        Ok(loaded) => Ok(loaded.config),
        Err(Error::Config(lines)) => Err(Error::Config(plain(&lines))),
        Err(error) => Err(error),
    }
}

/// Whether a value is what YAML makes of it, as it would stand in a config: `2`, `50%`, `"a"`, `[a, b]`, `{port: 80}`.
/// Anything else (`nginx: worker`, `*`, `a #1`, `- x`) is the text that was typed.
fn is_yaml(value: &str) -> bool {
    let mut report = Report::default();
    let tree = settings::parse(&format!("x: {value}\n"), &mut report).filter(|_| report.is_clean());
    let Some(Value::Map(pairs)) = tree.map(|tree| tree.value) else { return false };
    match pairs.as_slice() {
        [pair] => match &pair.node.value {
            Value::Text(text) => text == value || value.starts_with(['"', '\'']),
            Value::List(_) | Value::Map(_) => value.starts_with(['[', '{']),
            _ => true,
        },
        _ => false,
    }
}

/// Without the places in a file that nobody wrote.
fn plain(lines: &str) -> String {
    let line = |line: &str| {
        let text = line.split_once(": ").map_or(line, |(_, text)| text);
        let text = text.strip_prefix("failures.").unwrap_or(text);
        format!("chaos-agent inject: {}", text.strip_prefix("inject.").unwrap_or(text))
    };
    lines.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_yaml_is_text() {
        for value in
            ["2", "50%", "\"a: b\"", "'it''s'", "[a, b]", "{port: 80}", "nginx", "true", "null", "1.5"]
        {
            assert!(is_yaml(value), "{value}");
        }
        for value in [
            "nginx: worker",
            "nginx:",
            "a #1",
            "*",
            "*a",
            "&a b",
            "!x y",
            "- x",
            "| ",
            "> a",
            "@x",
            "%x",
            "`x`",
            "{name: ",
            "[1",
            "\"a",
            "'",
            "a: b: c",
            ", b",
            "? x",
            "x\t#y",
            "{a: 1} b",
            " a ",
        ] {
            assert!(!is_yaml(value), "{value}");
        }
    }
}
