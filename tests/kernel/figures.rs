//! What setting up and taking back costs: the built-in tc beside iproute2's `tc`, in the same machine.

use crate::support::{Link, Namespace};
use crate::wire::*;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processor time of all children that ended so far.
fn children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    #[allow(unsafe_code)]
    // SAFETY: the pointer is that of a whole rusage, which outlives the call.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    assert_eq!(result, 0);
    #[allow(unsafe_code)]
    // SAFETY: every bit pattern is a valid rusage, and the bytes were zeroed.
    let usage = unsafe { usage.assume_init() };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Medians of processor and elapsed time in milliseconds over 15 rounds.
fn cost(mut work: impl FnMut()) -> (f64, f64) {
    let (mut processor, mut elapsed) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let (used, begin) = (children(), Instant::now());
        work();
        elapsed.push(Some(begin.elapsed().as_secs_f64() * 1000.0));
        processor.push(Some((children() - used).as_secs_f64() * 1000.0));
    }
    (median(&processor), median(&elapsed))
}

fn succeed(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The lines by iproute2's `tc`, a process each, and the deletion.
fn processes(space: &Namespace, lines: &[String]) {
    inside(space, {
        let lines = lines.to_vec();
        move || {
            for line in &lines {
                succeed(Command::new("tc").args(line.split_whitespace()));
            }
            succeed(Command::new("tc").args("qdisc del dev eth0 root handle ca05:".split_whitespace()));
        }
    })
    .join()
    .unwrap();
}

/// The same as the agent does it: one built-in `tc` for all lines, one undo.
fn batch(space: &Namespace, lines: &[String]) {
    let text = format!("{}\n", lines.join("\n"));
    inside(space, move || {
        std::fs::write("/tmp/batch", text).unwrap();
        succeed(Command::new("/chaos-agent").args(["tc", "-batch", "/tmp/batch"]));
        succeed(Command::new("/chaos-agent").arg("revert").stdout(Stdio::null()));
    })
    .join()
    .unwrap();
}

/// An agent from start to end, with its one fault, or unable to inject it.
fn whole(space: &Namespace, fault: &str) {
    let mut agent = Agent::start(space, &format!("{fault}, duration_seconds: 0.001"));
    agent.wait_log(if fault.contains("nosuch") { "fault: failed" } else { "fault: success" });
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait_exit(), Some(0), "{}", agent.log());
}

#[test]
fn the_built_in_tc_costs_at_most_a_third_of_iproute2s_run_as_processes() {
    let link = Link::new("figures");
    let before = state(&link.near);
    let many: Vec<_> = (1..=20)
        .map(|number| format!("{{cidr: 10.1.{number}.0/24, port: {number}, protocol: tcp}}"))
        .collect();
    let many = format!("delay_ms: 50, targets: [{}]", many.join(", "));
    for (name, fault) in
        [("plain", "delay_ms: 50, exempt_defaults: []"), ("default", "delay_ms: 50"), ("20 targets", &many)]
    {
        let fault = format!("{fault}, tc: builtin");
        let mut agent = Agent::start(&link.near, &format!("{fault}, duration_seconds: 600"));
        agent.wait_active(&link.near);
        let log = agent.log();
        agent.signal(libc::SIGTERM);
        agent.wait_exit();
        let lines: Vec<_> = log
            .lines()
            .filter_map(|line| line.split_once("fault: tc "))
            .map(|(_, words)| words.to_owned())
            .collect();
        let theirs = cost(|| processes(&link.near, &lines));
        let ours = cost(|| batch(&link.near, &lines));
        let with = cost(|| whole(&link.near, &fault));
        let without = cost(|| whole(&link.near, &format!("{fault}, interface: nosuch")));
        assert_eq!(state(&link.near), before);
        println!(
            "{name}, {} lines, set-up and revert, processor (elapsed) ms: iproute2 {:.1} ({:.1}), built-in {:.1} ({:.1}); \
             an agent with the fault, verifying and guard included, {:.1}, unable to inject {:.1}",
            lines.len(),
            theirs.0,
            theirs.1,
            ours.0,
            ours.1,
            with.0,
            without.0
        );
        if lines.len() > 1 {
            assert!(ours.0 * 3.0 <= theirs.0, "{name}: built-in {:?}, iproute2 {:?}", ours, theirs);
        }
    }
}
