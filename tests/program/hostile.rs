//! Words, names, outputs and limits that nobody would choose.

use crate::support::{Agent, Folder, binary, free_port};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Every command that ends by itself, with words that let it do so, and a config under this name.
fn lines(config: &str) -> Vec<Vec<OsString>> {
    let port = free_port().to_string();
    let lines: &[&[&str]] = &[
        &["help"],
        &["help", "plan"],
        &["validate", config],
        &["plan", "--config", config, "--ticks", "3"],
        &["plan", "--config", config, "--pods", "20", "-o", "json"],
        &["inject", "cpu", "--help"],
        &["inject", "process", "target_name=no-such", "--dry-run"],
        &["halt", "--port", &port],
        &["resume", "--port", &port],
        &["revert", "--dry-run"],
        &["doctor", "--config", config],
        &["doctor", "--config", config, "-o", "json"],
        &["healthcheck", "--port", &port],
        &["status", "--port", &port],
        &["tc", "qdisc", "show"],
        &["guard"],
        &["reference"],
        &["completion", "bash"],
        &["complete", "bash", "re"],
        &["version"],
        &["no-such"],
    ];
    lines.iter().map(|line| line.iter().map(OsString::from).collect()).collect()
}

const CONFIG: &str = "failures: {\"a\\e[2J\\u202e\": {type: cpu, enabled: true, probability: 1, cores: 1, duration_seconds: 1}}\n";

fn ends_by_itself(line: &[OsString], output: &Output) -> i32 {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{line:?}: {text}");
    output.status.code().unwrap_or_else(|| panic!("{line:?}: signal {:?}", output.status.signal()))
}

#[test]
fn every_command_ends_as_usual_when_its_outputs_are_closed_or_full() {
    let folder = Folder::new();
    folder.write("c.yaml", CONFIG);
    for line in lines("c.yaml") {
        let mut codes = Vec::new();
        // The first is the usual.
        for streams in
            ["<&- ", "<&- >&- 2>&-", "</dev/null >/dev/full 2>/dev/full", "</dev/null 2>&-", "</dev/null >&-"]
        {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec \"$0\" \"$@\" {streams}")]).arg(binary()).args(&line);
            let output = command.current_dir(&folder.0).stdin(Stdio::null()).output().unwrap();
            codes.push(ends_by_itself(&line, &output));
        }
        // What was asked for and could not be written is an error of validate, as README says.
        if line[0] == "validate" {
            codes.remove(2);
        }
        assert!(codes.iter().all(|code| *code == codes[0]), "{line:?}: {codes:?}");
    }
}

#[test]
fn no_name_steers_the_terminal() {
    let folder = Folder::new();
    let name = "c\x1b[31m\r.yaml";
    folder.write(name, CONFIG);
    let mut all = lines(name);
    all.push(["validate", "no\x1b[1m"].map(OsString::from).to_vec());
    all.push(["\x1b[1m"].map(OsString::from).to_vec());
    all.push(["inject", "cpu", "cores=\x1b[1m", "--dry-run"].map(OsString::from).to_vec());
    for line in all {
        let output = Command::new(binary()).args(&line).current_dir(&folder.0).stdin(Stdio::null()).output();
        let output = output.unwrap();
        ends_by_itself(&line, &output);
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains(['\x1b', '\r', '\u{7}']), "{line:?}: {text:?}");
        }
    }
}

#[test]
fn words_that_nobody_would_type_are_refused_and_nothing_in_them_is_run() {
    let folder = Folder::new();
    let evil: &[&[u8]] = &[
        b"",
        b"'",
        b"\"",
        b"a\nb",
        b"\xff\xfe",
        b"$(touch ran)",
        b"`touch ran`",
        b"|touch ran",
        b";touch ran",
        b"-",
        b"--=",
        b"-=x",
        b"=",
        b"--config=\xff",
        b"--port=99999999999999999999",
        b"--timeout=1e400",
        b"--seed=-0",
        b"--start=2026-11-24T\xc3\xa99:00",
        b"--start=2026-11-24T09:00\xc3\xa9",
        b"--for=18446744073709551616",
    ];
    for command in
        ["plan", "validate", "inject", "halt", "doctor", "healthcheck", "status", "help", "completion"]
    {
        for word in evil {
            let line = [OsStr::new(command), OsStr::from_bytes(word)].map(OsString::from);
            let output = Command::new(binary()).args(&line).current_dir(&folder.0).output().unwrap();
            assert_ne!(ends_by_itself(&line, &output), 0, "{line:?}");
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        for before in [&[][..], &["inject", "process"], &["plan", "--output", "="], &["run", "--config"]] {
            for word in evil {
                let mut line: Vec<OsString> = ["complete", shell].map(OsString::from).to_vec();
                line.extend(before.iter().map(OsString::from));
                line.push(OsStr::from_bytes(word).to_owned());
                let output = Command::new(binary()).args(&line).current_dir(&folder.0).output().unwrap();
                ends_by_itself(&line, &output);
                // Only words of the table are offered.
                assert!(!String::from_utf8(output.stdout).unwrap().contains("touch"), "{line:?}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "something was run");
}

/// Ticks often enough that the start's pages are given back and come back while the test looks.
const BUSY: &str = "agent: {interval_seconds: 0.05, metrics: {address: 127.0.0.1, port: PORT}}\n\
    failures:\n  cpu: {enabled: true, probability: 1, cores: 1, load_percent: 5, duration_seconds: 0.1}\n";
const SUCCESS: &str = "chaos_injections_total{failure_type=\"cpu\",status=\"success\"}";

/// Runs the agent by another command line than its own; `words` stand before the program.
fn instead(words: &[&str], program: &Path) -> Agent {
    Agent::start_with(BUSY, &[], |command| {
        let words = words.iter().map(OsStr::new).chain([program.as_os_str()]);
        let words: Vec<_> = words.chain(command.get_args()).map(OsStr::to_owned).collect();
        let mut other = Command::new(&words[0]);
        other.args(&words[1..]).current_dir(command.get_current_dir().unwrap());
        *command = other;
    })
}

#[test]
fn an_agent_whose_file_is_deleted_or_replaced_goes_on() {
    for replaced in [false, true] {
        let folder = Folder::new();
        let program = folder.0.join("agent");
        std::fs::copy(binary(), &program).unwrap();
        let agent = instead(&[], &program);
        agent.wait_metric(SUCCESS, |count| count >= 1.0);
        std::fs::remove_file(&program).unwrap();
        if replaced {
            folder.write("agent", "another program");
        }
        let before = agent.metric(SUCCESS).unwrap();
        agent.wait_metric(SUCCESS, |count| count >= before + 2.0);
        let (code, log) = agent.stop();
        assert_eq!(code, 0, "{log}");
    }
}

#[test]
fn an_agent_works_within_small_limits() {
    for limit in ["--nofile=16", "--memlock=0", "--stack=131072", "--core=0", "--sigpending=0"] {
        let agent = instead(&["prlimit", limit], &binary());
        agent.wait_metric(SUCCESS, |count| count >= 2.0);
        let (code, log) = agent.stop();
        assert_eq!(code, 0, "{limit}: {log}");
        assert!(!log.contains(" ERROR "), "{limit}: {log}");
    }
    // Not even its first descriptors: an error, no crash.
    let folder = Folder::new();
    folder.write("c.yaml", CONFIG);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=6").arg(binary()).args(["run", "--config", "c.yaml"]).current_dir(&folder.0);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
