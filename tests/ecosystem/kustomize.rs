//! What Kustomize makes of the components: compared with a golden file, and looked at by its meaning for every kind of
//! workload and every profile.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_yaml::Value;

use crate::common::output::words;
use crate::support::Folder;
use crate::yaml::{at, documents, list, named, of_kind, read, text};

const PROFILES: [&str; 5] = ["", "restricted", "kill", "network", "kill-network"];
/// Workloads as others write them: with init containers and volumes of their own, and without.
const WORKLOADS: &str = include_str!("workloads.yaml");

fn build(folder: &Path) -> Result<String, String> {
    let output = Command::new("kubectl").arg("kustomize").arg(folder).output().unwrap();
    let built = String::from_utf8(output.stdout.clone()).unwrap();
    output.status.success().then_some(built).ok_or_else(|| words(&output))
}

/// An overlay of [`WORKLOADS`] with some components of `deploy/kustomize`, in their order, built.
fn overlay(components: &[&str]) -> Result<String, String> {
    // Kustomize takes only relative paths, and these must lead from a temporary folder to the project.
    let folder = Folder::new();
    let up = "../".repeat(folder.0.components().count() - 1);
    let project = std::env::current_dir().unwrap();
    folder.write("workloads.yaml", WORKLOADS);
    folder.write("config.yaml", "failures: {}\n");
    let mut text = String::from(
        "resources: [workloads.yaml]\nconfigMapGenerator: [{name: chaos-agent, files: [config.yaml]}]\ncomponents:\n",
    );
    for component in components {
        text += &format!("  - {up}{}/deploy/{component}\n", project.strip_prefix("/").unwrap().display());
    }
    folder.write("kustomization.yaml", text);
    build(&folder.0)
}

fn components(profile: &'static str, classic: bool) -> Vec<String> {
    let mut all = vec!["kustomize/component".to_owned()];
    all.extend((!profile.is_empty()).then(|| format!("kustomize/profiles/{profile}")));
    all.extend(classic.then(|| "kustomize/classic".to_owned()));
    all
}

fn built(profile: &'static str, classic: bool) -> String {
    let components = components(profile, classic);
    let components: Vec<_> = components.iter().map(String::as_str).collect();
    overlay(&components).unwrap()
}

/// The example and every profile in both variants: name and text.
pub fn builds() -> Vec<(String, String)> {
    let mut all = vec![("example".to_owned(), build(Path::new("deploy/kustomize/example")).unwrap())];
    for profile in PROFILES {
        all.push((format!("native-{profile}"), built(profile, false)));
        all.push((format!("classic-{profile}"), built(profile, true)));
    }
    let scraped = ["kustomize/component", "monitoring/scrape-annotations"];
    all.push(("scraped".to_owned(), overlay(&scraped).unwrap()));
    all
}

/// The pod template of a workload.
fn template(workload: &Value) -> &Value {
    let path =
        if text(workload, "kind") == "CronJob" { "spec.jobTemplate.spec.template" } else { "spec.template" };
    at(workload, path)
}

/// Name and template of each workload that the agent was added to, and of the one that asked to be left alone.
fn workloads(built: &[Value]) -> (Vec<(&str, &Value)>, &Value) {
    let all: Vec<_> = built.iter().filter(|one| text(one, "kind") != "ConfigMap").collect();
    let (left, with): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| text(one, "metadata.name") == "left-alone");
    (with.into_iter().map(|one| (text(one, "kind"), template(one))).collect(), left[0])
}

#[test]
fn the_example_is_what_it_was() {
    let built = build(Path::new("deploy/kustomize/example")).unwrap();
    let golden = "tests/ecosystem/golden/example.yaml";
    if std::env::var_os("CHAOS_GOLDEN").is_some() {
        fs::write(golden, &built).unwrap();
    }
    let hint = format!(
        "look at the difference to {golden}; CHAOS_GOLDEN=1 ./build.sh test ecosystem writes it anew"
    );
    assert_eq!(built, fs::read_to_string(golden).unwrap(), "{hint}");
}

#[test]
fn every_kind_of_workload_gets_the_agent_before_its_own_init_containers() {
    let built = documents(&built("", false));
    let before = documents(WORKLOADS);
    let (with, left) = workloads(&built);
    let mut kinds: Vec<_> = with.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet"]);
    let config = text(of_kind(&built, "ConfigMap"), "metadata.name").to_owned();
    for (kind, template) in with {
        let own = list(crate::kustomize::template(of_kind(&before, kind)), "spec.initContainers");
        let init = list(template, "spec.initContainers");
        assert_eq!((text(&init[0], "name"), &init[1..]), ("chaos-agent", own), "{kind}");
        assert_eq!(text(&init[0], "restartPolicy"), "Always", "{kind}");
        assert_eq!(
            text(named(list(template, "spec.volumes"), "chaos-agent"), "configMap.name"),
            config,
            "{kind}"
        );
        assert_eq!(list(template, "spec.containers").len(), 1, "{kind}");
        assert_eq!(template["metadata"]["labels"]["chaos-agent/sidecar"], "true", "{kind}");
        assert!(at(template, "spec.shareProcessNamespace").is_null(), "{kind}: changed for the application");
    }
    let asked = before.iter().find(|one| text(one, "metadata.name") == "left-alone").unwrap();
    assert_eq!(left, asked);
}

#[test]
fn a_profile_gives_what_its_faults_need_and_nothing_else() {
    // profile, user, added capabilities, one process tree
    let expected: [(_, u64, &[&str], bool); 5] = [
        ("", 65532, &[], false),
        ("restricted", 65532, &[], true),
        ("kill", 0, &["KILL"], true),
        ("network", 0, &["NET_ADMIN"], false),
        ("kill-network", 0, &["KILL", "NET_ADMIN"], true),
    ];
    for (profile, user, added, shared) in expected {
        let built = documents(&built(profile, false));
        for (kind, template) in workloads(&built).0 {
            let place = format!("{profile} {kind}");
            let agent = &list(template, "spec.initContainers")[0];
            let rights = at(agent, "securityContext");
            assert_eq!(at(rights, "runAsUser"), &Value::from(user), "{place}");
            assert_eq!(at(rights, "runAsNonRoot"), &Value::from(user != 0), "{place}");
            let names: Vec<_> =
                list(rights, "capabilities.add").iter().map(|one| one.as_str().unwrap()).collect();
            assert_eq!(names, added, "{place}");
            assert_eq!(list(rights, "capabilities.drop"), [Value::from("ALL")], "{place}");
            assert_eq!(at(rights, "allowPrivilegeEscalation"), &Value::from(false), "{place}");
            assert_eq!(at(rights, "readOnlyRootFilesystem"), &Value::from(true), "{place}");
            assert_eq!(text(rights, "seccompProfile.type"), "RuntimeDefault", "{place}");
            assert_eq!(
                at(template, "spec.shareProcessNamespace").as_bool().unwrap_or(false),
                shared,
                "{place}"
            );
            assert_eq!(at(agent, "resources.requests"), at(agent, "resources.limits"), "{place}");
        }
    }
}

#[test]
fn the_classic_variant_is_the_same_container_in_another_place() {
    for profile in PROFILES {
        let (native, classic) = (documents(&built(profile, false)), documents(&built(profile, true)));
        for ((kind, native), (_, classic)) in workloads(&native).0.into_iter().zip(workloads(&classic).0) {
            let mut agent = list(native, "spec.initContainers")[0].clone();
            agent.as_mapping_mut().unwrap().remove("restartPolicy").unwrap();
            let containers = list(classic, "spec.containers");
            // Last, so that `kubectl logs` and `exec` still mean the application.
            assert_eq!(containers.last(), Some(&agent), "{profile} {kind}");
            assert_eq!(containers.len(), 2, "{profile} {kind}");
            assert_eq!(
                list(classic, "spec.initContainers"),
                &list(native, "spec.initContainers")[1..],
                "{profile} {kind}"
            );
            assert_eq!(at(classic, "spec.volumes"), at(native, "spec.volumes"), "{profile} {kind}");
        }
    }
}

#[test]
fn components_in_the_wrong_order_are_refused() {
    let wrong = overlay(&["kustomize/classic", "kustomize/component"]);
    assert!(wrong.as_ref().is_err_and(|said| said.contains("initContainers")), "{wrong:?}");
}

#[test]
fn the_annotations_lead_to_the_port_of_the_agent() {
    let built = documents(&overlay(&["kustomize/component", "monitoring/scrape-annotations"]).unwrap());
    for (kind, template) in workloads(&built).0 {
        let notes = &template["metadata"]["annotations"];
        let port = &list(template, "spec.initContainers")[0]["ports"][0]["containerPort"];
        assert_eq!(
            notes["prometheus.io/port"].as_str().unwrap(),
            port.as_u64().unwrap().to_string(),
            "{kind}"
        );
        assert_eq!(notes["prometheus.io/scrape"], "true", "{kind}");
    }
}

#[test]
fn the_plain_sidecar_is_the_components() {
    let plain = read("deploy/plain/native-sidecar.yaml");
    let built = documents(&build(Path::new("deploy/kustomize/example")).unwrap());
    let agent = |documents: &[Value]| {
        let mut agent = list(template(of_kind(documents, "Deployment")), "spec.initContainers")[0].clone();
        // The plain pod says these for all of its containers, and calls its volume otherwise.
        let rights = agent["securityContext"].as_mapping_mut().unwrap();
        rights.remove("seccompProfile");
        rights.remove("runAsNonRoot");
        agent["volumeMounts"][0]["name"] = "config".into();
        agent
    };
    assert_eq!(agent(&plain), agent(&built));
}
