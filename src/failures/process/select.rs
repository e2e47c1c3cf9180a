//! Which processes an entry means: the keys `target_name`, `match` and `exclude`.

use super::rules;
use crate::linux::proc::{Process, Reader};
use crate::linux::sys;
use crate::settings::Section;
use crate::text::redact;
use std::io;

/// A condition on what a scan shows anyway. Needles are in ASCII lower case.
#[derive(Debug)]
enum Word {
    /// `target_name`: within the name or the command line.
    Either(Vec<u8>),
    Name(Vec<u8>),
    ExactName(Vec<u8>),
    Cmdline(Vec<u8>),
}

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct Rule {
    words: Vec<Word>,
    exe: Option<String>,
    uid: Option<u32>,
    container: Option<String>,
}

/// Whether a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// The kernel does not let us look.
    Unknown,
}

/// What an entry means, and what it spares.
#[derive(Debug)]
pub struct Selection {
    wanted: Rule,
    spared: Vec<Rule>,
    /// The conditions as text, for logs.
    pub shown: String,
}

/// A process that a selection means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// Its name, printable.
    pub name: String,
    /// Whether a signal or a debugger has stopped it.
    pub stopped: bool,
}

/// What [`Selection::judge`] finds.
#[derive(Debug)]
pub enum Verdict {
    /// The entry means it.
    Meant(Suspect),
    /// Not meant, protected, ended or gone.
    No,
    /// Meant but for `exe`, which the kernel does not show.
    Hidden,
}

impl Selection {
    /// Reads `target_name`, `match` and `exclude`.
    pub fn parse(section: &mut Section<'_>) -> Option<Selection> {
        let mut wanted = Rule::default();
        let mut shown = Vec::new();
        let target = section.text("target_name");
        if section.has("match") {
            let read =
                section.child("match", |inside| Some(Rule::parse(inside, &mut shown, target.is_none())));
            wanted = read.unwrap_or_default();
        } else {
            section.require("target_name");
        }
        if let Some(target) = &target {
            if let Some(why) = rules::refusal(target).filter(|_| section.required() && wanted.is_empty()) {
                section.problem("target_name", why, "name the application, for example \"myapp\"");
            }
            let needle = target.trim().to_ascii_lowercase();
            shown.insert(0, format!("{needle:?}"));
            wanted.words.push(Word::Either(needle.into_bytes()));
        }
        let spare = |inside: &mut Section<'_>| Some(Rule::parse(inside, &mut Vec::new(), false));
        let spared = match section.has("exclude") {
            true => section.each("exclude", "match", spare).unwrap_or_default(),
            false => Vec::new(),
        };
        let shown = shown.join(" and ");
        (!wanted.is_empty()).then_some(Selection { wanted, spared, shown })
    }

    /// A selection by one word, as `target_name` makes it.
    #[cfg(test)]
    pub fn target(name: &str) -> Selection {
        let words = vec![Word::Either(name.to_ascii_lowercase().into_bytes())];
        let wanted = Rule { words, ..Rule::default() };
        Selection { wanted, spared: Vec::new(), shown: format!("{name:?}") }
    }

    /// The real uid that whoever is meant must have.
    pub fn uid(&self) -> Option<u32> {
        self.wanted.uid
    }

    /// Whether a process may be meant, by its names: cheap enough for every process of a scan.
    pub fn may_mean(&self, process: &Process<'_>) -> bool {
        process.pid != 1 && self.wanted.names(process) && !rules::is_protected(process)
    }

    /// Looks at one process as it is now, at everything.
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn judge(&self, reader: &mut Reader, pid: u32) -> sys::Result<Verdict> {
        let Some(process) = reader.process(pid)? else { return Ok(Verdict::No) };
        if !self.may_mean(&process) {
            return Ok(Verdict::No);
        }
        let name = redact::name(process.shown());
        let spared: Vec<&Rule> = self.spared.iter().filter(|rule| rule.names(&process)).collect();
        let Some(stat) = reader.stat(pid)? else { return Ok(Verdict::No) };
        if stat.is_kernel_thread() || stat.is_dead() {
            return Ok(Verdict::No);
        }
        let suspect = Suspect { start: stat.start, name, stopped: stat.is_stopped() };
        // what cannot be seen is spared in doubt
        if spared.iter().any(|rule| rule.rest(reader, pid) != Answer::No) {
            return Ok(Verdict::No);
        }
        Ok(match self.wanted.rest(reader, pid) {
            Answer::Yes => Verdict::Meant(suspect),
            Answer::No => Verdict::No,
            Answer::Unknown => Verdict::Hidden,
        })
    }
}

impl Rule {
    /// Reads the conditions of `match` or of one item of `exclude`. `alone`: nothing else narrows them, so that
    /// names that say nothing are refused.
    fn parse(section: &mut Section<'_>, shown: &mut Vec<String>, alone: bool) -> Rule {
        let mut rule = Rule::default();
        let keys = ["name", "exact_name", "cmdline"];
        let texts = keys.map(|key| section.text(key));
        rule.exe = section.text("exe");
        rule.uid = section.integer("uid").and_then(|uid| u32::try_from(uid).ok());
        rule.container = section.text("container");
        let narrowed = rule.exe.is_some() || rule.uid.is_some() || rule.container.is_some();
        for (key, text) in keys.into_iter().zip(texts) {
            let Some(text) = text else { continue };
            let why = rules::refusal(&text).filter(|_| alone && !narrowed && section.required());
            if text.is_empty() {
                section.problem(key, "is empty", "");
            } else if let Some(why) = why {
                section.problem(key, why, "name the application, or add uid, exe or container");
            }
            shown.push(format!("{key} {text:?}"));
            let needle = text.to_ascii_lowercase().into_bytes();
            rule.words.push(match key {
                "name" => Word::Name(needle),
                "cmdline" => Word::Cmdline(needle),
                _ => Word::ExactName(text.into_bytes()),
            });
        }
        // Nobody has an empty one: whom such a condition was to spare would be met.
        for (key, text) in [("exe", &rule.exe), ("container", &rule.container)] {
            if text.as_ref().is_some_and(String::is_empty) {
                section.problem(key, "is empty", "");
            }
        }
        shown.extend(rule.exe.iter().map(|exe| format!("exe {exe:?}")));
        shown.extend(rule.uid.iter().map(|uid| format!("uid {uid}")));
        shown.extend(rule.container.iter().map(|container| format!("container {container:?}")));
        if rule.is_empty() {
            let hint = "give one of name, exact_name, cmdline, exe, uid, container";
            section.problem("", "has no condition", hint);
        }
        rule
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.exe.is_none() && self.uid.is_none() && self.container.is_none()
    }

    fn names(&self, process: &Process<'_>) -> bool {
        self.words.iter().all(|word| match word {
            Word::Either(needle) => contains(process.name(), needle) || contains(process.cmdline, needle),
            Word::Name(needle) => contains(process.name(), needle),
            Word::ExactName(name) => process.name() == name || process.comm == name,
            Word::Cmdline(needle) => contains(process.cmdline, needle),
        })
    }

    /// The conditions that take files of their own.
    fn rest(&self, reader: &Reader, pid: u32) -> Answer {
        if self.uid.is_some_and(|uid| reader.uid(pid) != Some(uid)) {
            return Answer::No;
        }
        if let Some(container) = &self.container {
            let paths = reader.read(pid, c"cgroup").unwrap_or_default();
            if !paths.windows(container.len().max(1)).any(|part| part == container.as_bytes()) {
                return Answer::No;
            }
        }
        let Some(wanted) = &self.exe else { return Answer::Yes };
        match reader.exe(pid) {
            Ok(path) => {
                let path = path.to_string_lossy();
                let path = path.strip_suffix(" (deleted)").unwrap_or(&path); // proc_pid_exe(5)
                let base = path.rsplit('/').next().unwrap_or_default();
                if path == wanted || base == wanted { Answer::Yes } else { Answer::No }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Answer::No,
            Err(_) => Answer::Unknown,
        }
    }
}

/// Without case in ASCII letters; `needle` is in lower case. NULs between arguments count as blanks.
fn contains(text: &[u8], needle: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| match byte {
        0 => *wanted == b' ',
        byte => byte.to_ascii_lowercase() == *wanted,
    };
    text.windows(needle.len().max(1)).any(|part| part.iter().zip(needle).all(same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Report, parse};

    /// The selection of an enabled entry and its problems.
    fn read(yaml: &str) -> (Option<Selection>, Vec<String>) {
        let mut report = Report::default();
        let node = parse(yaml, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report, crate::failures::process::KEYS);
        section.set_required(true);
        let selection = Selection::parse(&mut section);
        drop(section.finish());
        (selection, report.problems("f"))
    }

    #[test]
    fn conditions_are_combined_with_and() {
        let (selection, problems) =
            read("{target_name: Redis, match: {name: srv, cmdline: ' -p ', uid: 7, exe: x, container: c}}");
        assert_eq!(problems, [""; 0]);
        let selection = selection.unwrap();
        assert_eq!(
            selection.shown,
            "\"redis\" and name \"srv\" and cmdline \" -p \" and exe \"x\" and uid 7 and container \"c\""
        );
        let means = |comm: &[u8], cmdline: &[u8]| selection.may_mean(&Process { pid: 9, comm, cmdline });
        assert!(means(b"redis-SRV", b"redis\0-P\0x\0"));
        assert!(!means(b"redis", b"srv\0-p\0x\0"), "the name lacks srv");
        assert!(!means(b"redis-srv", b"-p\0x\0"), "the command line lacks the blank");
        assert!(!selection.may_mean(&Process { pid: 1, comm: b"redis-srv", cmdline: b"r -p x" }));
        let (exact, _) = read("match: {exact_name: Redis}");
        let exact = exact.unwrap();
        assert!(exact.may_mean(&Process { pid: 9, comm: b"Redis", cmdline: b"" }));
        assert!(!exact.may_mean(&Process { pid: 9, comm: b"redis", cmdline: b"" }));
    }

    #[test]
    fn what_is_too_wide_or_empty_is_a_problem() {
        for (yaml, problem) in [
            ("{}", "target_name: is missing"),
            ("target_name: python", "interpreter"),
            ("target_name: ab", "3 characters"),
            ("match: {}", "match: has no condition"),
            ("match: {name: sh}", "3 characters"),
            ("match: {exact_name: java}", "interpreter"),
            ("match: {cmdline: ''}", "is empty"),
            ("match: {exe: ''}", "exe: \"\" is empty"),
            ("{target_name: redis, exclude: [{container: ''}]}", "container: \"\" is empty"),
            ("match: {uid: -1}", "uid"),
            ("match: {nam: redis}", "did you mean name?"),
            ("{target_name: redis, exclude: [{}]}", "has no condition"),
        ] {
            let (_, problems) = read(yaml);
            assert!(problems.iter().any(|text| text.contains(problem)), "{yaml}: {problems:?}");
        }
        for yaml in
            ["match: {name: java, uid: 7}", "{target_name: sh, match: {container: app}}", "match: {uid: 0}"]
        {
            assert_eq!(read(yaml).1, [""; 0], "{yaml}");
        }
    }
}
