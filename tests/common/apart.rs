//! Tests that need a network and mounts of their own.

use std::process::Command;

/// Says to the test that it runs in namespaces of its own already.
const INSIDE: &str = "CHAOS_TEST_APART";

/// Runs the test `name` (with its modules) of this program again in a new network and mount namespace, where it is root
/// and the loopback is up; `false` inside of it, where the test goes on.
pub fn apart(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let space = ["--map-root-user", "--net", "--mount", "sh", "-c"];
    if !Command::new("unshare").args(space).arg("ip link set lo up").status().unwrap().success() {
        println!("skipped: this user gets no namespaces of its own");
        return true;
    }
    let mut again = Command::new("unshare");
    again.args(space).arg("ip link set lo up && exec \"$@\"").arg("sh").arg(std::env::current_exe().unwrap());
    let done = again.args(["--exact", "--nocapture", name]).env(INSIDE, "1").output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}{told}");
    true
}
