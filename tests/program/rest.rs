//! When the agent rests: on a config that cannot be used, and without the application.

use crate::support::*;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

const LOADED: &str = "chaos_config_last_reload_successful";
const ACTIVE: &str = "chaos_injection_active{failure_type=\"cpu\"}";
const GONE: &str = "chaos_halted{reason=\"gone\"}";
const CPU: &str = "chaos_injections_total{failure_type=\"cpu\",status=\"success\"}";

fn good(port: &str, cores: &str) -> String {
    format!(
        "agent: {{interval_seconds: 0.1, metrics: {{address: 127.0.0.1, port: {port}}}}}\nfailures:\n  \
         burn: {{type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: {cores}}}\n"
    )
}

/// The exit code of the agent's own health check, asked like a kubelet does.
fn health(config: &Path) -> Option<i32> {
    run(&["healthcheck", "--config", config.to_str().unwrap()], Path::new("/")).status.code()
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

#[test]
fn on_a_bad_config_the_agent_rests_says_why_and_takes_the_next_good_one() {
    let agent = Agent::start_with(&good("PORT", "many"), &["--rest-on-bad-config"], |_| {});
    let path = agent.folder.0.join("config.yaml");
    // It serves where the config says, whatever else is wrong in it.
    agent.wait_metric(LOADED, |now| now == 0.0);
    assert_eq!(health(&path), Some(0));
    let log = agent.wait_log("there is no config to use; nothing is injected until there is:");
    assert!(log.contains("ERROR"), "{log}");
    agent.wait_log("failures.burn.cores: \"many\" is not allowed");
    let (_, text) = get(agent.port, "/status?format=text").unwrap();
    assert!(text.starts_with("no fault is active\nthe dice rest: there is no config to use yet\n"), "{text}");
    assert!(text.contains("the config on disk cannot be used, nothing is injected: "), "{text}");
    assert!(text.contains("failures.burn.cores: \"many\""), "{text}");
    let (_, page) = get(agent.port, "/").unwrap();
    assert!(page.contains("<b>The config on disk cannot be used</b>"), "{page}");
    assert!(page.contains("failures.burn.cores: "), "{page}");
    // Another bad one is told as well, and nothing is injected.
    replace(&path, &good(&agent.port.to_string(), "most"));
    agent.wait_log("failures.burn.cores: \"most\" is not allowed");
    assert_eq!(agent.metric(LOADED), Some(0.0));
    let text = good(&agent.port.to_string(), "0.1");
    replace(&path, &text);
    agent.wait_metric(LOADED, |now| now == 1.0);
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    let (_, page) = get(agent.port, "/").unwrap();
    assert!(!page.contains("The config on disk"), "{page}");
    // From now on a bad one leaves the good one in use.
    replace(&path, &text.replace("0.1}", "many}"));
    agent.wait_metric(LOADED, |now| now == 0.0);
    agent.wait_log("the new config is not used, the old one stays:");
    assert_eq!(agent.metric(ACTIVE), Some(1.0));
    assert_eq!(health(&path), Some(0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn without_the_option_a_bad_config_is_exit_code_64() {
    let mut agent = Agent::start(&good("PORT", "many"));
    assert_eq!(agent.wait_exit().code(), Some(64));
    let option = ["--rest-on-bad-config"];
    let agent = Agent::start_with(&good("PORT", "0.1"), &option, |_| {});
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(agent.metric(LOADED), Some(1.0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_config_that_is_not_there_yet_is_waited_for() {
    let agent = Agent::start_with("", &["--rest-on-bad-config"], |command| {
        // As where an optional ConfigMap is missing: the folder is there, and nothing in it.
        let mut fresh = Command::new(command.get_program());
        let folder = command.get_current_dir().unwrap();
        fs::remove_file(folder.join("config.yaml")).unwrap();
        fresh.args(["run", "--rest-on-bad-config", "--config"]).arg(folder.join("config.yaml"));
        *command = fresh;
    });
    agent.wait_log("No such file or directory");
    let path = agent.folder.0.join("config.yaml");
    let before = agent.log();
    replace(&path, &good(&agent.port.to_string(), "0.1"));
    agent.wait_metric(ACTIVE, |now| now == 1.0);
    assert_eq!(before.matches("nothing is injected until there is").count(), 1, "{before}");
    assert_eq!(agent.stop().0, 0);
}

/// An application with a name of its own.
struct Application(Child);

impl Application {
    fn start(seconds: &str) -> Application {
        Application(Command::new("sleep").arg(seconds).spawn().unwrap())
    }

    /// SIGTERM, as the kubelet sends it, and reaped.
    fn end(&mut self) {
        kill(self.0.id(), libc::SIGTERM);
        self.0.wait().unwrap();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(names: &str, more: &str) -> String {
    format!(
        "agent:\n  interval_seconds: 0.1\n  rest_when_gone: {names}\n  metrics: {{address: 127.0.0.1, port: PORT}}\n\
         failures:\n  burn: {{type: cpu, enabled: true, probability: 1, duration_seconds: 0.001, cores: 0.1}}\n{more}"
    )
}

fn ticks(agent: &Agent) {
    let tick = || {
        let body = get(agent.port, "/status").unwrap().1;
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["tick"].as_u64().unwrap()
    };
    let before = tick();
    wait_for("four more ticks", || if tick() > before + 4 { Ok(()) } else { Err(String::new()) });
}

#[test]
fn no_fault_starts_after_the_application_has_ended() {
    let mut application = Application::start("1000.28125");
    // The agent's own command line names the application too, and does not count.
    let agent = Agent::start_with(&config("[Sleep 1000.28125, other-app]", ""), &[], |command| {
        let folder = command.get_current_dir().unwrap().join("sleep 1000.28125");
        fs::create_dir(&folder).unwrap();
        let mut fresh = Command::new(command.get_program());
        fs::copy(folder.with_file_name("config.yaml"), folder.join("c.yaml")).unwrap();
        fresh.args(["run", "--config"]).arg(folder.join("c.yaml"));
        *command = fresh;
    });
    agent.wait_metric(CPU, |now| now > 0.0);
    assert_eq!(agent.metric(GONE), Some(0.0));
    application.end();
    agent.wait_metric(GONE, |now| now == 1.0);
    let before = agent.metric(CPU);
    ticks(&agent);
    let (_, text) = get(agent.port, "/status?format=text").unwrap();
    let says =
        "the dice rest: no process matches [\"sleep 1000.28125\", \"other-app\"] (agent.rest_when_gone)";
    assert!(text.contains(says), "{text}");
    // One that was rolled before may have ended meanwhile.
    assert!(agent.metric(CPU) <= before.map(|count| count + 1.0), "{text}");
    let _again = Application::start("1000.28125");
    agent.wait_metric(CPU, |now| Some(now) > before.map(|count| count + 2.0));
    assert_eq!(agent.metric(GONE), Some(0.0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_application_that_the_agent_itself_killed_is_waited_for() {
    let mut application = Application::start("1000.21875");
    let kill = "  kill: {type: process, enabled: true, schedule: '* * * * *', target_name: sleep 1000.21875,\n         \
                recovery_seconds: 600}\n";
    let agent = Agent::start(&config("sleep 1000.21875", kill));
    application.0.wait().unwrap();
    agent.wait_metric(GONE, |now| now == 1.0);
    // Its return ends both the rest and the watch for it.
    let _again = Application::start("1000.21875");
    agent.wait_metric(GONE, |now| now == 0.0);
    agent.wait_metric("chaos_victim_recovery_seconds_count", |now| now == 1.0);
    let before = agent.metric(CPU).unwrap();
    agent.wait_metric(CPU, |now| now > before + 1.0);
    assert_eq!(agent.stop().0, 0);
}
