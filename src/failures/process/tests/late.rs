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

#[test]
fn who_became_another_program_after_sigterm_gets_no_sigkill() {
    let lab = Lab::new();
    let script = "trap 'exec /bin/sleep 1000' TERM; while :; do /bin/sleep 0.01; done";
    let mut command = Command::new("/bin/sh");
    let mut ward = Ward::spawn(command.arg0(&lab.word).args(["-c", script]));
    let fault = lab.configured("{target_name: WORD, grace_seconds: 1.5}");
    until("the trap", || {
        let status = fs::read_to_string(format!("/proc/{}/status", ward.pid())).unwrap();
        let caught = status.split("SigCgt:\t").nth(1).unwrap().split('\n').next().unwrap();
        u64::from_str_radix(caught, 16).unwrap() & 1 << (libc::SIGTERM - 1) != 0
    });
    let ran = run(&Once(&fault), &Cancel::new().unwrap(), Duration::ZERO, 1);
    let Outcome::Skipped(why) = ran.outcome.unwrap() else { panic!("{:?}", ran.measured) };
    assert!(why.contains("no longer who was meant"), "{why}");
    assert!(ward.0.try_wait().unwrap().is_none(), "a stranger was killed");
    assert_eq!(ran.measured.len(), 1, "{:?}", ran.measured);
}
