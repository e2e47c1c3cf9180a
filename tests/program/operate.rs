//! Operating a running agent: halting, another config, the audit trail, limits, one fault by hand.

use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

fn config(agent: &str, failures: &str) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: 0.1\n{agent}\nfailures:\n{failures}\n"
    )
}

const BURN: &str = "  burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}";
const ACTIVE: &str = "chaos_injection_active{failure_type=\"cpu\"}";
const LOADED: &str = "chaos_config_last_reload_successful";

fn halted(agent: &Agent, reason: &str) -> f64 {
    agent.metric(&format!("chaos_halted{{reason=\"{reason}\"}}")).unwrap()
}

fn wait_halted(agent: &Agent, reason: &str, value: f64) {
    agent.wait_metric(&format!("chaos_halted{{reason=\"{reason}\"}}"), |now| now == value);
}

fn one(value: f64) -> bool {
    value == 1.0
}

fn none(value: f64) -> bool {
    value == 0.0
}

/// Replaces a file at once, as editors and `kubectl cp` do not, but careful people do.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

fn status(agent: &Agent) -> serde_json::Value {
    let (code, body) = get(agent.port, "/status").unwrap();
    assert_eq!(code, 200);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}\n{body}"))
}

#[test]
fn a_signal_halts_and_another_resumes() {
    let agent = Agent::start(&config("", BURN));
    agent.wait_metric(ACTIVE, one);
    assert_eq!(halted(&agent, "signal"), 0.0);
    agent.signal(libc::SIGUSR1);
    agent.wait_log("burn: success after");
    assert!(agent.log().contains("all reverted, ended early by a halt"), "{}", agent.log());
    wait_halted(&agent, "signal", 1.0);
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    assert_eq!(status(&agent)["halts"][0]["reason"].as_str(), Some("signal"));
    let (_, text) = get(agent.port, "/status?format=text").unwrap();
    assert!(text.starts_with("no fault is active\nHALTED (signal): SIGUSR1"), "{text}");
    // Ticks go by, and nothing is rolled.
    let tick = status(&agent)["tick"].as_u64().unwrap();
    wait_for("three more ticks", || match status(&agent)["tick"].as_u64().unwrap() {
        now if now > tick + 3 => Ok(()),
        now => Err(format!("tick {now}")),
    });
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    agent.signal(libc::SIGUSR2);
    agent.wait_metric(ACTIVE, one);
    assert_eq!(halted(&agent, "signal"), 0.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_halt_reverts_a_fault_of_every_kind() {
    let folder = Folder::new();
    let victim = Victim::spawn(Command::new("sleep").arg("1000.96875"));
    let state = || state(victim.pid()).unwrap();
    let entry = |name: &str, keys: &str| {
        format!("  {name}: {{enabled: true, probability: 1, duration_seconds: 3600, {keys}}}\n")
    };
    let failures = entry("cpu", "cores: 0.1")
        + &entry("memory", "mb: 32")
        + &entry("process", "action: pause, target_name: sleep 1000.96875")
        + &entry("disk", &format!("path: {}, mb: 8, allow_root_filesystem: true", folder.0.display()));
    let agent = Agent::start(&config("", &failures));
    let active = |kind: &str| format!("chaos_injection_active{{failure_type=\"{kind}\"}}");
    let kinds = ["cpu", "memory", "process", "disk"];
    for kind in kinds {
        agent.wait_metric(&active(kind), one);
    }
    assert_eq!(state(), 'T');
    agent.signal(libc::SIGUSR1);
    for kind in kinds {
        let line = agent.wait_log(&format!("{kind}: success after"));
        assert!(line.ends_with("all reverted, ended early by a halt"), "{line}");
        assert_eq!(agent.metric(&active(kind)), Some(0.0));
        let reverts = format!("chaos_reverts_failed_total{{failure_type=\"{kind}\"}}");
        assert_eq!(agent.metric(&reverts), Some(0.0));
    }
    assert_ne!(state(), 'T');
    let files = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().flatten();
    let left = files.filter_map(|file| fs::read_link(file.path()).ok());
    let left: Vec<_> = left.filter(|path| path.starts_with(&folder.0)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_commands_halt_and_resume_need_no_kill_in_the_image() {
    let agent = Agent::start(&config("", BURN));
    agent.wait_metric(ACTIVE, one);
    let file = agent.folder.0.join("config.yaml");
    let command = |name: &str| {
        let done = run(&[name, "--config", file.to_str().unwrap()], Path::new("/"));
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    assert_eq!(command("halt"), (Some(0), "halted: nothing is active\n".to_owned()));
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    assert!(command("status").1.starts_with("no fault is active\nHALTED (signal)"));
    assert_eq!(command("resume"), (Some(0), "resumed\n".to_owned()));
    agent.wait_metric(ACTIVE, one);
    let wrong = run(&["halt", "-o", "json"], Path::new("/"));
    assert_eq!(wrong.status.code(), Some(64));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_file_halts_as_long_as_it_is_there_without_waiting_for_a_tick() {
    let folder = Folder::new();
    let file = folder.0.join("halt");
    let text = config("", BURN).replace("interval_seconds: 0.1", "interval_seconds: 3600");
    let text = text.replace("agent:\n", &format!("agent:\n  halt_file: {}\n", file.display()));
    let agent = Agent::start(&text);
    agent.wait_metric(ACTIVE, one);
    fs::write(&file, "").unwrap();
    agent.wait_log("halted (file): ");
    agent.wait_log("burn: success after");
    wait_halted(&agent, "file", 1.0);
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    fs::remove_file(&file).unwrap();
    agent.wait_log("resumed: no longer halted (file)");
    assert_eq!(halted(&agent, "file"), 0.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_file_that_is_there_at_the_start_and_a_config_that_says_so_halt_from_the_first_tick() {
    let folder = Folder::new();
    let file = folder.write("halt", "");
    let agent = Agent::start(&config(&format!("  halt: true\n  halt_file: {}", file.display()), BURN));
    wait_halted(&agent, "file", 1.0);
    wait_halted(&agent, "config", 1.0);
    fs::remove_file(&file).unwrap();
    agent.wait_log("no longer halted (file), but still (config)");
    let text = fs::read_to_string(agent.folder.0.join("config.yaml")).unwrap();
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}"), Some(0.0));
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    replace(&agent.folder.0.join("config.yaml"), &text.replace("halt: true", "halt: false"));
    agent.wait_metric(ACTIVE, one);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn another_config_ends_what_changed_and_leaves_the_rest() {
    let three = "  stays: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}
  changes: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}
  goes: {type: memory, enabled: true, probability: 1, duration_seconds: 3600, mb: 8}
  disabled: {type: memory, enabled: true, probability: 1, duration_seconds: 3600, mb: 8}";
    let agent = Agent::start(&config("", three));
    agent.wait_metric(ACTIVE, |value| value == 2.0);
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |value| value == 2.0);
    let path = agent.folder.0.join("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.contains("goes")).map(|line| match line {
        line if line.contains("changes") => line.replace("cores: 0.1", "cores: 0.2"),
        line if line.contains("disabled") => line.replace("enabled: true", "enabled: false"),
        line => line.to_owned(),
    });
    replace(&path, &lines.collect::<Vec<_>>().join("\n"));
    for entry in ["changes", "goes", "disabled"] {
        let line = agent.wait_log(&format!("{entry}: success after"));
        assert!(line.contains("ended early by a new config"), "{line}");
    }
    agent.wait_log("changes: injecting: burns 0.2 of ");
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", none);
    assert!(!agent.log().contains("stays: success"), "{}", agent.log());
    assert_eq!(agent.metric(LOADED), Some(1.0));
    let entries: Vec<_> = status(&agent)["active"].as_array().unwrap().clone();
    let mut names: Vec<_> = entries.iter().map(|entry| entry["entry"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["changes", "stays"]);
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("stays: injecting").count(), 1, "{log}");
}

#[test]
fn a_bad_config_changes_nothing_is_told_once_and_a_good_one_mends_it() {
    let agent = Agent::start(&config("", BURN));
    agent.wait_metric(ACTIVE, one);
    let path = agent.folder.0.join("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    replace(&path, &text.replace("cores: 0.1", "cores: many, corse: 1"));
    agent.wait_metric(LOADED, none);
    agent.signal(libc::SIGHUP);
    let tick = status(&agent)["tick"].as_u64().unwrap();
    wait_for("two more ticks", || match status(&agent)["tick"].as_u64().unwrap() {
        now if now > tick + 2 => Ok(()),
        now => Err(format!("tick {now}")),
    });
    let log = agent.log();
    assert_eq!(log.matches("the new config is not used").count(), 1, "{log}");
    assert!(log.contains("failures.burn.cores: ") && log.contains("did you mean cores?"), "{log}");
    assert_eq!(agent.metric(ACTIVE), Some(1.0), "the old one goes on");
    let error = status(&agent)["config"]["last_reload_error"].as_str().unwrap().to_owned();
    assert!(error.contains("failures.burn.cores: "), "{error}");
    replace(&path, &text);
    agent.wait_metric(LOADED, one);
    assert!(status(&agent)["config"]["last_reload_error"].is_null());
    // The very same as before: what runs is what it wants.
    assert!(!agent.log().contains("ended early by a new config"), "{}", agent.log());
    fs::remove_file(&path).unwrap();
    agent.wait_metric(LOADED, none);
    assert_eq!(agent.metric(ACTIVE), Some(1.0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_exchange_of_a_config_map_is_taken_over_without_a_tick() {
    let folder = Folder::new();
    let port = free_port();
    let text = config("", BURN)
        .replace("PORT", &port.to_string())
        .replace("interval_seconds: 0.1", "interval_seconds: 3600");
    for (version, cores) in [("..1", "0.1"), ("..2", "0.3")] {
        fs::create_dir(folder.0.join(version)).unwrap();
        fs::write(
            folder.0.join(version).join("config.yaml"),
            text.replace("cores: 0.1", &format!("cores: {cores}")),
        )
        .unwrap();
    }
    symlink("..1", folder.0.join("..data")).unwrap();
    symlink("..data/config.yaml", folder.0.join("config.yaml")).unwrap();
    let agent = Agent::start_with("failures: {}", &[], |command| {
        let mut fresh = Command::new(command.get_program());
        fresh.arg("run").arg("--config").arg(folder.0.join("config.yaml"));
        *command = fresh;
    });
    let log = |needle: &str| agent.wait_log(needle);
    log("burn: injecting: burns 0.1 of ");
    symlink("..2", folder.0.join("..data_tmp")).unwrap();
    fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    log("burn: success after");
    log("config loaded again");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn another_seed_interval_and_port_are_taken_over() {
    let agent = Agent::start(&config("  seed: 1", "  cpu: {enabled: false}"));
    agent.wait_metric(LOADED, one);
    let path = agent.folder.0.join("config.yaml");
    let other = free_port();
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(&agent.port.to_string(), &other.to_string()).replace("seed: 1", "seed: 2");
    replace(&path, &text.replace("interval_seconds: 0.1", "interval_seconds: 0.2"));
    let body =
        wait_for("answer on the other port", || get(other, "/status").map_err(|error| error.to_string())).1;
    let tree: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((tree["seed"].as_u64(), tree["interval_seconds"].as_f64()), (Some(2), Some(0.2)));
    assert!(get(agent.port, "/status").is_err(), "the old port is closed");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_config_that_turns_to_a_dry_run_ends_everything() {
    let agent = Agent::start(&config("", BURN));
    agent.wait_metric(ACTIVE, one);
    let path = agent.folder.0.join("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    replace(&path, &text.replace("agent:\n", "agent:\n  dry_run: true\n"));
    agent.wait_metric(ACTIVE, none);
    agent.wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"skipped\"}", |value| value > 2.0);
    assert_eq!(agent.stop().0, 0);
}

/// The lines of a trail, as trees.
fn trail(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn the_audit_trail_tells_every_decision_and_outcome() {
    let folder = Folder::new();
    let path = folder.0.join("deep/audit.jsonl");
    let sleeper = Victim::spawn(Command::new("sleep").arg("1000.875"));
    let kill = "  kill: {type: process, enabled: true, probability: 1, target_name: sleep 1000.875, recovery_seconds: 0}
  rare: {type: cpu, enabled: true, probability: 0.0001, duration_seconds: 1}";
    let agent = Agent::start(&config(
        &format!("  seed: 7\n  audit_log: true\n  audit_file: {}", path.display()),
        kill,
    ));
    agent.wait_log("kill: success");
    agent.wait_log("kill: skipped: no process");
    let pid = sleeper.pid();
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
    let lines = trail(&path);
    assert_eq!((lines[0]["event"].as_str(), lines[0]["seed"].as_u64()), (Some("start"), Some(7)));
    let of = |event: &str, entry: &str| {
        lines.iter().filter(|line| line["event"] == event && line["entry"] == entry).collect::<Vec<_>>()
    };
    let first = of("decision", "kill")[0];
    assert_eq!((first["tick"].as_u64(), first["decision"].as_str()), (Some(0), Some("inject")));
    let roll = chaos_agent::dice::roll(7, 0, "kill").value;
    assert_eq!(first["roll"].as_f64().unwrap().to_bits(), roll.to_bits(), "read back to the last bit");
    assert_eq!(of("decision", "rare")[0]["decision"].as_str(), Some("no"));
    let outcome = of("outcome", "kill")[0];
    assert_eq!((outcome["status"].as_str(), outcome["reverted"].as_bool()), (Some("success"), Some(true)));
    let victim = outcome["victims"][0].as_str().unwrap();
    assert!(victim.starts_with(&format!("process {pid} (sleep), started at tick ")), "{victim}");
    assert!(victim.ends_with(": sleep, 1 argument"), "{victim}");
    assert_eq!(of("outcome", "kill")[1]["status"].as_str(), Some("skipped"));
    assert_eq!(lines.last().unwrap()["event"].as_str(), Some("stop"));
    assert!(log.contains("INFO  {\"time\":"), "also in the log: {log}");
}

#[test]
fn a_command_line_is_shown_only_where_the_config_allows_it() {
    for allowed in [false, true] {
        // Waits for a file of that name.
        let mut command = Command::new("tail");
        command.args(["-F", "/no/such/1000.65625", "/no/api_key=hunter2"]).stderr(Stdio::null());
        let victim = Victim::spawn(&mut command);
        let entry = "  hold: {type: process, action: pause, enabled: true, probability: 1, duration_seconds: 3600, \
                     match: {cmdline: such/1000.65625}}";
        let logging = format!("\nlogging: {{command_lines: {allowed}}}\n");
        let agent = Agent::start(&(config("  audit_log: true", entry) + &logging));
        agent.wait_metric("chaos_injection_active{failure_type=\"process\"}", |value| value == 1.0);
        let brief = format!("process {} (tail), started at tick ", victim.pid());
        for path in ["/status", "/status?format=text", "/", "/metrics"] {
            let (_, text) = get(agent.port, path).unwrap();
            assert_eq!(text.contains(&brief), path != "/metrics", "{path}: {text}");
            assert_eq!(text.contains(": tail, 3 arguments"), path != "/metrics", "{path}: {text}");
            assert!(!text.contains("hunter2"), "{path}: {text}");
        }
        let (code, log) = agent.stop();
        assert_eq!(code, 0, "{log}");
        for event in ["sent SIGSTOP to ", "\"event\":\"outcome\""] {
            let line =
                log.lines().find(|line| line.contains(event)).unwrap_or_else(|| panic!("{event}: {log}"));
            assert_eq!(line.contains(": tail -F /no/such/1000.65625 /no/api_key=***"), allowed, "{line}");
            assert_eq!(line.contains(": tail, 3 arguments"), !allowed, "{line}");
        }
    }
}

#[test]
fn a_count_stops_the_dice_and_the_metrics_stay() {
    let agent = Agent::start(&config(
        "  stop_after: 2 injections",
        "  cpu: {enabled: true, probability: 1, duration_seconds: 0.001, cores: 0.1}",
    ));
    wait_halted(&agent, "stop_after", 1.0);
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}"), Some(2.0));
    assert_eq!(status(&agent)["resting"].as_str(), Some("agent.stop_after is reached"));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_hourly_limit_skips_the_rest() {
    let agent = Agent::start(&config(
        "  max_injections_per_hour: 3",
        "  cpu: {enabled: true, probability: 1, duration_seconds: 0.001, cores: 0.1}",
    ));
    let skipped = "chaos_injections_total{failure_type=\"cpu\",status=\"skipped\"}";
    agent.wait_metric(skipped, |value| value >= 2.0);
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}"), Some(3.0));
    assert!(
        agent.log().contains("cpu: skipped: agent.max_injections_per_hour is reached"),
        "{}",
        agent.log()
    );
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn outside_of_its_schedule_nothing_is_rolled() {
    // A year from now at the earliest, unless this test runs in the first minute of a leap day.
    let leap = "  cpu: {enabled: true, schedule: '0 0 29 2 *', duration_seconds: 0.001, cores: 0.1}
  always: {type: memory, enabled: true, schedule: '* * * * *', duration_seconds: 0.001, mb: 1}";
    let agent = Agent::start(&config("", leap));
    agent.wait_log("always: success");
    assert!(!agent.log().contains("cpu: injecting"), "{}", agent.log());
    assert_eq!(agent.stop().0, 0);
    let agent = Agent::start(&config("  schedule: 0 0 29 2 *", BURN));
    agent.wait_log("outside of agent.schedule: the dice rest");
    assert_eq!(agent.stop().0, 0);
}

/// With a port that no agent has: others may run beside this test.
fn inject(words: &[&str]) -> (i32, String, String) {
    let port = free_port().to_string();
    let done = run(&[&["inject", "--port", &port], words].concat(), Path::new("/"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

#[test]
fn one_fault_by_hand_says_by_its_exit_code_what_happened() {
    let (code, out, _) = inject(&["cpu", "cores=0.1", "--for", "50ms"]);
    assert!(code == 0 && out.contains("inject: success after "), "{out}");
    let (code, out, _) = inject(&["memory", "mb=1048576"]);
    assert!(code == 1 && out.contains("inject: failed: cannot fill 1048576 MiB"), "{out}");
    let (code, out, _) = inject(&["process", "match={exact_name: no-such-process}"]);
    assert!(code == 2 && out.contains("inject: skipped: no process"), "{out}");
    let (code, out, _) = inject(&["memory", "mb=1", "--dry-run"]);
    assert!(code == 0 && out.contains("dry run: fills 1 MiB"), "{out}");
    let (code, out, _) = inject(&["memory", "mb=1048576", "--dry-run"]);
    assert!(code == 1 && out.contains("this would fail"), "{out}");
    let (code, out, _) = inject(&["process", "match={exact_name: no-such-process}", "--dry-run"]);
    assert!(code == 2 && out.contains("nothing to do: no process"), "{out}");
}

#[test]
fn one_fault_by_hand_checks_its_words_like_a_config() {
    for (words, said) in [
        (&["cpu", "cores=many", "corse=1"][..], "chaos-agent inject: cores: \"many\" is not allowed"),
        (&["cpu", "corse=1"], "did you mean cores?"),
        (&["cpu", "cores=1", "cores=2"], "cores"),
        (&["gpu"], "one of cpu, memory, process"),
        (&[], "needs a type of failure"),
        (&["cpu", "cores"], "key=value"),
        (&["cpu", "--for", "soon"], "--for \"soon\" is not allowed"),
        (&["cpu", "--for"], "--for needs a value"),
        (&["cpu", "--seed=-1"], "--seed \"-1\" is not allowed"),
        (&["cpu", "cores=1\nenabled: false"], "one line of text"),
        (&["process"], "target_name"),
    ] {
        let (code, out, err) = inject(words);
        assert!(code == 64 && err.contains(said) && out.is_empty(), "{words:?}: {code} {out} {err}");
    }
}

#[test]
fn one_fault_by_hand_is_reverted_when_it_is_interrupted() {
    let victim = Victim::spawn(Command::new("sleep").arg("1000.9375"));
    let state = || state(victim.pid()).unwrap();
    let wait = |wanted| {
        wait_for("state", || if state() == wanted { Ok(()) } else { Err(format!("{}", state())) });
    };
    for (signal, code) in [(libc::SIGINT, Some(130)), (libc::SIGTERM, Some(130)), (libc::SIGKILL, None)] {
        wait('S');
        let mut command = Command::new(binary());
        let port = free_port().to_string();
        command.args(["inject", "process", "target_name=sleep 1000.9375", "action=pause", "--for", "1h"]);
        command.args(["--port", &port]);
        let mut child = Running(command.stdout(Stdio::null()).spawn().unwrap());
        wait('T');
        kill(child.pid(), signal);
        assert_eq!(child.0.wait().unwrap().code(), code);
        wait('S');
    }
}

/// Kilobytes of the program's code that are mapped, and that are in memory.
fn code(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let program = binary().canonicalize().unwrap().display().to_string();
    let (mut is_code, mut sum) = (false, (0, 0));
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kilobytes = || words[1].parse::<u64>().unwrap();
        match words[0] {
            "Size:" if is_code => sum.0 += kilobytes(),
            "Rss:" if is_code => sum.1 += kilobytes(),
            first if !first.ends_with(':') => is_code = words[1] == "r-xp" && line.ends_with(&program),
            _ => {}
        }
    }
    sum
}

#[test]
fn what_only_the_start_needed_is_given_back_and_everything_still_works() {
    let text = |interval: &str| config("", BURN).replace("interval_seconds: 0.1", interval);
    let agent = Agent::start(&text("interval_seconds: 3600").replace("probability: 1", "probability: 0"));
    agent.wait_log("burn: ready");
    wait_for("the start's pages to be given back", || match code(agent.pid()) {
        // How many it is, the bench measures; a build for debugging is not laid out for it.
        (mapped, resident) if resident < mapped * 4 / 5 => Ok(()),
        (mapped, resident) => Err(format!("{resident} of {mapped} kB of code are in memory")),
    });
    // Another interval begins with a tick.
    let fresh = text("interval_seconds: 1800").replace("PORT", &agent.port.to_string());
    replace(&agent.folder.0.join("config.yaml"), &fresh);
    agent.wait_log("config loaded again");
    agent.wait_metric(ACTIVE, one);
    agent.signal(libc::SIGUSR1);
    wait_halted(&agent, "signal", 1.0);
    agent.wait_metric(ACTIVE, none);
    assert_eq!(agent.stop().0, 0);
}
