//! Completion by the shell. What a shell reads is a few lines that ask the binary itself at each key: `chaos-agent
//! complete SHELL WORD...` prints what the last word may become, a line each, and ends with exit code 1 where that
//! is a file's name, which the shell knows best.

use super::table::{self, Command, Count, Item};
use super::values::Kind;
use super::words::{self, Parsed};
use crate::error::Result;
use crate::failures;
use crate::text::output;

/// The shells that can be served.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

const BASH: &str = r#"_chaos_agent() {
    local words
    words=$("$1" complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || { compopt -o default; return; }
    mapfile -t COMPREPLY < <(printf %s "$words")
    [[ ${COMPREPLY-} != *= ]] || compopt -o nospace
}
complete -F _chaos_agent chaos-agent
"#;

const ZSH: &str = r#"#compdef chaos-agent
_chaos_agent() {
    local text
    local -a found open
    text=$("${words[1]}" complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null) || { compset -P '*='; _files; return }
    found=("${(@f)text}")
    [[ -z $text ]] && return 1
    [[ $found[1] == *=(|:*) ]] && open=(-S '')
    _describe chaos-agent found "${open[@]}"
}
if [[ $funcstack[1] == _chaos_agent ]]; then _chaos_agent "$@"; else compdef _chaos_agent chaos-agent; fi
"#;

const FISH: &str = r#"function __chaos_agent
    set -l word (commandline -ct)
    set -l words (commandline -opc) $word
    set -l found ($words[1] complete fish $words[2..-1] 2>/dev/null)
    if test $status -eq 0
        printf '%s\n' $found
    else
        set -l before (string match -r '^--[^=]*=' -- $word)
        __fish_complete_path (string replace -- "$before" '' $word) | string replace -r '^' -- "$before"
    end
end
complete -c chaos-agent -f -a '(__chaos_agent)'
"#;

/// `chaos-agent completion SHELL`.
///
/// # Errors
/// None.
pub fn script(parsed: &Parsed<'_>) -> Result<u8> {
    output::print(match parsed.text("SHELL") {
        Some("zsh") => ZSH,
        Some("fish") => FISH,
        _ => BASH,
    });
    Ok(0)
}

/// `chaos-agent complete SHELL WORD...`, called by the scripts above: what the last of the words may become.
///
/// # Errors
/// None; exit code 1 when the shell shall offer files.
pub fn complete(raw: &[String]) -> Result<u8> {
    let Some((shell, words)) = raw.split_first() else { return Ok(0) };
    let mut words = words.to_vec();
    let cut = if shell == "bash" { glue(&mut words) } else { 0 };
    let Some(found) = candidates(&words) else { return Ok(1) };
    let begun = words.last().map_or("", String::as_str);
    let between = match shell.as_str() {
        "zsh" => ":",
        "fish" => "\t",
        _ => "",
    };
    let mut text = String::new();
    for Candidate { word, about } in found {
        if !word.starts_with(begun) {
            continue;
        }
        text += word.get(cut..).unwrap_or_default();
        if !between.is_empty() && !about.is_empty() {
            text += between;
            text += about;
        }
        text += "\n";
    }
    output::print(&text);
    Ok(0)
}

/// bash takes words apart at `=` and `:` (COMP_WORDBREAKS): puts them together again. Returns how much of the last one
/// bash has already, and will not hear of again.
fn glue(words: &mut Vec<String>) -> usize {
    let mut whole: Vec<String> = Vec::new();
    let (mut cut, mut open) = (0, false);
    for word in words.drain(..) {
        let breaks = !word.is_empty() && word.bytes().all(|byte| byte == b'=' || byte == b':');
        match whole.last_mut().filter(|_| breaks || open) {
            Some(last) => {
                cut = last.len() + if breaks { word.len() } else { 0 };
                last.push_str(&word);
            }
            None => {
                cut = 0;
                whole.push(word);
            }
        }
        open = breaks;
    }
    *words = whole;
    cut
}

/// What a word may become.
struct Candidate {
    word: String,
    about: &'static str,
}

impl Candidate {
    fn new(word: &str, about: &'static str) -> Candidate {
        Candidate { word: word.to_owned(), about }
    }
}

/// What the last of the words may become, whatever it begins with; `None` for the name of a file.
fn candidates(words: &[String]) -> Option<Vec<Candidate>> {
    let (current, before) = words.split_last()?;
    let Some((name, before)) = before.split_first() else {
        return Some(table::shown().map(|command| Candidate::new(command.name, command.about)).collect());
    };
    let Some(command) = table::find(name).filter(|command| !command.is_raw()) else {
        return Some(Vec::new());
    };
    let line = Line::read(command, before);
    if let Some(item) = line.open {
        return values(item, current, "", &line);
    }
    if current.starts_with('-') && !line.only_words {
        return match words::option(command, current) {
            Some((item, Some(value))) => values(item, value, current.strip_suffix(value)?, &line),
            _ => Some(line.options()),
        };
    }
    let found = line.place.map_or(Some(Vec::new()), |item| values(item, current, "", &line))?;
    Some(if found.is_empty() && current.is_empty() { line.options() } else { found })
}

/// What stands before the word that is completed. Mistakes in it are none of completion's business.
struct Line<'a> {
    command: &'static Command,
    /// The labels of what is there.
    given: Vec<&'static str>,
    /// The option whose value comes next.
    open: Option<&'static Item>,
    /// The word whose place is next.
    place: Option<&'static Item>,
    /// Whether a lone `--` has ended the options.
    only_words: bool,
    /// The type of failure.
    failure: &'a str,
}

impl<'a> Line<'a> {
    fn read(command: &'static Command, before: &'a [String]) -> Line<'a> {
        let mut places = command.words();
        let place = places.next();
        let mut line = Line { command, given: Vec::new(), open: None, place, only_words: false, failure: "" };
        for word in before {
            if line.open.take().is_some() {
            } else if !line.only_words && word.starts_with('-') {
                line.only_words = word == "--";
                if let Some((item, value)) = words::option(command, word) {
                    line.given.push(item.label());
                    line.open = Some(item).filter(|item| item.kind != Kind::Flag && value.is_none());
                }
            } else if let Some(item) = line.place {
                line.given.push(item.label());
                if item.kind == Kind::Failure {
                    line.failure = word;
                }
                if item.count != Count::Any {
                    line.place = places.next();
                }
            }
        }
        line
    }

    /// The options that may still be given.
    fn options(&self) -> Vec<Candidate> {
        let may = |item: &&Item| {
            let label = item.label();
            !self.given.iter().any(|given| *given == label || self.command.group(label).contains(given))
        };
        let options = self.command.options().filter(may).map(|item| Candidate::new(item.name, item.help));
        options.chain([Candidate::new("--help", "")]).collect()
    }
}

/// The values of an option or word of which `begun` is there, each behind `prefix`; `None` for files.
fn values(item: &Item, begun: &str, prefix: &str, line: &Line<'_>) -> Option<Vec<Candidate>> {
    match item.kind {
        Kind::File => None,
        Kind::Pair => Some(pairs(line.failure, begun)),
        kind => Some(
            kind.choices().into_iter().map(|word| Candidate::new(&[prefix, word].concat(), "")).collect(),
        ),
    }
}

/// The keys of a type of failure; behind an equals sign, the values of the key that it follows.
fn pairs(failure: &str, begun: &str) -> Vec<Candidate> {
    let Some(kind) = failures::kind(failure) else { return Vec::new() };
    match begun.split_once('=') {
        Some((key, _)) => {
            let values = kind.keys.choices(key);
            values.map(|value| Candidate::new(&[key, "=", value].concat(), "")).collect()
        }
        None => failures::key_names(kind).map(|key| Candidate::new(&[key, "="].concat(), "")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that may stand last, as a shell would ask that hands over whole words; `file` for files.
    fn ask(line: &str) -> String {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let begun = words.last().unwrap();
        let Some(found) = candidates(&words) else { return "file".to_owned() };
        let fits: Vec<_> =
            found.into_iter().map(|one| one.word).filter(|word| word.starts_with(begun)).collect();
        fits.join(" ")
    }

    #[test]
    fn what_may_come_next_is_told_from_the_table() {
        for (line, said) in [
            ("re", "resume revert"),
            ("gua", ""),
            ("revert ", "--dry-run --help"),
            ("run --de", "--demo"),
            ("run --demo --", "--dry-run --rest-on-bad-config --help"),
            ("run --config ", "file"),
            ("run --config x --d", "--dry-run"),
            ("plan --out", "--output"),
            ("plan -o ", "text json"),
            ("plan --output=", "--output=text --output=json"),
            ("plan --config=", "file"),
            ("plan --ticks 3 --fo", ""),
            ("plan --seed ", ""),
            ("validate ", "file"),
            ("validate -- ", "file"),
            ("healthcheck http://a --", "--timeout --help"),
            ("help st", "status"),
            ("completion ", "bash zsh fish"),
            ("inject m", "memory"),
            ("inject --for 3s pro", "process"),
            ("inject process cou", "count="),
            ("inject process --dry-run count=2 act", "action="),
            ("inject process action=", "action=kill action=pause action=signal"),
            ("inject memory keep_resident=f", "keep_resident=false"),
            ("inject memory mb=", ""),
            ("inject gpu ", "--for --seed --dry-run --force --with-stdin --config --port --help"),
            ("tc qdisc ", ""),
            ("nothing ", ""),
        ] {
            assert_eq!(ask(line), said, "{line}");
        }
    }

    #[test]
    fn what_bash_took_apart_is_put_together() {
        for (line, whole, cut) in [
            ("plan --output = js", "plan --output=js", 9),
            ("plan --output =", "plan --output=", 9),
            ("plan --output=js", "plan --output=js", 0),
            ("healthcheck http : //a : 8 --", "healthcheck http://a:8 --", 0),
            ("inject cpu cores = 2 --fo", "inject cpu cores=2 --fo", 0),
        ] {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let told = glue(&mut words);
            assert_eq!((words.join(" "), told), (whole.to_owned(), cut), "{line}");
        }
    }
}
