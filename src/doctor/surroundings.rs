//! What all failures stand on: rights, visible processes, limits, the clock.

use super::{Finding, State};
use crate::failures::Host;
use crate::linux::ability::capability_names;
use crate::linux::cgroup::{Bound, Cgroup};
use crate::linux::proc::{Reader, base_name};
use crate::linux::sys::clock;
use crate::linux::sys::{task, usage};
use std::time::Duration;

/// Seconds in a year of the Gregorian calendar, on average.
const YEAR: u64 = 31_556_952;
/// A clock outside of these years was not set.
const SANE: std::ops::Range<u64> = 2024..2100;

/// Everything here.
pub fn all(host: &Host) -> Vec<Finding> {
    let groups = Cgroup::of_self(&host.proc, &host.sys);
    let mut findings = Vec::new();
    if let Ok(mut reader) = Reader::new(&host.proc) {
        let uid = reader.uid(std::process::id());
        findings.push(Finding::new("rights", State::Good, rights(uid, task::capabilities())));
        findings.push(processes(&mut reader, std::process::id()));
    }
    findings.push(Finding::new("memory limit", State::Good, memory(&groups)));
    findings.push(Finding::new("cpu limit", State::Good, cpu(&groups)));
    let now = clock::unix();
    findings.push(clock(now, usage::since_boot().unwrap_or_default()));
    findings
}

/// Those held, or those missing where that is shorter.
fn rights(uid: Option<u32>, effective: u64) -> String {
    let (mut held, mut missing) = (Vec::new(), Vec::new());
    for (number, name) in capability_names().enumerate() {
        let list = if effective >> number & 1 != 0 { &mut held } else { &mut missing };
        list.push(name);
    }
    let rights = match (held.len(), missing.len()) {
        (0, _) => "no capability".to_owned(),
        (_, 0) => "every capability (privileged)".to_owned(),
        (few, many) if few <= many => format!("capabilities {}", held.join(", ")),
        _ => format!("every capability but {}", missing.join(", ")),
    };
    uid.map_or_else(|| rights.clone(), |uid| format!("uid {uid}, {rights}"))
}

/// Whose processes can be seen, by who is the first.
fn processes(reader: &mut Reader, own: u32) -> Finding {
    let count = reader.pids().map_or(0, |pids| pids.len());
    let name = match reader.process(1) {
        Ok(Some(first)) => {
            let base = base_name(first.argv0());
            String::from_utf8_lossy(if base.is_empty() { first.comm } else { base }).into_owned()
        }
        _ => String::new(),
    };
    let (state, text) = match name.as_str() {
        _ if own == 1 || name.starts_with("chaos-agent") => {
            (State::Good, "not shared: only the agent's own container can be seen".to_owned())
        }
        "" => (State::Warning, "process 1 cannot be seen, so it is not known whose these are".to_owned()),
        "pause" => (State::Good, "shared in the pod: process 1 is pause".to_owned()),
        "systemd" => (
            State::Warning,
            "these are the node's: process 1 is systemd; a pod is better off without hostPID".to_owned(),
        ),
        _ => (State::Good, format!("process 1 is {}", name.escape_debug())),
    };
    Finding::new("processes", state, format!("{text}; {count} visible"))
}

fn memory(groups: &Cgroup) -> String {
    let source = groups.memory_source().unwrap_or("no cgroup");
    let mut text = match groups.memory_limit() {
        Some(limit) => format!("limit {} ({source})", mib(limit)),
        None => format!("no limit ({source})"),
    };
    if let Some(room) = groups.room() {
        let of = match room.bound {
            Bound::Machine => format!(" of the machine's {}", mib(room.limit)),
            Bound::High => format!(" below memory.high {}", mib(room.limit)),
            Bound::Limit => String::new(),
        };
        text.push_str(&format!(", {}{of} free", mib(room.free())));
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn cpu(groups: &Cgroup) -> String {
    let source = groups.cpu_source().unwrap_or("no cgroup");
    let usable = groups.cpus();
    match groups.quota() {
        Some(quota) => format!("{usable:.2} CPUs may be used, quota {quota:.2} ({source})"),
        None => format!("{usable:.2} CPUs may be used, no quota ({source})"),
    }
}

fn clock(now: Duration, up: Duration) -> Finding {
    let year = 1970 + now.as_secs() / YEAR;
    let up = format!("up for {} min", up.as_secs() / 60);
    match SANE.contains(&year) {
        true => Finding::new("clock", State::Good, format!("the year is {year}, {up}")),
        false => Finding::new(
            "clock",
            State::Warning,
            format!("the year is said to be {year}, {up}: logs and schedules will be wrong; set the clock"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_told_by_name() {
        assert_eq!(rights(Some(0), 1 << 12 | 1 << 5), "uid 0, capabilities KILL, NET_ADMIN");
        assert_eq!(rights(Some(1000), 0), "uid 1000, no capability");
        assert_eq!(rights(None, u64::MAX), "every capability (privileged)");
        assert_eq!(rights(None, 1 << 40), "capabilities CHECKPOINT_RESTORE");
        assert_eq!(rights(None, !(1 << 24)), "every capability but SYS_RESOURCE");
        assert_eq!(task::has_capability(task::CAP_KILL), task::capabilities() >> task::CAP_KILL & 1 != 0);
    }

    #[test]
    fn a_clock_that_was_not_set_is_told() {
        let at = |seconds| clock(Duration::from_secs(seconds), Duration::from_secs(600));
        assert_eq!((at(30).state, at(1_795_000_000).state), (State::Warning, State::Good));
        assert_eq!(at(1_795_000_000).text, "the year is 2026, up for 10 min");
        assert_eq!(at(5_000_000_000).state, State::Warning);
    }

    #[test]
    fn the_first_process_says_whose_the_others_are() {
        let root = std::env::temp_dir().join(format!("doctor-proc-{}", std::process::id()));
        std::fs::create_dir_all(root.join("1")).unwrap();
        std::fs::create_dir_all(root.join("7")).unwrap();
        let look = |comm: &str, cmdline: &str, own| {
            std::fs::write(root.join("1/comm"), comm).unwrap();
            std::fs::write(root.join("1/cmdline"), cmdline).unwrap();
            let found = processes(&mut Reader::new(&root).unwrap(), own);
            (found.state, found.text)
        };
        for (comm, cmdline, own, state, word) in [
            ("pause\n", "/pause\0", 7, State::Good, "shared in the pod"),
            ("chaos-agent\n", "/chaos-agent\0run\0", 7, State::Good, "not shared"),
            ("x\n", "/x\0", 1, State::Good, "not shared"),
            ("systemd\n", "/usr/lib/systemd/systemd\0--system\0", 7, State::Warning, "the node's"),
            ("redis\n", "/bin/redis\0", 7, State::Good, "process 1 is redis; 2 visible"),
            ("a\u{1b}b\n", "", 7, State::Good, "process 1 is a\\u{1b}b"),
        ] {
            let (found, text) = look(comm, cmdline, own);
            assert!(found == state && text.contains(word), "{comm:?}: {text}");
        }
        std::fs::remove_file(root.join("1/comm")).unwrap();
        assert_eq!(processes(&mut Reader::new(&root).unwrap(), 7).state, State::Warning);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn this_very_machine_can_be_examined() {
        let findings = all(&Host::default());
        let subjects: Vec<_> = findings.iter().map(|found| found.subject.as_str()).collect();
        assert_eq!(subjects, ["rights", "processes", "memory limit", "cpu limit", "clock"]);
        assert!(
            findings.iter().all(|found| found.text.len() > 5 && !found.text.contains('\n')),
            "{findings:?}"
        );
    }
}
