//! The guard process: it waits for nobody, and nobody waits for it.

use crate::support::*;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The start time of a process, as `/proc/PID/stat` has it.
fn start(pid: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    line.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().parse().unwrap()
}

fn sleeper(argument: &str) -> Victim {
    let victim = Victim::spawn(Command::new("sleep").arg(argument));
    wait_state(victim.pid(), 'S');
    victim
}

fn wait_state(pid: u32, wanted: char) {
    wait_for("state", || match state(pid) {
        Some(now) if now == wanted => Ok(()),
        now => Err(format!("{pid} is in state {now:?}, not in {wanted}")),
    });
}

/// The guard process of an agent; never the one that it had before.
fn guard(agent: u32, before: u32) -> u32 {
    wait_for("guard process", || {
        let children = format!("/proc/{agent}/task");
        let threads = std::fs::read_dir(children).map_err(|error| error.to_string())?.flatten();
        threads
            .flat_map(|thread| {
                let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
            })
            .find(|pid| {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
                *pid != before && name.is_ok_and(|name| name == "chaos-guard\n")
            })
            .ok_or_else(|| "none".to_owned())
    })
}

#[test]
fn it_undoes_everything_although_nobody_reads_its_words() {
    let (_reader, mut full) = std::io::pipe().unwrap();
    let (pid, fd) = (std::process::id(), full.as_raw_fd());
    // To fill it without waiting: what is opened anew has a mode of its own.
    let flags = 0o4000; // O_NONBLOCK
    let path = format!("/proc/{pid}/fd/{fd}");
    let mut filler = {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap()
    };
    while filler.write(&[b'x'; 4096]).is_ok() {}
    drop(filler);
    assert!(full.flush().is_ok());

    let victims: Vec<Victim> = (0..40).map(|_| sleeper("1000.375")).collect();
    for victim in &victims {
        kill(victim.pid(), libc::SIGSTOP);
        wait_state(victim.pid(), 'T');
    }
    let mut guard = Command::new(binary());
    let mut guard = Running(
        guard
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(full.try_clone().unwrap())
            .stderr(full)
            .spawn()
            .unwrap(),
    );
    let mut pipe = guard.0.stdin.take().unwrap();
    let (late, rest) = victims.split_at(20);
    let tell = |pipe: &mut std::process::ChildStdin, id: usize, deadline: u64, victim: &Victim| {
        writeln!(pipe, "+ {id} {deadline} resume {} {}", victim.pid(), start(victim.pid())).unwrap();
    };
    for (id, victim) in late.iter().enumerate() {
        tell(&mut pipe, id, 1, victim);
    }
    writeln!(pipe, "{}", "no record ".repeat(400)).unwrap();
    for victim in late {
        wait_state(victim.pid(), 'S');
    }
    for (id, victim) in rest.iter().enumerate() {
        tell(&mut pipe, 100 + id, u64::MAX, victim);
    }
    drop(pipe);
    for victim in rest {
        wait_state(victim.pid(), 'S');
    }
    let code = wait_for("end of the guard", || match guard.0.try_wait().unwrap() {
        Some(status) => Ok(status.code()),
        None => Err("it waits".to_owned()),
    });
    assert_eq!(code, Some(0));
}

fn config(entry: &str, interval: f64) -> String {
    format!(
        "agent:\n  interval_seconds: {interval}\n  metrics: {{address: 127.0.0.1, port: PORT}}\n\
         failures:\n  process: {{enabled: true, probability: 1, {entry}}}\n"
    )
}

#[test]
fn one_that_is_stopped_is_replaced_and_the_new_one_knows_what_is_open() {
    let victim = sleeper("1000.438");
    let entry = "target_name: sleep 1000.438, action: pause, duration_seconds: 3600";
    let mut agent = Agent::start(&config(entry, 0.1));
    wait_state(victim.pid(), 'T');
    let first = guard(agent.pid(), 0);
    kill(first, libc::SIGSTOP);
    agent.wait_log("was stopped; replacing it");
    guard(agent.pid(), first);
    wait_for(
        "end of the first guard",
        || if is_alive(first) { Err("it is there".to_owned()) } else { Ok(()) },
    );
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    wait_state(victim.pid(), 'S');
}

/// Ends or stops the guard of `agent`, ends `agent` as soon as it has another one, and sees that its victim goes on.
fn lose_the_guard_and_then(agent: &mut std::process::Child, victim: &Victim, signal: i32) {
    wait_state(victim.pid(), 'T');
    let first = guard(agent.id(), 0);
    kill(first, signal);
    guard(agent.id(), first);
    wait_for("end of the guard", || if is_alive(first) { Err("it is there".to_owned()) } else { Ok(()) });
    agent.kill().unwrap();
    agent.wait().unwrap();
    wait_state(victim.pid(), 'S');
}

#[test]
fn one_that_is_lost_is_replaced_long_before_the_next_tick() {
    let victim = sleeper("1000.439");
    let entry = "target_name: sleep 1000.439, action: pause, duration_seconds: 3600";
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        let mut agent = Agent::start(&config(entry, 86400.0));
        lose_the_guard_and_then(&mut agent.child, &victim, signal);
    }
}

/// A stopped guard that goes on undoes what is open, so it is better than none.
#[test]
fn one_that_is_stopped_stays_while_no_other_can_be_started() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    // A user of its own, because root may have any number of processes.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let as_user = |command: &mut Command| {
        if is_root {
            command.uid(42_443).gid(42_443);
        }
    };
    let mut sleep = Command::new("sleep");
    as_user(sleep.arg("1000.443"));
    let victim = Victim::spawn(&mut sleep);
    let entry = "target_name: sleep 1000.443, action: pause, duration_seconds: 3600";
    let mut agent = Agent::start_with(&config(entry, 86400.0), &[], |command| {
        let folder = command.get_current_dir().unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        as_user(command);
    });
    wait_state(victim.pid(), 'T');
    let guard = guard(agent.pid(), 0);
    let mut limit = Command::new("prlimit");
    as_user(limit.args(["--pid", &agent.pid().to_string(), "--nproc=1:1"]).current_dir("/"));
    let limited = limit.output().unwrap();
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    kill(guard, libc::SIGSTOP);
    agent.wait_log("cannot start the guard process");
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    // Where the tests share a session with whoever inherits the guard, the kernel does not do this.
    if state(guard) == Some('T') {
        kill(guard, libc::SIGCONT);
    }
    wait_state(victim.pid(), 'S');
}

#[test]
fn one_that_is_lost_during_a_fault_by_hand_is_replaced() {
    let victim = sleeper("1000.441");
    let port = free_port().to_string();
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        let mut inject = Command::new(binary());
        inject.args(["inject", "--port", &port, "process", "action=pause", "target_name=sleep 1000.441"]);
        inject.args(["--for", "1h"]).current_dir("/").env_remove("CHAOS_CONFIG");
        let mut inject = Running(inject.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        lose_the_guard_and_then(&mut inject.0, &victim, signal);
    }
}

#[test]
fn one_that_is_stopped_does_not_keep_the_agent_from_its_end() {
    let victim = sleeper("1000.442");
    let entry = "target_name: sleep 1000.442, action: pause, duration_seconds: 3600";
    let mut agent = Agent::start(&config(entry, 86400.0));
    wait_state(victim.pid(), 'T');
    kill(guard(agent.pid(), 0), libc::SIGSTOP);
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit().code(), Some(0));
    assert_eq!(state(victim.pid()), Some('S'));
}

#[test]
fn the_pause_of_a_stopped_agent_ends_about_on_time() {
    let victim = sleeper("1000.467");
    let entry = "target_name: sleep 1000.467, action: pause, duration_seconds: 1";
    let agent = Agent::start(&config(entry, 86400.0));
    wait_state(victim.pid(), 'T');
    let begin = Instant::now();
    kill(agent.pid(), libc::SIGSTOP);
    wait_state(victim.pid(), 'S');
    let took = begin.elapsed();
    kill(agent.pid(), libc::SIGCONT);
    assert!(took < Duration::from_secs(6), "1 s asked became {took:?}");
}

#[test]
fn each_victim_of_many_is_stopped_for_its_own_time_and_files_are_not_short() {
    let crowd: Vec<Victim> = (0..600).map(|_| Victim::spawn(Command::new("sleep").arg("1000.486"))).collect();
    crowd.iter().for_each(|victim| wait_state(victim.pid(), 'S'));
    let entry = "target_name: sleep 1000.486, action: pause, pick: all, duration_seconds: 0.01";
    let few = |command: &mut Command| {
        let (program, words): (_, Vec<_>) =
            (command.get_program().to_owned(), command.get_args().map(ToOwned::to_owned).collect());
        let folder = command.get_current_dir().unwrap().to_owned();
        *command = Command::new("sh");
        command.args(["-c", "ulimit -Sn 64; exec \"$@\"", "sh"]).arg(program).args(words).current_dir(folder);
    };
    let agent = Agent::start_with(&config(entry, 0.2), &[], few);
    // By number, the first is stopped first.
    let pids: Vec<u32> = crowd.iter().map(Victim::pid).collect();
    let (first, last) = (*pids.iter().min().unwrap(), *pids.iter().max().unwrap());
    let end = Instant::now() + Duration::from_secs(60);
    let mut seen = false;
    while !seen {
        assert!(Instant::now() < end, "the first goes on only with the last");
        // A round: the first stops, and goes on before the last was stopped.
        while state(first) != Some('T') && Instant::now() < end {}
        while state(first) == Some('T') && state(last) != Some('T') {}
        seen = state(first) == Some('S') && state(last) == Some('S');
        while state(last) != Some('T') && Instant::now() < end {}
    }
    agent.wait_log("process: success");
    assert_eq!(agent.stop().0, 0);
    assert!(pids.iter().all(|pid| state(*pid) == Some('S')));
}
