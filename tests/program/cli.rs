//! The command line itself: help, wrong words, completion in a real bash.

use crate::support::{binary, run};
use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error.
fn ask(words: &[&str]) -> (i32, String, String) {
    let done = run(words, Path::new("/"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

/// Every command, and the words in its line of the overall help.
fn commands() -> Vec<(String, String)> {
    let (code, text, _) = ask(&["help"]);
    assert_eq!((code, &text), (0, &ask(&["--help"]).1));
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(usage) = line.strip_prefix("  chaos-agent ") {
            let name = usage.split(' ').next().unwrap().to_owned();
            found.push((name, usage.to_owned()));
        } else if let (Some(rest), Some(last)) = (line.strip_prefix("      ["), found.last_mut()) {
            last.1 += " [";
            last.1 += rest;
        }
    }
    assert!(found.len() >= 14, "{text}");
    found
}

#[test]
fn every_command_has_a_help_that_names_its_options() {
    for (name, usage) in commands() {
        let (code, text, err) = ask(&["help", &name]);
        assert!(
            code == 0 && err.is_empty() && text.starts_with(&format!("chaos-agent {name}: ")),
            "{text}{err}"
        );
        for option in usage.split(['[', ']', ' ', '|']).filter(|word| word.starts_with('-')) {
            assert!(
                text.lines().any(|line| line.trim_start().starts_with(option)),
                "{name} {option}:\n{text}"
            );
        }
        // tc has a help of its own.
        if name != "tc" {
            for words in [&[&name, "--help"][..], &[&name, "-h"], &[&name, "--no-such", "--help"]] {
                assert_eq!(ask(words), (0, text.clone(), String::new()), "{words:?}");
            }
        }
    }
}

#[test]
fn the_help_of_inject_has_the_keys_of_the_type() {
    let keys = |kind, key| {
        let (code, text, _) = ask(&["inject", kind, "--help"]);
        assert!(code == 0 && text.contains("--dry-run"), "{text}");
        text.lines().any(|line| line.trim_start().starts_with(key))
    };
    assert!(keys("cpu", "cores: ") && keys("disk", "allow_root_filesystem: ") && keys("process", "action: "));
    assert!(!keys("cpu", "action: ") && !ask(&["inject", "--help"]).1.contains("cores: "));
}

#[test]
fn a_wrong_word_is_named_with_the_nearest_one() {
    for (words, said) in [
        (&["pln"][..], "\"pln\" is not a command; did you mean plan? There are run, validate, plan"),
        (&["frobnicate"], "\"frobnicate\" is not a command; there are run, validate"),
        (&[], "a command is missing"),
        (
            &["inject", "cpu", "--fro", "3s"],
            "inject does not know \"--fro\"; did you mean --for? It knows TYPE, KEY=VALUE, --for",
        ),
        (&["inject", "gpu"], "did you mean cpu? See chaos-agent inject --help"),
        (&["doctor", "--ouput", "json"], "did you mean --output?"),
        (&["help", "statsu"], "did you mean status?"),
        (&["completion", "tcsh"], "one of bash, zsh, fish"),
        (&["completion"], "completion needs the shell: one of bash, zsh, fish"),
        (
            &["validate", "a.yaml", "b.yaml"],
            "validate does not know \"b.yaml\"; it knows FILE; see chaos-agent validate --help",
        ),
        (&["revert", "now"], "revert does not know \"now\"; it knows --dry-run"),
        (&["halt", "--port", "65536"], "--port \"65536\" is not allowed: a whole number from 1 to 65535"),
        (&["plan", "--replicas", "3"], "--replicas means something only with --pods"),
        (&["run", "--demo", "--config", "x"], "--config and --demo exclude each other; give one"),
    ] {
        let (code, out, err) = ask(words);
        assert!(code == 64 && out.is_empty() && err.contains(said), "{words:?}: {code} {out}{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

/// What bash offers for words that it has split as it does, with the cursor at the end of the last; "(-o default)" is
/// what the script asks of bash itself.
fn bash(words: &[&str]) -> Vec<String> {
    let script = r#"
        set -eu
        source <("$1" completion bash)
        complete -p chaos-agent | grep -q -- "-F _chaos_agent"
        compopt() { echo "($*)"; }
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _chaos_agent "$1"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash"]).arg(binary()).args(words);
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{words:?}: {}", text(&done.stderr));
    text(&done.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_words_and_keys() {
    let names: Vec<_> = commands().into_iter().map(|(name, _)| name).collect();
    assert_eq!(bash(&[""]), names);
    for (words, offered) in [
        (&["re"][..], &["resume", "revert"][..]),
        (&["revert", "--d"], &["--dry-run"]),
        (&["plan", "-o", "j"], &["json"]),
        // bash takes a word apart at each equals sign, and puts what it gets behind the last.
        (&["plan", "--output", "=", "j"], &["json"]),
        (&["plan", "--output", "="], &["text", "json"]),
        (&["run", "--config", "x", "--de"], &[]),
        (&["run", "--config", ""], &["(-o default)"]),
        (&["run", "--config", "=", "x"], &["(-o default)"]),
        (&["validate", ""], &["(-o default)"]),
        (&["healthcheck", "http", ":", "//a", ":", "80", "--t"], &["--timeout"]),
        (&["inject", "me"], &["memory"]),
        (&["inject", "cpu", "cor"], &["(-o nospace)", "cores="]),
        (&["inject", "process", "action", "=", "p"], &["pause"]),
        (&["inject", "process", "action", "=", "pause", "--fo"], &["--for", "--force"]),
        (&["inject", "process", "--w"], &["--with-stdin"]),
        (&["tc", "qdisc", ""], &[]),
        (&["completion", ""], &["bash", "zsh", "fish"]),
        (&["no-such", ""], &[]),
    ] {
        assert_eq!(bash(words), offered, "{words:?}");
    }
}
