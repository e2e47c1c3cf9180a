//! The archive in the hands of those who run it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::daemon::Daemon;
use crate::common::output::words;
use crate::common::podman::{Store, stage};
use crate::support::{REFERENCE, archive, boards, folder, home, json, oci, product, root, run};

/// podman on an empty store of this test's own.
struct Podman(Store);

impl Podman {
    fn new(name: &str) -> Podman {
        Podman(Store::new(folder(name)))
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.0.command(arguments))
    }
}

fn version() -> String {
    format!("chaos-agent {}\n", env!("CARGO_PKG_VERSION"))
}

const LOCKED_DOWN: [&str; 6] = [
    "--rm",
    "--network=none",
    "--read-only",
    "--cap-drop=all",
    "--user=12345:54321",
    "--read-only-tmpfs=false",
];

#[test]
fn podman_loads_and_runs_it_and_it_is_the_image_of_dockerfile_scratch() {
    let podman = Podman::new("podman");
    let file = archive("podman.tar");
    assert!(podman.run(&["load", "-q", "-i", file.to_str().unwrap()]).contains(REFERENCE));
    assert_eq!(podman.run(&[&["run"], &LOCKED_DOWN[..], &[REFERENCE, "version"]].concat()), version());
    // Without a command it does what the Dockerfile says: run, which finds no config here.
    let output = podman.0.command(&[&["run"], &LOCKED_DOWN[..], &[REFERENCE]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", words(&output));

    let context = folder("context");
    stage(&context, root(), &product());
    let (version, revision) = (format!("VERSION={}", env!("CARGO_PKG_VERSION")), "REVISION=0123abc");
    let dockerfile = context.join("Dockerfile.scratch");
    podman.run(&[
        "build",
        "-q",
        "--build-arg",
        &version,
        "--build-arg",
        revision,
        "-t",
        "built",
        "-f",
        dockerfile.to_str().unwrap(),
        context.to_str().unwrap(),
    ]);
    let inspect = |image: &str| json(&podman.run(&["inspect", image]))[0].clone();
    let (loaded, built) = (inspect(REFERENCE), inspect("built"));
    for key in ["Entrypoint", "Cmd", "ExposedPorts"] {
        assert!(!built["Config"][key].is_null(), "{key}");
        assert_eq!(loaded["Config"][key], built["Config"][key], "{key}");
    }
    for key in ["Architecture", "Os"] {
        assert_eq!(loaded[key], built[key], "{key}");
    }
    let of_project = |(name, _): &(&String, &Value)| name.starts_with("org.opencontainers.image.");
    let labels = built["Labels"].as_object().unwrap().iter().filter(of_project).collect::<Vec<_>>();
    assert_eq!(labels.len(), 5, "{labels:?}");
    for (name, value) in labels {
        assert_eq!(&loaded["Labels"][name], value, "{name:?}");
    }
}

#[test]
fn podman_takes_its_own_machine_out_of_the_index_of_all() {
    let podman = Podman::new("podman-all");
    let file = index_of_all("podman-all.tar");
    podman.run(&["load", "-q", "-i", file.to_str().unwrap()]);
    assert_eq!(podman.run(&[&["run"], &LOCKED_DOWN[..], &[REFERENCE, "version"]].concat()), version());
}

fn index_of_all(name: &str) -> std::path::PathBuf {
    let file = home().join(name);
    let mut pairs = vec![format!("amd64={}", product().display())];
    pairs.extend(boards().iter().map(|(board, path)| format!("{board}={}", path.display())));
    run(&mut oci(&file, &pairs));
    file
}

fn containerd() -> Daemon {
    let command = |folder: &Path| {
        let path = folder.display();
        let settings = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{path}/socket\"\n[debug]\naddress = \"{path}/debug\"\n"
        );
        fs::write(folder.join("config.toml"), settings).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(folder.join("config.toml"));
        command
    };
    Daemon::start("ctr", command, |folder| ctr(folder, &["version"]))
}

fn ctr(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(folder.join("socket")).args(["--namespace", "k8s.io"]).args(arguments);
    command
}

#[test]
fn containerd_imports_and_runs_it_under_its_own_name() {
    let daemon = containerd();
    let ctr = |arguments: &[&str]| run(&mut ctr(daemon.folder(), arguments));
    let file = archive("ctr.tar");
    ctr(&["images", "import", "--snapshotter", "native", file.to_str().unwrap()]);
    assert_eq!(ctr(&["images", "ls", "-q"]).trim(), REFERENCE);
    let runs = ["run", "--rm", "--snapshotter", "native", REFERENCE, "one", "/chaos-agent", "version"];
    assert_eq!(ctr(&runs), version());
}

#[test]
fn containerd_imports_every_platform_of_the_index_of_all() {
    let daemon = containerd();
    let ctr = |arguments: &[&str]| run(&mut ctr(daemon.folder(), arguments));
    let file = index_of_all("ctr-all.tar");
    ctr(&["images", "import", "--all-platforms", "--snapshotter", "native", file.to_str().unwrap()]);
    let listed = ctr(&["images", "ls"]);
    assert!(listed.contains(REFERENCE), "{listed}");
    for (board, _) in boards() {
        let platform = format!("linux/{}", board.replace("armv7", "arm/v7"));
        assert!(listed.contains(&platform), "no {platform}: {listed}");
        // Complete: every blob of this platform is there.
        let checked = ctr(&["images", "check", "-q", "--snapshotter", "native"]);
        assert!(checked.contains(REFERENCE), "{checked}");
    }
    let runs = ["run", "--rm", "--snapshotter", "native", REFERENCE, "all", "/chaos-agent", "version"];
    assert_eq!(ctr(&runs), version());
}

#[test]
fn docker_loads_and_runs_it() {
    let command = |folder: &Path| {
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(folder.join("root")).arg("--exec-root").arg(folder.join("exec"));
        command
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("-H")
            .arg(format!("unix://{}/socket", folder.display()));
        // No bridge and no rule of a packet filter: the machine's network stays as it is.
        command.args(["--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command
    };
    let docker = |folder: &Path, arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/docker");
        command.env("DOCKER_HOST", format!("unix://{}/socket", folder.display())).args(arguments);
        command
    };
    let daemon = Daemon::start("docker", command, |folder| docker(folder, &["version"]));
    let docker = |arguments: &[&str]| run(&mut docker(daemon.folder(), arguments));
    let file = archive("docker.tar");
    assert!(docker(&["load", "-q", "-i", file.to_str().unwrap()]).contains(REFERENCE));
    let locked_down =
        ["run", "--rm", "--network=none", "--read-only", "--cap-drop=all", "--user=12345:54321"];
    assert_eq!(docker(&[&locked_down[..], &[REFERENCE, "version"]].concat()), version());
}
