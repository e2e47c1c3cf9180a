//! The command line: one table of commands, read by hand.

use crate::commands;
use crate::error::{Error, Result};
use crate::text::output;
use std::ffi::OsString;
use std::path::Path;

/// A row of [`COMMANDS`].
struct Command {
    name: &'static str,
    /// What stands behind the name in the help.
    options: &'static str,
    /// What the command does; empty for commands that only the agent itself calls.
    about: &'static str,
    run: fn(&[String]) -> Result<u8>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        options: "[--config FILE | --demo] [--dry-run]",
        about: "roll the dice until stopped; --demo takes the built-in config (a dry run)",
        run: commands::run::run,
    },
    Command {
        name: "validate",
        options: "[FILE]",
        about: "check a config: every problem (exit 64), or the effective config with all defaults (exit 0)",
        run: commands::validate::run,
    },
    Command {
        name: "plan",
        options: "[--config FILE] [--ticks N | --for 1h] [--seed S] [--start TIME] [--pods N [--replicas R]] \
                  [-o text|json] | --replay FILE",
        about: "what the dice would do, and what that means for so many pods; or check an audit trail against its seed",
        run: commands::plan::run,
    },
    Command {
        name: "inject",
        options: "TYPE [KEY=VALUE ...] [--for 30s] [--seed N] [--dry-run]",
        about: "one fault now, reverted at its end or by Ctrl-C; exit 0 done, 1 failed, 2 nothing to do, 130 stopped",
        run: commands::inject::run,
    },
    Command {
        name: "halt",
        options: "[--config FILE | --port N]",
        about: "revert everything that the agent running here has active, and let its dice rest",
        run: commands::halt::halt,
    },
    Command {
        name: "resume",
        options: "[--config FILE | --port N]",
        about: "let them go on",
        run: commands::halt::resume,
    },
    Command {
        name: "revert",
        options: "[--dry-run]",
        about: "remove the network faults that an agent left behind here, or only list them",
        run: commands::revert::run,
    },
    Command {
        name: "doctor",
        options: "[--config FILE] [-o text|json]",
        about: "whether each failure could be injected here, why not, and what to do; exit 0 if all enabled could",
        run: commands::doctor::run,
    },
    Command {
        name: "healthcheck",
        options: "[--config FILE | --port N | URL] [--timeout 2s]",
        about: "ask the running agent's /healthz, or an http URL: exit 0 if it answers well, else 1 and why",
        run: commands::healthcheck::run,
    },
    Command {
        name: "status",
        options: "[-o text|json] [--config FILE | --port N] [--timeout 2s]",
        about: "print what the running agent is doing",
        run: commands::status::run,
    },
    Command {
        name: "tc",
        options: "WORDS",
        about: "the built-in subset of iproute2's tc (qdisc add|del|show ...)",
        run: commands::tc::run,
    },
    Command { name: "guard", options: "", about: "", run: commands::guard::run },
    Command { name: "reference", options: "", about: "", run: commands::reference::run },
    Command { name: "help", options: "", about: "this text", run: help },
    Command { name: "version", options: "", about: "the version", run: version },
];

/// Carries out a command line (`args[0]` is the program) and returns the exit code.
///
/// # Errors
/// Whatever the command says; a command line that cannot be used is [`Error::Usage`].
pub fn run(args: impl Iterator<Item = OsString>) -> Result<u8> {
    let mut words = Vec::new();
    for word in args {
        words.push(word.into_string().map_err(|word| Error::usage(format!("{word:?} is not valid UTF-8")))?);
    }
    let name =
        words.first().map_or("", |name| Path::new(name).file_name().map_or("", |n| n.to_str().unwrap_or("")));
    // A link or copy of the binary named `tc` is the built-in tc.
    if name == "tc" {
        return commands::tc::run(&words[1..]);
    }
    let Some(word) = words.get(1) else { return Err(Error::usage("a command is missing")) };
    let word = match word.as_str() {
        "-h" | "--help" => "help",
        "-V" | "--version" => "version",
        other => other,
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == word) else {
        return Err(Error::usage(format!("{word:?} is not a command")));
    };
    let rest = words.get(2..).unwrap_or_default();
    if word != "tc" && rest.iter().any(|word| word == "-h" || word == "--help") {
        return help(&[]);
    }
    (command.run)(rest)
}

fn help(_args: &[String]) -> Result<u8> {
    let mut text =
        String::from("chaos-agent: injects faults into the pod that it shares, and takes them back\n\n");
    for command in COMMANDS.iter().filter(|command| !command.about.is_empty()) {
        text += &format!("  chaos-agent {} {}\n      {}\n", command.name, command.options, command.about);
    }
    text += "\nWithout --config: $CHAOS_CONFIG, ./config.yaml, /app/config.yaml, /etc/chaos-agent/config.yaml.\n\
             Exit codes: 0 done, 1 failed, 64 wrong command line or config.\n";
    output::print(&text);
    Ok(0)
}

fn version(_args: &[String]) -> Result<u8> {
    output::print(concat!("chaos-agent ", env!("CARGO_PKG_VERSION"), "\n"));
    Ok(0)
}
