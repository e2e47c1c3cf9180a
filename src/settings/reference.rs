//! Declared keys for people: Markdown tables for the README, paragraphs for a terminal.

use super::keys::{Key, Keys};

/// Columns of a terminal that the help may fill.
const WIDTH: usize = 98;

impl Keys {
    /// Appends a row of a Markdown table for each key; `before` stands before each name.
    pub fn markdown(self, before: &str, out: &mut String) {
        for key in self.documented() {
            for part in
                ["| `", before, key.name, "` | ", key.values(), " | ", key.fallback(), " | ", key.help]
            {
                out.push_str(part);
            }
            out.push_str(" |\n");
        }
    }

    /// Appends a paragraph for each key: name, what is allowed and the default, and below what it does; keys of
    /// mappings inside are indented.
    pub fn help(self, out: &mut String) {
        for key in self.documented() {
            let indent = 2 + 2 * key.name.matches('.').count();
            let mut line = [key.name, ": ", key.values()].concat();
            if !key.fallback().is_empty() {
                line += "; default: ";
                line += key.fallback();
            }
            wrap(out, indent, &line);
            wrap(out, indent + 4, key.help);
        }
    }

    /// The words that a key takes, if it takes only some.
    pub fn choices(self, name: &str) -> impl Iterator<Item = &'static str> {
        let key = self.each().find(|key| key.name == name && (key.kind == b'b' || key.kind == b'c'));
        key.into_iter().flat_map(|key| key.values().split(", "))
    }

    /// Mappings that are only there for their keys are told by these.
    fn documented(self) -> impl Iterator<Item = Key> {
        self.each().filter(|key| !key.help.is_empty())
    }
}

impl Key {
    fn values(&self) -> &'static str {
        if self.kind == b'b' { "true, false" } else { self.allowed }
    }

    fn fallback(&self) -> &'static str {
        self.default.strip_prefix('=').unwrap_or(self.default)
    }
}

/// Appends lines of words, without the backquotes of Markdown.
fn wrap(out: &mut String, indent: usize, text: &str) {
    let text = text.replace('`', "");
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column == 0 || column + 1 + length > WIDTH {
            out.push_str(if column == 0 { "" } else { "\n" });
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}
