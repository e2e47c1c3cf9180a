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

/// What the policy answers to a new pod; what is wrong with its expressions otherwise.
fn ask(policy: &str, object: &str, namespace: &str) -> Result<Value, String> {
    judge(policy, object, namespace, &[], None)
}

/// What the policy answers to a request: operation and resource, `CREATE pods` where these are not given, and for an
/// `UPDATE` the object as it was.
fn judge(
    policy: &str,
    object: &str,
    namespace: &str,
    request: &[&str],
    old: Option<&str>,
) -> Result<Value, String> {
    let folder = Folder::new();
    let mut command = Command::new("python3");
    command.arg("tests/ecosystem/policy.py").arg(policy);
    command
        .arg(folder.write("object.yaml", object))
        .arg(folder.write("namespace.yaml", namespace))
        .args(request)
        .args(old.map(|old| folder.write("old.yaml", old)));
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
            let answer = ask(VALIDATING, agent, namespace).unwrap();
            assert_eq!(answer["allowed"], false, "{agent} in {namespace}");
            let message = text(&answer, "message");
            let parts = ["production", "kubectl label namespace production chaos-agent/allowed=true"];
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert_eq!(ask(VALIDATING, agent, WELCOME).unwrap()["allowed"], true, "{agent}");
    }
}

/// What the validating policy says of an update in a namespace that is not labelled.
fn update(old: &str, new: &str, resource: &str) -> Value {
    judge(VALIDATING, new, "{metadata: {name: production}}", &["UPDATE", resource], Some(old)).unwrap()
}

/// A pod as the cluster has it, with this metadata and spec.
fn stored(metadata: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web, {metadata}}}, spec: {{{spec}}}}}")
}

/// A running pod with the agent as a native sidecar, as the components make it.
const RUNNING: &str = "containers: [{name: app, image: \"nginx:1\"}], initContainers: [{name: chaos-agent, image: \"localhost/chaos-agent:0.1.0\", restartPolicy: Always}]";

#[test]
fn a_pod_that_has_the_agent_can_be_changed_when_its_namespace_is_not_labelled_any_more() {
    let finalizer = stored("labels: {app: web}, finalizers: [batch.kubernetes.io/job-tracking]", RUNNING);
    let plain = stored("labels: {app: web}", RUNNING);
    let image = RUNNING.replace("nginx:1", "nginx:2");
    let ordinary = "containers: [{name: app, image: a}, {name: chaos-agent, image: chaos-agent}]";
    let ephemeral =
        "containers: [{name: app, image: a}], ephemeralContainers: [{name: debug, image: chaos-agent}]";
    for (what, old, new) in [
        ("a finalizer goes", &finalizer, &plain),
        ("a finalizer comes", &plain, &finalizer),
        ("a label", &plain, &stored("labels: {app: web, tier: front}", RUNNING)),
        ("labels for the first time", &stored("uid: x", RUNNING), &plain),
        ("an annotation", &plain, &stored("labels: {app: web}, annotations: {note: x}", RUNNING)),
        ("the application's image", &plain, &stored("labels: {app: web}", &image)),
        (
            "a deadline",
            &plain,
            &stored("labels: {app: web}", &format!("{RUNNING}, activeDeadlineSeconds: 5")),
        ),
        ("an ordinary agent", &stored("labels: {}", ordinary), &stored("labels: {app: web}", ordinary)),
        ("an ephemeral agent", &stored("labels: {}", ephemeral), &stored("labels: {app: web}", ephemeral)),
    ] {
        assert_eq!(update(old, new, "pods")["allowed"], true, "{what}");
    }
    let debug = format!("{RUNNING}, ephemeralContainers: [{{name: debug, image: busybox}}]");
    assert_eq!(update(&plain, &stored("labels: {}", &debug), "pods/ephemeralcontainers")["allowed"], true);
}

#[test]
fn an_update_that_brings_an_agent_is_refused() {
    let plain = "containers: [{name: app, image: \"nginx:1\"}]";
    let pods = "pods";
    let debugs = "pods/ephemeralcontainers";
    for (what, old, new, resource) in [
        (
            "an image becomes the agent's",
            plain,
            "containers: [{name: app, image: chaos-agent}]".to_owned(),
            pods,
        ),
        ("another version of the agent", RUNNING, RUNNING.replace("0.1.0", "0.2.0"), pods),
        (
            "an ephemeral agent",
            plain,
            format!("{plain}, ephemeralContainers: [{{name: debug, image: chaos-agent}}]"),
            debugs,
        ),
        (
            "one more agent, of an image that is there",
            RUNNING,
            format!(
                "{RUNNING}, ephemeralContainers: [{{name: debug, image: \"localhost/chaos-agent:0.1.0\"}}]"
            ),
            debugs,
        ),
        (
            "the application becomes an agent too",
            RUNNING,
            RUNNING.replace("nginx:1", "localhost/chaos-agent:0.1.0"),
            pods,
        ),
    ] {
        let (old, new) = (stored("labels: {}", old), stored("labels: {}", &new));
        assert_eq!(update(&old, &new, resource)["allowed"], false, "{what}");
        let welcome = judge(VALIDATING, &new, WELCOME, &["UPDATE", resource], Some(&old)).unwrap();
        assert_eq!(welcome["allowed"], true, "{what}, where it is allowed");
    }
}

#[test]
fn a_pod_that_is_being_deleted_can_always_be_changed() {
    let gone = "deletionTimestamp: \"2026-11-26T00:00:00Z\", finalizers: [x/y]";
    let (old, new) = (stored(gone, RUNNING), stored("deletionTimestamp: \"2026-11-26T00:00:00Z\"", RUNNING));
    let answer = update(&old, &new, "pods");
    assert_eq!((&answer["matches"], text(&answer, "why")), (&false.into(), "is-not-being-deleted"));
    // Nobody gets an agent in by claiming it of a pod that is not there yet, or not being deleted.
    let claimed = stored(gone, RUNNING);
    assert_eq!(ask(VALIDATING, &claimed, "{metadata: {name: production}}").unwrap()["allowed"], false);
    let before = stored("labels: {}", "containers: [{name: app, image: nginx}]");
    assert_eq!(update(&before, &claimed, "pods")["allowed"], false);
}

#[test]
fn other_images_are_nobodys_business() {
    for name in ["nginx", "localhost/my-chaos-agent:1", "chaos-agent/exporter:1", "example.org/chaos-agents"]
    {
        let answer = ask(VALIDATING, &image(name), "{metadata: {name: production}}").unwrap();
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
    let answer = ask(MUTATING, &asked, WELCOME).unwrap();
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
    let of_pod = "securityContext: {runAsUser: 101}, containers: [{name: app, image: nginx}]";
    let first = "containers: [{name: app, image: nginx, securityContext: {runAsUser: 999}}, {name: b, image: b, \
         securityContext: {runAsUser: 7}}]";
    let none = "securityContext: {fsGroup: 1}, containers: [{name: app, image: nginx, securityContext: {privileged: \
                false}}]";
    let overridden = format!("securityContext: {{runAsUser: 101}}, {first}");
    let root_inside = "securityContext: {runAsUser: 101}, containers: [{name: app, image: nginx, securityContext: \
                       {runAsUser: 0}}]";
    for (spec, profile, user, added, shared) in [
        (plain, "restricted", 65532, vec![], true),
        (root, "restricted", 65532, vec![], true),
        (none, "restricted", 65532, vec![], true),
        (of_pod, "restricted", 101, vec![], true),
        (first, "restricted", 999, vec![], true),
        (&overridden, "restricted", 999, vec![], true),
        (root_inside, "restricted", 101, vec![], true),
        (first, "kill", 0, vec![Value::from("KILL")], true),
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
        let old = request.contains(&"UPDATE").then_some(object);
        let answer = judge(MUTATING, object, namespace, request, old).unwrap();
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
    let volume = |volume: &str| labelled(&format!("{plain}, volumes: [{volume}]"));
    let taken = volume("{name: own, emptyDir: {}}, {name: chaos-agent, emptyDir: {}}");
    assert_eq!(why(&taken, WELCOME, &[]), "has-no-volume-of-this-name");
    let other = volume("{name: chaos-agents, emptyDir: {}}");
    assert_eq!(ask(MUTATING, &other, WELCOME).unwrap()["matches"], true);
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
        (VALIDATING, "+ (has(object.spec.initContainers)", "+ has(object.spec.initContainers"),
        (VALIDATING, "request.operation == 'CREATE' ? []", "request.operation == 'CREATE' ? 0"),
        (VALIDATING, "!has(oldObject.metadata", "!oldObject.metadata"),
    ] {
        let text = fs::read_to_string(policy).unwrap();
        assert!(text.contains(right), "{policy} has no {right}");
        let file = folder.write("policy.yaml", text.replace(right, wrong));
        let answer = ask(file.to_str().unwrap(), &object, WELCOME);
        assert!(answer.is_err(), "{wrong} was taken: {answer:?}");
    }
}
