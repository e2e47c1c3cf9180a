//! `deploy/plain/compose.yaml`, by Docker Compose and a Docker daemon of the test's own, in a network namespace of its own:
//! what Compose publishes and bridges is not of this machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::daemon::Daemon;
use crate::common::output::words;
use crate::common::proc::state;
use crate::common::wait::until;
use crate::pod::{DEADLINE, fetch};
use crate::podman::{AGENT_IMAGE, app_image, home, images, podman, root};

struct Docker {
    daemon: Daemon,
    /// What it keeps, and room for archives; dropped after it.
    folder: TempDir,
}

/// A command that talks to the daemon in this folder.
fn client(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("DOCKER_HOST", format!("unix://{}/socket", folder.display())).env_remove("DOCKER_CONTEXT");
    command
}

impl Docker {
    fn start() -> Docker {
        images();
        let folder = tempfile::Builder::new().prefix("docker-").tempdir_in(home()).unwrap();
        let command = |state: &Path| {
            let mut command = Command::new("unshare");
            // With the loopback interface, on which Compose publishes a port.
            let ready = "ip link set lo up && exec dockerd \"$@\"";
            command.args(["--net", "--mount", "--", "/bin/sh", "-c", ready, "sh", "--storage-driver", "vfs"]);
            command
                .args(["--iptables=false", "--ip6tables=false", "--data-root"])
                .arg(folder.path().join("data"));
            command.arg("--exec-root").arg(state.join("exec")).arg("--pidfile").arg(state.join("pid"));
            command.arg("--host").arg(format!("unix://{}", state.join("socket").display())).process_group(0);
            command
        };
        let answers = |state: &Path| {
            let mut command = client(state, "docker");
            command.arg("info");
            command
        };
        let docker = Docker { daemon: Daemon::start("docker", command, answers), folder };
        docker.load();
        docker
    }

    /// The images from podman's store, by archive, as a machine without a registry gets them.
    fn load(&self) {
        for (number, image) in [AGENT_IMAGE, &app_image()].into_iter().enumerate() {
            let archive = self.folder.path().join(format!("{number}.tar"));
            podman(&["save", "-q", "-o", archive.to_str().unwrap(), image]);
            self.docker(&["load", "-q", "-i", archive.to_str().unwrap()]);
        }
    }

    fn command(&self, program: &str) -> Command {
        client(self.daemon.folder(), program)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command("docker").args(arguments).output().expect("docker starts")
    }

    fn docker(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn wait<T>(&self, what: &str, probe: impl FnMut() -> Option<T>) -> T {
        let log = || fs::read_to_string(self.daemon.folder().join("log")).unwrap_or_default();
        until(DEADLINE, what, probe, || format!("the daemon's log:\n{}", log()))
    }
}

/// A running project.
struct Project<'a> {
    docker: &'a Docker,
    file: PathBuf,
}

impl Project<'_> {
    fn up<'a>(docker: &'a Docker, file: &Path) -> Project<'a> {
        let project = Project { docker, file: file.to_owned() };
        project.compose(&["up", "-d"]);
        project
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let mut command = self.docker.command("docker-compose");
        let output =
            command.arg("-f").arg(&self.file).args(["-p", "chaos-demo"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "docker-compose {arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn inspect(&self, service: &str, field: &str) -> String {
        let container = self.compose(&["ps", "-q", service]);
        self.docker.docker(&["inspect", "--format", &format!("{{{{{field}}}}}"), &container])
    }

    fn log(&self) -> String {
        words(&self.docker.run(&["logs", "--tail", "100", &self.compose(&["ps", "-q", "chaos"])]))
    }

    /// A page of a port, fetched in the network namespace that both services share.
    fn get(&self, port: u16, path: &str) -> Option<String> {
        fetch(self.inspect("chaos", ".State.Pid").parse().ok()?, port, path)
    }

    /// The processes that the agent's process namespace holds, as this machine numbers them, zombies marked.
    fn processes(&self) -> Vec<(u32, char)> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&self.inspect("chaos", ".State.Pid"));
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Ok(pid) = name.parse() else { continue };
            let (true, Some(state)) = (space(&name) == own && own.is_some(), state(pid)) else { continue };
            found.push((pid, state));
        }
        found
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let mut command = self.docker.command("docker-compose");
        let _ = command.arg("-f").arg(&self.file).args(["-p", "chaos-demo", "down", "-t", "1"]).output();
    }
}

#[test]
fn compose_runs_the_file_as_it_is_and_the_application_comes_back_from_a_kill() {
    let docker = Docker::start();
    let shipped = root().join("deploy/plain/compose.yaml");
    {
        let project = Project::up(&docker, &shipped);
        let ready = docker.wait("answer on /healthz", || project.get(8000, "/healthz"));
        assert!(!ready.is_empty());
        docker.wait("tick of the dry run", || {
            let text = project.get(8000, "/metrics")?;
            text.contains("chaos_injection_active{failure_type=\"process\"} 0").then_some(())
        });
        // The agent is the first process of the namespace; the application joined it.
        let pid = project.inspect("chaos", ".State.Pid");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        assert_eq!(numbers.split_whitespace().last(), Some("1"), "{numbers}");
        docker.wait("application beside it", || project.get(8080, "/").map(|_| ()));
        let application = project.inspect("app", ".State.Pid").parse().unwrap();
        assert!(project.processes().iter().any(|(pid, _)| *pid == application));
    }

    // The same, with a config that kills the application.
    let folder = home().join("compose");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("compose-config")).unwrap();
    fs::copy(&shipped, folder.join("compose.yaml")).unwrap();
    let config = "agent: {interval_seconds: 1}\nfailures:\n  process: {enabled: true, probability: 1, \
                  target_name: nginx, recovery_seconds: 0}\n";
    fs::write(folder.join("compose-config/config.yaml"), config).unwrap();
    let project = Project::up(&docker, &folder.join("compose.yaml"));
    docker.wait("two restarts of the application", || {
        let count: u32 = project.inspect("app", ".RestartCount").parse().unwrap();
        assert_eq!(project.inspect("chaos", ".RestartCount"), "0", "{}", project.log());
        (count >= 2).then_some(())
    });
    docker.wait("success in the metrics", || {
        let text = project.get(8000, "/metrics")?;
        let line = text.lines().find(|line| line.contains("failure_type=\"process\",status=\"success\""))?;
        (!line.ends_with(" 0")).then_some(())
    });
    // Being the first process, the agent inherits what dies without a parent, and must not let it pile up.
    docker.wait("namespace without zombies", || {
        project.processes().iter().all(|(_, state)| *state != 'Z').then_some(())
    });
}
