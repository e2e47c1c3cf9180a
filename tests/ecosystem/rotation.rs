//! logrotate, as Debian has it, on the agent's log: nothing is lost, and no archive is touched again.

use crate::support::{Agent, wait_for};
use std::fs;
use std::process::Command;

/// Says a debug line for every tick of 10 ms and does nothing.
const CONFIG: &str = "agent: {interval_seconds: 0.01, dry_run: true, metrics: {enabled: false}}\n\
    failures: {cpu: {enabled: true, probability: 0, duration_seconds: 1}}\n\
    logging: {level: DEBUG, console: {enabled: false}, file: {enabled: true, path: agent.log, max_size_mb: 0}}\n";

#[test]
fn a_rotation_from_outside_loses_nothing_and_cuts_no_archive() {
    let path = |agent: &Agent, name: &str| agent.folder.0.join(name);
    let agent = Agent::start(CONFIG);
    let read = |name: &str| fs::read_to_string(path(&agent, name)).unwrap_or_default();
    let grows = |name: &str, beyond: usize| {
        wait_for("lines in the file", || match read(name).len() {
            length if length > beyond => Ok(()),
            length => Err(format!("{length} bytes in {name}")),
        });
    };
    grows("agent.log", 1000);
    let rules = "{\n size 1\n rotate 2\n nocompress\n postrotate\n kill -HUP PID\n endscript\n}\n";
    let rotate = |method: &str| {
        let rules = rules.replace("PID", &agent.pid().to_string()).replace("rotate 2", method);
        let rules = format!("su root root\n{} {rules}", path(&agent, "agent.log").display());
        let (rules, state) = (agent.folder.write("rules", rules), path(&agent, "state"));
        let done = Command::new("logrotate").arg("-s").arg(state).arg(rules).output();
        let done = done.expect("logrotate; apt-get install logrotate");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    rotate("rotate 2\n create 0600");
    grows("agent.log", 1000);
    let archive = read("agent.log.1");
    assert!(archive.lines().map(json).count() > 3);
    rotate("rotate 2\n copytruncate");
    grows("agent.log", 1000);
    assert!(!read("agent.log").contains('\0') && read("agent.log").lines().map(json).count() > 3);
    // By hand, with SIGHUP; the removed file is missed without.
    fs::rename(path(&agent, "agent.log"), path(&agent, "by-hand")).unwrap();
    agent.signal(libc::SIGHUP);
    grows("agent.log", 1000);
    fs::remove_file(path(&agent, "agent.log")).unwrap();
    grows("agent.log", 1000);
    assert_eq!(read("agent.log.2"), archive);
    assert_eq!(agent.stop().0, 0);
}

/// Every line is whole.
fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
