//! A tree as YAML text again. serde_yaml could write it, but its emitter is more code than the whole of this.

use super::tree::{Node, Pair, Value};
use crate::text::json;
use std::fmt::Write;

impl Node {
    /// Block-style YAML that [`super::parse()`] reads as the same tree (positions aside).
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        match &self.value {
            Value::Map(pairs) if !pairs.is_empty() => map(&mut out, pairs, 0),
            Value::List(items) if !items.is_empty() => list(&mut out, items, 0),
            value => {
                scalar(&mut out, value);
                out.push('\n');
            }
        }
        out
    }
}

fn map(out: &mut String, pairs: &[Pair], indent: usize) {
    for pair in pairs {
        pad(out, indent);
        text(out, &pair.key);
        out.push(':');
        match &pair.node.value {
            Value::Map(pairs) if !pairs.is_empty() => {
                out.push('\n');
                map(out, pairs, indent + 2);
            }
            Value::List(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, indent + 2);
            }
            value => {
                out.push(' ');
                scalar(out, value);
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Node], indent: usize) {
    for item in items {
        pad(out, indent);
        out.push_str("- ");
        let mut nested = String::new();
        match &item.value {
            Value::Map(pairs) if !pairs.is_empty() => map(&mut nested, pairs, indent + 2),
            Value::List(items) if !items.is_empty() => list(&mut nested, items, indent + 2),
            value => {
                scalar(out, value);
                out.push('\n');
            }
        }
        // The first line of a block starts right behind the dash.
        out.push_str(nested.get(indent + 2..).unwrap_or_default());
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(out: &mut String, value: &Value) {
    _ = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Float(value) if value.is_nan() => write!(out, ".nan"),
        Value::Float(value) if value.is_infinite() => {
            write!(out, "{}", if *value > 0.0 { ".inf" } else { "-.inf" })
        }
        // `{:?}` keeps the ".0" or the exponent that makes it a float again.
        Value::Float(value) => write!(out, "{value:?}"),
        Value::Text(value) => {
            text(out, value);
            Ok(())
        }
        Value::List(_) => write!(out, "[]"),
        Value::Map(_) => write!(out, "{{}}"),
    };
}

/// Plain where no reader can take it for anything else, in quotes otherwise.
fn text(out: &mut String, text: &str) {
    let mut bytes = text.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-/.".contains(&byte));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    match starts_well && goes_on_well && !words.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        true => out.push_str(text),
        false => json::string(out, text),
    }
}

/// A value as a problem quotes it: short, on one line, text in quotes.
pub fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let mut out = String::new();
    match value {
        Value::List(items) => _ = write!(out, "a list of {}", items.len()),
        Value::Map(_) => out.push_str("a mapping"),
        Value::Null => out.push_str("nothing"),
        Value::Text(text) => {
            let mut cut: String = text.chars().take(LONGEST).collect();
            if cut.len() < text.len() {
                cut.push('…');
            }
            json::string(&mut out, &cut);
        }
        other => scalar(&mut out, other),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Report, parse};
    use super::*;

    fn at_nowhere(node: Node) -> Node {
        let value = match node.value {
            Value::List(items) => Value::List(items.into_iter().map(at_nowhere).collect()),
            Value::Map(pairs) => Value::Map(
                pairs.into_iter().map(|pair| Pair::new(&pair.key, at_nowhere(pair.node).value)).collect(),
            ),
            other => other,
        };
        value.into()
    }

    /// A tree of every kind of value, from `choose(n)`, which returns a number below n.
    fn tree(depth: u32, choose: &mut impl FnMut(usize) -> usize) -> Value {
        const TEXTS: [&str; 24] = [
            "",
            "a",
            "true",
            "No",
            "~",
            "null",
            "1",
            "0x1f",
            "1e3",
            ".5",
            ".inf",
            "-",
            "- a",
            "a: b",
            "#",
            "a #b",
            "&x",
            "*x",
            "<<",
            "a\nb",
            "\u{85}\u{feff}\u{2028}\u{7f}\0",
            "🙂",
            "  two  ",
            "inf",
        ];
        let count = |choose: &mut dyn FnMut(usize) -> usize| if depth == 0 { 0 } else { choose(4) };
        match choose(7) {
            0 => Value::Null,
            1 => Value::Bool(choose(2) == 0),
            2 => Value::Int(
                [0, -1, 17, i64::MIN.into(), u64::MAX.into(), i128::from(u64::MAX) * 1000][choose(6)],
            ),
            3 => Value::Float([0.5, 1e300, -2.0, f64::INFINITY, 1e-7, -0.0][choose(6)]),
            4 => Value::Text(TEXTS[choose(TEXTS.len())].to_owned()),
            5 => (0..count(choose)).map(|_| tree(depth - 1, choose).into()).collect::<Vec<_>>().into_list(),
            _ => Value::Map(
                (0..count(choose))
                    .map(|n| Pair::new(&format!("{n}{}", TEXTS[choose(18)]), tree(depth - 1, choose)))
                    .collect(),
            ),
        }
    }

    trait IntoList {
        fn into_list(self) -> Value;
    }

    impl IntoList for Vec<Node> {
        fn into_list(self) -> Value {
            Value::List(self)
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same_tree() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let node = Node::from(tree(4, &mut |n| random.usize(..n)));
            let text = node.to_yaml();
            let mut report = Report::default();
            let read = parse(&text, &mut report).map(at_nowhere);
            assert!(report.is_clean(), "{text}{:?}", report.problems("-"));
            assert_eq!(read, Some(node), "{text}");
        }
    }

    #[test]
    fn a_value_is_shown_short_and_on_one_line() {
        assert_eq!(shown(&Value::Text("a\n\"b\"".to_owned())), r#""a\n\"b\"""#);
        assert_eq!(shown(&Value::Text("é".repeat(100))).chars().count(), 63);
        assert_eq!(shown(&Value::Float(f64::NAN)), ".nan");
        assert_eq!(shown(&Value::List(vec![Value::Null.into()])), "a list of 1");
    }
}
