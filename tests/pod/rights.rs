//! What the agent may do depends on its user and capabilities, and it says so when that is too little.

use crate::pod::{AGENT, Pod};

const KILL: &str = "agent: {interval_seconds: 1}
failures:
  process: {enabled: true, probability: 1, target_name: nginx}";

#[test]
fn a_foreign_users_process_is_refused_by_name_of_the_capability() {
    let nobody = AGENT.replace("101", "65534");
    let pod = Pod::play(Some(KILL), &[(AGENT, &nobody)]);
    pod.wait_count("process", "failed");

    let line = pod.wait_log("process: failed");
    assert!(line.contains("CAP_KILL") && line.contains("101"), "no capability and user in: {line}");
    assert_eq!(pod.inspect("app", ".RestartCount"), "0");
}

#[test]
fn root_with_cap_kill_alone_may_kill_a_foreign_user() {
    let root = AGENT.replace("101", "0").replace("allowPriv", "runAsNonRoot: false\n            allowPriv");
    let drop_all = "              drop: [\"ALL\"]\n          resources:\n            # What the faults";
    let but_kill = drop_all.replace("drop:", "add: [\"KILL\"]\n              drop:");
    let pod = Pod::play(Some(KILL), &[(AGENT, &root), (drop_all, &but_kill)]);
    pod.wait_count("process", "success");

    assert_eq!(pod.agent_status("CapEff").unwrap(), "0000000000000020", "only CAP_KILL");
}
