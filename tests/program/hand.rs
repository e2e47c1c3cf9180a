//! Faults by hand beside an agent: one truth a pod.

use crate::support::*;
use std::fs;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAUSED: &str = "chaos_injection_active{failure_type=\"process\"}";
const CPU: &str = "chaos_injection_active{failure_type=\"cpu\"}";
const NOBODY: u32 = 65_534;

/// An agent whose dice never hit.
fn config(agent: &str) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: 3600\n{agent}\nfailures:\n  \
         never: {{type: cpu, enabled: true, probability: 0.000001, duration_seconds: 1, cores: 0.1}}\n"
    )
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// `inject` on its way, and what it said at its end.
struct Inject(Running);

impl Inject {
    fn start(port: u16, words: &[&str]) -> Inject {
        let mut command = Command::new(binary());
        command.args(["inject", "--port", &port.to_string()]).args(words).current_dir("/");
        command.env_remove("CHAOS_CONFIG").stdin(Stdio::null());
        Inject(Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    fn end(mut self) -> (Option<i32>, String) {
        let child: &mut Child = &mut self.0.0;
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code(), text)
    }
}

fn inject(port: u16, words: &[&str]) -> (Option<i32>, String) {
    Inject::start(port, words).end()
}

fn wait_state(pid: u32, wanted: char) {
    wait_for("state", || match state(pid) {
        Some(now) if now == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn pause(port: u16, name: &str) -> Inject {
    Inject::start(port, &["process", &format!("target_name={name}"), "action=pause", "--for", "1h"])
}

#[test]
fn a_fault_by_hand_is_seen_everywhere_and_ends_at_a_halt() {
    let folder = Folder::new();
    let (trail, halt) = (folder.0.join("audit.jsonl"), folder.0.join("halt"));
    let agent =
        Agent::start(&config(&format!("  audit_file: {}\n  halt_file: {}", trail.display(), halt.display())));
    agent.wait_log("never: ready");
    let victim = Victim::spawn(Command::new("sleep").arg("1000.71875"));
    let file = agent.folder.0.join("config.yaml");
    for (word, halted_by) in [("halt", "halt"), ("file", "halt")] {
        let fault = pause(agent.port, "sleep 1000.71875");
        agent.wait_metric(PAUSED, |now| now == 1.0);
        wait_state(victim.pid(), 'T');
        let (_, status) = get(agent.port, "/status").unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["active"][0]["by"].as_str(), Some("inject"), "{status}");
        assert!(status["active"][0]["victims"][0].as_str().unwrap().contains(&victim.pid().to_string()));
        let (_, page) = get(agent.port, "/").unwrap();
        assert!(page.contains("1 fault is ACTIVE") && page.contains("process, by hand"), "{page}");
        match word {
            "file" => fs::write(&halt, "").unwrap(),
            _ => {
                let done = run(&["halt", "--config", file.to_str().unwrap()], Path::new("/"));
                assert_eq!(String::from_utf8_lossy(&done.stdout), "halted: nothing is active\n");
            }
        }
        let (code, text) = fault.end();
        assert!(code == Some(130) && text.contains("all reverted, ended early by a halt"), "{code:?} {text}");
        wait_state(victim.pid(), 'S');
        agent.wait_metric(PAUSED, |now| now == 0.0);
        let cut = format!("chaos_injections_cut_short_total{{failure_type=\"process\",why=\"{halted_by}\"}}");
        agent.wait_metric(&cut, |now| now == if word == "file" { 2.0 } else { 1.0 });
        // Nothing by hand while it is halted, unless somebody insists.
        let (code, text) = inject(agent.port, &["cpu", "cores=0.1", "--for", "20ms"]);
        assert!(
            code == Some(1) && text.contains("the agent is halted (") && text.contains("--force"),
            "{text}"
        );
        let (code, text) = inject(agent.port, &["cpu", "cores=0.1", "--for", "20ms", "--force"]);
        assert_eq!(code, Some(0), "{text}");
        agent.wait_log("insists although the agent is halted");
        if word != "file" {
            agent.signal(libc::SIGUSR2);
            agent.wait_log("resumed");
        }
    }
    // What was insisted on ends at another halt all the same.
    let forced = Inject::start(agent.port, &["cpu", "cores=0.1", "--for", "1h", "--force"]);
    agent.wait_metric(CPU, |now| now == 1.0);
    agent.signal(libc::SIGUSR1);
    assert_eq!(forced.end().0, Some(130));
    agent
        .wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}", |count| count == 3.0);
    assert_eq!(agent.stop().0, 0);
    let lines = fs::read_to_string(&trail).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = lines.iter().filter(|line| line["event"] == "outcome").collect();
    assert_eq!(outcomes.len(), 5);
    for outcome in &outcomes {
        assert_eq!((outcome["by"].as_str(), outcome["status"].as_str()), (Some("inject"), Some("success")));
        assert!(outcome["held_seconds"].as_f64().unwrap() <= outcome["duration_seconds"].as_f64().unwrap());
    }
    let refused = lines.iter().filter(|line| line["event"] == "inject" && line["decision"] == "no");
    assert_eq!(refused.count(), 2);
    let replay = run(&["plan", "--replay", trail.to_str().unwrap()], Path::new("/"));
    assert_eq!(replay.status.code(), Some(0), "{}", String::from_utf8_lossy(&replay.stdout));
}

#[test]
fn a_fault_by_hand_ends_with_the_agent_and_leaves_the_gauge_with_its_own_process() {
    let victim = Victim::spawn(Command::new("sleep").arg("1000.78125"));
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let mut agent = Agent::start(&config(""));
        agent.wait_log("never: ready");
        let fault = pause(agent.port, "sleep 1000.78125");
        agent.wait_metric(PAUSED, |now| now == 1.0);
        agent.signal(signal);
        let (code, text) = fault.end();
        let why = if signal == libc::SIGTERM { "by a stop" } else { "the agent is gone" };
        assert!(code == Some(130) && text.contains(why), "{code:?} {text}");
        wait_state(victim.pid(), 'S');
        agent.wait_exit();
    }
    let agent = Agent::start(&config(""));
    agent.wait_log("never: ready");
    let fault = pause(agent.port, "sleep 1000.78125");
    agent.wait_metric(PAUSED, |now| now == 1.0);
    wait_state(victim.pid(), 'T');
    kill(fault.0.pid(), libc::SIGKILL);
    agent.wait_metric(PAUSED, |now| now == 0.0);
    agent.wait_log("ended without a word; its guard takes back what it left");
    wait_state(victim.pid(), 'S');
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn what_the_agent_may_not_do_is_not_done_by_hand_either() {
    let cpu = |port, more: &[&str]| inject(port, &[&["cpu", "cores=0.1", "--for", "20ms"], more].concat());
    for (agent, said) in [
        ("  dry_run: true", "the agent is in a dry run"),
        ("  halt: true", "the agent is halted (config: agent.halt is true)"),
        ("  steady_state: [{tcp: '127.0.0.1:1'}]", "the application was not seen well yet"),
        ("  max_injections_per_hour: 1", "agent.max_injections_per_hour is reached"),
    ] {
        let agent = Agent::start(&config(agent));
        agent.wait_log("never: ");
        if said.contains("per_hour") {
            assert_eq!(cpu(agent.port, &[]).0, Some(0));
        }
        let (code, text) = cpu(agent.port, &[]);
        assert!(code == Some(1) && text.contains(said), "{code:?} {text}");
        let (code, text) = cpu(agent.port, &["--force"]);
        assert!(code == Some(0), "{text}");
        assert!(agent.wait_log("insists although").contains(said));
        assert_eq!(agent.stop().0, 0);
    }
    let agent = Agent::start(&config("  max_concurrent: 1"));
    agent.wait_log("never: ready");
    let first = Inject::start(agent.port, &["cpu", "cores=0.1", "--for", "1h"]);
    agent.wait_metric(CPU, |now| now == 1.0);
    let (code, text) = cpu(agent.port, &[]);
    assert!(code == Some(1) && text.contains("agent.max_concurrent is reached (1 active)"), "{text}");
    kill(first.0.pid(), libc::SIGTERM);
    assert_eq!(first.end().0, Some(130));
    agent
        .wait_metric("chaos_injections_cut_short_total{failure_type=\"cpu\",why=\"stop\"}", |now| now == 1.0);
    assert_eq!(cpu(agent.port, &[]).0, Some(0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_fault_by_hand_takes_a_place_from_the_dice() {
    let text = config("  max_concurrent: 1").replace("0.000001", "1").replace("3600", "0.2");
    let agent = Agent::start(&text.replace("enabled: true", "enabled: false"));
    wait_for("the name", || match inject(agent.port, &["memory", "mb=1", "--for", "1ms"]) {
        (Some(0), text) if text.contains("knows of this fault") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let fault = Inject::start(agent.port, &["memory", "mb=1", "--for", "1h"]);
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |now| now == 1.0);
    fs::write(agent.folder.0.join("config.yaml"), text.replace("PORT", &agent.port.to_string())).unwrap();
    agent.wait_logs("never: skipped: agent.max_concurrent is reached (1 active)", 2);
    assert_eq!(agent.metric(CPU), Some(0.0));
    kill(fault.0.pid(), libc::SIGINT);
    agent.wait_metric(CPU, |now| now == 1.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn without_an_agent_its_halt_file_counts_all_the_same() {
    let folder = Folder::new();
    let (halt, port) = (folder.0.join("halt"), free_port());
    let config = folder.write(
        "config.yaml",
        format!("agent: {{halt_file: {}, metrics: {{port: {port}}}}}\nfailures: {{}}\n", halt.display()),
    );
    let start = |more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["inject", "--config", config.to_str().unwrap(), "cpu", "cores=0.1", "--for", "1h"]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Inject(Running(command.spawn().unwrap()))
    };
    fs::write(&halt, "").unwrap();
    let (code, text) = start(&[]).end();
    assert!(code == Some(1) && text.contains("the halt file ") && text.contains("--force insists"), "{text}");
    fs::remove_file(&halt).unwrap();
    let mut fault = start(&[]);
    let mut lines = String::new();
    let mut out = fault.0.0.stdout.take().unwrap();
    let mut byte = [0];
    while !lines.contains("burns 0.1") {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{lines}");
        lines.push(byte[0].into());
    }
    assert!(
        lines.contains(&format!("no agent has the name @chaos-agent/{port} here: nobody else sees")),
        "{lines}"
    );
    fs::write(&halt, "").unwrap();
    out.read_to_string(&mut lines).unwrap();
    assert!(lines.contains("all reverted, ended early by a halt"), "{lines}");
    assert_eq!(fault.0.0.wait().unwrap().code(), Some(130));
    // A name in a config that is no config.
    fs::write(&config, "failures: [").unwrap();
    assert_eq!(start(&[]).end().0, Some(64));
}

#[test]
fn ten_thousand_connections_neither_hold_up_the_loop_nor_grow_it() {
    let agent = Agent::start(&config("").replace("3600", "0.1"));
    agent.wait_log("never: ready");
    assert_eq!(inject(agent.port, &["cpu", "cores=0.1", "--for", "1ms"]).0, Some(0));
    let kilobytes = || {
        let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let threads = || fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().count();
    let (before, threads_before) = (kilobytes(), threads());
    let address = SocketAddr::from_abstract_name(format!("chaos-agent/{}", agent.port)).unwrap();
    let mut held = Vec::new();
    for number in 0..10_000 {
        let Ok(mut stream) = UnixStream::connect_addr(&address) else { continue };
        stream.set_nonblocking(true).unwrap();
        // Silent, talkative, wrong, half a line, a line without an end; gone at once or staying.
        let said = match number % 5 {
            1 => "inject\tcpu\t1\n".repeat(100),
            2 => "x\n\n\0".to_owned(),
            3 => "inject\tcpu".to_owned(),
            4 => "y".repeat(64 << 10),
            _ => String::new(),
        };
        _ = stream.write(said.as_bytes());
        if number % 500 == 0 {
            held.push(stream);
        }
    }
    // The silent ones are cut, and the next one is heard, as is a halt meanwhile.
    let started = Instant::now();
    agent.signal(libc::SIGUSR1);
    agent.wait_log("halted (signal)");
    agent.signal(libc::SIGUSR2);
    agent.wait_log("resumed");
    assert!(started.elapsed() < Duration::from_secs(20));
    wait_for("the next one is heard", || match inject(agent.port, &["cpu", "cores=0.1", "--for", "1ms"]) {
        (Some(0), text) if text.contains("knows of this fault") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(kilobytes() < before + 2048, "{before} kB, then {} kB", kilobytes());
    assert_eq!(threads(), threads_before);
    drop(held);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_agent_says_who_has_its_name_and_takes_it_when_it_is_free() {
    let port = free_port();
    let address = SocketAddr::from_abstract_name(format!("chaos-agent/{port}")).unwrap();
    let squatter = UnixListener::bind_addr(&address).unwrap();
    let text = config("").replace("PORT", &port.to_string()).replace("3600", "0.1");
    let agent = Agent::start(&text);
    let line = agent.wait_log("faults by hand cannot be registered");
    let who = format!("the name @chaos-agent/{port} is taken by process {} of uid ", std::process::id());
    assert!(line.contains(&who) && line.contains("agent.metrics.port of its own"), "{line}");
    // It answers nobody.
    let (code, text) = inject(port, &["cpu", "cores=0.1", "--for", "1ms"]);
    assert!(code == Some(1) && text.contains("does not answer within 2 s"), "{text}");
    drop(squatter);
    agent.wait_log("faults by hand can be registered again");
    assert_eq!(inject(port, &["cpu", "cores=0.1", "--for", "1ms"]).0, Some(0));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn neither_end_talks_to_a_foreign_user() {
    if !is_root() {
        return; // there is no other user that this test could be
    }
    // A root agent does not obey nobody.
    let agent = Agent::start(&config(""));
    agent.wait_log("never: ready");
    let mut command = Command::new(binary());
    command.args([
        "inject",
        "cpu",
        "cores=0.1",
        "--for",
        "1ms",
        "--force",
        "--port",
        &agent.port.to_string(),
    ]);
    let done = command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && said.contains("only root and uid 0 may register"), "{said}");
    assert_eq!(agent.metric(CPU), Some(0.0));
    assert_eq!(agent.stop().0, 0);
    // Root does not take nobody's word for an agent's.
    let agent = Agent::start_with(&config(""), &[], |command| {
        let folder = command.get_current_dir().unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    });
    agent.wait_log("never: ready");
    let (code, text) = inject(agent.port, &["cpu", "cores=0.1", "--for", "1ms"]);
    let who = format!("is held by process {} of uid {NOBODY}, which is no agent of this uid", agent.pid());
    assert!(code == Some(1) && text.contains(&who), "{text}");
    let (code, text) = inject(agent.port, &["cpu", "cores=0.1", "--for", "1ms", "--force"]);
    assert!(code == Some(0) && text.contains("nobody else sees this fault"), "{text}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_closed_standard_input_ends_the_fault() {
    let start = |input: Stdio| {
        let port = free_port().to_string();
        let mut command = Command::new(binary());
        command.args(["inject", "--port", &port, "cpu", "cores=0.1", "--for", "1h", "--with-stdin"]);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        Inject(Running(command.spawn().unwrap()))
    };
    let mut fault = start(Stdio::piped());
    let mut input = fault.0.0.stdin.take().unwrap();
    input.write_all(b"words that nobody reads\n").unwrap();
    let mut out = fault.0.0.stdout.take().unwrap();
    let (mut lines, mut byte) = (String::new(), [0]);
    while !lines.contains("burns 0.1") {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{lines}");
        lines.push(byte[0].into());
    }
    drop(input);
    out.read_to_string(&mut lines).unwrap();
    assert!(lines.contains("ended early: standard input was closed"), "{lines}");
    assert_eq!(fault.0.0.wait().unwrap().code(), Some(130));
    let (code, text) = start(Stdio::null()).end();
    assert!(code == Some(64) && text.contains("--with-stdin needs a pipe"), "{text}");
}

#[test]
fn what_is_no_yaml_is_text_and_errors_name_the_argument() {
    let victim =
        Victim::spawn(Command::new("bash").args(["-c", "exec -a 'nginx: worker #1' sleep 1000.84375"]));
    wait_for("its name", || match fs::read(format!("/proc/{}/cmdline", victim.pid())) {
        Ok(text) if text.starts_with(b"nginx: worker #1\0") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let port = free_port();
    let (code, text) = inject(port, &["process", "target_name=nginx: worker #1", "--dry-run"]);
    assert!(code == Some(0) && text.contains("1 of 1 processes matching \"nginx: worker #1\""), "{text}");
    for (word, said) in [
        ("match={name: ", "inject: match: \"{name: \" is not allowed"),
        ("count=[1", "inject: count: "),
        ("cmdline=*x", "inject: cmdline: is not a known key"),
        ("grace_seconds=- 1", "inject: grace_seconds: \"- 1\" is not allowed"),
    ] {
        let (code, text) = inject(port, &["process", "target_name=sleep 1000.84375", word, "--dry-run"]);
        assert!(code == Some(64) && text.contains(said) && !text.contains(" column "), "{word}: {text}");
    }
}

#[test]
fn a_dry_run_does_not_call_ready_what_it_did_not_look_at() {
    if !is_root() {
        return; // without the right to set it, it is not ready whatever the kernel has
    }
    let network =
        "type: network, enabled: true, probability: 1, duration_seconds: 1, interface: lo, delay_ms: 5";
    let text = config("  dry_run: true").replace("3600", "0.2") + &format!("  far: {{{network}}}\n");
    let agent = Agent::start(&text);
    agent.wait_log("far: not looked at in a dry run, chaos-agent doctor does: ");
    agent.wait_log("far: dry run; whether the kernel can do it was not looked at");
    assert_eq!(agent.metric("chaos_failure_ready{failure_type=\"network\"}"), None);
    assert_eq!(agent.metric("chaos_failure_ready{failure_type=\"cpu\"}"), Some(1.0));
    // The board has it a moment after the log.
    wait_for("its row", || {
        let (_, status) = get(agent.port, "/status").unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let rows = status["readiness"].as_array().unwrap();
        let row = rows.iter().find(|row| row["entry"] == "far").ok_or("none")?;
        assert!(row["ready"].is_null() && row["what"].as_str().unwrap().contains("delays"), "{row}");
        Ok(())
    });
    let (_, shown) = get(agent.port, "/status?format=text").unwrap();
    assert!(shown.contains("far (network): not looked at: "), "{shown}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_dry_run_by_hand_says_what_the_doctor_says() {
    let folder = Folder::new();
    let config = folder.write(
        "config.yaml",
        "failures: {n: {type: network, enabled: true, probability: 1, duration_seconds: 1, interface: lo, delay_ms: 5}}",
    );
    let doctor = run(&["doctor", "--config", config.to_str().unwrap(), "-o", "json"], Path::new("/"));
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let first = &found["findings"][0];
    let (code, text) = inject(free_port(), &["network", "interface=lo", "delay_ms=5", "--dry-run"]);
    let ready = first["state"].as_str() == Some("ready");
    assert_eq!(code, Some(i32::from(!ready)), "{text} {first}");
    assert_eq!(text.contains("this would fail: "), !ready, "{text}");
    if !ready {
        assert!(text.contains(first["text"].as_str().unwrap()), "{text} {first}");
    }
}

#[test]
fn an_agent_that_hangs_is_told_from_none() {
    let agent = Agent::start(&config(""));
    agent.wait_log("never: ready");
    agent.signal(libc::SIGSTOP);
    wait_state(agent.pid(), 'T');
    let (code, text) = inject(agent.port, &["cpu", "cores=0.1", "--for", "1ms"]);
    let said = format!("the agent, process {} of uid ", agent.pid());
    assert!(code == Some(1) && text.contains(&said) && text.contains("does not answer within 2 s"), "{text}");
    agent.signal(libc::SIGCONT);
    // A fault goes on and ends in time while the agent hangs, and is counted when it goes on.
    let fault = Inject::start(agent.port, &["memory", "mb=1", "--for", "500ms"]);
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |now| now == 1.0);
    agent.signal(libc::SIGSTOP);
    let (code, text) = fault.end();
    assert!(code == Some(0) && text.contains("success after"), "{text}");
    agent.signal(libc::SIGCONT);
    agent.wait_metric("chaos_injections_total{failure_type=\"memory\",status=\"success\"}", |now| now == 1.0);
    agent.wait_metric("chaos_injection_active{failure_type=\"memory\"}", |now| now == 0.0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_config_that_is_a_pipe_keeps_nobody_waiting() {
    let folder = Folder::new();
    let pipe = folder.0.join("config.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(binary());
    command.args(["status", "--timeout", "100ms", "--config", pipe.to_str().unwrap()]);
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("its end", || match child.0.try_wait().unwrap() {
        Some(_) => Ok(()),
        None => Err("it waits".to_owned()),
    });
}
