//! Keys declared once: name, kind, what is allowed, default and help stand in one table for each section, from which
//! values are read and judged, and the help and the README's tables are made.

use super::tree::Value;

/// The keys of a section, a line each, by [`keys!`]. A key of a mapping inside has the name `mapping.key`, so has a
/// key of each item of a list.
///
/// One text and no table of structs: nothing in it is a pointer, which the loader would have to write at each start.
#[derive(Clone, Copy, Debug)]
pub struct Keys(pub &'static str);

/// Makes a [`Keys`] of rows `"name" Kind "allowed" = "default": "help";`. Where nothing is the default, `or "what then"`
/// stands instead of `= "default"`.
///
/// | kind | value | allowed |
/// | --- | --- | --- |
/// | `Bool` | true or false, also yes, no, on, off | nothing |
/// | `Whole` | a whole number | `1 to 5`; without a number behind `to`, it has no upper bound |
/// | `Number` | a finite number | `0.5 to 5` |
/// | `Seconds` | a time | the same |
/// | `Choice` | a word, in capitals or not | `one, two` |
/// | `Text` | a text | for people, as in all that follow |
/// | `Scalar` | a number or a text | |
/// | `Strings` | a text or a list of texts, whole numbers among them | |
/// | `Map`, `List` | a mapping; a list of mappings | |
macro_rules! keys {
    ($($name:literal $kind:ident $allowed:literal $mark:tt $default:literal: $help:literal;)*) => {
        $crate::settings::Keys(concat!($(
            $name, "|", $crate::settings::keys!(@$kind), "|", $allowed, "|",
            $crate::settings::keys!(@$mark), $default, "|", $help, "\n",
        )*))
    };
    (@=) => { "=" };
    (@or) => { "" };
    (@Bool) => { "b" };
    (@Whole) => { "w" };
    (@Number) => { "n" };
    (@Seconds) => { "s" };
    (@Choice) => { "c" };
    (@Text) => { "t" };
    (@Scalar) => { "x" };
    (@Strings) => { "l" };
    (@Map) => { "m" };
    (@List) => { "i" };
}
pub(crate) use keys;

/// The declaration of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// The letter of its kind, see [`keys!`].
    pub kind: u8,
    pub allowed: &'static str,
    /// With a `=` before it if it is a value; else words on what holds without the key.
    pub default: &'static str,
    pub help: &'static str,
}

impl Keys {
    pub(super) fn each(self) -> impl Iterator<Item = Key> {
        self.0.split('\n').filter_map(|line| {
            let mut fields = line.split('|');
            let mut field = || fields.next();
            let (name, kind) = (field()?, *field()?.as_bytes().first()?);
            Some(Key { name, kind, allowed: field()?, default: field()?, help: field()? })
        })
    }

    /// The names of the keys; those of mappings inside are left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.each().map(|key| key.name).filter(|name| !name.contains('.'))
    }
}

impl Key {
    /// The value that the key gets from what the file says; null if that is not allowed.
    pub(super) fn take(&self, given: &Value) -> Value {
        let value = match (self.kind, given) {
            (b'b', value) => truth(value).map(Value::Bool),
            (b'w', Value::Int(value)) => u64::try_from(*value).ok().and_then(|value| self.whole(value)),
            // 2^53: from there on, not every whole number is a float.
            (b'w', Value::Float(value)) if value.fract() == 0.0 && (0.0..=9e15).contains(value) => {
                self.whole(*value as u64)
            }
            (b'n' | b's', Value::Int(value)) => self.number(*value as f64),
            (b'n' | b's', Value::Float(value)) => self.number(*value),
            (b'c', Value::Text(text)) => self.word(text),
            // An unquoted `on`, `off`, `true` ... may be one of the words.
            (b'c', Value::Bool(value)) => self.word(if *value { "true" } else { "false" }),
            (b't' | b'x', Value::Text(_)) => Some(given.clone()),
            (b'x', Value::Int(value)) => Some(Value::from(*value as f64)),
            (b'x', Value::Float(value)) if value.is_finite() => Some(Value::from(*value)),
            (b'l', Value::List(items)) => {
                let texts: Option<Vec<_>> = items.iter().map(|item| text(&item.value)).collect();
                texts.map(list)
            }
            (b'l', value) => text(value).map(|text| list(vec![text])),
            _ => None,
        };
        value.unwrap_or(Value::Null)
    }

    /// The value that `text` stands for as a default of this key; null if for none.
    pub(super) fn assume(&self, text: &str) -> Value {
        let word = || Value::Text(text.to_owned());
        match self.kind {
            _ if text.is_empty() => Value::Null,
            b'b' => Value::Bool(text == "true"),
            b'w' | b'n' | b's' => {
                // Words on when it holds may follow.
                let number = text.split(',').next().unwrap_or_default();
                number.parse().map_or(Value::Null, |number: f64| Value::from(number))
            }
            b'l' => list(vec![word()]),
            b'x' => text.parse().map_or_else(|_| word(), |number: f64| Value::from(number)),
            _ => word(),
        }
    }

    /// What is allowed, as a problem says it.
    pub(super) fn wanted(&self) -> String {
        let (what, allowed) = match self.kind {
            b'b' => ("true or false", ""),
            b'w' => {
                let (low, high) = self.range();
                // What no whole number reaches is no bound to tell.
                ("a whole number from ", if high.parse::<u64>().is_ok() { self.allowed } else { low })
            }
            b'n' => ("a number from ", self.allowed),
            b's' => ("a number of seconds from ", self.allowed),
            b'c' => ("one of ", self.allowed),
            b't' => ("a text", ""),
            b'x' => ("a number or a text", ""),
            b'l' => ("a text or a list of texts", ""),
            b'm' => ("a mapping (key: value lines)", ""),
            _ => ("a list of mappings (- key: value lines)", ""),
        };
        [what, allowed].concat()
    }

    /// The word of a choice, as it is declared.
    pub(super) fn choose(&self, text: &str) -> Option<&'static str> {
        self.allowed.split(", ").find(|word| word.eq_ignore_ascii_case(text))
    }

    fn word(&self, text: &str) -> Option<Value> {
        self.choose(text).map(|word| Value::Text(word.to_owned()))
    }

    fn range(&self) -> (&'static str, &'static str) {
        self.allowed.split_once(" to ").unwrap_or_default()
    }

    fn whole(&self, value: u64) -> Option<Value> {
        let (low, high) = self.range();
        let fits = low.parse().is_ok_and(|low: u64| low <= value);
        (fits && value <= high.parse().unwrap_or(u64::MAX)).then_some(Value::Int(value.into()))
    }

    /// NaN is in no range.
    fn number(&self, value: f64) -> Option<Value> {
        let (low, high) = self.range();
        let range = low.parse().ok()?..=high.parse().ok()?;
        range.contains(&value).then(|| Value::from(value))
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Text(word) if ["yes", "on"].iter().any(|yes| word.eq_ignore_ascii_case(yes)) => Some(true),
        Value::Text(word) if ["no", "off"].iter().any(|no| word.eq_ignore_ascii_case(no)) => Some(false),
        _ => None,
    }
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::Text(_) => Some(value.clone()),
        Value::Int(value) => Some(Value::Text(value.to_string())),
        _ => None,
    }
}

fn list(texts: Vec<Value>) -> Value {
    Value::List(texts.into_iter().map(Value::into).collect())
}
