//! The doctor: findings, exit codes, and that it leaves everything as it was.

use crate::support::*;
use serde_json::Value;
use std::process::Command;

/// Exit code, standard output, standard error.
fn doctor(folder: &Folder, args: &[&str]) -> (i32, String, String) {
    let done = run(&[&["doctor"], args].concat(), &folder.0);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// The findings by subject.
fn findings(json: &str) -> Vec<(String, String, String)> {
    let object: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let all = object["findings"].as_array().unwrap().iter();
    all.map(|one| (text(one, "subject"), text(one, "state"), text(one, "text"))).collect()
}

fn about<'a>(findings: &'a [(String, String, String)], subject: &str) -> &'a (String, String, String) {
    findings.iter().find(|(name, ..)| name == subject).unwrap_or_else(|| panic!("{subject} in {findings:?}"))
}

#[test]
fn what_is_ready_is_said_with_what_it_would_do_and_nothing_is_touched() {
    let mut victim = Victim::spawn(Command::new("sleep").arg("1000.375"));
    let folder = Folder::new();
    folder.write(
        "config.yaml",
        format!(
            "agent: {{metrics: {{address: 127.0.0.1, port: {}}}}}\nfailures:\n  \
             cpu: {{enabled: true, probability: 1, duration_seconds: 1}}\n  \
             sleepers: {{type: process, enabled: true, probability: 1, target_name: sleep 1000.375}}\n  \
             hog: {{type: memory, mb: 1048576}}\n",
            free_port()
        ),
    );
    let (code, json, _) = doctor(&folder, &["-o", "json"]);
    assert_eq!(code, 0, "{json}");
    let object: Value = serde_json::from_str(&json).unwrap();
    assert!(json.starts_with("{\"version\":\"") && object["ready"] == true, "{json}");
    let found = findings(&json);
    assert_eq!(about(&found, "cpu").1, "ready");
    let (_, state, text) = about(&found, "sleepers");
    assert!(state == "ready" && text.contains(&format!("first is {}", victim.pid())), "{text}");
    // A TiB of memory is not there, but the entry is not enabled.
    let (_, state, text) = about(&found, "hog");
    assert!(state == "off" && text.starts_with("not enabled, and not ready: "), "{text}");
    for (subject, words) in [
        ("rights", "uid "),
        ("memory limit", "free"),
        ("cpu limit", "CPUs may be used"),
        ("config", "plain file"),
        ("port", "is free"),
        ("clock", "the year is 2"),
    ] {
        let (_, state, text) = about(&found, subject);
        assert!(state == "ok" && text.contains(words), "{subject}: {state} {text}");
    }
    // A warning on a machine whose process 1 is systemd.
    assert!(about(&found, "processes").2.ends_with(" visible"), "{json}");
    let (code, text, _) = doctor(&folder, &[]);
    assert!(code == 0 && text.ends_with("all 2 enabled failures are ready\n"), "{text}");
    assert_eq!(text.lines().count(), found.len() + 1, "{text}");
    assert!(victim.0.try_wait().unwrap().is_none(), "the doctor killed the victim");
}

#[test]
fn what_is_not_ready_is_exit_1_with_the_reason() {
    let folder = Folder::new();
    let file = folder.write(
        "other.yaml",
        "agent: {interval_seconds: 400, dry_run: true, metrics: {enabled: false}}\nfailures:\n  \
         cpu: {enabled: true, probability: 1, duration_seconds: 1}\n  \
         net: {type: network, enabled: true, probability: 1, duration_seconds: 1, interface: nosuch0}\n",
    );
    let (code, text, _) = doctor(&folder, &["--config", file.to_str().unwrap()]);
    assert!(code == 1 && text.ends_with("1 of 2 enabled failures are not ready\n"), "{text}");
    // Without the capability that is the first thing to say.
    let line = text.lines().find(|line| line.starts_with("not ready")).unwrap();
    assert!(line.contains("net ") && (line.contains("nosuch0") || line.contains("NET_ADMIN")), "{line}");
    for words in ["warning", "interval_seconds: 400 is above 300 s", "agent.dry_run is true"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains("port "), "there is no exporter: {text}");
    let (_, json, _) = doctor(&folder, &["-o=json", "--config=other.yaml"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["ready"], false, "{json}");
}

#[test]
fn a_config_that_cannot_be_used_and_a_wrong_command_line_are_exit_64() {
    let folder = Folder::new();
    let (code, out, err) = doctor(&folder, &[]);
    assert!(code == 64 && out.is_empty() && err.contains("there is no config"), "{err}");
    folder.write("config.yaml", "failures: {cpu: {enabled: true}}");
    let (code, out, err) = doctor(&folder, &[]);
    assert!(code == 64 && out.is_empty() && err.contains("config.yaml:1:"), "{err}");
    for args in [&["--demo"][..], &["-o", "yaml"], &["--config"]] {
        assert_eq!(doctor(&folder, args).0, 64, "{args:?}");
    }
}

#[test]
fn an_agent_that_runs_and_an_application_that_is_ill_are_told() {
    let probe = "{tcp: '127.0.0.1:1', name: db}, {http: 'http://127.0.0.1:PORT/healthz', name: self}";
    let agent = Agent::start(&format!(
        "agent:\n  dry_run: true\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  steady_state: [{probe}]\n\
         failures: {{}}\n"
    ));
    agent.wait_log("metrics on");
    let (code, json, _) = doctor(&agent.folder, &["-o", "json"]);
    let found = findings(&json);
    assert_eq!(code, 0, "{json}");
    let (_, state, text) = about(&found, "port");
    assert!(state == "ok" && text.contains("an agent answers on 127.0.0.1"), "{text}");
    let (_, state, text) = about(&found, "steady state db");
    assert!(state == "warning" && text.contains("Connection refused"), "{text}");
    assert_eq!(about(&found, "steady state self").1, "ok");
    let (_, text, _) = doctor(&agent.folder, &[]);
    assert!(text.ends_with("no failure is enabled\n"), "{text}");
    assert_eq!(agent.stop().0, 0);
}
