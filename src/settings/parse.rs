//! YAML text to a [`Node`] tree, by serde_yaml.
//!
//! serde_yaml tells positions only in errors. So the visitor of every scalar leaves its value with the reader
//! of the enclosing list or mapping and then returns an error, whose text says where the scalar stands; the
//! reader takes both and goes on. serde_yaml has moved on to the next event by then, so nothing is lost
//! (the tests below hold it to that), and one pass yields a tree in which every value has its place.

use super::report::Report;
use super::source::refuse;
use super::tree::{At, Node, Pair, Value};
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Values after all aliases are expanded, and the bytes of their text. The largest file that a person would
/// write has a few hundred; an alias bomb has billions.
const MAX_NODES: usize = 20_000;
const MAX_TEXT: usize = 1 << 20;
/// Keys of one mapping: they are compared with each other.
const MAX_KEYS: usize = 1000;

/// Reads one YAML document. Problems go into the report; `None` if there is no tree because of them. An empty
/// text is [`Value::Null`].
pub fn parse(text: &str, report: &mut Report) -> Option<Node> {
    if let Some((at, why)) = refuse(text) {
        report.problem(at, "", &why);
        return None;
    }
    let mut state = State { report, path: String::new(), nodes: 0, text: 0, stop: None };
    let mut out = None;
    let seed = Seed { state: &mut state, out: &mut out };
    let result = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    let stop = state.stop.take();
    match settle(result, out, At { line: 1, column: 1 }) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = error.location().map(|at| At { line: at.line() as u32, column: at.column() as u32 });
            let why = stop.unwrap_or_else(|| explain(&error.to_string()));
            report.problem(at.unwrap_or_default(), "", &why);
            None
        }
    }
}

/// serde_yaml's words in ours.
fn explain(error: &str) -> String {
    let known = [
        (
            "more than one document",
            "the file holds several YAML documents (---), or goes on behind the end of the first",
        ),
        ("recursion limit", "nested too deeply"),
        ("repetition limit", "aliases are used too often"),
        (
            "unknown anchor",
            "an alias (*name) without its anchor (&name) before it; quote text that starts with *",
        ),
        (
            "cannot start any token",
            "not valid YAML: text starts with a sign that needs quotes, or a tab indents",
        ),
    ];
    match known.iter().find(|(theirs, _)| error.contains(theirs)) {
        Some((_, ours)) => (*ours).to_owned(),
        None => format!("not valid YAML: {error}"),
    }
}

/// The end of an error's text, " at line 3 column 5"; serde_yaml leaves it out at the very start.
fn position(error: &str) -> At {
    let numbers = error.rsplit_once(" at line ").and_then(|(_, place)| place.split_once(" column "));
    let parse = |number: &str| number.parse().ok();
    numbers
        .and_then(|(line, column)| Some(At { line: parse(line)?, column: parse(column)? }))
        .unwrap_or(At { line: 1, column: 1 })
}

struct State<'r> {
    report: &'r mut Report,
    /// The keys down to here, for problems.
    path: String,
    nodes: usize,
    text: usize,
    /// Why reading stopped, where it was not serde_yaml that stopped it.
    stop: Option<String>,
}

impl State<'_> {
    /// Ends the reading.
    fn stop<E: de::Error>(&mut self, why: &str) -> E {
        self.stop = Some(why.to_owned());
        E::custom("")
    }

    /// Takes one more value into account.
    fn charge<E: de::Error>(&mut self, text: usize) -> Result<(), E> {
        self.nodes += 1;
        self.text += text;
        match self.nodes > MAX_NODES || self.text > MAX_TEXT {
            true => {
                Err(self.stop("the file is too large: over 20,000 values or 1 MiB of text, aliases expanded"))
            }
            false => Ok(()),
        }
    }
}

/// What a [`Seed`] came back with: an error with a scalar is the scalar's place, any other is an error. `at` is
/// the place of a list or a mapping.
fn settle<E: fmt::Display>(result: Result<(), E>, out: Option<Value>, at: At) -> Result<Node, E> {
    match (result, out) {
        (Err(error), None | Some(Value::List(_) | Value::Map(_))) => Err(error),
        (Err(error), Some(value)) => Ok(Node { at: position(&error.to_string()), value }),
        (Ok(()), value) => Ok(Node { at, value: value.unwrap_or(Value::Null) }),
    }
}

/// Reads one value into `out`.
struct Seed<'s, 'r> {
    state: &'s mut State<'r>,
    out: &'s mut Option<Value>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_, '_> {
    fn scalar<E: de::Error>(self, value: Value) -> Result<(), E> {
        let text = if let Value::Text(text) = &value { text.len() } else { 0 };
        self.state.charge(text)?;
        *self.out = Some(value);
        Err(E::custom(""))
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Value::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Value::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<(), E> {
        self.scalar(Value::Int(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<(), E> {
        self.scalar(i128::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(Value::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar(Value::Null)
    }

    /// An empty document.
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        *self.out = Some(Value::Null);
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _data: A) -> Result<(), A::Error> {
        Err(self.state.stop("a tag (!name) stands here; no setting has one"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Seed { state, out } = self;
        state.charge(0)?;
        let mut list = Vec::new();
        let above = state.path.len();
        loop {
            state.path += &format!("[{}]", list.len());
            let mut item = None;
            let result = items.next_element_seed(Seed { state, out: &mut item });
            state.path.truncate(above);
            if let Ok(None) = result {
                break;
            }
            let mut node = settle(result.map(|_| ()), item, At::default())?;
            if node.at == At::default() {
                node.at = first(&node.value);
            }
            list.push(node);
        }
        *out = Some(Value::List(list));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Seed { state, out } = self;
        state.charge(0)?;
        let mut pairs: Vec<Pair> = Vec::new();
        let mut merged = Vec::new();
        let above = state.path.len();
        while let Some((key, at)) = next_key(state, &mut entries)? {
            if !state.path.is_empty() {
                state.path.push('.');
            }
            state.path += &key;
            let mut value = None;
            let result = entries.next_value_seed(Seed { state, out: &mut value });
            let node = settle(result, value, at)?;
            if key == "<<" {
                merge(state, node, &mut merged);
            } else if let Some(other) = pairs.iter().find(|pair| pair.key == key) {
                let why = format!("the key is here twice, first in line {}; keep one", other.at.line);
                state.report.problem(at, &state.path, &why);
            } else if pairs.len() >= MAX_KEYS {
                return Err(state.stop("the mapping has more than 1000 keys"));
            } else {
                pairs.push(Pair { key, at, node });
            }
            state.path.truncate(above);
        }
        // The mapping's own keys win, then those of the earlier merge.
        for pair in merged {
            if pairs.len() < MAX_KEYS && !pairs.iter().any(|own| own.key == pair.key) {
                pairs.push(pair);
            }
        }
        *out = Some(Value::Map(pairs));
        Ok(())
    }
}

/// The first key or item of a list's item; the item has no other place that serde_yaml tells.
fn first(value: &Value) -> At {
    match value {
        Value::Map(pairs) => pairs.first().map_or_else(At::default, |pair| pair.at),
        Value::List(items) => items.first().map_or_else(At::default, |item| item.at),
        _ => At::default(),
    }
}

/// The next key and its place. A key that is not text is a problem, and read as the text that it stands for.
fn next_key<'de, A: MapAccess<'de>>(
    state: &mut State<'_>,
    entries: &mut A,
) -> Result<Option<(String, At)>, A::Error> {
    let mut key = None;
    let result = match entries.next_key_seed(Seed { state, out: &mut key }) {
        Ok(None) => return Ok(None),
        result => result.map(|_| ()),
    };
    let Node { at, value } = settle(result, key, At::default())?;
    match value {
        Value::Text(key) => Ok(Some((key, at))),
        Value::List(_) | Value::Map(_) => Err(state.stop("a list or a mapping cannot be a key")),
        other => {
            let text = super::print::shown(&other);
            state.report.problem(at, &state.path, &format!("the key {text} is not text; put it in quotes"));
            Ok(Some((text, at)))
        }
    }
}

/// The YAML merge key: `<<: *anchor` or a list of them takes over the keys that are not there.
fn merge(state: &mut State<'_>, node: Node, into: &mut Vec<Pair>) {
    match node.value {
        Value::Map(pairs) => into.extend(pairs),
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
            items.into_iter().for_each(|item| merge(state, item, into));
        }
        _ => {
            let why = "<< takes a mapping or a list of mappings (<<: *anchor)";
            state.report.problem(node.at, &state.path, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{MAX_BYTES, decode};
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut report = Report::default();
        let node = decode(text.as_bytes(), &mut report).and_then(|text| parse(&text, &mut report));
        (node, report.problems("f"))
    }

    /// The tree as `key@line:column=value`, which shows every place at once.
    fn outline(node: &Node) -> String {
        match &node.value {
            Value::Map(pairs) => {
                let pair = |pair: &Pair| {
                    format!("{}@{}:{}={}", pair.key, pair.at.line, pair.at.column, outline(&pair.node))
                };
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(" "))
            }
            Value::List(items) => format!("[{}]", items.iter().map(outline).collect::<Vec<_>>().join(" ")),
            value => format!("{}@{}:{}", super::super::shown(value), node.at.line, node.at.column),
        }
    }

    fn good(text: &str) -> String {
        let (node, problems) = read(text);
        assert!(problems.is_empty(), "{problems:?}");
        outline(&node.unwrap())
    }

    fn bad(text: &str) -> String {
        let (_, problems) = read(text);
        assert!(!problems.is_empty(), "no problem in {text:?}");
        problems.join("|")
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        assert_eq!(good("a: 1"), "{a@1:1=1@1:4}");
        assert_eq!(
            good("a:\n  b: [x, -2, {c: .5}]\n  \"d\": 'two words'\ne:\n- f: yes\n  g:\n- true\n"),
            r#"{a@1:1={b@2:3=["x"@2:7 -2@2:10 {c@2:15=0.5@2:18}] d@3:3="two words"@3:8} e@4:1=[{f@5:3="yes"@5:6 g@6:3=nothing@6:5} true@7:3]}"#
        );
        assert_eq!(
            good("é: ü\nx: |\n  one\n  two\ny: 1"),
            r#"{é@1:1="ü"@1:4 x@2:1="one\ntwo\n"@2:4 y@5:1=1@5:4}"#
        );
        assert_eq!(good("\u{feff}a: 1\r\nb: {}\r\nc: []\r\n"), "{a@1:1=1@1:4 b@2:1={} c@3:1=[]}");
        assert_eq!(good("\" at line 9 column 9\": {a: 1}"), r#"{ at line 9 column 9@1:1={a@1:25=1@1:28}}"#);
        assert_eq!(good(""), "nothing@1:1");
        assert_eq!(good("# only words\n"), "nothing@1:1");
        assert_eq!(good("\n  text"), r#""text"@2:3"#);
    }

    #[test]
    fn aliases_and_merges_keep_the_place_of_the_definition() {
        assert_eq!(good("a: &x 5\nb: *x"), "{a@1:1=5@1:4 b@2:1=5@1:4}");
        assert_eq!(
            good("a: &x {p: 1, q: 2}\nb:\n  q: 3\n  <<: *x\n"),
            "{a@1:1={p@1:8=1@1:11 q@1:14=2@1:17} b@2:1={q@3:3=3@3:6 p@1:8=1@1:11}}"
        );
        // The earlier of a list of merges wins, as in PyYAML.
        assert_eq!(good("<<: [{p: 1}, {p: 2, q: 3}]"), "{p@1:7=1@1:10 q@1:21=3@1:24}");
        assert_eq!(
            bad("a:\n  <<: 5\n"),
            "f:2:7: a.<<: << takes a mapping or a list of mappings (<<: *anchor)"
        );
    }

    #[test]
    fn every_duplicate_and_every_key_that_is_no_text_is_reported() {
        assert_eq!(
            bad("a: 1\nb:\n  c: 1\n  c: 2\n  7: x\na: 3\n"),
            "f:4:3: b.c: the key is here twice, first in line 3; keep one|\
             f:5:3: b: the key 7 is not text; put it in quotes|\
             f:6:1: a: the key is here twice, first in line 1; keep one"
        );
        assert_eq!(bad("? [a]\n: 1"), "f:1:1: a list or a mapping cannot be a key");
        assert_eq!(bad("~: 1"), "f:1:1: the key nothing is not text; put it in quotes");
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused_in_words() {
        for (text, words) in [
            ("a: 1\n---\nb: 2", "several YAML documents"),
            ("a: !kill {b: 1}", "f:1:4: a tag (!name)"),
            ("a: !kill b", "f:1:4: a tag (!name)"),
            ("a: *nobody", "f:1:4: an alias (*name) without its anchor"),
            ("a: &x [*x]", "nested too deeply"),
            ("a: [1, 2", "f:2:1: not valid YAML"),
            ("a:\n\tb: 1", "a tab indents"),
            ("a: b: c", "f:1:5: not valid YAML: mapping values are not allowed"),
            ("a: \u{1b}[0m", "not valid YAML: control characters are not allowed"),
            ("a: \0", "the file is not text: byte 3 is NUL"),
            ("a: &x 1\nb: &x 2\nc: *x", "f:2:4: anchor &x is defined twice"),
        ] {
            let said = bad(text);
            assert!(said.contains(words), "{text:?}: {said}");
        }
        // The same name twice is harmless while no alias can be mixed up, or where it is no anchor at all.
        good("a: &x 1\nb: &x 2\n");
        good("a: &x 1\n# b: &x 2\nc: *x\nd: tom&x\n");
        let mut report = Report::default();
        for bytes in [&b"\xff\xfea\0"[..], b"a: \xff", &[b' '; MAX_BYTES + 1]] {
            assert_eq!(decode(bytes, &mut report), None);
        }
        assert_eq!(
            report.problems("f"),
            [
                "f: the file is UTF-16; save it as UTF-8",
                "f: the file is not UTF-8: byte 3 is 0xff",
                "f: the file is larger than 64 KiB; that is no config"
            ]
        );
    }

    #[test]
    fn bombs_are_errors_and_cheap() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            laughs += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        }
        assert!(bad(&laughs).contains("too large: over 20,000 values"));
        let wide = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(30_000), "*a,".repeat(10_000));
        assert!(bad(&wide).contains("too large: over 20,000 values"));
        assert!(bad(&"[".repeat(60_000)).contains("brackets"));
        assert!(bad(&"{a: ".repeat(16_000)).contains("brackets"));
        assert!(bad(&format!("{}1", "- ".repeat(30_000))).contains("nested too deeply"));
        assert!(bad(&(0..2000).map(|n| format!("k{n}: 1\n")).collect::<String>()).contains("1000 keys"));
    }

    #[test]
    fn no_mutation_of_a_file_panics() {
        let text = "agent:\n  interval_seconds: 10 # s\n  x: &x {a: [1, 'b', \"c\\n\"], <<: {d: ~}}\n  y: *x\nfailures:\n- |\n  text\n- ? k\n  : !!str v\n";
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                match random.usize(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"-:?[]{}&*!|>'\"%#,\n\t ~<\0\xff"[random.usize(..24)]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let mut report = Report::default();
            if let Some(text) = decode(&bytes, &mut report) {
                let node = parse(&text, &mut report);
                assert!(node.is_some() || !report.is_clean(), "{text:?}");
            }
        }
    }
}
