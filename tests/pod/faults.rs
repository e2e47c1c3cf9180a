//! The agent at work in a pod: each local failure hits the pod, shows in the metrics and ends.

use crate::pod::{AGENT, Pod};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// One injection at the first tick and none after it.
const ONCE: &str = "agent: {interval_seconds: 86400}\nfailures:\n";

#[test]
fn the_manifest_runs_as_it_is_shipped() {
    let pod = Pod::play(None, &[]);
    pod.wait("answer on /healthz", || pod.get("/healthz"));
    pod.wait("chaos_agent_info", || pod.get("/metrics").filter(|text| text.contains("chaos_agent_info{")));

    assert_eq!(pod.agent_status("Uid").unwrap().split('\t').next(), Some("101"));
    assert_eq!(pod.agent_status("CapEff").unwrap(), "0000000000000000");
    assert_eq!(pod.agent_status("NoNewPrivs").unwrap(), "1");
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", pod.pid("chaos-agent"))).unwrap();
    let top = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    let options = top.split(' ').nth(3).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "the root file system is writable: {top}");
    assert_eq!(pod.stop_agent(), 0, "{}", pod.log());
}

#[test]
fn the_application_is_killed_and_comes_back() {
    let config = "agent: {interval_seconds: 1}
failures:
  process: {enabled: true, probability: 1, target_name: nginx}";
    let pod = Pod::play(Some(config), &[]);
    pod.wait_log("process: success");
    pod.wait("restart of the application", || (pod.inspect("app", ".RestartCount") != "0").then_some(()));
    pod.wait("running application", || (pod.pid("app") != 0).then_some(()));
    pod.wait_count("process", "success");

    assert_eq!(pod.inspect("chaos-agent", ".RestartCount"), "0");
}

#[test]
fn memory_is_taken_and_given_back() {
    let config = format!("{ONCE}  memory: {{enabled: true, probability: 1, duration_seconds: 3, mb: 40}}");
    let pod = Pod::play(Some(&config), &[]);
    pod.wait("40 MiB in the agent", || pod.agent_resident().filter(|kib| *kib >= 40 << 10));
    pod.wait_count("memory", "success");

    let after = pod.agent_resident().unwrap();
    assert!(after < 8 << 10, "{after} KiB are resident after the fault");
    assert_eq!(pod.metric("chaos_injection_active{failure_type=\"memory\"}"), Some(0.0));
}

#[test]
fn memory_beyond_the_containers_limit_is_refused() {
    let config = format!("{ONCE}  memory: {{enabled: true, probability: 1, duration_seconds: 3, mb: 100}}");
    let pod = Pod::play(Some(&config), &[]);
    pod.wait_count("memory", "failed");

    let line = pod.wait_log("memory: failed");
    assert!(line.contains("limit"), "{line}");
    assert_eq!(pod.inspect("chaos-agent", ".State.OOMKilled"), "false");
}

#[test]
fn the_processor_is_burnt_and_a_stop_ends_it() {
    let config = format!("{ONCE}  cpu: {{enabled: true, probability: 1, duration_seconds: 3600, cores: 2}}");
    let pod = Pod::play(Some(&config), &[]);
    let active = "chaos_injection_active{failure_type=\"cpu\"}";
    pod.wait("active cpu fault", || (pod.metric(active) == Some(1.0)).then_some(()));
    let seconds = || pod.metric("process_cpu_seconds_total").unwrap_or(0.0);
    let before = seconds();
    pod.wait("half a second of processor time", || (seconds() >= before + 0.5).then_some(()));

    assert_eq!(pod.stop_agent(), 0, "{}", pod.log());
    pod.wait_log("everything is reverted");
}

#[test]
fn an_empty_dir_is_filled_and_the_containers_own_root_is_not() {
    let mounts = "            - name: config\n              mountPath";
    let with_data = format!("            - name: data\n              mountPath: /data\n{mounts}");
    let volumes = "        - name: config\n          configMap";
    let with_dir = format!("        - name: data\n          emptyDir: {{}}\n{volumes}");
    let entry = "type: disk, enabled: true, probability: 1, duration_seconds: 3600";
    let config =
        format!("{ONCE}  data: {{{entry}, path: /data, mb: 64}}\n  root: {{{entry}, path: /, mb: 1}}");
    // The group that the kubelet would give the volume with fsGroup: podman makes it root's.
    let root = AGENT.replace("101", "0").replace("allowPriv", "runAsNonRoot: false\n            allowPriv");
    let pod = Pod::play(Some(&config), &[(mounts, &with_data), (volumes, &with_dir), (AGENT, &root)]);
    let active = "chaos_injection_active{failure_type=\"disk\"}";
    pod.wait("active disk fault", || (pod.metric(active) == Some(1.0)).then_some(()));
    let line = pod.wait_log("root: failed");
    assert!(line.contains("cannot use the disk of /: it is on the root file system ("), "{line}");
    let blocks = || {
        let links = fs::read_dir(format!("/proc/{}/fd", pod.pid("chaos-agent"))).unwrap().flatten();
        let data = links.filter_map(|link| fs::metadata(link.path()).ok()).filter(|data| data.is_file());
        data.map(|data| data.blocks() * 512).max().unwrap_or(0)
    };
    assert!(blocks() >= 64 << 20, "{} bytes", blocks());

    assert_eq!(pod.stop_agent(), 0, "{}", pod.log());
    pod.wait_log("data: success");
}

/// Two problems.
const BAD: &str = "agent: {interval_seconds: -1}\nfailures:\n  cpu: {enabled: true, probability: 2}";

#[test]
fn as_the_manifest_has_it_the_agent_rests_on_a_config_that_cannot_be_used() {
    let pod = Pod::play(Some(BAD), &[]);
    pod.wait_log("interval_seconds");
    pod.wait_log("probability");
    assert_eq!(pod.inspect("chaos-agent", ".State.Status"), "running", "{}", pod.log());
    assert_eq!(pod.stop_agent(), 0, "{}", pod.log());
}

#[test]
fn a_config_that_cannot_be_used_ends_with_64_and_says_why() {
    let ends = ("[\"run\", \"--rest-on-bad-config\"]", "[\"run\"]");
    let pod = Pod::play(Some(BAD), &[("terminationGracePeriodSeconds: 30", "restartPolicy: Never"), ends]);
    pod.wait("end of the agent", || (pod.inspect("chaos-agent", ".State.Status") == "exited").then_some(()));

    assert_eq!(pod.inspect("chaos-agent", ".State.ExitCode"), "64");
    let log = pod.log();
    assert!(
        log.contains("interval_seconds") && log.contains("probability"),
        "not every problem is named:\n{log}"
    );
}
