//! An agent in a control group, with one fault that happens at once, and what it says.

use crate::common::http::{get, sample};
use crate::common::running::Running;
use crate::common::wait::until;
use crate::support::{Cgroup, agent_path, wait_for};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Generous: a deadline only decides how long a broken build takes to fail.
pub const LIMIT: Duration = Duration::from_secs(120);
/// One test at a time, so that one port is enough.
const PORT: u16 = 18_000;

pub struct Agent {
    pub process: Running,
    log: PathBuf,
}

impl Agent {
    /// Starts the agent as in a container of this group: `/sys/fs/cgroup` is the group itself.
    pub fn contained(group: &Cgroup, fault: &str) -> Agent {
        Agent::start(group.contained(agent_path()), fault)
    }

    /// Starts the agent in the group, but with the machine's view.
    pub fn nested(group: &Cgroup, fault: &str) -> Agent {
        Agent::start(group.command(agent_path()), fault)
    }

    /// Starts the agent by this command.
    pub fn start(mut command: Command, fault: &str) -> Agent {
        let (config, log) = (PathBuf::from("/tmp/grouped.yaml"), PathBuf::from("/tmp/grouped.log"));
        let text = format!(
            "agent: {{interval_seconds: 3600, metrics: {{address: 127.0.0.1, port: {PORT}}}}}\n\
             failures:\n  fault: {{enabled: true, probability: 1, {fault}}}\n"
        );
        fs::write(&config, text).unwrap();
        let file = File::create(&log).unwrap();
        command.arg("run").arg("--config").arg(&config);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Agent { process: Running(command.spawn().unwrap()), log }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a log line with this in it.
    pub fn wait_log(&self, needle: &str) -> String {
        let found = || self.log().lines().find(|line| line.contains(needle)).map(str::to_owned);
        until(LIMIT, &format!("{needle:?} in the log"), found, || self.log())
    }

    /// The value of a sample, by its whole name with labels.
    pub fn metric(&self, name: &str) -> f64 {
        wait_for(LIMIT, name, || sample(&get(PORT, "/metrics").ok()?.1, name))
    }

    /// Waits until the fault of this kind is in force.
    pub fn wait_active(&self, kind: &str) {
        let name = format!("chaos_injection_active{{failure_type=\"{kind}\"}}");
        wait_for(LIMIT, "the fault to be active", || (self.metric(&name) == 1.0).then_some(()));
    }
}
