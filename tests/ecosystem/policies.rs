//! The admission policies, their expressions evaluated by Google's CEL over sample pods: what they let pass, refuse and
//! make of a pod. `policy.py` beside this file stands in for the API server.

use std::fs;
use std::process::Command;

use serde_yaml::Value;

use crate::common::output::words;
use crate::support::Folder;
use crate::yaml::{at, documents, list, named, of_kind, read, text};

const VALIDATING: &str = "deploy/policies/validating.yaml";
const MUTATING: &str = "deploy/policies/mutating.yaml";
const WELCOME: &str = "{metadata: {name: staging, labels: {chaos-agent/allowed: \"true\"}}}";

/// What the policy answers; what is wrong with its expressions otherwise.
fn ask(policy: &str, object: &str, namespace: &str, request: &[&str]) -> Result<Value, String> {
    let folder = Folder::new();
    let mut command = Command::new("python3");
    command.arg("tests/ecosystem/policy.py").arg(policy);
    command
        .arg(folder.write("object.yaml", object))
        .arg(folder.write("namespace.yaml", namespace))
        .args(request);
    let output = command.output().unwrap();
    let failed = || Err(words(&output));
    if output.status.success() {
        Ok(documents(&String::from_utf8_lossy(&output.stdout)).remove(0))
    } else {
        failed()
    }
}

/// A pod with this spec and these labels.
fn pod(spec: &str, labels: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web, labels: {{{labels}}}}}, spec: {{{spec}}}}}")
}

fn image(image: &str) -> String {
    pod(&format!("containers: [{{name: app, image: \"{image}\"}}]"), "")
}

#[test]
fn the_agent_stays_out_of_a_namespace_that_is_not_labelled_for_it() {
    let elsewhere = [
        "{metadata: {name: production}}",
        "{metadata: {name: production, labels: {team: web}}}",
        "{metadata: {name: production, labels: {chaos-agent/allowed: \"false\"}}}",
    ];
    let agents = [
        image("localhost/chaos-agent:0.1.0"),
        image("chaos-agent"),
        image("registry.example.org:5000/tools/chaos-agent@sha256:0123"),
        pod(
            "containers: [{name: app, image: nginx}], initContainers: [{name: x, image: \"a/chaos-agent:1\"}]",
            "",
        ),
    ];
    for agent in &agents {
        for namespace in elsewhere {
            let answer = ask(VALIDATING, agent, namespace, &[]).unwrap();
            assert_eq!(answer["allowed"], false, "{agent} in {namespace}");
            let message = text(&answer, "message");
            let parts = ["production", "kubectl label namespace production chaos-agent/allowed=true"];
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert_eq!(ask(VALIDATING, agent, WELCOME, &[]).unwrap()["allowed"], true, "{agent}");
    }
    let debug = pod(
        "containers: [{name: app, image: nginx}], ephemeralContainers: [{name: x, image: chaos-agent}]",
        "",
    );
    let answer = ask(VALIDATING, &debug, elsewhere[0], &["UPDATE", "pods/ephemeralcontainers"]).unwrap();
    assert_eq!(answer["allowed"], false, "an ephemeral container");
}

#[test]
fn other_images_are_nobodys_business() {
    for name in ["nginx", "localhost/my-chaos-agent:1", "chaos-agent/exporter:1", "example.org/chaos-agents"]
    {
        let answer = ask(VALIDATING, &image(name), "{metadata: {name: production}}", &[]).unwrap();
        assert_eq!(answer["allowed"], true, "{name}");
    }
}

#[test]
fn the_policies_are_in_force() {
    let validating = read(VALIDATING);
    let actions = list(of_kind(&validating, "ValidatingAdmissionPolicyBinding"), "spec.validationActions");
    assert!(actions.contains(&"Deny".into()), "{actions:?}");
    let mutating = read(MUTATING);
    let policy = of_kind(&mutating, "MutatingAdmissionPolicy");
    // A pod without chaos is better than no pod; chaos that could not be judged is worse than no pod.
    assert_eq!(text(policy, "spec.failurePolicy"), "Ignore");
    assert_eq!(text(of_kind(&validating, "ValidatingAdmissionPolicy"), "spec.failurePolicy"), "Fail");
}

/// The sidecar that the policy adds, and the whole pod.
fn injected(spec: &str, profile: &str) -> (Value, Value) {
    let asked = pod(spec, &format!("app: web, chaos-agent/inject: {profile}"));
    let answer = ask(MUTATING, &asked, WELCOME, &[]).unwrap();
    assert_eq!(answer["matches"], true, "{answer:?}");
    (at(&answer, "object.spec.initContainers.0").clone(), answer["object"].clone())
}

#[test]
fn a_labelled_pod_gets_the_sidecar_that_kustomize_gives() {
    let built = documents(&crate::kustomize::builds().remove(0).1);
    let template = at(of_kind(&built, "Deployment"), "spec.template");
    let (mut agent, pod) = injected(
        "securityContext: {runAsUser: 101}, containers: [{name: nginx, image: nginx}], \
         initContainers: [{name: own, image: own}], volumes: [{name: own, emptyDir: {}}]",
        "restricted",
    );
    agent.as_mapping_mut().unwrap().remove("env");
    agent["securityContext"]["capabilities"].as_mapping_mut().unwrap().remove("add");
    assert_eq!(&agent, &list(template, "spec.initContainers")[0]);
    let names =
        |path: &str| list(&pod, path).iter().map(|one| text(one, "name").to_owned()).collect::<Vec<_>>();
    assert_eq!(names("spec.initContainers"), ["chaos-agent", "own"]);
    assert_eq!(names("spec.volumes"), ["own", "chaos-agent"]);
    assert_eq!(named(list(&pod, "spec.volumes"), "chaos-agent"), &list(template, "spec.volumes")[0]);
    assert_eq!(at(&pod, "spec.shareProcessNamespace"), &Value::from(true));
    assert_eq!(pod["metadata"]["labels"]["chaos-agent/sidecar"], "true");
    assert_eq!(pod["metadata"]["labels"]["app"], "web");
}

#[test]
fn a_profile_decides_user_and_capabilities() {
    let plain = "containers: [{name: app, image: nginx}]";
    let root = "securityContext: {runAsUser: 0}, containers: [{name: app, image: nginx}]";
    for (spec, profile, user, added, shared) in [
        (plain, "restricted", 65532, vec![], true),
        (root, "restricted", 65532, vec![], true),
        (plain, "kill", 0, vec![Value::from("KILL")], true),
        (plain, "network", 0, vec![Value::from("NET_ADMIN")], false),
    ] {
        let (agent, pod) = injected(spec, profile);
        let rights = &agent["securityContext"];
        assert_eq!(rights["runAsUser"], user, "{profile}");
        assert_eq!(rights["runAsGroup"], user, "{profile}");
        assert_eq!(rights["runAsNonRoot"], user != 0, "{profile}");
        assert_eq!(list(rights, "capabilities.add"), added, "{profile}");
        assert_eq!(at(&pod, "spec.shareProcessNamespace").as_bool().unwrap_or(false), shared, "{profile}");
        let file = Folder::new();
        let file = (file.write("pod.yaml", serde_yaml::to_string(&pod).unwrap()), file);
        let checked = Command::new("kubernetes-validate")
            .args(["--strict", "-k", "1.36"])
            .arg(&file.0)
            .output()
            .unwrap();
        assert!(checked.status.success() && words(&checked).contains("passed"), "{}", words(&checked));
    }
}

#[test]
fn a_pod_is_left_alone_unless_it_and_its_namespace_ask() {
    let plain = "containers: [{name: app, image: nginx}]";
    let why = |object: &str, namespace: &str, request: &[&str]| {
        let answer = ask(MUTATING, object, namespace, request).unwrap();
        assert_eq!(answer["matches"], false, "{object} in {namespace}");
        text(&answer, "why").to_owned()
    };
    let labelled = |spec: &str| pod(spec, "chaos-agent/inject: kill");
    assert_eq!(why(&labelled(plain), "{metadata: {name: production}}", &[]), "namespaceSelector");
    assert_eq!(why(&pod(plain, "app: web"), WELCOME, &[]), "objectSelector");
    assert_eq!(why(&pod(plain, "chaos-agent/inject: \"false\""), WELCOME, &[]), "objectSelector");
    assert_eq!(why(&labelled(plain), WELCOME, &["UPDATE", "pods"]), "UPDATE pods");
    let has = "has-no-agent-yet";
    assert_eq!(why(&labelled("containers: [{name: chaos-agent, image: x}]"), WELCOME, &[]), has);
    let init = format!("{plain}, initContainers: [{{name: chaos-agent, image: x}}]");
    assert_eq!(why(&labelled(&init), WELCOME, &[]), has);
    let host = format!("{plain}, hostNetwork: true");
    assert_eq!(why(&labelled(&host), WELCOME, &[]), "has-a-network-of-its-own");
}

#[test]
fn a_slip_in_an_expression_would_be_found() {
    let folder = Folder::new();
    let object = pod("containers: [{name: app, image: nginx}]", "chaos-agent/inject: kill");
    for (policy, right, wrong) in [
        (MUTATING, "mountPath:", "mountpath:"),
        (MUTATING, "readOnly: true", "readOnly: 'true'"),
        (MUTATING, "Object.spec.volumes.configMap{", "Object.spec.volumes.configmap{"),
        (MUTATING, "variables.profile != 'network'", "variables.profil != 'network'"),
        (MUTATING, "object.metadata.labels['chaos-agent/inject']", "JSONPatch{op: 'add'}.op"),
        (VALIDATING, "variables.containers.exists(", "variables.containers.exist("),
        (VALIDATING, "+ (has(object.spec.initContainers) ? ", "+ has(object.spec.initContainers) ? "),
    ] {
        let text = fs::read_to_string(policy).unwrap();
        assert!(text.contains(right), "{policy} has no {right}");
        let file = folder.write("policy.yaml", text.replace(right, wrong));
        let answer = ask(file.to_str().unwrap(), &object, WELCOME, &[]);
        assert!(answer.is_err(), "{wrong} was taken: {answer:?}");
    }
}
