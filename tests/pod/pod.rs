//! A pod made from `deploy/plain/sidecar.yaml`: edited where a case asks for it, watched from outside, removed at the end.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::http::{get, sample};
use crate::common::namespace::inside;
use crate::common::output::words;
use crate::common::wait::until;
use crate::podman::{self, home, podman};

/// Generous: it only decides how long a broken build takes to fail.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The agent's user in the manifest, up to the line that only its container has.
pub const AGENT: &str = "            runAsUser: 101
            runAsGroup: 101
            allowPrivilegeEscalation: false
            # The agent writes";

/// A page that is served on the loopback of a process's network namespace.
pub fn fetch(pid: u32, port: u16, path: &str) -> Option<String> {
    let space = fs::File::open(format!("/proc/{pid}/ns/net")).ok()?;
    let path = path.to_owned();
    inside(space, move || get(port, &path)).join().unwrap().ok().map(|(_, body)| body)
}

/// A running pod.
pub struct Pod {
    name: String,
    file: String,
}

impl Pod {
    /// The manifest with another config and with each `(from, to)` of `edits` carried out; a `from` that is not
    /// in the manifest fails the test, so that the two cannot drift apart.
    pub fn play(config: Option<&str>, edits: &[(&str, &str)]) -> Pod {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        podman::images();
        let mut text = fs::read_to_string(podman::root().join("deploy/plain/sidecar.yaml")).unwrap();
        for (from, to) in edits {
            assert!(text.contains(from), "deploy/plain/sidecar.yaml has no {from:?}");
            text = text.replace(from, to);
        }
        if let Some(config) = config {
            text = with_config(&text, config);
        }
        let deployment = format!("pod{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let text = without_ports(&text);
        let text = text.replace("\n  name: chaos-demo\n", &format!("\n  name: {deployment}\n"));
        let file = home().join(format!("{deployment}.yaml")).to_str().unwrap().to_owned();
        fs::write(&file, text).unwrap();
        let pod = Pod { name: format!("{deployment}-pod-0"), file };
        podman(&["kube", "play", "--network", "none", &pod.file]);
        pod
    }

    /// podman's name of a container.
    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// One field of a container's state, such as `.State.Pid`.
    pub fn inspect(&self, name: &str, field: &str) -> String {
        podman(&["inspect", "--format", &format!("{{{{{field}}}}}"), &self.container(name)])
    }

    /// The process of a container as this machine numbers it; 0 when it does not run.
    pub fn pid(&self, name: &str) -> u32 {
        self.inspect(name, ".State.Pid").parse().unwrap()
    }

    /// What the agent has logged of late.
    pub fn log(&self) -> String {
        words(&podman::run(&["logs", "--tail", "100", &self.container("chaos-agent")]))
    }

    /// Waits for a log line of the agent that contains `needle`.
    pub fn wait_log(&self, needle: &str) -> String {
        self.wait(&format!("{needle:?} in the agent's log"), || {
            self.log().lines().find(|line| line.contains(needle)).map(str::to_owned)
        })
    }

    /// A page of the agent's, fetched inside the pod's network namespace.
    pub fn get(&self, path: &str) -> Option<String> {
        fetch(self.pid("chaos-agent"), 8000, path)
    }

    /// One sample of `/metrics`, by its whole name with labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        sample(&self.get("/metrics")?, name)
    }

    /// `chaos_injections_total` of a failure type with a status.
    pub fn count(&self, kind: &str, status: &str) -> f64 {
        let name = format!("chaos_injections_total{{failure_type=\"{kind}\",status=\"{status}\"}}");
        self.metric(&name).unwrap_or(0.0)
    }

    /// Waits until that count is at least 1.
    pub fn wait_count(&self, kind: &str, status: &str) {
        self.wait(&format!("{kind} {status} in the metrics"), || {
            (self.count(kind, status) >= 1.0).then_some(())
        });
    }

    /// Waits until `probe` gives something; fails the test with the agent's log when it does not in time.
    pub fn wait<T>(&self, what: &str, probe: impl FnMut() -> Option<T>) -> T {
        until(DEADLINE, what, probe, || format!("the agent's log:\n{}", self.log()))
    }

    /// A field of `/proc/PID/status` of the agent, in its own words.
    pub fn agent_status(&self, field: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid("chaos-agent"))).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|rest| rest.trim().to_owned()))
    }

    /// Resident memory of the agent in KiB.
    pub fn agent_resident(&self) -> Option<u64> {
        self.agent_status("VmRSS")?.split(' ').next()?.parse().ok()
    }

    /// Starts the agent again, once it is known to have ended.
    pub fn start_agent(&self) {
        self.wait("end of the agent", || {
            (self.inspect("chaos-agent", ".State.Status") == "exited").then_some(())
        });
        podman(&["start", &self.container("chaos-agent")]);
    }

    /// Asks the agent to stop as a cluster does (SIGTERM, time, SIGKILL) and gives its exit code.
    pub fn stop_agent(&self) -> i32 {
        podman(&["stop", "--time", "20", &self.container("chaos-agent")]);
        self.inspect("chaos-agent", ".State.ExitCode").parse().unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = podman::run(&["pod", "rm", "--force", "--time", "0", &self.name]);
        let _ = podman::run(&["volume", "rm", "--force", "chaos-agent"]);
        let _ = fs::remove_file(&self.file);
    }
}

/// Puts a config in the place of the ConfigMap's.
fn with_config(text: &str, config: &str) -> String {
    const KEY: &str = "  config.yaml: |\n";
    let start = text.find(KEY).expect("a config in the manifest") + KEY.len();
    let end = start + text[start..].find("---\n").unwrap();
    let indented: String = config.lines().map(|line| format!("    {line}\n")).collect();
    format!("{}{indented}{}", &text[..start], &text[end..])
}

/// Leaves out every list of container ports: podman would publish them on this machine, and a pod without a
/// network has nothing to publish.
fn without_ports(text: &str) -> String {
    let mut kept = String::new();
    let mut list = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if list.is_some_and(|start| indent > start) {
            continue;
        }
        list = (line.trim() == "ports:").then_some(indent);
        if list.is_none() {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}
