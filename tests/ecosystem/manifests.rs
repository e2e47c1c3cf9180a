//! Everything in `deploy/` and `config/` is what its readers take: Kubernetes by its schemas, Compose by its
//! specification, and the agent by its own `validate`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;

use crate::common::output::words;
use crate::kustomize;
use crate::support::{Folder, binary};
use crate::yaml::{self, at, of_kind, text};

/// From the first version with native sidecars to the newest that the validator knows.
const VERSIONS: [&str; 9] = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];
/// Kinds of other projects, which the validator can only warn about.
const FOREIGN: [&str; 2] = ["PodMonitor", "PrometheusRule"];
/// Kinds that are younger than the first version, with theirs. Their manifests say so too.
const SINCE: [(&str, &str); 2] = [("ValidatingAdmissionPolicy", "1.30"), ("MutatingAdmissionPolicy", "1.36")];
/// Kustomize's own files and its patches, which are no manifests; what it makes of them is checked instead.
const BUILT: [&str; 4] = [
    "deploy/kustomize/component",
    "deploy/kustomize/profiles",
    "deploy/kustomize/classic",
    "kustomization.yaml",
];

/// The files in `deploy/` that Kubernetes reads.
fn manifests() -> Vec<PathBuf> {
    let mut files = yaml::files(Path::new("deploy"));
    files.retain(|file| {
        let name = file.to_str().unwrap();
        let built = BUILT.iter().any(|built| name.starts_with(built) || name.ends_with(built));
        !built && yaml::read(file).iter().any(|one| !at(one, "kind").is_null())
    });
    files
}

/// Whether the validator cannot know a kind in a version.
fn unknown(kind: &str, version: &str) -> bool {
    let kind = kind.strip_suffix("Binding").unwrap_or(kind);
    let since = SINCE.iter().find(|(young, _)| *young == kind).map(|(_, since)| *since);
    FOREIGN.contains(&kind) || since.is_some_and(|since| version < since)
}

/// What Kubernetes would say against the files, warnings included; and how many resources it took.
fn refused(files: &[PathBuf], version: &str) -> (Vec<String>, usize) {
    let mut command = Command::new("kubernetes-validate");
    let output = command.args(["--strict", "-k", version]).args(files).output().unwrap();
    let text = words(&output);
    let (taken, others): (Vec<_>, Vec<_>) = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .partition(|line| line.starts_with("INFO") && line.contains(" passed for resource "));
    // WARN FILE Couldn't find schema for kind KIND with api version ...
    let known = |line: &&str| {
        let kind =
            line.split_once("Couldn't find schema for kind ").and_then(|(_, rest)| rest.split(' ').next());
        !(line.starts_with("WARN") && kind.is_some_and(|kind| unknown(kind, version)))
    };
    let mut against: Vec<_> = others.into_iter().filter(known).map(str::to_owned).collect();
    if against.is_empty() && !output.status.success() {
        against.push(text.clone());
    }
    (against, taken.len())
}

#[test]
fn kubernetes_takes_every_manifest_in_every_version() {
    let folder = Folder::new();
    let mut files = manifests();
    assert!(files.len() >= 9, "{files:?}");
    for (name, built) in kustomize::builds() {
        files.push(folder.write(&format!("{name}.yaml"), built));
    }
    let kinds: Vec<String> =
        files.iter().flat_map(yaml::read).map(|one| text(&one, "kind").to_owned()).collect();
    let mut checked = BTreeMap::new();
    for version in VERSIONS {
        let expected = kinds.iter().filter(|kind| !unknown(kind, version)).count();
        assert!(expected > 30, "{kinds:?}");
        assert_eq!(refused(&files, version), (vec![], expected), "against {version}");
        checked.insert(version, expected);
    }
    println!("resources checked by version: {checked:?}");
}

#[test]
fn a_slip_in_a_manifest_would_be_found() {
    let folder = Folder::new();
    let slips = [
        ("plain/sidecar.yaml", "shareProcessNamespace:", "shareProcessNamespaces:"),
        ("plain/sidecar.yaml", "replicas: 1", "replicas: one"),
        ("plain/native-sidecar.yaml", "restartPolicy: Always", "restartpolicy: Always"),
        ("plain/job.yaml", "backoffLimit", "backOffLimit"),
        ("policies/validating.yaml", "messageExpression", "messageExpresion"),
        ("policies/mutating.yaml", "patchType", "patchTyp"),
        ("policies/mutating.yaml", "kind: MutatingAdmissionPolicy\n", "kind: MutatingAdmisionPolicy\n"),
    ];
    for (name, right, wrong) in slips {
        let text = fs::read_to_string(Path::new("deploy").join(name)).unwrap();
        assert!(text.contains(right), "{name} has no {right}");
        let file = folder.write("wrong.yaml", text.replace(right, wrong));
        assert_ne!(refused(&[file], "1.37").0, Vec::<String>::new(), "{wrong} was not refused");
    }
}

#[test]
fn compose_takes_the_compose_file() {
    let check = |file: &Path| {
        let mut command = Command::new("check-jsonschema");
        command.args(["--builtin-schema", "vendor.compose-spec"]).arg(file).output().unwrap()
    };
    let output = check(Path::new("deploy/plain/compose.yaml"));
    assert!(output.status.success(), "{}", words(&output));

    let folder = Folder::new();
    let text = fs::read_to_string("deploy/plain/compose.yaml").unwrap().replace("mem_limit:", "mem_limt:");
    assert!(!check(&folder.write("wrong.yaml", text)).status.success(), "a slip was not refused");
}

#[test]
fn the_native_sidecar_is_the_ordinary_one_in_another_place() {
    let mut plain = yaml::read("deploy/plain/sidecar.yaml");
    let native = yaml::read("deploy/plain/native-sidecar.yaml");
    let deployment = plain.iter_mut().find(|one| text(one, "kind") == "Deployment").unwrap();
    let pod = &mut deployment["spec"]["template"]["spec"];
    let mut agent = pod["containers"].as_sequence_mut().unwrap().remove(1);
    assert_eq!(text(&agent, "name"), "chaos-agent");
    agent["restartPolicy"] = "Always".into();
    pod["initContainers"] = vec![agent].into();

    assert_eq!(plain, native);
}

/// What is at any depth of a value and of which `meant` is true.
fn within<'a>(value: &'a Value, meant: &dyn Fn(&Value) -> bool, found: &mut Vec<&'a Value>) {
    if meant(value) {
        found.push(value);
    }
    let inside: Vec<&Value> = match value {
        Value::Mapping(map) => map.iter().map(|(_, inside)| inside).collect(),
        Value::Sequence(list) => list.iter().collect(),
        _ => Vec::new(),
    };
    inside.into_iter().for_each(|inside| within(inside, meant, found));
}

#[test]
fn neither_a_bad_config_nor_a_missing_one_takes_the_application_out_of_service() {
    let mut documents: Vec<(PathBuf, Value)> = Vec::new();
    for file in yaml::files(Path::new("deploy")) {
        documents.extend(yaml::read(&file).into_iter().map(|one| (file.clone(), one)));
    }
    let (mut agents, mut volumes) = (0, 0);
    for (file, document) in &documents {
        let mut found = Vec::new();
        within(document, &|one| text(one, "image").contains("chaos-agent"), &mut found);
        for agent in found {
            let words =
                ["args", "command"].map(|key| serde_yaml::to_string(at(agent, key)).unwrap()).concat();
            let rests = words.contains("- run\n- --rest-on-bad-config\n");
            assert!(rests || words.contains("- inject\n"), "{}: {words}", file.display());
            agents += 1;
        }
        let mut found = Vec::new();
        within(document, &|one| text(one, "configMap.name") == "chaos-agent", &mut found);
        for volume in found {
            assert_eq!(at(volume, "configMap.optional"), &Value::from(true), "{}", file.display());
            volumes += 1;
        }
    }
    // Twice in the components, twice in plain YAML, Compose, the Job; the policy is in a test of its own.
    assert_eq!((agents, volumes), (6, 4));
}

#[test]
fn the_agent_takes_every_config_that_comes_with_it() {
    let folder = Folder::new();
    let mut files = yaml::files(Path::new("config"));
    assert!(files.len() >= 5, "{files:?}");
    files.push("deploy/plain/compose-config/config.yaml".into());
    files.push("deploy/kustomize/example/config.yaml".into());
    for name in ["sidecar", "native-sidecar"] {
        let documents = yaml::read(format!("deploy/plain/{name}.yaml"));
        let config = of_kind(&documents, "ConfigMap")["data"]["config.yaml"].as_str().unwrap();
        files.push(folder.write(&format!("{name}.yaml"), config));
    }
    for file in files {
        let output = Command::new(binary()).arg("validate").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), words(&output));
    }
}
