//! The dice loop seen from outside: rolls, ticks, metrics, signals.

use crate::support::*;
use std::process::Command;

/// `agent:` with a port of the test's own and whatever else.
fn config(agent: &str, failures: &str) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n{agent}\nfailures:\n{failures}\nlogging: {{level: DEBUG}}\n"
    )
}

const CPU: &str = "  cpu: {enabled: true, probability: 1, duration_seconds: 0.2, cores: 1}";
const FOR_EVER: &str = "  cpu: {enabled: true, probability: 1, duration_seconds: 3600, cores: 2}
  memory: {enabled: true, probability: 1, duration_seconds: 3600, mb: 50}
  process: {enabled: true, probability: 1, target_name: stubborn-victim}";

#[test]
fn an_injection_is_counted_shown_while_active_and_timed() {
    let agent = Agent::start(&config("  interval_seconds: 1", CPU));
    agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
    agent
        .wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}", |value| value >= 2.0);
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"failed\"}"), Some(0.0));
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"skipped\"}"), Some(0.0));
    assert!(agent.metric("chaos_injection_duration_seconds_sum{failure_type=\"cpu\"}").unwrap() >= 0.4);
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn an_entry_that_is_active_is_not_rolled_again_and_the_others_are() {
    let failures = "  long: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 1}
  short: {type: cpu, enabled: true, probability: 1, duration_seconds: 0.001, cores: 1}";
    let agent = Agent::start(&config("  interval_seconds: 0.05", failures));
    agent.wait_logs("short: success", 5);
    assert_eq!(agent.log().matches("long: injecting").count(), 1, "{}", agent.log());
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_same_seed_makes_the_same_decisions_and_another_entry_does_not_shift_them() {
    let entry = |name: &str| {
        format!(
            "  {name}: {{type: cpu, enabled: true, probability: 0.5, duration_seconds: 0.001, cores: 1}}\n"
        )
    };
    // Tick to decision; a busy machine leaves out a tick here and there.
    let decisions = |failures: &str| {
        let agent = Agent::start(&config("  interval_seconds: 0.05\n  seed: 7\n  dry_run: true", failures));
        let lines = agent.wait_logs(": a: ", 60);
        assert_eq!(agent.stop().0, 0);
        let told = lines.iter().filter_map(|line| line.split_once("tick ")?.1.split_once(": a: "));
        let told = told.map(|(tick, decision)| (tick.parse::<u64>().unwrap(), decision.to_owned()));
        told.collect::<std::collections::BTreeMap<_, _>>()
    };
    let alone = decisions(&entry("a"));
    let beside = decisions(&(entry("b") + &entry("a")));
    let both: Vec<_> = alone.keys().filter(|tick| beside.contains_key(tick)).collect();
    assert!(both.len() >= 10, "{alone:?}\n{beside:?}");
    assert!(both.iter().all(|tick| alone[tick] == beside[tick]), "{alone:?}\n{beside:?}");
    let yes = both.iter().filter(|tick| alone[tick].starts_with("yes")).count();
    assert!(yes > 0 && yes < both.len(), "{alone:?}");
}

#[test]
fn a_dry_run_describes_counts_as_skipped_and_touches_nothing() {
    let mut victim = Victim::spawn(Command::new("sleep").arg("1000.125"));
    let failures =
        "  process: {enabled: true, probability: 1, target_name: sleep 1000.125}\n".to_owned() + CPU;
    let agent = Agent::start(&config("  interval_seconds: 1\n  dry_run: true", &failures));
    agent.wait_metric("chaos_injections_total{failure_type=\"process\",status=\"skipped\"}", |value| {
        value >= 1.0
    });
    agent
        .wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"skipped\"}", |value| value >= 1.0);
    agent.wait_log("process: dry run: ");
    assert_eq!(agent.metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}"), Some(0.0));
    assert_eq!(agent.stop().0, 0);
    assert!(victim.0.try_wait().unwrap().is_none(), "the dry run killed the victim");
}

#[test]
fn sigterm_ends_active_faults_reverts_them_and_exits_with_0_also_when_it_comes_twice() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let _victim = Victim::spawn(
            Command::new("sh")
                .args(["-c", "trap '' TERM; : stubborn-victim; while :; do read x </dev/zero; done"])
                .arg("stubborn-victim"),
        );
        let mut agent = Agent::start(&config("  interval_seconds: 3600", FOR_EVER));
        agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
        agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |value| value == 1.0);
        agent.signal(signal);
        agent.signal(signal);
        assert_eq!(agent.wait_exit().code(), Some(0), "{}", agent.log());
        agent.wait_log("everything is reverted");
        agent.wait_log("cpu: success");
        agent.wait_log("memory: success");
    }
}

#[test]
fn sighup_does_not_end_the_agent() {
    let agent = Agent::start(&config("  interval_seconds: 0.2", CPU));
    agent.wait_log("started");
    agent.signal(libc::SIGHUP);
    agent
        .wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}", |value| value >= 1.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn no_config_is_exit_64_with_the_places_tried_and_the_way_out() {
    let folder = Folder::new();
    let done = run(&["run"], &folder.0);
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(64), "{text}");
    for place in ["CHAOS_CONFIG", "config.yaml", "/app/config.yaml", "/etc/chaos-agent/config.yaml", "--demo"]
    {
        assert!(text.contains(place), "{place} is not in: {text}");
    }
}

#[test]
fn the_demo_is_a_dry_run() {
    let agent = Agent::start_with("unused: true", &[], |command| {
        *command = Command::new(binary());
        command.args(["run", "--demo"]);
    });
    agent.wait_log("config built in");
    agent.wait_log("dry run");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_wrong_command_line_is_exit_64_and_says_what_is_wrong() {
    let folder = Folder::new();
    for (args, word) in [
        (&["frobnicate"][..], "frobnicate"),
        (&[], "command is missing"),
        (&["run", "--frob"], "--frob"),
        (&["run", "--config"], "needs a FILE"),
        (&["run", "--demo", "--config", "x"], "--demo"),
    ] {
        let done = run(args, &folder.0);
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(64) && text.contains(word), "{args:?}: {text}");
    }
}

#[test]
fn a_closed_or_full_standard_output_does_not_end_the_agent() {
    let folder = Folder::new();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for output in [std::process::Stdio::from(full), closed.into()] {
        let port = free_port();
        let text = config("  interval_seconds: 0.1", CPU).replace("PORT", &port.to_string());
        let file = folder.write("config.yaml", text);
        let mut command = Command::new(binary());
        let agent = Victim::spawn(command.args(["run", "--config"]).arg(file).stdout(output));
        wait_for("three injections", || {
            let text = get(port, "/metrics").map_err(|error| error.to_string())?.1;
            let name = "chaos_injections_total{failure_type=\"cpu\",status=\"success\"}";
            sample(&text, name).filter(|count| *count >= 3.0).ok_or(text)
        });
        kill(agent.pid(), libc::SIGTERM);
    }
}

#[test]
fn what_comes_to_the_same_end_again_and_again_is_told_now_and_then() {
    let name = format!("sleep 1000.{}7", std::process::id());
    let agent = Agent::start(&format!(
        "agent: {{interval_seconds: 0.02, metrics: {{address: 127.0.0.1, port: PORT}}}}\n\
         failures: {{gone: {{type: process, enabled: true, probability: 1, target_name: {name}, grace_seconds: 0}}}}\n"
    ));
    agent.wait_log("; the same 10 times since ");
    agent.wait_metric("chaos_injections_total{failure_type=\"process\",status=\"skipped\"}", |count| {
        count > 30.0
    });
    let log = agent.log();
    assert_eq!(log.matches("gone: injecting").count(), 1, "{log}");
    assert!((2..=3).contains(&log.matches("gone: skipped").count()), "{log}");
    // What happens is told again, and what was not told before it.
    let victim = Victim::spawn(Command::new("sleep").arg(name.trim_start_matches("sleep ")));
    agent.wait_log("gone: success");
    let log = agent.log();
    let at = |text: &str| log.rfind(text).unwrap_or_else(|| panic!("no {text:?} in {log}"));
    assert!(
        at("; the same ") < at("gone: success") && log.contains(&format!("process {} ", victim.pid())),
        "{log}"
    );
    assert_eq!(agent.stop().0, 0);
}
