//! One log line, as text and as JSON.

use crate::text::civil::timestamp;
use crate::text::json::Object;
use log::Level;
use std::fmt::{self, Write};
use std::time::SystemTime;

/// One record without its message.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub time: SystemTime,
    pub level: Level,
    /// The module that says it.
    pub target: &'a str,
    pub host: &'a str,
}

impl Line<'_> {
    /// `2026-11-23T12:00:00.123Z INFO  message`. Control characters are escaped: a process name with a newline
    /// in it must not write a line of its own, nor colours and worse to a terminal.
    pub fn text(&self, message: &fmt::Arguments<'_>) -> String {
        let mut line = format!("{} {:<5} ", timestamp(self.time), self.level_name());
        _ = Plain(&mut line).write_fmt(*message);
        line.push('\n');
        line
    }

    /// One object with the keys of Py-Chaos-Agent.
    pub fn json(&self, message: &fmt::Arguments<'_>) -> String {
        let mut line = Object::new();
        line.text("timestamp", &timestamp(self.time)).text("level", self.level_name());
        line.text("logger", self.target).says("message", message);
        line.text("service", "chaos-agent").text("hostname", self.host);
        line.end() + "\n"
    }

    fn level_name(&self) -> &'static str {
        match self.level {
            Level::Error => "ERROR",
            Level::Warn => "WARNING",
            Level::Info => "INFO",
            Level::Debug | Level::Trace => "DEBUG",
        }
    }
}

/// Escapes what is no printable text.
struct Plain<'a>(&'a mut String);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter.is_control() {
                true => write!(self.0, "{}", letter.escape_default())?,
                false => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(seconds: u64) -> Line<'static> {
        let time = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
        Line { time, level: Level::Warn, target: "chaos_agent::linux::sys", host: "a\"b" }
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let said = line(0).text(&format_args!("process {} é", "a\nb\u{1b}[31m\u{9b}"));
        assert_eq!(said, "1970-01-01T00:00:00.007Z WARNING process a\\nb\\u{1b}[31m\\u{9b} é\n");
        let said = line(0).json(&format_args!("{} \"x\"\\", "a\nb\u{1b}\0"));
        assert_eq!(
            said,
            r#"{"timestamp":"1970-01-01T00:00:00.007Z","level":"WARNING","logger":"chaos_agent::linux::sys","message":"a\nb\u001b\u0000 \"x\"\\","service":"chaos-agent","hostname":"a\"b"}"#
                .to_owned()
                + "\n"
        );
    }
}
