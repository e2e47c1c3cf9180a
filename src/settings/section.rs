//! A typed reader over one mapping of a settings file.

use super::nearest::nearest;
use super::print::shown;
use super::report::Report;
use super::tree::{At, Node, Pair, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A number or a text, for settings that take either: `2` or `"50%"`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A finite number.
    Number(f64),
    /// Anything else.
    Text(String),
}

/// One mapping being read. Every key that is asked for is known from then on, and its effective value is
/// remembered; when the reader is done, the keys that nobody asked for are problems.
///
/// A key that is absent or `null` has its default. A value that is wrong is a problem in the report, and the
/// reader gets the default (or `None`), so that it goes on and finds the next problem.
pub struct Section<'a> {
    /// Keys down to this section; empty at the top.
    path: String,
    at: At,
    pairs: &'a [Pair],
    report: &'a mut Report,
    required: bool,
    known: Vec<Pair>,
}

impl<'a> Section<'a> {
    /// The top of a file: `node` must be a mapping; anything else reads as an empty one (say so before).
    pub fn top(node: &'a Node, report: &'a mut Report) -> Section<'a> {
        let pairs = if let Value::Map(pairs) = &node.value { pairs.as_slice() } else { &[] };
        let at = At { line: 1, column: 1 };
        Section { path: String::new(), at, pairs, report, required: false, known: Vec::new() }
    }

    /// Whether what is being read is in use, so that it must be complete.
    pub fn required(&self) -> bool {
        self.required
    }

    /// Says whether what is being read is in use; sections inside follow.
    pub fn set_required(&mut self, required: bool) {
        self.required = required;
    }

    /// Whether the key is there with a value that is not null.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some_and(|pair| pair.node.value != Value::Null)
    }

    /// Every key of the mapping, in the order of the file.
    pub fn keys(&self) -> Vec<&'a str> {
        self.pairs.iter().map(|pair| pair.key.as_str()).collect()
    }

    /// A problem if the section is in use ([`Section::required`]) and lacks the key.
    pub fn require(&mut self, key: &str) {
        if self.required && !self.has(key) {
            self.report.problem(self.at, &self.path_of(key), "is missing");
        }
    }

    /// Notes a problem with the value of `key`: `why` goes on after the value ("is too short"), `hint` says
    /// what to do and may be empty. An empty key is the section itself.
    pub fn problem(&mut self, key: &str, why: impl AsRef<str>, hint: impl AsRef<str>) {
        let (at, mut text) = self.about(key, why.as_ref());
        let hint = hint.as_ref();
        if !hint.is_empty() {
            text = format!("{text}; {hint}");
        }
        self.report.problem(at, &self.path_of(key), &text);
    }

    /// Notes what should be known about the value of `key` although it can be used, like [`Section::problem`].
    pub fn warning(&mut self, key: &str, why: impl AsRef<str>) {
        let (at, text) = self.about(key, why.as_ref());
        self.report.warning(at, &self.path_of(key), &text);
    }

    fn about(&self, key: &str, why: &str) -> (At, String) {
        match self.find(key).map(|pair| &pair.node) {
            None => (self.at, why.to_owned()),
            Some(Node { at, value: Value::Map(_) | Value::List(_) | Value::Null }) => (*at, why.to_owned()),
            Some(Node { at, value }) => (*at, format!("{} {why}", shown(value))),
        }
    }

    /// `true` or `false`, also in the words of YAML 1.1: `yes`, `no`, `on`, `off`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = match self.value(key) {
            Some(Value::Bool(value)) => Some(*value),
            Some(Value::Text(word)) => match word.to_ascii_lowercase().as_str() {
                "yes" | "on" => Some(true),
                "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.mismatch(key, "true or false");
        }
        self.record(key, value.map_or(Value::Null, Value::Bool));
        value
    }

    /// [`Section::boolean`] with a default.
    pub fn boolean_or(&mut self, key: &str, default: bool) -> bool {
        let value = self.boolean(key).unwrap_or(default);
        self.record(key, Value::Bool(value));
        value
    }

    /// A whole number; 3.0 and 3e0 are whole too.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = match self.value(key) {
            Some(Value::Int(value)) => u64::try_from(*value).ok(),
            // 2^53: from there on, not every whole number is a float.
            Some(Value::Float(value)) if value.fract() == 0.0 && (0.0..=9e15).contains(value) => {
                Some(*value as u64)
            }
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (range.start(), range.end());
            self.mismatch(
                key,
                &match *high {
                    u64::MAX => format!("a whole number from {low}"),
                    _ => format!("a whole number from {low} to {high}"),
                },
            );
        }
        self.record(key, value.map_or(Value::Null, |value| Value::Int(value.into())));
        value
    }

    /// [`Section::integer`] with a default.
    pub fn integer_or(&mut self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let value = self.integer(key, range).unwrap_or(default);
        self.record(key, Value::Int(value.into()));
        value
    }

    /// A finite number.
    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        self.measure(key, range, &what)
    }

    /// [`Section::number`] with a default.
    pub fn number_or(&mut self, key: &str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let value = self.number(key, range).unwrap_or(default);
        self.record(key, value.into());
        value
    }

    /// A time in seconds, fractions allowed.
    pub fn seconds(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<Duration> {
        let what = format!("a number of seconds from {} to {}", range.start(), range.end());
        let value = self.measure(key, range, &what)?;
        Duration::try_from_secs_f64(value).ok()
    }

    /// [`Section::seconds`] with a default, in seconds.
    pub fn seconds_or(&mut self, key: &str, range: RangeInclusive<f64>, default: f64) -> Duration {
        match self.seconds(key, range) {
            Some(value) => value,
            None => {
                self.record(key, default.into());
                Duration::try_from_secs_f64(default).unwrap_or_default()
            }
        }
    }

    fn measure(&mut self, key: &str, range: RangeInclusive<f64>, what: &str) -> Option<f64> {
        let value = match self.value(key) {
            Some(Value::Int(value)) => Some(*value as f64),
            Some(Value::Float(value)) => Some(*value),
            _ => None,
        };
        // NaN is in no range.
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.mismatch(key, what);
        }
        self.record(key, value.map_or(Value::Null, Value::from));
        value
    }

    /// A text; numbers, `true` and the like count only in quotes.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = match self.value(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(key, "a text");
        }
        self.record(key, value.clone().map_or(Value::Null, Value::Text));
        value
    }

    /// [`Section::text`] with a default.
    pub fn text_or(&mut self, key: &str, default: &str) -> String {
        let value = self.text(key).unwrap_or_else(|| default.to_owned());
        self.record(key, Value::Text(value.clone()));
        value
    }

    /// One of some words, in capitals or not.
    pub fn choice(&mut self, key: &str, words: &[&'static str]) -> Option<&'static str> {
        let value = match self.value(key) {
            Some(Value::Text(text)) => words.iter().copied().find(|word| word.eq_ignore_ascii_case(text)),
            // An unquoted `on`, `off`, `true` ... may be one of the words.
            Some(Value::Bool(value)) => words.iter().copied().find(|word| *word == value.to_string()),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(key, &one_of(words));
        }
        self.record(key, value.map_or(Value::Null, |word| Value::Text(word.to_owned())));
        value
    }

    /// [`Section::choice`] with a default.
    pub fn choice_or(&mut self, key: &str, words: &[&'static str], default: &'static str) -> &'static str {
        let value = self.choice(key, words).unwrap_or(default);
        self.record(key, Value::Text(value.to_owned()));
        value
    }

    /// A finite number or a text.
    pub fn scalar(&mut self, key: &str) -> Option<Scalar> {
        let value = match self.value(key) {
            Some(Value::Int(value)) => Some(Scalar::Number(*value as f64)),
            Some(Value::Float(value)) if value.is_finite() => Some(Scalar::Number(*value)),
            Some(Value::Text(text)) => Some(Scalar::Text(text.clone())),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(key, "a number or a text");
        }
        self.record(
            key,
            match &value {
                None => Value::Null,
                Some(Scalar::Number(value)) => Value::from(*value),
                Some(Scalar::Text(text)) => Value::Text(text.clone()),
            },
        );
        value
    }

    /// The same, with a default that the effective config shows.
    pub fn strings_or(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        if self.has(key) {
            return self.strings(key).unwrap_or_default();
        }
        _ = self.value(key);
        let words = || default.iter().map(|word| (*word).to_owned());
        self.record(key, Value::List(words().map(|word| Value::Text(word).into()).collect()));
        words().collect()
    }

    /// A text or a list of texts; whole numbers count as text, so that ports need no quotes.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        let word = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(value) => Some(value.to_string()),
            _ => None,
        };
        let value = match self.value(key) {
            Some(Value::List(items)) => items.iter().map(|item| word(&item.value)).collect(),
            Some(value) => word(value).map(|word| vec![word]),
            None => None,
        };
        if value.is_none() {
            self.mismatch(key, "a text or a list of texts");
        }
        let texts = |words: &Vec<String>| words.iter().map(|word| Value::Text(word.clone()).into()).collect();
        self.record(key, value.as_ref().map_or(Value::Null, |words| Value::List(texts(words))));
        value
    }

    /// A mapping inside, read by `read`. An absent one is read as an empty one, so that its defaults are known;
    /// ask [`Section::has`] first where absence means something else.
    pub fn child<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        let mut inside = self.open(key)?;
        let value = read(&mut inside);
        let known = inside.finish();
        self.record(key, Value::Map(known));
        value
    }

    fn open(&mut self, key: &str) -> Option<Section<'_>> {
        let (at, pairs) = match self.find(key) {
            None => (self.at, [].as_slice()),
            Some(pair) => match &pair.node.value {
                Value::Map(pairs) => (pair.at, pairs.as_slice()),
                Value::Null => (pair.at, [].as_slice()),
                _ => {
                    self.mismatch(key, "a mapping (key: value lines)");
                    self.record(key, Value::Null);
                    return None;
                }
            },
        };
        let (path, required) = (self.path_of(key), self.required);
        Some(Section { path, at, pairs, report: self.report, required, known: Vec::new() })
    }

    /// A list of mappings, each read by `read`; `None` if it is absent. An item for which `read` returns
    /// `None` is left out (it has reported why).
    pub fn each<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(Value::List(items)) = self.value(key) else {
            self.mismatch(key, "a list of mappings (- key: value lines)");
            self.record(key, Value::Null);
            return None;
        };
        let (mut read_ones, mut known) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            let at = if item.at == At::default() { self.at } else { item.at };
            let Value::Map(pairs) = &item.value else {
                let why = format!("{} is not allowed: a mapping (key: value lines)", shown(&item.value));
                self.report.problem(at, &path, &why);
                continue;
            };
            let required = self.required;
            let mut inside = Section { path, at, pairs, report: self.report, required, known: Vec::new() };
            read_ones.extend(read(&mut inside));
            known.push(Value::Map(inside.finish()).into());
        }
        self.record(key, Value::List(known));
        Some(read_ones)
    }

    /// Takes a key over as it stands, known but unread: room for what only other programs read.
    pub fn ignore(&mut self, key: &str) {
        if let Some(pair) = self.find(key) {
            self.record(key, pair.node.value.clone());
        }
    }

    /// Ends the reading without a word about keys that nobody asked for: for a section of unknown kind.
    pub fn abandon(&mut self) {
        self.pairs = &[];
    }

    /// Ends the reading: every key that nobody asked for is a problem. Returns every known key with its
    /// effective value, in the order of asking.
    pub fn finish(self) -> Vec<Pair> {
        for pair in self.pairs {
            let known = || self.known.iter().map(|known| known.key.as_str());
            if known().any(|known| known == pair.key) {
                continue;
            }
            let hint = match nearest(&pair.key, known()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.report.problem(pair.at, &self.path_of(&pair.key), &format!("is not a known key; {hint}"));
        }
        self.known
    }

    fn find(&self, key: &str) -> Option<&'a Pair> {
        self.pairs.iter().find(|pair| pair.key == key)
    }

    /// The value of a key unless absent or null.
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.find(key).map(|pair| &pair.node.value).filter(|value| **value != Value::Null)
    }

    /// Notes that a value that is there is not what it must be.
    fn mismatch(&mut self, key: &str, allowed: &str) {
        let Some(Pair { node, .. }) = self.find(key) else { return };
        let hint = match &node.value {
            Value::Null => return,
            Value::Text(text) if !allowed.contains("text") => unquote(text, allowed),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if allowed == "a text" => "; put it in quotes",
            _ => "",
        };
        let text = format!("{} is not allowed: {allowed}{hint}", shown(&node.value));
        self.report.problem(node.at, &self.path_of(key), &text);
    }

    /// Remembers the effective value, instead of an earlier one.
    fn record(&mut self, key: &str, value: Value) {
        match self.known.iter_mut().find(|known| known.key == key) {
            Some(known) => known.node.value = value,
            None => self.known.push(Pair::new(key, value)),
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// "one of a, b, c".
pub(super) fn one_of(words: &[&'static str]) -> String {
    format!("one of {}", words.join(", "))
}

/// What to do about a text where a number or a truth value is wanted.
fn unquote(text: &str, allowed: &str) -> &'static str {
    let number = text.trim().parse::<f64>().is_ok();
    let starts_as_number = text.trim_start_matches(['-', '+', '.']).starts_with(|c: char| c.is_ascii_digit());
    match allowed.contains("number") {
        true if number => "; remove the quotes or leading zeros",
        true if starts_as_number => "; write a plain number without a unit",
        false if matches!(text, "true" | "false") => "; remove the quotes",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// Reads `text` with `read`; returns what is wrong and the effective settings.
    fn read(text: &str, read: impl FnOnce(&mut Section<'_>)) -> (String, String) {
        let mut report = Report::default();
        let node = parse(text, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report);
        read(&mut section);
        let known = Node::from(Value::Map(section.finish())).to_yaml();
        let mut lines = report.problems("f");
        lines.extend(report.warnings("warning"));
        (lines.join("\n"), known)
    }

    #[test]
    fn values_of_every_type_are_read_and_remembered() {
        let text = "b: on\ni: 3.0\nn: 1e-1\ns: 0.5\nt: x\nc: Info\nq: 50%\nl: [80, a]\nm: {k: 1}\ne: [{p: 1}, {p: 2}]\n";
        let (wrong, known) = read(text, |section| {
            assert_eq!(section.boolean("b"), Some(true));
            assert_eq!(section.integer("i", 0..=9), Some(3));
            assert_eq!(section.number("n", 0.0..=1.0), Some(0.1));
            assert_eq!(section.seconds("s", 0.0..=1.0), Some(Duration::from_millis(500)));
            assert_eq!(section.text("t"), Some("x".to_owned()));
            assert_eq!(section.choice("c", &["DEBUG", "INFO"]), Some("INFO"));
            assert_eq!(section.scalar("q"), Some(Scalar::Text("50%".to_owned())));
            assert_eq!(section.strings("l"), Some(vec!["80".to_owned(), "a".to_owned()]));
            assert_eq!(section.child("m", |inside| inside.integer("k", 0..=1)), Some(1));
            assert_eq!(section.each("e", |inside| inside.integer("p", 0..=9)), Some(vec![1, 2]));
            assert_eq!(section.scalar("none"), None);
        });
        assert_eq!(wrong, "");
        assert_eq!(
            known,
            "b: true\ni: 3\n\"n\": 0.1\ns: 0.5\nt: x\nc: INFO\nq: \"50%\"\nl:\n  - \"80\"\n  - a\nm:\n  k: 1\ne:\n  - p: 1\n  - p: 2\nnone: null\n"
        );
    }

    #[test]
    fn absent_and_null_mean_the_default() {
        for text in ["{}", "b: ~\ni:\nn: null\ns: ~\nt:\nc: ~\nm:\ne: ~\n"] {
            let (wrong, known) = read(text, |section| {
                assert!(section.boolean_or("b", true) && !section.has("b"));
                assert_eq!(section.integer_or("i", 0..=9, 4), 4);
                assert_eq!(section.number_or("n", 0.0..=1.0, 0.5), 0.5);
                assert_eq!(section.seconds_or("s", 0.0..=9.0, 2.0), Duration::from_secs(2));
                assert_eq!(section.text_or("t", "eth0"), "eth0");
                assert_eq!(section.choice_or("c", &["text", "json"], "text"), "text");
                assert_eq!(section.child("m", |inside| Some(inside.integer_or("k", 0..=9, 7))), Some(7));
                assert_eq!(section.each("e", |_| Some(())), None);
                section.require("t");
            });
            assert_eq!(wrong, "");
            assert_eq!(known, "b: true\ni: 4\n\"n\": 0.5\ns: 2\nt: eth0\nc: text\nm:\n  k: 7\ne: null\n");
        }
    }

    #[test]
    fn every_wrong_value_is_told_with_place_value_and_what_is_allowed() {
        let text = "b: 1\nb2: \"true\"\ni: -1\ni2: 1.5\ni3: \"7\"\nn: .nan\nn2: 10s\nn3: 1e400\nt: 5\nc: loud\nl: {}\nm: [1]\ne: [{p: x}, 3]\n";
        let (wrong, _) = read(text, |section| {
            section.boolean("b");
            section.boolean("b2");
            section.integer("i", 0..=9);
            section.integer("i2", 1..=u64::MAX);
            section.integer("i3", 0..=9);
            section.number("n", 0.0..=1.0);
            section.seconds("n2", 0.5..=9.0);
            section.number("n3", 0.0..=1.0);
            section.text("t");
            section.choice("c", &["DEBUG", "INFO"]);
            section.strings("l");
            assert_eq!(section.child("m", |_| Some(())), None);
            assert_eq!(section.each("e", |inside| inside.integer("p", 0..=9)), Some(vec![]));
        });
        let expected = r#"f:1:4: b: 1 is not allowed: true or false
f:2:5: b2: "true" is not allowed: true or false; remove the quotes
f:3:4: i: -1 is not allowed: a whole number from 0 to 9
f:4:5: i2: 1.5 is not allowed: a whole number from 1
f:5:5: i3: "7" is not allowed: a whole number from 0 to 9; remove the quotes or leading zeros
f:6:4: n: .nan is not allowed: a number from 0 to 1
f:7:5: n2: "10s" is not allowed: a number of seconds from 0.5 to 9; write a plain number without a unit
f:8:5: n3: "1e400" is not allowed: a number from 0 to 1; remove the quotes or leading zeros
f:9:4: t: 5 is not allowed: a text; put it in quotes
f:10:4: c: "loud" is not allowed: one of DEBUG, INFO
f:11:1: l: a mapping is not allowed: a text or a list of texts
f:12:1: m: a list of 1 is not allowed: a mapping (key: value lines)
f:13:9: e[0].p: "x" is not allowed: a whole number from 0 to 9
f:13:13: e[1]: 3 is not allowed: a mapping (key: value lines)"#;
        assert_eq!(wrong, expected);
    }

    #[test]
    fn unknown_and_missing_keys_and_own_problems_are_told() {
        let (wrong, _) = read("a:\n  tset: 1\n  wrong: 5\n  colour: red\n", |section| {
            section.child("a", |inside| {
                inside.set_required(true);
                inside.boolean("test");
                inside.integer("wrong", 0..=9);
                inside.problem("wrong", "is odd", "make it even");
                inside.problem("", "has no target", "");
                inside.warning("wrong", "is not much");
                inside.child("deep", |deep| {
                    deep.require("must");
                    Some(())
                })
            });
        });
        let expected = "f:1:1: a: has no target\nf:1:1: a.deep.must: is missing\n\
                        f:2:3: a.tset: is not a known key; did you mean test?\n\
                        f:3:10: a.wrong: 5 is odd; make it even\n\
                        f:4:3: a.colour: is not a known key; known here: test, wrong, deep\n\
                        warning:3:10: a.wrong: 5 is not much";
        assert_eq!(wrong, expected);
    }
}
