//! `deploy/plain/job.yaml`: a pod that runs one fault and ends.

use std::fs;

use crate::common::output::words;
use crate::podman::{home, images, podman, root, run};

/// The Job's pod as a Pod: podman's `kube play` of Debian 12 does not know Jobs. Changed are only the kind, the name and
/// what the affinity, which means nothing here, says.
fn pod(name: &str, edit: impl Fn(String) -> String) -> String {
    let text = fs::read_to_string(root().join("deploy/plain/job.yaml")).unwrap();
    let (_, template) = text.split_once("  template:\n").unwrap();
    let (metadata, spec) = template.split_once("    spec:\n").unwrap();
    let outdent = |text: &str| {
        text.lines().map(|line| format!("{}\n", line.get(4..).unwrap_or(""))).collect::<String>()
    };
    edit(format!("apiVersion: v1\nkind: Pod\n{}  name: {name}\nspec:\n{}", outdent(metadata), outdent(spec)))
}

/// Plays the pod, waits for its end, and gives the exit code and the log of its only container.
fn play(name: &str, edit: impl Fn(String) -> String) -> (String, String) {
    images();
    let name = format!("{name}{}", std::process::id());
    let file = home().join(format!("{name}.yaml"));
    fs::write(&file, pod(&name, edit)).unwrap();
    let container = format!("{name}-chaos-agent");
    let played = run(&["kube", "play", "--network", "none", file.to_str().unwrap()]);
    let result =
        played.status.success().then(|| (podman(&["wait", &container]), words(&run(&["logs", &container]))));
    let _ = run(&["pod", "rm", "--force", "--time", "0", &name]);
    let _ = fs::remove_file(&file);
    result.unwrap_or_else(|| panic!("{}", words(&played)))
}

/// Shorter than the manifest's minute.
fn short(text: String) -> String {
    assert!(text.contains("\"60s\""), "{text}");
    text.replace("\"60s\"", "\"1s\"")
}

#[test]
fn the_job_holds_its_fault_and_ends_with_zero() {
    let (code, log) = play("job", short);
    assert_eq!(code, "0", "{log}");
    assert!(log.contains("success") && log.contains("reverted"), "{log}");
}

#[test]
fn a_job_whose_fault_cannot_be_says_why_and_fails() {
    let memory = |text: String| {
        let cpu = "\"cpu\", \"cores=1\", \"load_percent=80\"";
        assert!(text.contains(cpu), "{text}");
        short(text).replace(cpu, "\"memory\", \"mb=64\"")
    };
    let (code, log) = play("failed-job", memory);
    assert_eq!(code, "1", "{log}");
    assert!(log.contains("failed") && log.contains("limit"), "{log}");
}

#[test]
fn what_the_job_asks_for_is_checked_before_anything_happens() {
    let (code, log) = play("wrong-job", |text| text.replace("load_percent=80", "load_percent=800"));
    assert_eq!(code, "64", "{log}");
    assert!(log.contains("load_percent") && log.contains("800"), "{log}");
}
