//! The doctor against a kernel that has what faults need, and one from which it was taken.

use chaos_agent::linux::ability::{Ability, Feature, NETEM};
use chaos_agent::linux::sys::netlink::{Netlink, index_of};
use chaos_agent::linux::tc::probe;
use std::fs;

use crate::support::{Link, Namespace, agent_path, run};

const CONFIG: &str = "agent: {metrics: {port: 8123}}
failures:
  plain: {type: network, enabled: true, probability: 1, duration_seconds: 1, exempt_defaults: []}
  aimed: {type: network, enabled: true, probability: 1, duration_seconds: 1, targets: [{port: 5432}]}
  loose: {type: network, enabled: true, probability: 1, duration_seconds: 1}
  inward: {type: network, enabled: true, probability: 1, duration_seconds: 1, direction: both}
";

/// Modules out of the kernel, and no way to bring them in, until this is dropped.
struct Without;

impl Without {
    fn new(modules: &[&str]) -> Without {
        fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
        let without = Without;
        let loaded = fs::read_to_string("/proc/modules").unwrap();
        for module in
            modules.iter().filter(|module| loaded.lines().any(|line| line.starts_with(&format!("{module} "))))
        {
            run(&format!("rmmod {module}"));
        }
        without
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        fs::write("/proc/sys/kernel/modprobe", "/sbin/modprobe").unwrap();
    }
}

/// What the doctor prints about the config in this namespace, and its exit code.
fn doctor(space: &Namespace, config: &str) -> (i32, String) {
    let output = space.command(agent_path()).args(["doctor", "--config", config]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn line<'a>(text: &'a str, entry: &str) -> &'a str {
    let mut lines = text.lines().filter(|line| line.contains(&format!(" {entry} ")));
    lines.next().unwrap_or_else(|| panic!("{entry} in {text}"))
}

#[test]
fn the_doctor_tells_what_the_kernel_has_and_what_it_lacks() {
    let config = "/tmp/doctor.yaml";
    fs::write(config, CONFIG).unwrap();
    let link = Link::new("doctor");
    let before = (link.near.qdiscs(), link.near.run("ip -o link"));
    {
        let _without = Without::new(&["sch_netem"]);
        let (code, text) = doctor(&link.near, config);
        assert_eq!(code, 1, "{text}");
        for entry in ["plain", "aimed", "loose", "inward"] {
            let line = line(&text, entry);
            assert!(
                line.starts_with("not ready") && line.contains("no sch_netem: on the node, modprobe"),
                "{line}"
            );
        }
    }
    // Asking brings the module in, as the first fault would.
    let (code, text) = doctor(&link.near, config);
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("all 4 enabled failures are ready\n"), "{text}");
    assert!(!line(&text, "plain").contains("kernel"), "{text}");
    {
        let _without = Without::new(&["sch_prio", "ifb"]);
        let (code, text) = doctor(&link.near, config);
        assert_eq!(code, 1, "{text}");
        assert!(line(&text, "plain").starts_with("ready"), "{text}");
        let aimed = line(&text, "aimed");
        assert!(aimed.starts_with("not ready") && aimed.contains("no sch_prio"), "{aimed}");
        let loose = line(&text, "loose");
        assert!(loose.starts_with("ready") && loose.contains("meets the agent's own metrics too"), "{loose}");
        let inward = line(&text, "inward");
        assert!(inward.starts_with("not ready") && inward.contains("no ifb"), "{inward}");
    }
    assert_eq!((link.near.qdiscs(), link.near.run("ip -o link")), before, "the doctor changed something");
}

#[test]
fn a_foreign_qdisc_and_a_file_that_is_mounted_alone_are_told() {
    let config = "/tmp/doctor-mount.yaml";
    fs::write(config, CONFIG).unwrap();
    let link = Link::new("doctor-mount");
    link.near.run("tc qdisc add dev eth0 root handle 7: netem delay 1ms");
    // With a qdisc of somebody's on the loopback nothing can be asked there, and nothing is replaced.
    link.near.run("tc qdisc add dev lo root handle 8: netem delay 0ms");
    let before = link.near.qdiscs();
    let script =
        format!("mount --bind {config} {config} && exec {} doctor --config {config}", agent_path().display());
    let output = link.near.command("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let plain = line(&text, "plain");
    assert!(plain.starts_with("not ready") && plain.contains("root qdisc netem 7:"), "{plain}");
    let mounted = line(&text, "config");
    assert!(mounted.starts_with("warning") && mounted.contains("subPath"), "{mounted}");
    link.near.run("tc qdisc del dev eth0 root");
    let (_, text) = doctor(&link.near, config);
    assert!(line(&text, "plain").contains("sch_netem shows at the first fault"), "{text}");
    link.near.run("tc qdisc add dev eth0 root handle 7: netem delay 1ms");
    assert_eq!(link.near.qdiscs(), before);
}

#[test]
fn a_kind_that_takes_no_options_is_found_and_taken_away_again() {
    static PFIFO: Feature = Feature { name: "sch_pfifo", ..NETEM };
    static NO_SUCH: Feature = Feature { name: "sch_nosuch", ..NETEM };
    let socket = Netlink::open().unwrap();
    let lo = index_of("lo");
    let before = chaos_agent::linux::tc::qdiscs(&socket, lo).unwrap();
    assert_eq!(probe::qdisc(&socket, &PFIFO), Ability::Possible);
    assert_eq!(chaos_agent::linux::tc::qdiscs(&socket, lo).unwrap(), before);
    assert_eq!(probe::qdisc(&socket, &NETEM), Ability::Possible);
    assert_eq!(probe::qdisc(&socket, &NO_SUCH), Ability::Missing(&NO_SUCH));
    assert_eq!(probe::ifb(&socket), Ability::Possible);
    assert_eq!(index_of("ca05probe"), None);
}
