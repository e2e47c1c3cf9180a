//! Help, of all commands or of one, from the table of commands.

use super::table::{self, CONFIG, Command, Count, Item};
use super::values::Kind;
use super::words::Parsed;
use crate::error::Result;
use crate::failures;
use crate::text::output;

/// Where lines end, in characters.
const WIDTH: usize = 110;
/// Stands behind every list of options.
static HELP: Item = Item { name: "--help", short: "-h", help: "this text", ..NOTHING };
const NOTHING: Item =
    Item { name: "", short: "", value: "", kind: Kind::Flag, help: "", default: "", count: Count::Maybe };

/// `chaos-agent help [COMMAND]`.
///
/// # Errors
/// None.
pub fn run(parsed: &Parsed<'_>) -> Result<u8> {
    output::print(&match parsed.text("COMMAND").and_then(table::find) {
        Some(command) => of(command, &[]),
        None => all(),
    });
    Ok(0)
}

/// Every command with what it takes.
fn all() -> String {
    let mut text =
        String::from("chaos-agent: injects faults into the pod that it shares, and takes them back\n\n");
    for command in table::shown() {
        wrap(&mut text, &["  chaos-agent ", &usage(command)].concat(), 6);
        wrap(&mut text, &["      ", command.about].concat(), 6);
    }
    text.push('\n');
    wrap(
        &mut text,
        &["chaos-agent COMMAND --help says more. Without --config: ", CONFIG.default, "."].concat(),
        0,
    );
    text += "Exit codes: 0 done, 1 failed, 64 wrong command line or config.\n";
    text
}

/// One command with its options; for `inject`, with the keys of the type of failure among the words.
pub fn of(command: &Command, words: &[String]) -> String {
    let mut text = String::new();
    wrap(&mut text, &["chaos-agent ", command.name, ": ", command.about].concat(), 2);
    wrap(&mut text, &["\n  chaos-agent ", &usage(command)].concat(), 6);
    text += "\n";
    let rows = || command.items.iter().copied().chain(std::iter::once(&HELP)).map(|item| (left(item), item));
    let width = rows().map(|(left, _)| left.len()).max().unwrap_or(0) + 4;
    for (mut line, item) in rows() {
        line.insert_str(0, "  ");
        line.extend(std::iter::repeat_n(' ', width - line.len()));
        line += &describe(item);
        wrap(&mut text, &line, width);
    }
    let takes_failure = command.words().any(|item| item.kind == Kind::Failure);
    let kind = words.iter().find_map(|word| failures::kind(word)).filter(|_| takes_failure);
    if let Some(kind) = kind {
        text += "\nThe keys of ";
        text += kind.name;
        text += ":\n";
        text += &failures::help(kind);
    }
    text
}

/// "-o, --output FORMAT".
fn left(item: &Item) -> String {
    let comma = if item.short.is_empty() { "" } else { ", " };
    let blank = if item.is_option() && !item.value.is_empty() { " " } else { "" };
    [item.short, comma, item.name, blank, item.value].concat()
}

/// What an option is for, what is allowed and what holds without it.
fn describe(item: &Item) -> String {
    let mut text = item.help.to_owned();
    let allowed = item.kind.allowed();
    if !allowed.is_empty() {
        text += ": ";
        text += &allowed;
    }
    if !item.default.is_empty() {
        text += " (default: ";
        text += item.default;
        text += ")";
    }
    text
}

/// "plan [--config FILE] [--ticks N | --for TIME] ...", what excludes each other in one pair of brackets.
fn usage(command: &Command) -> String {
    let mut text = command.name.to_owned();
    let mut before: &[&str] = &[];
    for item in command.items {
        let group = command.group(item.label());
        let together = !group.is_empty() && group == before;
        if together {
            text.truncate(text.len() - 1);
        }
        text += if together { " | " } else { " " };
        if item.count != Count::One && !together {
            text += "[";
        }
        text += if item.short.is_empty() { item.name } else { item.short };
        if item.is_option() && !item.value.is_empty() {
            text += " ";
        }
        text += item.value;
        if item.count == Count::Any {
            text += " ...";
        }
        if item.count != Count::One {
            text += "]";
        }
        before = group;
    }
    text
}

/// Adds a line, broken at blanks outside of brackets; what follows begins `indent` characters further right.
fn wrap(text: &mut String, line: &str, indent: usize) {
    let mut length = 0;
    let mut depth = 0;
    let mut part = String::new();
    for letter in line.chars().chain(std::iter::once('\n')) {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if letter == '\n' || (letter == ' ' && depth == 0) {
            if length + part.len() > WIDTH && length > indent {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent));
                length = indent;
            }
            length = if letter == '\n' { 0 } else { length + part.len() + 1 };
            text.push_str(&part);
            text.push(letter);
            part.clear();
        } else {
            part.push(letter);
        }
    }
}
