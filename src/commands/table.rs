//! The table of sub-commands. Parsing, help, usage errors and completion are made from it and know no command by
//! name: another option is another row here.

use super::values::Kind;
use super::words::Parsed;
use super::{
    cli, completion, doctor, guard, halt, healthcheck, help, inject, plan, reference, revert, run, status,
    tc, validate,
};
use crate::error::Result;
use Count::{Any, Maybe, One};

/// A row of [`COMMANDS`].
pub struct Command {
    /// The word that names it.
    pub name: &'static str,
    /// What it does; empty for commands that only the agent itself or a shell calls.
    pub about: &'static str,
    /// Its options, and the words that it takes, in their order.
    pub items: &'static [&'static Item],
    /// Groups of which one at most may be given, by label, next to each other in `items`.
    pub apart: &'static [&'static [&'static str]],
    /// Carries it out.
    pub run: fn(&Parsed<'_>) -> Result<u8>,
}

/// An option, or a word that is known by its place.
pub struct Item {
    /// `--config`; empty for a word.
    pub name: &'static str,
    /// `-o`; empty for most.
    pub short: &'static str,
    /// What help calls the value; empty for a flag.
    pub value: &'static str,
    /// What the value may be.
    pub kind: Kind,
    /// What it is for.
    pub help: &'static str,
    /// What holds without it; empty where that is nothing.
    pub default: &'static str,
    /// How often a word may stand there; an option always may be left out, and given twice its last value counts.
    pub count: Count,
}

/// How many words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It must be there.
    One,
    /// It may be left out.
    Maybe,
    /// As many as one likes.
    Any,
}

impl Item {
    /// By which it is asked for: the name of an option, or what a word's value is called.
    pub fn label(&self) -> &'static str {
        if self.name.is_empty() { self.value } else { self.name }
    }

    /// Whether it is an option, not a word.
    pub fn is_option(&self) -> bool {
        !self.name.is_empty()
    }

    const fn option(name: &'static str, value: &'static str, kind: Kind, help: &'static str) -> Item {
        Item { name, short: "", value, kind, help, default: "", count: Maybe }
    }

    const fn word(count: Count, value: &'static str, kind: Kind, help: &'static str) -> Item {
        Item { name: "", short: "", value, kind, help, default: "", count }
    }

    const fn or(mut self, default: &'static str) -> Item {
        self.default = default;
        self
    }

    const fn short(mut self, short: &'static str) -> Item {
        self.short = short;
        self
    }
}

impl Command {
    /// Its options.
    pub fn options(&self) -> impl Iterator<Item = &'static Item> {
        self.items.iter().copied().filter(|item| item.is_option())
    }

    /// The words that it takes by their place.
    pub fn words(&self) -> impl Iterator<Item = &'static Item> {
        self.items.iter().copied().filter(|item| !item.is_option())
    }

    /// Whether its words are its own, whatever they are.
    pub fn is_raw(&self) -> bool {
        self.items.iter().any(|item| item.kind == Kind::Raw)
    }

    /// The group of `apart` that a label belongs to.
    pub fn group(&self, label: &str) -> &'static [&'static str] {
        self.apart.iter().copied().find(|group| group.contains(&label)).unwrap_or_default()
    }
}

/// Looks a command up by its name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The commands that are for people.
pub fn shown() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| !command.about.is_empty())
}

/// Ticks and pods at most: what their answer needs in memory is bounded by it.
pub const MILLION: u64 = 1_000_000;

/// `--config`, the same for all who read one.
pub static CONFIG: Item = Item::option("--config", "FILE", Kind::File, "the config")
    .or("the first of $CHAOS_CONFIG, ./config.yaml, /app/config.yaml, /etc/chaos-agent/config.yaml");
static PORT: Item = Item::option("--port", "N", Kind::Number(1, 65_535), "the agent's port on this host")
    .or("the config's, or 8000");
static TIMEOUT: Item =
    Item::option("--timeout", "TIME", Kind::Timeout, "how long an answer may take").or("2s");
static OUTPUT: Item =
    Item::option("--output", "FORMAT", Kind::Words(&["text", "json"]), "for people or for programs")
        .short("-o")
        .or("text");
static SEED: Item = Item::option("--seed", "N", Kind::Number(0, u64::MAX), "seed of the dice")
    .or("the config's, or a random one");
static RAW: Item = Item::word(Any, "WORD", Kind::Raw, "");
/// The options of those who ask the agent that runs here; `--port` and `--config` name it.
const WHOM: &[&str] = &["--config", "--port"];

/// Every sub-command, in the order of the help.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "run",
        about: "roll the dice until stopped",
        items: &[
            &CONFIG,
            &Item::option("--demo", "", Kind::Flag, "take the built-in config, a dry run"),
            &Item::option(
                "--dry-run",
                "",
                Kind::Flag,
                "describe every fault and inject none, whatever the config says",
            ),
            &Item::option(
                "--rest-on-bad-config",
                "",
                Kind::Flag,
                "where the config cannot be used, inject nothing until it can, instead of exit code 64",
            ),
        ],
        apart: &[&["--config", "--demo"]],
        run: run::run,
    },
    Command {
        name: "validate",
        about: "check a config: every problem (exit 64), or the effective config with all defaults (exit 0)",
        items: &[&Item::word(Maybe, "FILE", Kind::File, "the config").or("as for run")],
        apart: &[],
        run: validate::run,
    },
    Command {
        name: "plan",
        about: "what the dice would do, and what that means for so many pods; or check an audit trail against its seed",
        items: &[
            &CONFIG,
            &Item::option("--ticks", "N", Kind::Number(1, MILLION), "how many ticks to look ahead"),
            &Item::option("--for", "TIME", Kind::Time, "how far to look ahead").or("1h"),
            &SEED,
            &Item::option("--start", "TIME", Kind::Moment, "when it begins, for schedules").or("now"),
            &Item::option(
                "--pods",
                "N",
                Kind::Number(1, MILLION),
                "a fleet of so many pods instead of one agent",
            ),
            &Item::option(
                "--replicas",
                "R",
                Kind::Number(1, 1000),
                "so many pods of the fleet are one group",
            )
            .or("3"),
            &OUTPUT,
            &Item::option(
                "--replay",
                "FILE",
                Kind::File,
                "check this audit trail instead; exit 1 if a line is wrong",
            ),
        ],
        apart: &[&["--ticks", "--for"]],
        run: plan::run,
    },
    Command {
        name: "inject",
        about: "one fault now, reverted at its end or by Ctrl-C; exit 0 done, 1 failed, 2 nothing to do, 130 ended early",
        items: &[
            &Item::word(One, "TYPE", Kind::Failure, "a type of failure"),
            &Item::word(
                Any,
                "KEY=VALUE",
                Kind::Pair,
                "a key of this type, as in a config (inject TYPE --help has them), and its value",
            ),
            &Item::option("--for", "TIME", Kind::Time, "how long it holds").or("30s"),
            &Item::option("--seed", "N", Kind::Number(0, u64::MAX), "seed of what it picks").or("random"),
            &Item::option("--dry-run", "", Kind::Flag, "check and describe it only"),
            &Item::option(
                "--force",
                "",
                Kind::Flag,
                "insist where the agent that runs here, or its halt file, says no",
            ),
            &Item::option("--with-stdin", "", Kind::Flag, "end it when standard input, a pipe, is closed"),
            &CONFIG,
            &PORT,
        ],
        apart: &[WHOM],
        run: inject::run,
    },
    Command {
        name: "halt",
        about: "revert everything that the agent running here has active, and let its dice rest",
        items: &[&CONFIG, &PORT, &TIMEOUT],
        apart: &[WHOM],
        run: halt::halt,
    },
    Command {
        name: "resume",
        about: "let them go on",
        items: &[&CONFIG, &PORT, &TIMEOUT],
        apart: &[WHOM],
        run: halt::resume,
    },
    Command {
        name: "revert",
        about: "remove the network faults that an agent left behind here",
        items: &[&Item::option("--dry-run", "", Kind::Flag, "only list them")],
        apart: &[],
        run: revert::run,
    },
    Command {
        name: "doctor",
        about: "whether each failure could be injected here, why not, and what to do; exit 0 if all enabled could",
        items: &[
            &CONFIG,
            &Item::option("--wait", "TIME", Kind::Time, "so long for an application that does not run yet"),
            &OUTPUT,
        ],
        apart: &[],
        run: doctor::run,
    },
    Command {
        name: "healthcheck",
        about: "ask the running agent's /healthz, or an http URL: exit 0 if it answers well, else 1 and why",
        items: &[
            &CONFIG,
            &PORT,
            &Item::word(Maybe, "URL", Kind::Url, "whom to ask instead of the agent"),
            &TIMEOUT,
        ],
        apart: &[&["--config", "--port", "URL"]],
        run: healthcheck::run,
    },
    Command {
        name: "status",
        about: "print what the running agent is doing",
        items: &[&OUTPUT, &CONFIG, &PORT, &TIMEOUT],
        apart: &[WHOM],
        run: status::run,
    },
    Command {
        name: "tc",
        about: "the built-in subset of iproute2's tc (qdisc add|del|show ...)",
        items: &[&RAW],
        apart: &[],
        run: |parsed| tc::run(parsed.raw),
    },
    Command { name: "guard", about: "", items: &[], apart: &[], run: guard::run },
    Command { name: "reference", about: "", items: &[&RAW], apart: &[], run: reference::run },
    Command {
        name: "completion",
        about: "print what makes a shell complete these commands: source <(chaos-agent completion bash)",
        items: &[&Item::word(One, "SHELL", Kind::Words(completion::SHELLS), "the shell")],
        apart: &[],
        run: completion::script,
    },
    Command {
        name: "complete",
        about: "",
        items: &[&RAW],
        apart: &[],
        run: |parsed| completion::complete(parsed.raw),
    },
    Command {
        name: "help",
        about: "this text, or that of one command",
        items: &[&Item::word(Maybe, "COMMAND", Kind::Command, "which")],
        apart: &[],
        run: help::run,
    },
    Command { name: "version", about: "the version", items: &[], apart: &[], run: cli::version },
];

#[cfg(test)]
mod tests {
    use super::super::{help, words};
    use super::*;
    use crate::config;
    use std::collections::HashSet;

    #[test]
    fn no_name_stands_twice() {
        let names: HashSet<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        for command in COMMANDS {
            let mut seen = HashSet::from(["-h", "--help"]);
            for item in command.items {
                for name in [item.label(), item.short].into_iter().filter(|name| !name.is_empty()) {
                    assert!(seen.insert(name), "{} has {name} twice", command.name);
                }
                assert!(item.name.is_empty() || item.name.starts_with("--"), "{}", item.name);
                assert_eq!(item.value.is_empty(), item.kind == Kind::Flag, "{}", item.label());
            }
        }
    }

    #[test]
    fn what_excludes_each_other_stands_together_in_the_table() {
        for command in COMMANDS {
            for group in command.apart {
                let labels: Vec<_> = command.items.iter().map(|item| item.label()).collect();
                assert!(
                    labels.windows(group.len()).any(|some| some == *group),
                    "{}: {group:?}",
                    command.name
                );
            }
        }
    }

    #[test]
    fn a_word_that_may_be_left_out_is_followed_by_none_that_must_be_there() {
        for command in COMMANDS {
            let counts: Vec<_> = command.words().map(|item| item.count).collect();
            for pair in counts.windows(2) {
                assert!(pair[0] == One || (pair[0] == Maybe && pair[1] != One), "{}", command.name);
            }
        }
    }

    #[test]
    fn help_names_every_option_with_its_default_and_what_is_allowed() {
        for command in shown() {
            let text = help::of(command, &[]);
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(command.about), "{text}");
            for item in command.items {
                let parts = [item.name.to_owned(), item.short.to_owned(), item.value.to_owned()];
                for part in parts.into_iter().chain([item.help.to_owned(), item.kind.allowed()]) {
                    assert!(flat.contains(&part), "{} does not tell {part:?}:\n{text}", command.name);
                }
                assert!(item.default.is_empty() || flat.contains(&format!("(default: {})", item.default)));
            }
            assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        }
    }

    #[test]
    fn every_choice_is_read_and_what_is_near_it_is_not() {
        for item in COMMANDS.iter().flat_map(|command| command.items) {
            for word in item.kind.choices() {
                assert!(item.kind.read(item.name, word).is_ok(), "{} {word}", item.label());
                let why = item.kind.read(item.name, &format!("{word}x")).unwrap_err();
                assert!(why.contains("did you mean "), "{why}");
            }
        }
    }

    #[test]
    fn every_default_is_a_value_or_words_about_one() {
        for command in COMMANDS {
            for item in
                command.options().filter(|item| item.default.starts_with(|c: char| c.is_ascii_digit()))
            {
                assert!(item.kind.read(item.name, item.default).is_ok(), "{} {}", item.name, item.default);
            }
        }
        for place in config::PLACES {
            assert!(CONFIG.default.contains(place), "{place}");
        }
    }

    #[test]
    fn the_readme_knows_every_command() {
        let readme = include_str!("../../README.md");
        for command in shown().filter(|command| !["help", "version"].contains(&command.name)) {
            // `chaos-agent NAME`, or the name alone between backquotes.
            let forms = [format!("chaos-agent {}", command.name), format!("`{}`", command.name)];
            let product = format!("chaos-agent-linux-amd64 {}", command.name);
            assert!(forms.iter().chain([&product]).any(|form| readme.contains(form)), "{}", command.name);
        }
    }

    #[test]
    fn what_no_command_says_wrong_is_said_by_all() {
        for command in COMMANDS.iter().filter(|command| !command.is_raw()) {
            let wrong = ["--no-such-option".to_owned()];
            let why = words::parse(command, &wrong).unwrap_err();
            let said = format!("{} does not know \"--no-such-option\"; it knows ", command.name);
            assert!(why.starts_with(&said), "{why}");
        }
    }
}
