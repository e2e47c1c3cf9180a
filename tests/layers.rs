//! Reads the imports of every module and fails where one imports from a floor that is not below its own: between
//! rooms, and between the parts of a room that has floors of its own. The table is the one in the crate
//! documentation, so the two cannot drift apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_module_imports_only_from_floors_below() {
    let table = Table::read();
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    let (mut wrong, mut imports) = (Vec::new(), 0);
    for file in &files {
        let place = place_of(file);
        if place.room == "lib" {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        for import in paths(&text, &["crate::", "chaos_agent::"]) {
            imports += 1;
            wrong.extend(table.judge(&place, &import).map(|why| format!("{}: {why}", file.display())));
        }
        // `super::` of a part names its siblings in the room.
        if place.part.is_some() && place.depth == 1 {
            for import in paths(&text, &["super::"]) {
                let import = [vec![place.room.clone()], import].concat();
                wrong.extend(table.judge(&place, &import).map(|why| format!("{}: {why}", file.display())));
            }
        }
    }
    assert!(imports > 100, "the reader of imports found {imports} in {} files", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_upwards_or_of_a_sibling_is_found() {
    let table = Table::read();
    let judge = |file: &str, text: &str| {
        let found = paths(text, &["crate::"]);
        assert!(!found.is_empty(), "{text}");
        let place = place_of(Path::new(file));
        found.iter().filter_map(|import| table.judge(&place, import)).count()
    };
    assert_eq!(judge("src/linux/tc/mod.rs", "use crate::linux::sys::netlink;"), 0);
    assert_eq!(judge("src/linux/sys/net.rs", "use crate::linux::tc;"), 1);
    assert_eq!(judge("src/linux/proc/mod.rs", "use crate::linux::{sys, tc::link};"), 1);
    assert_eq!(judge("src/dice/mod.rs", "use crate::settings::Section;"), 1);
    assert_eq!(judge("src/failures/cpu/mod.rs", "use crate::{agent, error::Error, nowhere};"), 2);
    assert_eq!(judge("src/main.rs", "use chaos_agent::x; use crate::commands;"), 0);
}

/// Where a file stands: its room, the part of the room, and how deep below the room it is.
struct Place {
    room: String,
    part: Option<String>,
    depth: usize,
}

/// `src/linux/tc/netem/mod.rs` is of `linux`, part `tc`, two deep; `src/main.rs` of `main`, without a part.
fn place_of(file: &Path) -> Place {
    let path = file.with_extension("");
    let names: Vec<_> = path.components().skip(1).map(|one| one.as_os_str().to_str().unwrap()).collect();
    let names: Vec<_> = names.iter().filter(|name| **name != "mod").collect();
    let part = names.get(1).map(|name| (**name).to_owned());
    Place { room: (*names[0]).to_owned(), part, depth: names.len() - 1 }
}

/// Floors: of rooms, and of the parts of rooms.
struct Table {
    rooms: HashMap<String, i32>,
    parts: HashMap<(String, String), i32>,
}

impl Table {
    /// From the lines `//! N room room ...` and `//! room N part part ...` of src/lib.rs.
    fn read() -> Table {
        let text = fs::read_to_string("src/lib.rs").unwrap();
        let mut table = Table { rooms: HashMap::new(), parts: HashMap::new() };
        for line in text.lines().filter_map(|line| line.strip_prefix("//! ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [floor, names @ ..] if floor.parse::<i32>().is_ok() => {
                    table.rooms.extend(names.iter().map(|name| ((*name).to_owned(), floor.parse().unwrap())));
                }
                [room, floor, names @ ..] if floor.parse::<i32>().is_ok() => {
                    let part =
                        |name: &&str| (((*room).to_owned(), (*name).to_owned()), floor.parse().unwrap());
                    table.parts.extend(names.iter().map(part));
                }
                _ => {}
            }
        }
        assert!(table.rooms.len() >= 10 && table.parts.len() >= 10, "src/lib.rs has lost its table");
        table
    }

    /// What is wrong about a place's import of a path.
    fn judge(&self, place: &Place, import: &[String]) -> Option<String> {
        let Place { room, part, .. } = place;
        let own = self.rooms.get(room).unwrap_or_else(|| panic!("src/lib.rs has no floor for `{room}`"));
        let other = import.first()?;
        if other != room {
            return match self.rooms.get(other) {
                None => Some(format!("`{other}` is on no floor")),
                Some(floor) if floor >= own => {
                    Some(format!("floor {own} imports `{other}` of floor {floor}"))
                }
                Some(_) => None,
            };
        }
        if !self.parts.keys().any(|(of, _)| of == room) {
            return None;
        }
        // The room's own mod.rs stands above its parts.
        let (part, target) = (part.as_ref()?, import.get(1)?);
        let floor = |part: &String| self.parts.get(&(room.clone(), part.clone()));
        let own = floor(part).unwrap_or_else(|| panic!("src/lib.rs has no floor for `{part}` in `{room}`"));
        // A name that is no part is the room's own.
        let other = floor(target).filter(|_| target != part)?;
        (other >= own).then(|| format!("{room}: `{part}` of floor {own} imports `{target}` of floor {other}"))
    }
}

/// On 32 bits the standard library's way ends the process after 2038-01-19.
#[test]
fn only_the_clock_asks_for_the_time_of_day() {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    assert!(files.len() > 100);
    for path in files.iter().filter(|path| !path.ends_with("sys/clock.rs") && !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        assert!(!code.contains("SystemTime::now"), "{} asks for the time by itself", path.display());
    }
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

/// The paths behind each of the prefixes, as their first two segments, braces opened.
fn paths(text: &str, prefixes: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    for prefix in prefixes {
        for (at, _) in code.match_indices(prefix) {
            // `super::super::x` is somebody else's `super::`, `my_crate::` no `crate::`.
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter)) {
                continue;
            }
            for path in opened(&code[at + prefix.len()..]) {
                let segments: Vec<String> = path.split("::").map(str::to_owned).collect();
                found.extend((!segments[0].is_empty()).then_some(segments));
            }
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c`; two segments are enough here.
fn opened(text: &str) -> Vec<String> {
    let name = |text: &str| text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    let word = |text: &str| text[..name(text).unwrap_or(text.len())].to_owned();
    if let Some(list) = text.strip_prefix('{') {
        return items(list).iter().flat_map(|item| opened(item.trim())).collect();
    }
    let first = word(text);
    match text[first.len()..].strip_prefix("::") {
        Some(list) if list.starts_with('{') => {
            let behind = |item: &String| format!("{first}::{}", word(item.trim()));
            items(&list[1..]).iter().map(behind).collect()
        }
        Some(rest) => vec![format!("{first}::{}", word(rest))],
        None => vec![first],
    }
}

/// What stands between the commas up to the closing brace.
fn items(list: &str) -> Vec<String> {
    let (mut found, mut depth, mut item) = (Vec::new(), 0, String::new());
    for letter in list.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                item.push(letter);
            }
        }
    }
    found.push(item);
    found
}
