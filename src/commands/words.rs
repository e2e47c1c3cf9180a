//! Words to what they mean, as the table of commands says: the one reader of every command line.

use super::table::{self, Command, Count, Item};
use super::values::{Kind, Value};
use crate::client::Url;
use crate::settings::nearest;
use std::path::Path;
use std::time::Duration;

/// What a command line says to a command. Everything in it is allowed and complete.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// The words behind the command, as they came.
    pub raw: &'a [String],
    given: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Parsed<'a> {
    /// The value of an option or word; of several, the last.
    fn get(&self, label: &str) -> Option<&Value<'a>> {
        debug_assert!(table::COMMANDS.iter().any(|row| row.items.iter().any(|item| item.label() == label)));
        self.given.iter().rev().find(|(given, _)| *given == label).map(|(_, value)| value)
    }

    /// Whether an option was given.
    pub fn flag(&self, label: &str) -> bool {
        self.get(label).is_some()
    }

    /// A text.
    pub fn text(&self, label: &str) -> Option<&'a str> {
        match self.get(label) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A file.
    pub fn path(&self, label: &str) -> Option<&'a Path> {
        self.text(label).map(Path::new)
    }

    /// A whole number.
    pub fn number(&self, label: &str) -> Option<u64> {
        match self.get(label) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A length of time, or the time since 1970.
    pub fn time(&self, label: &str) -> Option<Duration> {
        match self.get(label) {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        }
    }

    /// An address.
    pub fn url(&self, label: &str) -> Option<&Url> {
        match self.get(label) {
            Some(Value::Url(url)) => Some(url),
            _ => None,
        }
    }

    /// Every text that was given for a word that may stand there more than once.
    pub fn all(&self, label: &str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(given, _)| *given == label).filter_map(|(_, value)| match value {
            Value::Text(text) => Some(*text),
            _ => None,
        })
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.text("--output") == Some("json")
    }
}

/// Whether a word before a lone `--` asks for help.
pub fn asks_help(words: &[String]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "-h" || word == "--help")
}

/// The option that a word is, and the value in it behind an equals sign.
pub fn option<'a>(command: &Command, word: &'a str) -> Option<(&'static Item, Option<&'a str>)> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    command
        .options()
        .find(|item| item.name == name || (!name.is_empty() && item.short == name))
        .map(|item| (item, value))
}

/// Reads the words behind a command.
///
/// # Errors
/// They cannot be used: the word, what is allowed, and what was probably meant.
pub fn parse<'a>(command: &'static Command, raw: &'a [String]) -> Result<Parsed<'a>, String> {
    let mut parsed = Parsed { raw, given: Vec::new() };
    if command.is_raw() {
        return Ok(parsed);
    }
    let mut places = command.words();
    let mut place = places.next();
    let mut words = raw.iter();
    let mut only_words = false;
    while let Some(word) = words.next() {
        if !only_words && word.starts_with('-') {
            if word == "--" {
                only_words = true;
                continue;
            }
            let Some((item, inside)) = option(command, word) else { return Err(unknown(command, word)) };
            let name = word.split('=').next().unwrap_or_default();
            let value = match (item.kind, inside) {
                (Kind::Flag, None) => "",
                (Kind::Flag, Some(_)) => return Err(format!("{name} takes no value")),
                (_, Some(value)) => value,
                (_, None) => words.next().ok_or_else(|| lacking(item, name))?,
            };
            parsed.given.push((item.label(), item.kind.read(name, value)?));
            continue;
        }
        let Some(item) = place else { return Err(unknown(command, word)) };
        parsed.given.push((item.label(), item.kind.read("", word)?));
        if item.count != Count::Any {
            place = places.next();
        }
    }
    match place {
        Some(Item { count: Count::One, help, kind, .. }) => {
            Err(format!("{} needs {help}: {}", command.name, kind.allowed()))
        }
        _ => agree(command, &parsed).map(|()| parsed),
    }
}

/// "--ticks needs a value: a whole number from 1 to 1000000"
fn lacking(item: &Item, name: &str) -> String {
    match item.kind {
        Kind::File => format!("{name} needs a {}", item.value),
        kind => format!("{name} needs a value: {}", kind.allowed()),
    }
}

/// Of what excludes each other, one at most is there.
fn agree(command: &Command, parsed: &Parsed<'_>) -> Result<(), String> {
    for group in command.apart {
        let given: Vec<_> = group.iter().copied().filter(|label| parsed.flag(label)).collect();
        if given.len() > 1 {
            return Err(given.join(" and ") + " exclude each other; give one");
        }
    }
    Ok(())
}

/// "plan does not know "--tick"; did you mean --ticks? It knows --config, ..."
fn unknown(command: &Command, word: &str) -> String {
    let name = word.split('=').next().unwrap_or_default();
    let mut why = format!("{} does not know {word:?}", command.name);
    let known: Vec<_> = command.items.iter().map(|item| item.label()).collect();
    let options = known.iter().copied().filter(|label| label.starts_with('-'));
    match nearest(name, options) {
        Some(meant) => {
            why += "; did you mean ";
            why += meant;
            why += "? It knows ";
        }
        None => why += "; it knows ",
    }
    why += &if known.is_empty() { "no options".to_owned() } else { known.join(", ") };
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn why(line: &str) -> String {
        let words = split(line);
        parse(table::find(&words[0]).unwrap(), &words[1..]).unwrap_err()
    }

    #[test]
    fn a_value_stands_behind_a_blank_or_an_equals_sign() {
        for line in [
            "--output json --seed 7",
            "--output=json --seed=7",
            "-o json --seed 3 --seed 7",
            "-o=json --seed=7",
        ] {
            let words = split(line);
            let parsed = parse(table::find("plan").unwrap(), &words).unwrap();
            assert!(parsed.is_json() && parsed.number("--seed") == Some(7), "{line}");
            assert!(!parsed.flag("--for") && parsed.time("--for").is_none());
        }
        assert!(why("plan -ojson").starts_with("plan does not know \"-ojson\""));
        assert!(why("plan -o").starts_with("-o needs a value"));
    }

    #[test]
    fn words_and_options_mix_and_a_lone_double_dash_ends_the_options() {
        let words = split("cpu --for 3s cores=2 --dry-run nice=-5");
        let parsed = parse(table::find("inject").unwrap(), &words).unwrap();
        assert_eq!(parsed.text("TYPE"), Some("cpu"));
        assert_eq!(parsed.all("KEY=VALUE").collect::<Vec<_>>(), ["cores=2", "nice=-5"]);
        assert!(parsed.flag("--dry-run") && parsed.time("--for") == Some(Duration::from_secs(3)));
        let words = split("-- --help");
        assert!(!asks_help(&words));
        let parsed = parse(table::find("validate").unwrap(), &words).unwrap();
        assert_eq!(parsed.path("FILE"), Some(Path::new("--help")));
        assert!(asks_help(&split("cpu --config -h")));
    }

    #[test]
    fn every_wrong_word_is_named_with_what_is_allowed() {
        for (line, said) in [
            (
                "plan --tick 3",
                "plan does not know \"--tick\"; did you mean --ticks? It knows --config, --ticks, ",
            ),
            ("plan --colour=no", "plan does not know \"--colour=no\"; it knows --config, "),
            ("plan --ticks", "--ticks needs a value: a whole number from 1 to 1000000"),
            ("plan --config", "--config needs a FILE"),
            ("plan --ticks 0", "--ticks \"0\" is not allowed: a whole number from 1 to 1000000"),
            ("plan --pods=1000001", "--pods \"1000001\" is not allowed: a whole number from 1 to 1000000"),
            ("plan --for 0s", "--for \"0s\" is not allowed: a time above 0 such as 500ms, 30s"),
            ("plan --start noon", "--start \"noon\" is not allowed: a time such as"),
            ("plan -o yaml", "-o \"yaml\" is not allowed: one of text, json"),
            ("plan --for 1s --ticks 2", "--ticks and --for exclude each other; give one"),
            ("run --demo --config=x", "--config and --demo exclude each other; give one"),
            ("run --dry-run=yes", "--dry-run takes no value"),
            ("healthcheck --port 0", "--port \"0\" is not allowed: a whole number from 1 to 65535"),
            ("healthcheck --port", "--port needs a value"),
            ("healthcheck --port 1 http://a", "--port and URL exclude each other; give one"),
            ("healthcheck --port 1 --config x", "--config and --port exclude each other; give one"),
            (
                "healthcheck http://a http://b",
                "healthcheck does not know \"http://b\"; it knows --config, --port, URL",
            ),
            ("healthcheck -o json", "healthcheck does not know \"-o\""),
            ("healthcheck --timeout 2h", "--timeout \"2h\" is not allowed: a time from 1ms to 60m"),
            ("status http://a", "status does not know \"http://a\""),
            ("inject", "inject needs a type of failure: one of cpu, memory"),
            ("inject cpu cores", "\"cores\" is not allowed: key=value"),
            ("version now", "version does not know \"now\"; it knows no options"),
        ] {
            assert!(why(line).starts_with(said), "{line}: {}", why(line));
        }
    }
}
