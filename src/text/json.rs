//! JSON text (RFC 8259), written piece by piece: what goes out is small and flat, so there is no tree of values.

use std::fmt::{self, Write};

/// 2^53: whole numbers up to here are doubles too.
pub const EXACT: u64 = 1 << 53;

/// An object under construction.
pub struct Object(String);

impl Default for Object {
    fn default() -> Object {
        Object::new()
    }
}

impl Object {
    /// An object without members.
    pub fn new() -> Object {
        Object(String::from("{"))
    }

    fn key(&mut self, key: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        string(&mut self.0, key);
        self.0.push(':');
        &mut self.0
    }

    /// A member with a text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Object {
        string(self.key(key), value);
        self
    }

    /// A member with a text that is still to be put together.
    pub fn says(&mut self, key: &str, what: &fmt::Arguments<'_>) -> &mut Object {
        let out = self.key(key);
        out.push('"');
        _ = Escaped(out).write_fmt(*what);
        out.push('"');
        self
    }

    /// A member with a text, or null.
    pub fn optional(&mut self, key: &str, value: Option<&str>) -> &mut Object {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// A member with a whole number.
    pub fn whole(&mut self, key: &str, value: u64) -> &mut Object {
        _ = write!(self.key(key), "{value}");
        self
    }

    /// The member `seed`, and where programs that read numbers as doubles (jq 1.6, JavaScript) would round it, the same
    /// as text in `seed_text`.
    pub fn seed(&mut self, seed: u64) -> &mut Object {
        self.whole("seed", seed);
        if seed > EXACT { self.text("seed_text", &seed.to_string()) } else { self }
    }

    /// A member with a number, which reads back as the very same; null where it is not finite.
    pub fn number(&mut self, key: &str, value: f64) -> &mut Object {
        match value.is_finite() {
            true => _ = write!(self.key(key), "{value}"),
            false => return self.raw(key, "null"),
        }
        self
    }

    /// A member that is true or false.
    pub fn truth(&mut self, key: &str, value: bool) -> &mut Object {
        self.raw(key, if value { "true" } else { "false" })
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Object {
        self.key(key).push_str(json);
        self
    }

    /// A member with a list of texts.
    pub fn texts<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> &mut Object {
        let items = values.into_iter().map(|value| {
            let mut item = String::new();
            string(&mut item, value);
            item
        });
        let list = list(items);
        self.raw(key, &list)
    }

    /// The whole object.
    pub fn end(&mut self) -> String {
        let mut text = std::mem::take(&mut self.0);
        text.push('}');
        text
    }
}

/// A list of values that are JSON already.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut text = String::from("[");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        text += &item;
    }
    text.push(']');
    text
}

/// Writes into a JSON string, without its quotes: escapes what may not stand there.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '"' | '\\' => self.0.extend(['\\', letter]),
                '\n' => self.0.push_str("\\n"),
                '\t' => self.0.push_str("\\t"),
                // More than RFC 8259 asks for: these YAML refuses, and terminals and log viewers act on.
                letter
                    if letter.is_control() || "\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(letter) =>
                {
                    write!(self.0, "\\u{:04x}", u32::from(letter))?;
                }
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

/// Appends `text` in double quotes, as JSON (RFC 8259) and YAML both read it.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    _ = Escaped(out).write_str(text);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_a_double_rounds_is_given_as_text_too() {
        let shown = |seed| Object::new().seed(seed).end();
        assert_eq!(shown(EXACT), "{\"seed\":9007199254740992}");
        assert_eq!(shown(EXACT + 1), "{\"seed\":9007199254740993,\"seed_text\":\"9007199254740993\"}");
    }

    #[test]
    fn an_object_holds_its_members_in_order_and_escaped() {
        let mut object = Object::new();
        object.text("a\"b", "line\n\u{1b}").optional("none", None).whole("n", u64::MAX);
        object.number("third", 1.0 / 3.0).number("nan", f64::NAN).truth("yes", true);
        object.texts("list", ["x", "y\\"]).raw("o", &Object::new().end());
        assert_eq!(
            object.end(),
            "{\"a\\\"b\":\"line\\n\\u001b\",\"none\":null,\"n\":18446744073709551615,\
             \"third\":0.3333333333333333,\"nan\":null,\"yes\":true,\"list\":[\"x\",\"y\\\\\"],\"o\":{}}"
        );
        assert_eq!(list([]), "[]");
    }
}
