//! A typed reader over one mapping of a settings file.

use super::keys::{Key, Keys};
use super::print::shown;
use super::report::Report;
use super::tree::{At, Node, Pair, Value};
use std::time::Duration;

/// A number or a text, for settings that take either: `2` or `"50%"`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A finite number.
    Number(f64),
    /// Anything else.
    Text(String),
}

/// One mapping being read. Its keys are those that were declared for it; the effective value of every key that is
/// asked for is remembered; when the reader is done, all other keys are problems.
///
/// A key that is absent or `null` has its default. A value that is wrong is a problem in the report, and the
/// reader gets the default (or `None`), so that it goes on and finds the next problem.
pub struct Section<'a> {
    /// Keys down to this section; empty at the top.
    pub(super) path: String,
    pub(super) at: At,
    pub(super) pairs: &'a [Pair],
    pub(super) report: &'a mut Report,
    pub(super) required: bool,
    /// The keys of this section and, as `mapping.key`, of those inside.
    pub(super) keys: Vec<Key>,
    /// What was asked for, with the effective values.
    pub(super) known: Vec<Pair>,
}

impl<'a> Section<'a> {
    /// The top of a file with these keys: `node` must be a mapping; anything else reads as an empty one (say so
    /// before).
    pub fn top(node: &'a Node, report: &'a mut Report, keys: Keys) -> Section<'a> {
        let pairs = if let Value::Map(pairs) = &node.value { pairs.as_slice() } else { &[] };
        let at = At { line: 1, column: 1 };
        let keys = keys.each().collect();
        Section { path: String::new(), at, pairs, report, required: false, keys, known: Vec::new() }
    }

    /// Adds keys to those of this section.
    pub fn declare(&mut self, keys: Keys) {
        self.keys.extend(keys.each());
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
        self.value(key).is_some()
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
    pub fn problem(&mut self, key: &str, why: &str, hint: &str) {
        let (at, mut text) = self.about(key, why);
        if !hint.is_empty() {
            text += "; ";
            text += hint;
        }
        self.report.problem(at, &self.path_of(key), &text);
    }

    /// Notes what should be known about the value of `key` although it can be used, like [`Section::problem`].
    pub fn warning(&mut self, key: &str, why: &str) {
        let (at, text) = self.about(key, why);
        self.report.warning(at, &self.path_of(key), &text);
    }

    fn about(&self, key: &str, why: &str) -> (At, String) {
        match self.find(key).map(|pair| &pair.node) {
            None => (self.at, why.to_owned()),
            Some(Node { at, value: Value::Map(_) | Value::List(_) | Value::Null }) => (*at, why.to_owned()),
            Some(Node { at, value }) => (*at, format!("{} {why}", shown(value))),
        }
    }

    /// The value of a declared key, judged and remembered: its default, or `instead` of that, where it is absent
    /// or wrong. Null if there is none.
    fn read(&mut self, key: &str, instead: Option<&str>) -> Value {
        let declared = self.keys.iter().find(|declared| declared.name == key).copied();
        debug_assert!(declared.is_some(), "{key} is not declared");
        let Some(declared) = declared else { return Value::Null };
        let given = self.value(key);
        let mut value = given.map_or(Value::Null, |value| declared.take(value));
        if matches!(value, Value::Null) {
            if given.is_some() {
                self.mismatch(key, &declared.wanted());
            }
            value = declared.assume(instead.or(declared.default.strip_prefix('=')).unwrap_or_default());
        }
        self.record(key, value.clone());
        value
    }

    /// A `Bool`; false without a default.
    pub fn boolean(&mut self, key: &str) -> bool {
        matches!(self.read(key, None), Value::Bool(true))
    }

    /// A `Whole`.
    pub fn integer(&mut self, key: &str) -> Option<u64> {
        whole(&self.read(key, None))
    }

    /// A `Whole` with another default than the declared one.
    pub fn integer_or(&mut self, key: &str, default: u64) -> u64 {
        whole(&self.read(key, Some(&default.to_string()))).unwrap_or(default)
    }

    /// A `Number`.
    pub fn number(&mut self, key: &str) -> Option<f64> {
        number(&self.read(key, None))
    }

    /// A `Number` without its default.
    pub fn number_given(&mut self, key: &str) -> Option<f64> {
        number(&self.read(key, Some("")))
    }

    /// A `Seconds`.
    pub fn seconds(&mut self, key: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.number(key)?).ok()
    }

    /// A `Text`; numbers, `true` and the like count only in quotes.
    pub fn text(&mut self, key: &str) -> Option<String> {
        text(self.read(key, None))
    }

    /// A `Text` with another default than the declared one.
    pub fn text_or(&mut self, key: &str, default: &str) -> String {
        text(self.read(key, Some(default))).unwrap_or_default()
    }

    /// A `Choice`: one of the declared words.
    pub fn choice(&mut self, key: &str) -> Option<&'static str> {
        let word = self.text(key)?;
        self.keys.iter().find(|declared| declared.name == key)?.choose(&word)
    }

    /// A `Scalar`.
    pub fn scalar(&mut self, key: &str) -> Option<Scalar> {
        self.scalar_or(key, None)
    }

    /// A `Scalar` with another default than the declared one; an empty one is none.
    pub fn scalar_or(&mut self, key: &str, default: Option<&str>) -> Option<Scalar> {
        match self.read(key, default) {
            Value::Text(text) => Some(Scalar::Text(text)),
            value => number(&value).map(Scalar::Number),
        }
    }

    /// A `Strings`: a text or a list of texts; whole numbers count as text, so that ports need no quotes.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        match self.read(key, None) {
            Value::List(items) => items.into_iter().map(|item| text(item.value)).collect(),
            _ => None,
        }
    }

    /// Takes a key over as it stands, known but unread: room for what only other programs read.
    pub fn ignore(&mut self, key: &str) {
        if let Some(pair) = self.find(key) {
            self.record(key, pair.node.value.clone());
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a Pair> {
        self.pairs.iter().find(|pair| pair.key == key)
    }

    /// The value of a key unless absent or null.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.find(key).map(|pair| &pair.node.value).filter(|value| !matches!(value, Value::Null))
    }

    /// Notes that a value that is there is not what it must be.
    pub(super) fn mismatch(&mut self, key: &str, allowed: &str) {
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
    pub(super) fn record(&mut self, key: &str, value: Value) {
        match self.known.iter_mut().find(|known| known.key == key) {
            Some(known) => known.node.value = value,
            None => self.known.push(Pair::new(key, value)),
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

fn whole(value: &Value) -> Option<u64> {
    if let Value::Int(value) = value { u64::try_from(*value).ok() } else { None }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
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
mod tests;
