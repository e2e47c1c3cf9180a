//! Everything in `deploy/` and `config/` is what its readers take: Kubernetes by its schemas, Compose by its
//! specification, and the agent by its own `validate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Folder, binary};

/// From the first version with native sidecars to the newest that the validator knows.
const VERSIONS: [&str; 9] = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];
/// Kinds of other projects, which the validator can only warn about.
const FOREIGN_KINDS: [&str; 1] = ["podmonitor"];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The YAML files of a folder and those below it.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Why Kubernetes would refuse a file, or warn about it.
fn refused(file: &Path, version: &str) -> Option<String> {
    let output =
        Command::new("kubernetes-validate").args(["--strict", "-k", version]).arg(file).output().unwrap();
    let text = said(&output);
    let warned = text.lines().filter(|line| line.contains("WARN"));
    let warned =
        warned.filter(|line| !FOREIGN_KINDS.iter().any(|kind| line.to_lowercase().contains(kind))).count();
    (!output.status.success() || warned > 0 || !text.contains("passed")).then_some(text)
}

#[test]
fn kubernetes_takes_every_manifest() {
    let files = yaml_files(Path::new("deploy"));
    let files: Vec<_> = files
        .iter()
        .filter(|file| fs::read_to_string(file).unwrap().lines().any(|line| line.starts_with("kind:")))
        .collect();
    assert!(!files.is_empty());
    for file in files {
        for version in VERSIONS {
            assert_eq!(refused(file, version), None, "{} against {version}", file.display());
        }
    }
}

#[test]
fn a_slip_in_a_manifest_would_be_found() {
    let folder = Folder::new();
    let text = fs::read_to_string("deploy/sidecar.yaml").unwrap();
    for (right, wrong) in
        [("shareProcessNamespace:", "shareProcessNamespaces:"), ("replicas: 1", "replicas: one")]
    {
        assert!(text.contains(right));
        let file = folder.write("wrong.yaml", text.replace(right, wrong));
        assert!(refused(&file, "1.37").is_some(), "{wrong} was not refused");
    }
}

#[test]
fn compose_takes_the_compose_file() {
    let check = |file: &Path| {
        let mut command = Command::new("check-jsonschema");
        command.args(["--builtin-schema", "vendor.compose-spec"]).arg(file).output().unwrap()
    };
    let output = check(Path::new("deploy/compose.yaml"));
    assert!(output.status.success(), "{}", said(&output));

    let folder = Folder::new();
    let text = fs::read_to_string("deploy/compose.yaml").unwrap().replace("mem_limit:", "mem_limt:");
    assert!(!check(&folder.write("wrong.yaml", text)).status.success(), "a slip was not refused");
}

#[test]
fn the_agent_takes_every_config_that_comes_with_it() {
    let folder = Folder::new();
    let manifest = fs::read_to_string("deploy/sidecar.yaml").unwrap();
    let (_, config) = manifest.split_once("  config.yaml: |\n").unwrap();
    let (config, _) = config.split_once("---\n").unwrap();
    let config: String =
        config.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect();
    let mut files = yaml_files(Path::new("config"));
    assert!(files.len() >= 5, "{files:?}");
    files.push("deploy/compose-config/config.yaml".into());
    files.push(folder.write("configmap.yaml", config));
    for file in files {
        let output = Command::new(binary()).arg("validate").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), said(&output));
    }
}
