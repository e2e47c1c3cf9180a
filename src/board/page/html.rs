//! HTML under construction. Whatever is not written in this program goes through [`Html::put`], which escapes it:
//! names of processes and entries may hold anything.

use crate::text::civil::timestamp;
use std::time::{Duration, SystemTime};

/// Letters of a value that are shown at most, so that the page keeps within what the server sends.
const MOST: usize = 300;

/// A page under construction.
pub struct Html(pub String);

impl Html {
    /// Appends `template` with each `$` replaced by the next one of `values`, which stay text wherever the `$` stands:
    /// between tags or in a quoted attribute.
    pub fn put(&mut self, template: &str, values: &[&str]) {
        let mut values = values.iter();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            self.0.push_str(before);
            self.text(values.next().copied().unwrap_or_default());
            rest = after;
        }
        self.0.push_str(rest);
    }

    fn text(&mut self, value: &str) {
        for (count, letter) in value.chars().enumerate() {
            if count == MOST {
                self.0.push('…');
                return;
            }
            self.0.push_str(match letter {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\n' | '\t' => " ",
                // These would turn around the text that follows (Unicode's bidirectional controls).
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "\u{fffd}",
                letter if letter.is_control() => "\u{fffd}",
                letter => {
                    self.0.push(letter);
                    continue;
                }
            });
        }
    }

    /// Appends up to `most` items, each in the `$` of `template`, and how many more there are.
    pub fn list(&mut self, template: &str, most: usize, items: &[String], all: usize) {
        for item in items.iter().take(most) {
            self.put(template, &[item]);
        }
        self.more(template, all.saturating_sub(most.min(items.len())));
    }

    /// Appends how many items are left out, in the `$` of `template`; nothing if there are none.
    pub fn more(&mut self, template: &str, count: usize) {
        if count > 0 {
            self.put(template, &[&format!("… and {count} more, see /status")]);
        }
    }
}

/// A length of time for a person: two units at most.
pub fn span(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let (large, unit, small, part) = match seconds {
        0 if millis > 0 => return format!("{millis} ms"),
        0..100 => {
            let tenths = seconds * 10 + u64::from(millis + 50) / 100;
            let whole = tenths / 10;
            return match tenths % 10 {
                0 => format!("{whole} s"),
                tenth => format!("{whole}.{tenth} s"),
            };
        }
        100..7200 => ("min", 60, "s", 1),
        7200..172_800 => ("h", 3600, "min", 60),
        _ => ("d", 86_400, "h", 3600),
    };
    format!("{} {large} {} {small}", seconds / unit, seconds % unit / part)
}

/// When something ended that took so long.
pub fn end(started: SystemTime, took: Duration) -> SystemTime {
    started.checked_add(took).unwrap_or(started)
}

/// How long ago that was; zero if a clock that was set back has it in the future.
pub fn ago(started: SystemTime, took: Duration, now: SystemTime) -> Duration {
    now.duration_since(end(started, took)).unwrap_or_default()
}

/// `HH:MM:SS` (UTC), and the date before it if it is another one than that of `now`.
pub fn clock(time: SystemTime, now: SystemTime) -> String {
    let (time, now) = (timestamp(time), timestamp(now));
    let (date, rest) = time.split_once('T').unwrap_or((&time, ""));
    let (today, rest) = (now.starts_with(date), rest.split('.').next().unwrap_or_default());
    if today { rest.to_owned() } else { [date, rest].join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn values_stay_text_and_templates_do_not() {
        let mut html = Html(String::new());
        html.put("<a href=\"$\">$</a>$", &["\"><b>&", "\u{1b}[31m\0\u{202e}ü\u{9b}\r\nx$"]);
        assert_eq!(
            html.0,
            "<a href=\"&quot;&gt;&lt;b&gt;&amp;\">\u{fffd}[31m\u{fffd}\u{fffd}ü\u{fffd}\u{fffd} x$</a>"
        );
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_many_is_counted() {
        let mut html = Html(String::new());
        html.put("$", &[&"ü".repeat(MOST + 1)]);
        assert_eq!(html.0, "ü".repeat(MOST) + "…");
        let mut html = Html(String::new());
        html.list("[$]", 2, &["a", "b"].map(str::to_owned), 2);
        html.list("[$]", 2, &["c", "d"].map(str::to_owned), 3);
        assert_eq!(html.0, "[a][b][c][d][… and 1 more, see /status]");
    }

    #[test]
    fn times_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0 s"),
            (7, "7 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (1049, "1 s"),
            (1050, "1.1 s"),
            (59_949, "59.9 s"),
            (59_950, "60 s"),
            (99_999, "100 s"),
            (100_000, "1 min 40 s"),
            (7_199_999, "119 min 59 s"),
            (7_200_000, "2 h 0 min"),
            (172_800_000, "2 d 0 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text, "{millis}");
        }
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(clock(at(86_399), at(0)), "23:59:59");
        assert_eq!(clock(at(86_399), at(86_400)), "1970-01-01 23:59:59");
    }
}
