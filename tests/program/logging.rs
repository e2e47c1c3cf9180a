//! The agent's log: formats, levels, the file and its troubles.

use crate::support::*;
use std::process::Command;

/// Says a debug line for every tick of 10 ms and does nothing.
fn config(logging: &str) -> String {
    format!(
        "agent:\n  interval_seconds: 0.01\n  dry_run: true\n  metrics: {{enabled: false, port: PORT}}\n\
         failures:\n  network: {{enabled: true, probability: 0, duration_seconds: 1}}\nlogging: {logging}\n"
    )
}

fn start(logging: &str, environment: &[(&str, &str)]) -> Agent {
    Agent::start_with(&config(logging), &[], |command: &mut Command| {
        for name in ["ENABLE_FILE_LOGGING", "ENABLE_CONSOLE_LOGGING"] {
            command.env_remove(name);
        }
        command.env("HOSTNAME", "pod-7").envs(environment.iter().copied());
    })
}

/// A line that must be JSON with the six keys of the predecessor; returns level and message.
fn json(line: &str) -> (String, String) {
    let object: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let get = |key: &str| object[key].as_str().unwrap_or_else(|| panic!("{key} in {line}")).to_owned();
    assert!(line.starts_with('{') && object.as_object().unwrap().len() == 6, "{line}");
    assert_eq!((get("service").as_str(), get("hostname").as_str()), ("chaos-agent", "pod-7"));
    assert!(get("logger").starts_with("chaos_agent"), "{line}");
    is_timestamp(&get("timestamp"));
    (get("level"), get("message"))
}

fn is_timestamp(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

#[test]
fn text_lines_have_time_level_and_message() {
    let agent = start("{}", &[]);
    let line = agent.wait_log("started");
    is_timestamp(&line[..24]);
    assert_eq!(&line[24..30], " INFO ");
    agent.wait_log("probability of an enabled entry");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn json_lines_have_the_keys_of_the_predecessor() {
    for (logging, environment) in
        [("{format: json}", &[][..]), ("{}", &[("JSON_LOGS", "true")]), ("{}", &[("LOG_FORMAT", "json")])]
    {
        let agent = start(logging, environment);
        agent.wait_log("started");
        let (code, log) = agent.stop();
        assert_eq!(code, 0);
        let lines: Vec<_> = log.lines().map(json).collect();
        assert!(lines.iter().any(|(level, message)| level == "INFO" && message.contains("started")));
        assert!(lines.iter().any(|(level, _)| level == "WARNING"));
    }
}

#[test]
fn levels_come_from_the_config_then_the_environment_then_rust_log() {
    let agent = start("{level: DEBUG}", &[]);
    agent.wait_log("DEBUG tick ");
    assert_eq!(agent.stop().0, 0);
    let agent = start("{level: ERROR}", &[("LOG_LEVEL", "debug")]);
    agent.wait_log("DEBUG tick ");
    assert_eq!(agent.stop().0, 0);
    let agent = start("{level: DEBUG}", &[("LOG_LEVEL", "ERROR"), ("RUST_LOG", "info")]);
    agent.wait_log("INFO ");
    let (code, log) = agent.stop();
    assert!(code == 0 && !log.contains("DEBUG"), "{log}");
}

#[test]
fn wrong_words_in_the_environment_are_warnings() {
    let agent = start("{}", &[("LOG_LEVEL", "LOUD"), ("RUST_LOG", "inof")]);
    agent.wait_log("WARNING LOG_LEVEL=\"LOUD\" is ignored");
    agent.wait_log("WARNING RUST_LOG=\"inof\" is ignored");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_file_is_json_and_rotates_by_size() {
    let agent = start(
        "{level: DEBUG, file: {enabled: true, path: deep/er/agent.log, max_size_mb: 0.001, backup_count: 2}}",
        &[],
    );
    let folder = agent.folder.0.join("deep/er");
    let size = |name: &str| std::fs::metadata(folder.join(name)).map(|data| data.len());
    wait_for("second rotation", || size("agent.log.2").map_err(|error| error.to_string()));
    let said = agent.log();
    assert!(said.contains("DEBUG tick ") && !said.contains("cannot"), "{said}");
    let pid = agent.pid();
    assert!(is_alive(pid));
    for name in ["agent.log.1", "agent.log.2"] {
        assert!(size(name).unwrap() <= 1048, "{name}");
    }
    assert!(size("agent.log.3").is_err());
    agent.signal(libc::SIGSTOP);
    for name in ["agent.log.1", "agent.log.2"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.lines().map(json).count() > 1, "{name}: {text}");
    }
    agent.signal(libc::SIGCONT);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn log_file_in_the_environment_turns_the_file_on_and_the_console_can_be_off() {
    let folder = Folder::new();
    let path = folder.0.join("agent.log");
    let agent = start("{}", &[("LOG_FILE", path.to_str().unwrap()), ("ENABLE_CONSOLE_LOGGING", "false")]);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    wait_for("line in the file", || if read().contains("started") { Ok(()) } else { Err(read()) });
    let (code, console) = agent.stop();
    assert_eq!((code, console.as_str()), (0, ""));
    assert!(read().lines().map(json).any(|(_, message)| message.contains("stopped")));
}

#[test]
fn a_file_that_cannot_be_opened_or_written_is_one_warning_and_never_the_end() {
    for (path, words) in [
        (
            "/proc/nothing/agent.log",
            "cannot make the folder of /proc/nothing/agent.log: No such file or directory",
        ),
        ("/dev/full", "cannot open /dev/full: it is a device or a socket; name a regular file"),
        ("/", "/ is no name of a file"),
        ("/tmp", "cannot open /tmp: it is a folder"),
    ] {
        let agent = start("{level: DEBUG}", &[("LOG_FILE", path)]);
        agent.wait_logs("DEBUG tick ", 50);
        let warning = agent.wait_log(words);
        assert!(warning.contains(" WARNING "), "{warning}");
        let (code, log) = agent.stop();
        assert_eq!((code, log.matches(words).count()), (0, 1), "{log}");
    }
}

#[test]
#[allow(unsafe_code)]
fn a_limit_of_file_sizes_is_a_warning_and_not_the_end() {
    let folder = Folder::new();
    let (path, audit) = (folder.0.join("agent.log"), folder.0.join("audit.jsonl"));
    let text = config("{level: DEBUG, file: {enabled: true, path: agent.log}}")
        .replace("dry_run", &format!("audit_file: {}\n  dry_run", audit.display()));
    let limited = |command: &mut Command| {
        let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
        // SAFETY: setrlimit only reads the struct, which lives.
        let set = move || match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: the closure makes one system call and nothing else.
        unsafe { std::os::unix::process::CommandExt::pre_exec(command, set) };
        command.env("LOG_FILE", &path);
    };
    let agent = Agent::start_with(&text, &[], limited);
    let full = "File too large";
    agent.wait_logs(full, 2);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 64 << 10);
    let (code, log) = agent.stop();
    assert_eq!((code, log.matches(full).count()), (0, 2), "{log}");
}
