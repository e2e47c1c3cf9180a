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

#[test]
fn a_paused_application_goes_on_although_the_agent_was_killed() {
    let config = "agent: {interval_seconds: 1}\nfailures:\n  process: {enabled: true, probability: 1, \
                  target_name: nginx, action: pause, duration_seconds: 3600}";
    let pod = Pod::play(Some(config), &[]);
    let application = pod.pid("app");
    pod.wait("paused application", || (state(application) == Some('T')).then_some(()));
    // The guard has a few milliseconds before the runtime ends it too. Where that is not enough, the next start of the
    // agent, which then pauses the application again, says so.
    let seen = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                if matches!(state(application), Some('S' | 'R' | 'D')) {
                    return true;
                }
                thread::sleep(Duration::from_millis(1));
            }
            false
        });
        kill_agent(&pod);
        watch.join().unwrap()
    });
    if !seen {
        let line = pod.wait_log("removed what an earlier agent had left");
        assert!(line.contains("resume "), "{line}");
    }
    pod.wait("restart of the agent", || (pod.inspect("chaos-agent", ".RestartCount") != "0").then_some(()));

    assert_eq!(pod.inspect("app", ".RestartCount"), "0");
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
