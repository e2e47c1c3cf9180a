//! Reads the `use crate::` lines of every module and fails where one imports from a layer that is not below
//! its own. The table is the one in the crate documentation, so the two cannot drift apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_module_imports_only_from_layers_below() {
    let layers = table();
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    let mut wrong = Vec::new();
    let mut imports = 0;
    for file in &files {
        let module = module_of(file);
        if module == "lib" {
            continue;
        }
        let own = *layers.get(&module).unwrap_or_else(|| panic!("src/lib.rs has no layer for `{module}`"));
        for import in crate_paths(&fs::read_to_string(file).unwrap()) {
            imports += 1;
            let Some(other) = layers.get(&import) else {
                wrong.push(format!("{}: `crate::{import}` is in no layer", file.display()));
                continue;
            };
            if import != module && *other >= own {
                wrong.push(format!("{}: layer {own} imports `{import}` of layer {other}", file.display()));
            }
        }
    }
    assert!(imports > 0, "the reader of imports found none in {} files", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Module name to layer, from the `//! N name name ...` lines in src/lib.rs.
fn table() -> HashMap<String, i32> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let mut layers = HashMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let mut words = line.split_whitespace();
        let Some(layer) = words.next().and_then(|word| word.parse::<i32>().ok()) else { continue };
        for name in words {
            layers.insert(name.to_owned(), layer);
        }
    }
    assert!(layers.len() >= 10, "the table of layers in src/lib.rs was not found");
    layers
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// `src/tc/netem.rs` belongs to `tc`, `src/main.rs` to `main`.
fn module_of(file: &Path) -> String {
    let first = file.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The first path segments after `crate::` or `chaos_agent::`, braces opened.
fn crate_paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for prefix in ["crate::", "chaos_agent::"] {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line[at + prefix.len()..];
                if let Some(list) = rest.strip_prefix('{') {
                    let mut depth = 0;
                    let mut item = String::new();
                    for letter in list.chars() {
                        match letter {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                            _ if depth == 0 => item.push(letter),
                            _ => {}
                        }
                    }
                    found.push(item);
                } else {
                    found.push(rest.to_owned());
                }
            }
        }
    }
    let first_word = |path: String| {
        let path = path.trim().to_owned();
        path.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
            .next()
            .unwrap_or("")
            .to_owned()
    };
    found.into_iter().map(first_word).filter(|name| !name.is_empty()).collect()
}
