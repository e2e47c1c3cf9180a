//! The tree that a settings file becomes.

/// A place in the file; line and column count from 1. Zero stands for "nowhere in the file".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Of a scalar: its first character, in the definition where an alias brought it here. Of a list or a
    /// mapping: its key, or its first item inside a list.
    pub at: At,
    /// What stands there.
    pub value: Value,
}

impl Node {
    /// The value behind a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(pairs) => pairs.iter().find(|pair| pair.key == key).map(|pair| &pair.node),
            _ => None,
        }
    }
}

/// Every kind of value that a settings file may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`; the YAML 1.1 words `yes`, `no`, `on` and `off` are [`Value::Text`] until read.
    Bool(bool),
    /// A whole number, of whatever size.
    Int(i128),
    /// A number with a fraction or an exponent, infinity or NaN.
    Float(f64),
    /// Any other scalar, and everything in quotes.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Pair>),
}

/// One `key: value` of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: At,
    /// What it maps to.
    pub node: Node,
}

impl Pair {
    /// A pair that stands in no file, for output.
    pub fn new(key: &str, value: Value) -> Pair {
        Pair { key: key.to_owned(), at: At::default(), node: value.into() }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        Node { at: At::default(), value }
    }
}

impl From<f64> for Value {
    /// Whole numbers become [`Value::Int`], so that 10 and 10.0 are printed alike.
    fn from(number: f64) -> Value {
        match number.fract() == 0.0 && number.abs() < 1e15 {
            true => Value::Int(number as i128),
            false => Value::Float(number),
        }
    }
}
