//! Files that cannot be used, or that never answer: the loop goes on, and every way to stop works.

use crate::common::stalled::Stalled;
use crate::support::*;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ACTIVE: &str = "chaos_injection_active{failure_type=\"cpu\"}";
const LOADED: &str = "chaos_config_last_reload_successful";
const BURN: &str = "  burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}";
/// Starts anew at each tick: as long as its count grows, the loop goes on.
const BLINK: &str = "  blink: {type: memory, enabled: true, probability: 1, duration_seconds: 0.001, mb: 1}";
const BLINKS: &str = "chaos_injections_total{failure_type=\"memory\",status=\"success\"}";

fn config(agent: &str) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: 0.1\n{agent}failures:\n{BURN}\n{BLINK}\n"
    )
}

fn halted(reason: &str) -> String {
    format!("chaos_halted{{reason=\"{reason}\"}}")
}

fn goes_on(agent: &Agent) {
    let before = agent.metric(BLINKS).unwrap();
    agent.wait_metric(BLINKS, |now| now > before + 2.0);
}

/// A signal halts and another resumes, as always.
fn halts_by_signal(agent: &Agent) {
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    agent.signal(libc::SIGUSR1);
    agent.wait_metric(&halted("signal"), |now| now == 1.0);
    agent.wait_metric(ACTIVE, |now| now == 0.0);
    agent.signal(libc::SIGUSR2);
    agent.wait_metric(ACTIVE, |now| now == 1.0);
}

#[test]
fn what_is_moved_over_the_config_is_refused_and_stops_nothing() {
    let agent = Agent::start(&config(""));
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    let path = agent.folder.0.join("config.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let other = agent.folder.0.join("other");
    assert!(Command::new("mkfifo").arg(&other).status().unwrap().success());
    for (number, what) in
        ["a pipe (FIFO)", "a directory", "a socket", "a device", "larger"].into_iter().enumerate()
    {
        match number {
            0 => {}
            1 => fs::create_dir(&other).unwrap(),
            2 => drop(UnixListener::bind(&other).unwrap()),
            3 => symlink("/dev/zero", &other).unwrap(),
            _ => File::create(&other).unwrap().set_len(1 << 30).unwrap(),
        }
        if number == 1 {
            fs::remove_file(&path).unwrap();
        }
        fs::rename(&other, &path).unwrap();
        agent.wait_metric(LOADED, |now| now == 0.0);
        agent.wait_log(what);
        goes_on(&agent);
        halts_by_signal(&agent);
        assert_eq!(agent.log().matches(what).count(), 1, "{}", agent.log());
        if number == 1 {
            fs::remove_dir(&path).unwrap();
        }
        fs::write(&other, &good).unwrap();
        fs::rename(&other, &path).unwrap();
        agent.wait_metric(LOADED, |now| now == 1.0);
    }
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("ended early by a new config"), "{log}");
}

#[test]
fn a_config_that_never_answers_is_told_once_and_stops_nothing() {
    let (folder, other) = (Folder::new(), Folder::new());
    let halt = other.0.join("halt");
    let port = free_port();
    let text = config(&format!("  halt_file: {}\n", halt.display())).replace("PORT", &port.to_string());
    let path = folder.write("config.yaml", text);
    let mut agent = Agent::start_with("failures: {}", &[], |command| {
        let mut fresh = Command::new(command.get_program());
        fresh.arg("run").arg("--config").arg(&path);
        *command = fresh;
    });
    agent.port = port;
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    let Some(stalled) = Stalled::over(&folder.0) else { return };
    agent.wait_log(&format!("the config {} cannot be read for 5 s: its file system", path.display()));
    agent.wait_metric(LOADED, |now| now == 0.0);
    goes_on(&agent);
    halts_by_signal(&agent);
    agent.signal(libc::SIGHUP);
    goes_on(&agent);
    // The halt file is elsewhere, and is looked at all the same.
    fs::write(&halt, "").unwrap();
    agent.wait_metric(&halted("file"), |now| now == 1.0);
    agent.wait_metric(ACTIVE, |now| now == 0.0);
    fs::remove_file(&halt).unwrap();
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(agent.log().matches("cannot be read for 5 s").count(), 1, "{}", agent.log());
    // And it is read again when it answers.
    drop(stalled);
    agent.wait_metric(LOADED, |now| now == 1.0);
    let Some(stalled) = Stalled::over(&folder.0) else { return };
    agent.signal(libc::SIGHUP);
    let begin = Instant::now();
    let (code, log) = agent.stop();
    assert!(begin.elapsed() < Duration::from_secs(10), "{log}");
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped, everything is reverted"), "{log}");
    drop(stalled);
}

#[test]
fn while_a_halt_file_cannot_be_looked_at_the_agent_is_halted() {
    let folder = Folder::new();
    let agent = Agent::start(&config(&format!("  halt_file: {}/halt\n", folder.0.display())));
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    let Some(stalled) = Stalled::over(&folder.0) else { return };
    let line = agent.wait_log("halted (file): ");
    assert!(line.ends_with("/halt: its file system has not answered for 5 s"), "{line}");
    agent.wait_metric(ACTIVE, |now| now == 0.0);
    drop(stalled);
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn whatever_is_at_the_halt_file_halts() {
    let folder = Folder::new();
    let halt = folder.0.join("halt");
    let agent = Agent::start(&config(&format!("  halt_file: {}\n", halt.display())));
    for number in 0..3 {
        agent.wait_metric(ACTIVE, |now| now == 1.0);
        match number {
            0 => fs::create_dir(&halt).unwrap(),
            1 => symlink("nowhere", &halt).unwrap(),
            _ => assert!(Command::new("mkfifo").arg(&halt).status().unwrap().success()),
        }
        agent.wait_metric(&halted("file"), |now| now == 1.0);
        agent.wait_metric(ACTIVE, |now| now == 0.0);
        if number == 0 { fs::remove_dir(&halt).unwrap() } else { fs::remove_file(&halt).unwrap() }
    }
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_halt_file_that_is_made_and_never_written_halts_before_the_next_tick() {
    for number in 0..4 {
        let folder = Folder::new();
        let halt = folder.0.join("halt");
        let text = format!("  halt_file: {}\n", halt.display());
        let agent = Agent::start(&config(&text).replace("interval_seconds: 0.1", "interval_seconds: 3600"));
        agent.wait_metric(ACTIVE, |now| now == 1.0);
        let mut open = None;
        match number {
            0 => fs::create_dir(&halt).unwrap(),
            1 => symlink("nowhere", &halt).unwrap(),
            2 => assert!(Command::new("mkfifo").arg(&halt).status().unwrap().success()),
            _ => open = Some(File::create(&halt).unwrap()),
        }
        agent.wait_metric(&halted("file"), |now| now == 1.0);
        agent.wait_metric(ACTIVE, |now| now == 0.0);
        drop(open);
        assert_eq!(agent.stop().0, 0);
    }
}

#[test]
fn a_halt_file_of_which_nothing_tells_ends_a_long_fault_before_the_next_tick() {
    let folder = Folder::new();
    let late = folder.0.join("late");
    let text = format!("  halt_file: {}/halt\n", late.display());
    let agent = Agent::start(&config(&text).replace("interval_seconds: 0.1", "interval_seconds: 3600"));
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    // A folder that was not there at the last look is not watched.
    fs::create_dir(&late).unwrap();
    fs::write(late.join("halt"), "").unwrap();
    agent.wait_metric(&halted("file"), |now| now == 1.0);
    agent.wait_metric(ACTIVE, |now| now == 0.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_resume_names_what_still_halts() {
    let folder = Folder::new();
    let halt = folder.write("halt", "");
    let agent = Agent::start(&config(&format!("  halt_file: {}\n", halt.display())));
    agent.wait_metric(&halted("file"), |now| now == 1.0);
    let file = agent.folder.0.join("config.yaml");
    let resume = || {
        let done = run(&["resume", "--config", file.to_str().unwrap()], Path::new("/"));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let still = format!("chaos-agent: still halted (file): {} is there\n", halt.display());
    assert_eq!(resume(), (Some(1), String::new(), still.clone()));
    agent.signal(libc::SIGUSR1);
    agent.wait_metric(&halted("signal"), |now| now == 1.0);
    assert_eq!(resume(), (Some(1), String::new(), still));
    assert_eq!(agent.metric(&halted("signal")), Some(0.0));
    fs::remove_file(&halt).unwrap();
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(resume(), (Some(0), "resumed\n".to_owned(), String::new()));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_config_that_never_answers_at_the_start_is_waited_for_and_the_commands_find_the_agent() {
    let folder = Folder::new();
    let port = free_port();
    let path = folder.write("config.yaml", config("").replace("PORT", &port.to_string()));
    let Some(stalled) = Stalled::over(&folder.0) else { return };
    let mut agent = Agent::start_with("failures: {}", &[], |command| {
        let mut fresh = Command::new(command.get_program());
        fresh.args(["run", "--rest-on-bad-config", "--config"]).arg(&path);
        *command = fresh;
    });
    agent.port = port;
    agent.wait_log("there is no config to use; nothing is injected until there is:");
    agent.wait_log(&format!("the config {} cannot be read for 5 s: its file system", path.display()));
    drop(stalled);
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(agent.metric(LOADED), Some(1.0));
    // A command that is told the port does not look at the config, and one that is not gives up on it.
    let Some(stalled) = Stalled::over(&folder.0) else { return };
    let named = ["halt", "--port", &port.to_string()];
    assert_eq!(run(&named, Path::new("/")).status.code(), Some(0));
    let begin = Instant::now();
    let asked = run(&["healthcheck", "--timeout", "1s", "--config", path.to_str().unwrap()], Path::new("/"));
    assert!(begin.elapsed() < Duration::from_secs(30), "{asked:?}");
    drop(stalled);
    assert_eq!(agent.stop().0, 0);
}
