//! The process fault seen from outside: kills, pauses that never outlive the agent, returns that are timed.

use crate::support::*;
use std::process::Command;

fn config(entry: &str) -> String {
    format!(
        "agent:\n  interval_seconds: 0.1\n  metrics: {{address: 127.0.0.1, port: PORT}}\n\
         failures:\n  process: {{enabled: true, probability: 1, {entry}}}\n"
    )
}

fn wait_state(pid: u32, wanted: &str) {
    wait_for("state", || {
        let now = state(pid).unwrap_or('-');
        if wanted.contains(now) { Ok(()) } else { Err(format!("{pid} is in state {now}, not in {wanted}")) }
    });
}

fn sleeper(argument: &str) -> Victim {
    let victim = Victim::spawn(Command::new("sleep").arg(argument));
    wait_state(victim.pid(), "S");
    victim
}

const PAUSE: &str = "target_name: sleep 1000.500, action: pause";

#[test]
fn a_paused_process_goes_on_at_the_end_at_a_stop_and_after_kill_9() {
    let victim = sleeper("1000.500");
    let short = Agent::start(&config(&format!("{PAUSE}, duration_seconds: 0.1")));
    short.wait_logs("process: success", 2);
    assert!(short.metric("chaos_process_signals_total{signal=\"SIGCONT\"}").unwrap() >= 2.0);
    assert_eq!(short.stop().0, 0);
    assert_eq!(state(victim.pid()), Some('S'), "the end");

    let long = config(&format!("{PAUSE}, duration_seconds: 3600"));
    let agent = Agent::start(&long);
    wait_state(victim.pid(), "T");
    agent.wait_metric("chaos_injection_active{failure_type=\"process\"}", |value| value == 1.0);
    let (_, text) = get(agent.port, "/status?format=text").unwrap();
    assert!(
        text.starts_with("1 fault is ACTIVE\n  process (process): pauses 1 of 1 ")
            && text.contains(" for 3600 s; 3"),
        "{text}"
    );
    assert_eq!(state(victim.pid()), Some('T'), "it stays stopped");
    assert_eq!(agent.stop().0, 0);
    assert_eq!(state(victim.pid()), Some('S'), "a clean stop");

    let mut agent = Agent::start(&long);
    wait_state(victim.pid(), "T");
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    wait_state(victim.pid(), "S");
}

#[test]
fn what_an_earlier_agent_left_stopped_goes_on_at_the_start() {
    let victim = sleeper("1000.625");
    assert!(Command::new("kill").args(["-STOP", &victim.pid().to_string()]).status().unwrap().success());
    wait_state(victim.pid(), "T");
    let entry = "target_name: sleep 1000.625, action: pause, duration_seconds: 3600, min_survivors: 1";
    let agent = Agent::start(&config(entry));
    agent.wait_log("an earlier agent had left: resume ");
    wait_state(victim.pid(), "S");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_return_of_a_victim_is_in_the_metrics_and_the_success_does_not_wait_for_it() {
    let folder = Folder::new();
    let program = folder.0.join("phoenix-of-test");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let rises = "while :; do \"$P\" 1000; read x < \"$F\"; done";
    let fifo = folder.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // the supervisor's own command line does not match
    let _supervisor =
        Victim::spawn(Command::new("sh").args(["-c", rises]).env("P", &program).env("F", &fifo));
    let entry = "target_name: phoenix-of-test, recovery_seconds: 3600";
    let agent = Agent::start(&config(entry));
    let signals = |least: f64| {
        agent.wait_metric("chaos_process_signals_total{signal=\"SIGTERM\"}", |seen| seen >= least)
    };
    agent.wait_metric("chaos_injections_total{failure_type=\"process\",status=\"success\"}", |seen| {
        seen == 1.0
    });
    assert_eq!(agent.metric("chaos_injection_active{failure_type=\"process\"}"), Some(0.0));
    assert_eq!(agent.metric("chaos_victim_recovery_seconds_count"), Some(0.0));
    std::fs::write(&fifo, "\n").unwrap(); // let it rise
    agent.wait_metric("chaos_victim_recovery_seconds_count", |seen| seen >= 1.0);
    signals(2.0); // and be killed again
    assert_eq!(agent.stop().0, 0, "a stop ends the watch");
}

#[test]
fn one_is_killed_an_interval_although_nobody_comes_back() {
    let victims: Vec<Victim> = (0..4).map(|_| sleeper("1000.875")).collect();
    let agent = Agent::start(&config("target_name: sleep 1000.875, recovery_seconds: 3600"));
    agent.wait_metric("chaos_injections_total{failure_type=\"process\",status=\"success\"}", |seen| {
        seen >= 4.0
    });
    assert!(victims.iter().all(|victim| matches!(state(victim.pid()), Some('Z'))));
    assert_eq!(agent.stop().0, 0, "a stop ends the watch");
}

#[test]
fn as_process_1_it_takes_away_orphans_as_they_end() {
    let unshare = |command: &mut Command| {
        let (program, words): (_, Vec<_>) =
            (command.get_program().to_owned(), command.get_args().map(ToOwned::to_owned).collect());
        let folder = command.get_current_dir().unwrap().to_owned();
        *command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program).args(words);
        command.current_dir(folder);
    };
    if !Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return; // only root can make a process 1
    }
    let config = config("target_name: nobody-of-this-name")
        .replace("interval_seconds: 0.1", "interval_seconds: 86400");
    let agent = Agent::start_with(&config, &[], unshare);
    agent.wait_log("skipped: no process that may be a victim");
    let children = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    let [first] = *children(agent.pid()) else { panic!("unshare has one child") };
    let orphans = "for i in $(seq 100); do (sleep 0.01 &) ; done";
    let mut inside = Command::new("nsenter");
    let entered = inside.args(["-p", "-t", &first.to_string(), "sh", "-c", orphans]).status().unwrap();
    assert!(entered.success());
    wait_for("end of the orphans", || match children(first).len() {
        0 => Ok(()),
        some => Err(format!(
            "{some} children, first in state {:?}",
            children(first).first().map(|pid| state(*pid))
        )),
    });
    kill(first, libc::SIGTERM);
}

#[test]
fn what_a_process_writes_into_its_title_is_shown_nowhere() {
    use std::os::unix::process::CommandExt;
    let folder = Folder::new();
    // The kernel's name comes from the file, so this is what setproctitle(3) and prctl(2) leave behind together.
    let title = "worker9: --password hunter2 redis:me:hunter2@db";
    let path = folder.0.join(title);
    std::os::unix::fs::symlink("/bin/sleep", &path).unwrap();
    let victim = Victim::spawn(Command::new(&path).arg0(title).arg("1000.377"));
    wait_for("title", || match std::fs::read(format!("/proc/{}/cmdline", victim.pid())) {
        Ok(line) if line.starts_with(title.as_bytes()) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let audit = folder.0.join("audit.jsonl");
    let entry = "target_name: worker9, action: pause, duration_seconds: 0.05";
    let config = config(entry).replace("agent:\n", &format!("agent:\n  audit_file: {}\n", audit.display()));
    let agent = Agent::start(&config);
    agent.wait_logs("process: success", 2);
    let mut shown = String::new();
    for path in ["/", "/status", "/status?format=text", "/metrics"] {
        shown += &get(agent.port, path).unwrap().1;
    }
    let (_, log) = agent.stop();
    let trail = std::fs::read_to_string(audit).unwrap();
    for text in [&shown, &log, &trail] {
        assert!(text.contains(&format!("{} (worker9:)", victim.pid())), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
