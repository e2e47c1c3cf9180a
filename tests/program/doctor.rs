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

/// A config with one process entry of this condition.
fn meant(condition: &str) -> String {
    format!(
        "agent: {{metrics: {{enabled: false}}}}\nfailures:\n  app: {{type: process, enabled: true, probability: 1, \
         {condition}}}\n"
    )
}

#[test]
fn before_the_application_runs_its_fault_is_not_called_ready_but_what_is_known() {
    let folder = Folder::new();
    folder.write("config.yaml", meant("target_name: sleep 1000.541"));
    let (code, text, _) = doctor(&folder, &[]);
    assert_eq!(code, 0, "an init container must let the application start: {text}");
    let line = text.lines().find(|line| line.starts_with("not yet")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("cannot be judged before the application runs: no process"), "{line}");
    assert!(line.contains("CAP_KILL is held") || line.contains("only processes of uid "), "{line}");
    assert!(text.ends_with("1 of 1 enabled failures cannot be judged yet\n"), "{text}");
    let (_, json, _) = doctor(&folder, &["-o", "json"]);
    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&object["ready"], &about(&findings(&json), "app").1[..]),
        (&false.into(), "not yet"),
        "{json}"
    );

    // Who was waited for and did not come is a hindrance.
    let (code, text, _) = doctor(&folder, &["--wait", "300ms"]);
    assert!(code == 1 && text.contains("after 0.3 s: cannot be judged"), "{text}");
    let mut waiting = Command::new(binary());
    let waiting = waiting.args(["doctor", "--wait=60s"]).current_dir(&folder.0);
    let waiting = waiting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let _victim = Victim::spawn(Command::new("sleep").arg("1000.541"));
    let done = waiting.wait_with_output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.code() == Some(0) && text.ends_with("all 1 enabled failures are ready\n"), "{text}");
}

#[test]
fn a_user_that_could_never_be_signalled_is_told_before_the_application_runs() {
    let folder = Folder::new();
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder.0).unwrap());
    // Root without the capability, as `drop: [ALL]` makes it; anybody else has none.
    let unable = || {
        let mut command = Command::new(if own == 0 { "setpriv".into() } else { binary() });
        if own == 0 {
            command.arg("--bounding-set=-kill").arg(binary());
        }
        let done = command.arg("doctor").current_dir(&folder.0).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap())
    };
    folder.write("config.yaml", meant(&format!("match: {{cmdline: sleep 1000.542, uid: {}}}", own + 1)));
    let (code, text) = unable();
    let said = format!("processes of uid {} may not be signalled; the agent lacks CAP_KILL", own + 1);
    assert!(code == 1 && text.contains(&said), "{text}");
    folder.write("config.yaml", meant(&format!("match: {{cmdline: sleep 1000.542, uid: {own}}}")));
    let (code, text) = unable();
    assert!(code == 0 && text.contains(&format!("only processes of uid {own} may be signalled")), "{text}");
}

#[test]
fn a_memory_fault_of_the_agent_in_force_does_not_make_memory_not_ready() {
    let entry = "enabled: true, probability: 1, duration_seconds: 600";
    let agent = Agent::start(&format!(
        "agent: {{interval_seconds: 0.1, metrics: {{address: 127.0.0.1, port: PORT}}}}\nfailures:\n  \
         held: {{type: memory, {entry}, mb: 4}}\n"
    ));
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |value| value == 1.0);
    let port = std::fs::read_to_string(agent.folder.0.join("config.yaml")).unwrap();
    let port = port.split_once("port: ").unwrap().1.split('}').next().unwrap();
    let next = format!(
        "agent: {{metrics: {{address: 127.0.0.1, port: {port}}}}}\nfailures:\n  \
         next: {{type: memory, {entry}, mb: 1048576}}\n"
    );
    let folder = Folder::new();
    folder.write("config.yaml", next);
    let (code, text, _) = doctor(&folder, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("cannot be judged while a memory fault of the agent is in force: cannot fill"),
        "{text}"
    );
    assert_eq!(agent.stop().0, 0);
    let (code, text, _) = doctor(&folder, &[]);
    assert!(code == 1 && text.ends_with("1 of 1 enabled failures are not ready\n"), "{text}");
}
