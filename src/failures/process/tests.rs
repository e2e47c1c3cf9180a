//! Real victims: copies of `sleep` under odd names.

use super::victim::{Fate, Victim, find};
use super::*;
use crate::cancel::Cancel;
use crate::guard::Guard;
use crate::sys::{pidfd, task};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// Nobody's pid: victims of these tests are children of the test, which a real agent would spare.
const NOBODY: u32 = 0;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder with programs, removed at the end, and a word that no other process has.
struct Lab {
    folder: PathBuf,
    word: String,
}

impl Lab {
    fn new() -> Lab {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let word = format!("v{:x}x{number}", std::process::id());
        let folder = std::env::temp_dir().join(format!("lab-{word}"));
        fs::create_dir_all(&folder).unwrap();
        Lab { folder, word }
    }

    /// `sleep` under the name `{word}{rest}`.
    fn program(&self, rest: &[u8]) -> PathBuf {
        let name = [self.word.as_bytes(), rest].concat();
        let path = self.folder.join(OsStr::from_bytes(&name));
        fs::copy("/bin/sleep", &path).unwrap();
        path
    }

    fn start(&self, rest: &[u8]) -> Ward {
        Ward(Command::new(self.program(rest)).arg("1000").spawn().unwrap())
    }

    fn failure(&self) -> ProcessKill {
        ProcessKill { target: self.word.clone(), own: NOBODY, grace: GRACE }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A child that does not outlive its test.
struct Ward(Child);

impl Ward {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&mut self) -> Option<i32> {
        self.0.wait().unwrap().signal()
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something that another process is about to do.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn state(pid: u32) -> u8 {
    Reader::new(Path::new("/proc")).unwrap().stat(pid).unwrap().map_or(b'-', |stat| stat.state)
}

fn name_of(pid: u32) -> Vec<u8> {
    Reader::new(Path::new("/proc"))
        .unwrap()
        .stat(pid)
        .unwrap()
        .map_or_else(Vec::new, |stat| stat.comm.to_vec())
}

/// Runs `failure` once; says how it ended and whether it was ever active.
fn inject(failure: &dyn Failure, cancel: &Cancel) -> (Result<Outcome>, bool) {
    let (host, guard, began) = (Host::default(), Guard::new(), AtomicBool::new(false));
    let on_active = || began.store(true, Ordering::Relaxed);
    let injection = Injection {
        entry: "test",
        duration: Duration::ZERO,
        seed: 1,
        cancel,
        host: &host,
        measure: &|_, _| {},
        on_active: &on_active,
        guard: &guard,
        active: AtomicBool::new(false),
    };
    let outcome = failure.inject(&injection);
    (outcome, began.into_inner())
}

fn killed(failure: &dyn Failure) {
    let (outcome, active) = inject(failure, &Cancel::new().unwrap());
    assert_eq!((outcome.unwrap(), active), (Outcome::Success, true));
}

#[test]
fn a_victim_dies_whatever_its_name_holds() {
    for rest in
        [&b"plain"[..], b" a b", b") S 1 (", b"\nR 1", b"\xff\xfe\x80", b"((", b" (deleted)", b"\t\x1b[m"]
    {
        let lab = Lab::new();
        let mut ward = lab.start(rest);
        let line = lab.failure().describe(&Host::default());
        let wanted = format!("kills 1 of 1 processes matching {:?}: first is {} (", lab.word, ward.pid());
        assert!(line.starts_with(&wanted), "{line}");
        assert!(!line.contains(|letter: char| letter.is_control()), "{line:?}");
        killed(&lab.failure());
        assert_eq!(ward.signal(), Some(libc::SIGTERM), "{}", rest.escape_ascii());
    }
}

#[test]
fn the_first_of_several_dies_and_no_other() {
    let lab = Lab::new();
    let mut wards = [lab.start(b"a"), lab.start(b"b"), lab.start(b"c")];
    wards.sort_by_key(Ward::pid);
    let line = lab.failure().describe(&Host::default());
    let wanted = format!("kills 1 of 3 processes matching {:?}: first is {} (", lab.word, wards[0].pid());
    assert!(line.starts_with(&wanted), "{line}");
    assert!(wards.iter().all(|ward| state(ward.pid()) == b'S'), "describing touches nothing");
    killed(&lab.failure());
    let [first, second, third] = &mut wards;
    assert_eq!(first.signal(), Some(libc::SIGTERM));
    assert!(second.0.try_wait().unwrap().is_none() && third.0.try_wait().unwrap().is_none());
}

#[test]
fn the_command_line_matches_without_case_and_across_arguments() {
    let lab = Lab::new();
    let program = lab.program(b"");
    let mut ward = Ward(Command::new(&program).arg0("sleep").args(["1000", "7"]).spawn().unwrap());
    let other = ProcessKill { target: format!("{} 1000 8", lab.word), ..lab.failure() };
    let (outcome, active) = inject(&other, &Cancel::new().unwrap());
    let Outcome::Skipped(why) = outcome.unwrap() else { panic!("killed the wrong process") };
    assert!(!active && why.contains("no process that may be killed matches"), "{why}");
    let mut titled = Ward(
        Command::new(&program).arg0(format!("/SRV/{}", lab.word.to_uppercase())).arg("1001").spawn().unwrap(),
    );
    killed(&ProcessKill { target: format!("srv/{} 1001", lab.word), ..lab.failure() });
    assert_eq!(titled.signal(), Some(libc::SIGTERM));
    killed(&lab.failure()); // by its name
    assert_eq!(ward.signal(), Some(libc::SIGTERM));
}

#[test]
fn who_refuses_sigterm_gets_sigkill_after_the_grace() {
    let lab = Lab::new();
    let script = "trap '' TERM; exec \"$0\" 1000";
    let mut ward = Ward(Command::new("sh").args(["-c", script]).arg(lab.program(b"deaf")).spawn().unwrap());
    until("the victim's start", || name_of(ward.pid()).starts_with(lab.word.as_bytes()));
    let started = Instant::now();
    killed(&ProcessKill { grace: Duration::from_millis(50), ..lab.failure() });
    assert!(started.elapsed() >= Duration::from_millis(50), "the grace was cut short");
    assert_eq!(ward.signal(), Some(libc::SIGKILL));
}

#[test]
fn a_stop_of_the_agent_ends_the_grace_and_kills_nobody() {
    let lab = Lab::new();
    let script = "trap '' TERM; exec \"$0\" 1000";
    let mut ward = Ward(Command::new("sh").args(["-c", script]).arg(lab.program(b"deaf")).spawn().unwrap());
    until("the victim's start", || name_of(ward.pid()).starts_with(lab.word.as_bytes()));
    let (cancel, failure) = (Cancel::new().unwrap(), lab.failure());
    let failure = ProcessKill { grace: Duration::from_secs(1000), ..failure };
    let outcome = std::thread::scope(|scope| {
        let injecting = scope.spawn(|| inject(&failure, &cancel));
        // an ignored signal leaves no trace; the pidfd is opened just before it is sent
        until("a hold on the victim", || injecting.is_finished() || holds_pidfd(ward.pid()));
        cancel.cancel();
        injecting.join().unwrap()
    });
    let Outcome::Skipped(why) = outcome.0.unwrap() else { panic!("the victim ignores SIGTERM") };
    assert!(why.starts_with("the agent stops; process "), "{why}");
    assert!(ward.0.try_wait().unwrap().is_none(), "the victim was killed on the way out");
}

/// Whether this process has a pidfd of `pid`.
fn holds_pidfd(pid: u32) -> bool {
    let wanted = format!("Pid:\t{pid}\n");
    let mut infos = fs::read_dir("/proc/self/fdinfo").unwrap();
    infos.any(|info| fs::read_to_string(info.unwrap().path()).is_ok_and(|text| text.contains(&wanted)))
}

#[test]
fn an_injection_that_is_cancelled_before_it_begins_touches_nothing() {
    let lab = Lab::new();
    let ward = lab.start(b"");
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let (outcome, active) = inject(&lab.failure(), &cancel);
    assert!(matches!(outcome.unwrap(), Outcome::Skipped(_)) && !active);
    assert_eq!(state(ward.pid()), b'S');
}

#[test]
fn the_dead_and_the_protected_are_no_victims() {
    let lab = Lab::new();
    // a zombie: dead, and not waited for
    let mut zombie = Ward(Command::new(lab.program(b"zombie")).arg("0").spawn().unwrap());
    until("a zombie", || state(zombie.pid()) == b'Z');
    // an agent's look-alike, by the base name of its first argument
    let agent = Ward(Command::new(lab.program(b"agent")).arg0("/chaos-agent").arg("1000").spawn().unwrap());
    let pause = Ward(Command::new(lab.program(b"pause")).arg0("/pause").arg("1000").spawn().unwrap());
    let (outcome, active) = inject(&lab.failure(), &Cancel::new().unwrap());
    assert!(matches!(outcome.unwrap(), Outcome::Skipped(_)) && !active);
    // ... while words further on protect nobody
    let mut innocent = Ward(
        Command::new("sh")
            .args(["-c", "read x", "--initialize", "pause", &lab.word])
            .stdin(pipe())
            .spawn()
            .unwrap(),
    );
    killed(&lab.failure());
    assert_eq!(innocent.signal(), Some(libc::SIGTERM));
    assert_eq!((state(agent.pid()), state(pause.pid())), (b'S', b'S'));
    assert!(zombie.0.wait().unwrap().success());
}

fn pipe() -> std::process::Stdio {
    std::process::Stdio::piped()
}

#[test]
fn the_agent_its_ancestors_and_its_descendants_are_spared() {
    let lab = Lab::new();
    let program = lab.program(b"child");
    // sh (the "agent") has a child; its parent is this process
    let script = "\"$0\" 1000 & echo $!; wait";
    let mut agent = Command::new("sh");
    let mut agent = Ward(agent.args(["-c", script]).arg(&program).stdout(pipe()).spawn().unwrap());
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(agent.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    let child: u32 = line.trim().parse().unwrap();
    until("the child's start", || name_of(child).starts_with(lab.word.as_bytes()));
    let mut proc = Reader::new(Path::new("/proc")).unwrap();
    let mut seen = |own: u32| -> Vec<u32> {
        let everybody = find(&mut proc, own, &|_| true).unwrap();
        everybody.iter().map(|candidate| candidate.pid).collect()
    };
    let (me, sh) = (std::process::id(), agent.pid());
    let by_sh = seen(sh);
    assert!(!by_sh.contains(&sh) && !by_sh.contains(&child) && !by_sh.contains(&me), "{by_sh:?}");
    assert!(!by_sh.contains(&std::os::unix::process::parent_id()) && !by_sh.contains(&1));
    let by_nobody = seen(NOBODY);
    assert!(by_nobody.contains(&sh) && by_nobody.contains(&child) && by_nobody.contains(&me));
    assert!(!seen(me).contains(&child), "a grandchild");
    let spared = ProcessKill { own: sh, ..lab.failure() };
    assert!(matches!(inject(&spared, &Cancel::new().unwrap()).0.unwrap(), Outcome::Skipped(_)));
    assert_eq!(state(child), b'S');
    pidfd::kill(child, libc::SIGKILL).unwrap();
}

#[test]
fn kernel_threads_and_process_one_never_match() {
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let mut kernel = Vec::new();
    let visit = &mut |process: &Process<'_>| {
        if process.stat.is_kernel_thread() || process.stat.pid == 1 {
            kernel.push(process.stat.pid);
        }
    };
    reader.scan(visit).unwrap();
    assert!(!kernel.is_empty());
    let found = find(&mut reader, NOBODY, &|_| true).unwrap();
    assert!(found.iter().all(|candidate| !kernel.contains(&candidate.pid)));
}

#[test]
fn a_pid_that_somebody_else_has_by_now_is_left_alone() {
    let lab = Lab::new();
    let ward = lab.start(b"");
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let all = |_: &Process<'_>| true;
    let found = find(&mut reader, NOBODY, &|process| lab.failure().matches(process)).unwrap();
    let [now] = found.as_slice() else { panic!("{found:?}") };
    let before = Candidate { start: now.start - 1, ..now.clone() };
    assert!(Victim::hold(&mut reader, &before, &all).unwrap().is_none(), "another start time");
    assert!(Victim::hold(&mut reader, now, &|_| false).unwrap().is_none(), "no match any more");
    let victim = Victim::hold(&mut reader, now, &all).unwrap().unwrap();
    drop(ward);
    assert!(!victim.send(&mut reader, libc::SIGTERM).unwrap(), "gone between look and signal");
    assert!(!victim.without_pidfd().send(&mut reader, libc::SIGTERM).unwrap());
    assert!(Victim::hold(&mut reader, now, &all).unwrap().is_none());
}

#[test]
fn without_pidfds_the_same_is_done_by_number() {
    let lab = Lab::new();
    let mut ward = lab.start(b"");
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let found = find(&mut reader, NOBODY, &|process| lab.failure().matches(process)).unwrap();
    let victim = Victim::hold(&mut reader, &found[0], &|_| true).unwrap().unwrap().without_pidfd();
    let cancel = Cancel::new().unwrap();
    let short = Duration::from_millis(5);
    assert_eq!(victim.wait(&mut reader, &cancel, short).unwrap(), Fate::Alive);
    cancel.cancel();
    assert_eq!(victim.wait(&mut reader, &cancel, Duration::from_secs(60)).unwrap(), Fate::Cancelled);
    assert!(victim.send(&mut reader, libc::SIGTERM).unwrap());
    let cancel = Cancel::new().unwrap();
    assert_eq!(
        victim.wait(&mut reader, &cancel, Duration::from_secs(60)).unwrap(),
        Fate::Dead,
        "a zombie is dead"
    );
    assert_eq!(ward.signal(), Some(libc::SIGTERM));
}

#[test]
fn a_refusal_names_what_is_missing() {
    let lab = Lab::new();
    let ward = lab.start(b"");
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let uid = reader.uid(ward.pid()).unwrap();
    let found = find(&mut reader, NOBODY, &|process| lab.failure().matches(process)).unwrap();
    let victim = Victim::hold(&mut reader, &found[0], &|_| true).unwrap().unwrap();
    let denied =
        victim.forbidden(&mut reader, libc::SIGKILL, std::io::Error::from_raw_os_error(libc::EACCES));
    let wanted =
        format!("cannot send SIGKILL to {victim} of uid {uid}: Permission denied; a security module ");
    assert!(denied.to_string().starts_with(&wanted), "{denied}");
    if uid != 0 || !task::has_capability(task::CAP_KILL) {
        return; // only root can become somebody who may not signal the victim
    }
    let refused = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            pidfd::become_user(65534).unwrap();
            inject(&lab.failure(), &Cancel::new().unwrap())
        });
        stranger.join().unwrap()
    });
    let wanted = format!(
        "cannot send SIGTERM to {victim} of uid 0: Operation not permitted; the agent lacks CAP_KILL: \
         add the capability KILL, or run the agent as uid 0"
    );
    assert_eq!((refused.0.unwrap_err().to_string(), refused.1), (wanted, false));
    assert_eq!(state(ward.pid()), b'S');
}

#[test]
fn a_missing_proc_is_an_error_and_no_missing_victim() {
    let host = Host { proc: "/no/such/proc".into(), ..Host::default() };
    let failure = Lab::new().failure();
    let wanted = "cannot list the processes in /no/such/proc: No such file or directory";
    assert_eq!(failure.check(&host).unwrap_err().to_string(), wanted);
    assert!(failure.describe(&host).contains(wanted));
    failure.check(&Host::default()).unwrap();
}
