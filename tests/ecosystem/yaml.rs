//! YAML and JSON as the tests read them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

/// The YAML files of a folder and those below it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The documents of a text, JSON included.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap()).collect()
}

/// The documents of a file.
pub fn read(path: impl AsRef<Path>) -> Vec<Value> {
    documents(&fs::read_to_string(path).unwrap())
}

/// What is at `a.b.0.c` of a value; null where nothing is.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, word| match word.parse::<usize>() {
        Ok(index) if value.is_sequence() => value.get(index).unwrap_or(&Value::Null),
        _ => value.get(word).unwrap_or(&Value::Null),
    })
}

/// The text at a path.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items of the list at a path; none where there is no list.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_sequence().map_or(&[], Vec::as_slice)
}

/// The document of a kind.
pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|one| text(one, "kind") == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// The item of a list that has a name.
pub fn named<'a>(items: &'a [Value], name: &str) -> &'a Value {
    items.iter().find(|one| text(one, "name") == name).unwrap_or(&Value::Null)
}
