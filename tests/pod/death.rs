//! The agent is killed with SIGKILL in the middle of a fault, as an OOM killer or a hasty hand does it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::proc::state;
use crate::common::signal::kill;
use crate::pod::Pod;

/// One injection at the first tick and none after it.
const ONCE: &str = "agent: {interval_seconds: 86400}\nfailures:\n";

/// kill -9 of the agent of a pod, by the number that this machine gives it.
fn kill_agent(pod: &Pod) {
    kill(pod.pid("chaos-agent"), libc::SIGKILL);
}

#[test]
fn memory_and_processor_end_with_the_agent() {
    let config = format!(
        "{ONCE}  memory: {{enabled: true, probability: 1, duration_seconds: 3600, mb: 40}}\n  \
         cpu: {{enabled: true, probability: 1, duration_seconds: 3600, cores: 1}}"
    );
    let pod = Pod::play(Some(&config), &[("terminationGracePeriodSeconds: 30", "restartPolicy: Never")]);
    pod.wait("40 MiB in the agent", || pod.agent_resident().filter(|kib| *kib >= 40 << 10));
    let agent = pod.pid("chaos-agent");
    kill_agent(&pod);
    pod.wait("end of the agent", || (pod.inspect("chaos-agent", ".State.Status") == "exited").then_some(()));

    assert_eq!(pod.inspect("chaos-agent", ".State.ExitCode"), "137");
    assert!(!fs::exists(format!("/proc/{agent}")).unwrap(), "the agent is still there");
    assert_eq!(pod.inspect("app", ".RestartCount"), "0");
    assert_eq!(pod.inspect("app", ".State.Status"), "running");
}

/// What happened after the death of an agent whose application was paused, each in microseconds after it.
struct Death {
    /// The application went on: the guard's undo.
    resumed: Option<u128>,
    /// The guard was gone: killed by the runtime, or at its end.
    guard_gone: Option<u128>,
}

/// Kills the agent of a pod in the middle of a pause and looks on, as closely as a thread can, for up to a second.
fn die(pod: &Pod, application: u32) -> Death {
    let agent = pod.pid("chaos-agent");
    let children = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap_or_default();
    let guard = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        (stat.contains("(chaos-guard)") && stat.split(' ').nth(3)? == agent.to_string()).then_some(pid)
    });
    let guard = guard.unwrap_or_else(|| panic!("no guard among the children of {agent}: {children:?}"));
    let mut seen = Death { resumed: None, guard_gone: None };
    kill(agent, libc::SIGKILL);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) && (seen.resumed.is_none() || seen.guard_gone.is_none()) {
        if seen.resumed.is_none() && matches!(state(application), Some('S' | 'R' | 'D')) {
            seen.resumed = Some(begin.elapsed().as_micros());
        }
        if seen.guard_gone.is_none() && matches!(state(guard), None | Some('Z' | 'X')) {
            seen.guard_gone = Some(begin.elapsed().as_micros());
        }
    }
    seen
}

const PAUSED: &str = "agent: {interval_seconds: 1}\nfailures:\n  process: {enabled: true, probability: 1, \
                      target_name: nginx, action: pause, duration_seconds: 3600}";

#[test]
fn a_paused_application_goes_on_although_the_agent_was_killed() {
    let pod = Pod::play(Some(PAUSED), &[]);
    let application = pod.pid("app");
    pod.wait("paused application", || (state(application) == Some('T')).then_some(()));
    // The guard has a few milliseconds before the runtime ends it too. Where that is not enough, the next start of the
    // agent, which then pauses the application again, says so.
    if die(&pod, application).resumed.is_none() {
        let line = pod.wait_log("removed what an earlier agent had left");
        assert!(line.contains("resume "), "{line}");
    }
    pod.wait("restart of the agent", || (pod.inspect("chaos-agent", ".RestartCount") != "0").then_some(()));

    assert_eq!(pod.inspect("app", ".RestartCount"), "0");
}

/// For the figure: `CHAOS_DEATHS=200 ./build.sh test pod -- --ignored --nocapture deaths`, with a line for each death. The
/// machine is loaded with two busy loops for each of its processors meanwhile.
#[test]
#[ignore = "takes minutes"]
fn deaths_under_load_are_undone_in_the_guards_window() {
    let count = std::env::var("CHAOS_DEATHS").map_or(20, |count| count.parse().unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let mut missed = 0;
    thread::scope(|scope| {
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !stopped() {
                    std::hint::spin_loop()
                }
            });
        }
        let pod = Pod::play(Some(PAUSED), &[("terminationGracePeriodSeconds: 30", "restartPolicy: Never")]);
        let application = pod.pid("app");
        for number in 0..count {
            pod.wait("paused application", || (state(application) == Some('T')).then_some(()));
            let death = die(&pod, application);
            missed += usize::from(death.resumed.is_none());
            println!(
                "death {number}: resumed {:?}, guard gone {:?} us after it",
                death.resumed, death.guard_gone
            );
            pod.start_agent();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{missed} of {count} deaths were undone only by the next start");
    assert!(missed * 4 <= count, "{missed} of {count} missed");
}

#[test]
fn the_agent_comes_back_and_goes_on() {
    let config = "agent: {interval_seconds: 0.2}\nfailures:\n  cpu: {enabled: true, probability: 1, duration_seconds: 0.1}";
    let pod = Pod::play(Some(config), &[]);
    pod.wait_count("cpu", "success");
    kill_agent(&pod);
    pod.wait("restart of the agent", || (pod.inspect("chaos-agent", ".RestartCount") != "0").then_some(()));
    pod.wait_count("cpu", "success");

    assert_eq!(pod.inspect("app", ".RestartCount"), "0");
}
