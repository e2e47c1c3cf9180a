//! Victims that are no longer what they were: headless, another program, back again.

use super::*;

/// A process whose first thread has ended and whose other one goes on. The first is its parent.
struct Headless(Ward, u32);

impl Headless {
    fn start(lab: &Lab) -> Headless {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "linux::sys::pidfd::tests::helper_headless", "--ignored"]);
        let ward = Ward::spawn(command.arg0(&lab.word).stdout(std::process::Stdio::null()));
        let mut child = None;
        until("a process without its first thread", || {
            let mut reader = Reader::new(Path::new("/proc")).unwrap();
            child = reader.pids().unwrap().into_iter().find(|pid| {
                let line = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
                reader.stat(*pid).unwrap().is_some_and(|stat| stat.ppid == ward.pid())
                    && crate::linux::proc::Stat::parse(&line).is_some_and(|stat| stat.state == b'Z')
            });
            child.is_some()
        });
        Headless(ward, child.unwrap())
    }
}

#[test]
fn a_process_without_its_first_thread_is_alive_seen_stopped_and_killed() {
    let lab = Lab::new();
    let Headless(parent, pid) = Headless::start(&lab);
    let mut reader = open(&Host::default()).unwrap();
    let stat = reader.stat(pid).unwrap().unwrap();
    let start = stat.start;
    assert!(!stat.is_dead() && stat.state == b'S', "{stat:?}");
    assert!(!reader.is_gone(pid, start).unwrap());
    assert_eq!(reader.exe(pid).unwrap(), std::env::current_exe().unwrap());
    // Chosen by its command line, which the kernel shows of its other thread alone.
    let yaml =
        format!("{{match: {{cmdline: WORD, exe: {:?}}}, pick: newest", std::env::current_exe().unwrap());
    let fault = lab.configured(&format!("{yaml}}}"));
    let found = fault.find(&Host::default(), &mut reader).unwrap().candidates;
    assert!(found.iter().any(|one| one.pid == pid), "{found:?}");
    assert!(found.iter().any(|one| one.pid == parent.pid()), "{found:?}");

    // A stop is seen, and taken back by the guard's own words.
    pidfd::kill(pid, libc::SIGSTOP).unwrap();
    until("the stop", || reader.stat(pid).unwrap().unwrap().is_stopped());
    assert!(Undo::Resume { pid, start }.perform(&Tools::default()).unwrap(), "it was taken for dead");
    until("its way on", || !reader.stat(pid).unwrap().unwrap().is_stopped());

    // Its threads ignore SIGURG as every process does: only SIGKILL ends it.
    killed(&lab.configured(&format!("{yaml}, signal: URG, grace_seconds: 0.05}}")));
    assert!(reader.is_gone(pid, start).unwrap(), "it lives on");
}

/// A victim that becomes another program at SIGTERM.
fn changing(lab: &Lab) -> Ward {
    let script = "trap 'exec /bin/sleep 1000' TERM; while :; do /bin/sleep 0.01; done";
    let mut command = Command::new("/bin/sh");
    let ward = Ward::spawn(command.arg0(&lab.word).args(["-c", script]));
    until("the trap", || {
        let status = fs::read_to_string(format!("/proc/{}/status", ward.pid())).unwrap();
        let caught = status.split("SigCgt:\t").nth(1).unwrap().split('\n').next().unwrap();
        u64::from_str_radix(caught, 16).unwrap() & 1 << (libc::SIGTERM - 1) != 0
    });
    ward
}

#[test]
fn who_becomes_another_program_while_others_have_their_turn_is_spared() {
    for yaml in [
        "action: pause, duration_seconds: 1",
        "action: signal, signal: CONT",
        "action: kill, grace_seconds: 0",
    ] {
        let lab = Lab::new();
        let mut wards = [changing(&lab), changing(&lab)];
        wards.sort_by_key(Ward::pid);
        let second = wards[1].pid();
        let fault = lab.configured(&format!("{{target_name: WORD, pick: all, {yaml}}}"));
        let change = || {
            pidfd::kill(second, libc::SIGTERM).unwrap();
            until("another program", || name_of(second) == b"sleep");
        };
        let cancel = Cancel::new().unwrap();
        let ran = run_until(&Once(&fault), &cancel, Duration::from_millis(1), 1, &change);
        assert_eq!(ran.outcome.unwrap(), Outcome::Success, "{yaml}");
        let sent =
            ran.measured.iter().filter(|(_, labels, _)| labels[0] != "SIGCONT" || yaml.contains("CONT"));
        assert_eq!(sent.count(), 1, "{yaml}: {:?}", ran.measured);
        assert!(wards[1].0.try_wait().unwrap().is_none(), "{yaml}: a stranger was killed");
    }
}

#[test]
fn who_became_another_program_after_sigterm_gets_no_sigkill() {
    let lab = Lab::new();
    let mut ward = changing(&lab);
    let fault = lab.configured("{target_name: WORD, grace_seconds: 1.5}");
    let ran = run(&Once(&fault), &Cancel::new().unwrap(), Duration::ZERO, 1);
    let Outcome::Skipped(why) = ran.outcome.unwrap() else { panic!("{:?}", ran.measured) };
    assert!(why.contains("no longer who was meant"), "{why}");
    assert!(ward.0.try_wait().unwrap().is_none(), "a stranger was killed");
    assert_eq!(ran.measured.len(), 1, "{:?}", ran.measured);
}
