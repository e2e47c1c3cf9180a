//! Real victims: copies of `sleep` under odd names.

use super::find::find;
use super::victim::{Candidate, Fate, Victim};
use super::*;
use crate::cancel::Cancel;
use crate::guard::Guard;
use crate::settings::{Report, parse as read_yaml};
use crate::sys::{pidfd, task};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;
use std::{fs, io};

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
        Ward::spawn(Command::new(self.program(rest)).arg("1000"))
    }

    fn failure(&self) -> ProcessFault {
        ProcessFault {
            selection: Selection::target(&self.word),
            choice: Choice::default(),
            action: Action::Kill(libc::SIGTERM, Duration::from_secs(3)),
            recovery: Duration::from_secs(60),
            own: NOBODY,
            watch: Mutex::new(None),
        }
    }

    /// As configured by `yaml`, with WORD for the word.
    fn configured(&self, yaml: &str) -> ProcessFault {
        let yaml = yaml.replace("WORD", &self.word);
        let mut report = Report::default();
        let node = read_yaml(&yaml, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report);
        section.set_required(true);
        let fault = parse_fault(&mut section);
        section.ignore("duration_seconds");
        drop(section.finish());
        assert_eq!(report.problems("f"), [""; 0], "{yaml}");
        ProcessFault { own: NOBODY, ..fault.unwrap() }
    }

    /// A victim that ignores SIGTERM.
    fn deaf(&self) -> Ward {
        let script = "trap '' TERM; exec \"$0\" 1000";
        let ward = Ward::spawn(Command::new("sh").args(["-c", script]).arg(self.program(b"deaf")));
        until("the victim's start", || name_of(ward.pid()).starts_with(self.word.as_bytes()));
        ward
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
    /// Starts it. `spawn` returns in the middle of exec(2), before the name and the arguments are the new ones.
    fn spawn(command: &mut Command) -> Ward {
        // A test beside this one that forks while a copied program is written keeps it open for a moment.
        let busy = |error: &io::Error| error.kind() == io::ErrorKind::ExecutableFileBusy;
        let ward = loop {
            match command.spawn() {
                Err(error) if busy(&error) => std::thread::yield_now(),
                child => break Ward(child.unwrap()),
            }
        };
        let cmdline = format!("/proc/{}/cmdline", ward.pid());
        until("an exec", || {
            fs::read(&cmdline).is_ok_and(|bytes| !bytes.is_empty()) || state(ward.pid()) == b'Z'
        });
        ward
    }

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

/// What became of an injection.
struct Ran {
    outcome: Result<Outcome>,
    active: bool,
    measured: Vec<(&'static str, &'static [&'static str], f64)>,
}

/// Runs `failure` once, with what follows.
fn run(failure: &dyn Failure, cancel: &Cancel, duration: Duration, seed: u64) -> Ran {
    let (host, guard, began) = (Host::default(), Guard::new(), AtomicBool::new(false));
    let measured = Mutex::new(Vec::new());
    let on_active = || began.store(true, Ordering::Relaxed);
    let injection = Injection {
        entry: "test",
        duration,
        seed,
        cancel,
        host: &host,
        on_active: &on_active,
        measure: &|(family, labels), value| measured.lock().unwrap().push((family.name, labels, value)),
        guard: &guard,
        active: AtomicBool::new(false),
        facts: &crate::failures::Facts::default(),
    };
    let outcome = failure.inject(&injection);
    failure.follow(&injection);
    Ran { outcome, active: began.load(Ordering::Relaxed), measured: measured.into_inner().unwrap() }
}

/// Says how one injection without a duration ended and whether it was ever active. Nobody comes back.
fn inject(failure: &ProcessFault, cancel: &Cancel) -> (Result<Outcome>, bool) {
    let ran = run(&Once(failure), cancel, Duration::ZERO, 1);
    (ran.outcome, ran.active)
}

/// The same failure without the watch for returns.
struct Once<'a>(&'a ProcessFault);

impl Failure for Once<'_> {
    fn check(&self, host: &Host) -> Result<()> {
        self.0.check(host)
    }
    fn describe(&self, host: &Host) -> String {
        self.0.describe(host)
    }
    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        self.0.inject(injection)
    }
}

fn killed(failure: &ProcessFault) {
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
    assert!(wards.iter_mut().all(|ward| ward.0.try_wait().unwrap().is_none()), "describing touches nothing");
    killed(&lab.failure());
    let [first, second, third] = &mut wards;
    assert_eq!(first.signal(), Some(libc::SIGTERM));
    assert!(second.0.try_wait().unwrap().is_none() && third.0.try_wait().unwrap().is_none());
}

#[test]
fn the_command_line_matches_without_case_and_across_arguments() {
    let lab = Lab::new();
    let program = lab.program(b"");
    let mut ward = Ward::spawn(Command::new(&program).arg0("sleep").args(["1000", "7"]));
    let other = lab.configured("target_name: WORD 1000 8");
    let (outcome, active) = inject(&other, &Cancel::new().unwrap());
    let Outcome::Skipped(why) = outcome.unwrap() else { panic!("killed the wrong process") };
    assert!(!active && why.contains("no process that may be a victim matches"), "{why}");
    let mut titled =
        Ward::spawn(Command::new(&program).arg0(format!("/SRV/{}", lab.word.to_uppercase())).arg("1001"));
    killed(&lab.configured("target_name: SRV/WORD 1001"));
    assert_eq!(titled.signal(), Some(libc::SIGTERM));
    killed(&lab.failure()); // by its name
    assert_eq!(ward.signal(), Some(libc::SIGTERM));
}

#[test]
fn who_refuses_sigterm_gets_sigkill_after_the_grace() {
    let lab = Lab::new();
    let mut ward = lab.deaf();
    let started = Instant::now();
    let fault = lab.configured("{target_name: WORD, grace_seconds: 0.05}");
    let ran = run(&Once(&fault), &Cancel::new().unwrap(), Duration::ZERO, 1);
    assert_eq!(ran.outcome.unwrap(), Outcome::Success);
    assert!(started.elapsed() >= Duration::from_millis(50), "the grace was cut short");
    assert_eq!(ward.signal(), Some(libc::SIGKILL));
    let signals: Vec<_> = ran.measured.iter().map(|(_, labels, value)| (labels[0], *value)).collect();
    assert_eq!(signals, [("SIGTERM", 1.0), ("SIGKILL", 1.0)]);
}

#[test]
fn without_a_grace_sigkill_comes_at_once() {
    for yaml in ["{target_name: WORD, grace_seconds: 0}", "{target_name: WORD, action: signal, signal: kill}"]
    {
        let lab = Lab::new();
        let mut ward = lab.start(b"");
        killed(&lab.configured(yaml));
        assert_eq!(ward.signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn a_stop_of_the_agent_ends_the_grace_and_kills_nobody() {
    let lab = Lab::new();
    let mut ward = lab.deaf();
    let cancel = Cancel::new().unwrap();
    let failure = lab.configured("{target_name: WORD, grace_seconds: 600}");
    let outcome = std::thread::scope(|scope| {
        let injecting = scope.spawn(|| inject(&failure, &cancel));
        // an ignored signal leaves no trace; the pidfd is opened just before it is sent
        until("a hold on the victim", || injecting.is_finished() || holds_pidfd(ward.pid()));
        cancel.cancel();
        injecting.join().unwrap()
    });
    let Outcome::Skipped(why) = outcome.0.unwrap() else { panic!("the victim ignores SIGTERM") };
    assert!(why.starts_with("the agent stops; SIGTERM was sent, not ended by then: process "), "{why}");
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
    let mut ward = lab.start(b"");
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let (outcome, active) = inject(&lab.failure(), &cancel);
    assert!(matches!(outcome.unwrap(), Outcome::Skipped(_)) && !active);
    assert!(ward.0.try_wait().unwrap().is_none());
}

#[test]
fn the_dead_and_the_protected_are_no_victims() {
    let lab = Lab::new();
    // a zombie: dead, and not waited for
    let mut zombie = Ward::spawn(Command::new(lab.program(b"zombie")).arg("0"));
    until("a zombie", || state(zombie.pid()) == b'Z');
    // an agent's look-alike, by the base name of its first argument
    let mut agent = Ward::spawn(Command::new(lab.program(b"agent")).arg0("/chaos-agent").arg("1000"));
    let mut pause = Ward::spawn(Command::new(lab.program(b"pause")).arg0("/pause").arg("1000"));
    let (outcome, active) = inject(&lab.failure(), &Cancel::new().unwrap());
    assert!(matches!(outcome.unwrap(), Outcome::Skipped(_)) && !active);
    // ... while words further on protect nobody
    let words = ["-c", "read x", "--initialize", "pause", &lab.word];
    let mut innocent = Ward::spawn(Command::new("sh").args(words).stdin(pipe()));
    killed(&lab.failure());
    assert_eq!(innocent.signal(), Some(libc::SIGTERM));
    assert!([&mut agent, &mut pause].iter_mut().all(|ward| ward.0.try_wait().unwrap().is_none()));
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
    let mut agent = Ward::spawn(agent.args(["-c", script]).arg(&program).stdout(pipe()));
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(agent.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    let child: u32 = line.trim().parse().unwrap();
    until("the child's start", || name_of(child).starts_with(lab.word.as_bytes()));
    let mut proc = Reader::new(Path::new("/proc")).unwrap();
    let mut seen = |own: u32| -> Vec<u32> {
        let everybody = find(&mut proc, own, &Selection::target("")).unwrap().candidates;
        everybody.iter().map(|candidate| candidate.pid).collect()
    };
    let (me, sh) = (std::process::id(), agent.pid());
    let by_sh = seen(sh);
    assert!(!by_sh.contains(&sh) && !by_sh.contains(&child) && !by_sh.contains(&me), "{by_sh:?}");
    assert!(!by_sh.contains(&std::os::unix::process::parent_id()) && !by_sh.contains(&1));
    let by_nobody = seen(NOBODY);
    assert!(by_nobody.contains(&sh) && by_nobody.contains(&child) && by_nobody.contains(&me));
    assert!(!seen(me).contains(&child), "a grandchild");
    let spared = ProcessFault { own: sh, ..lab.failure() };
    assert!(matches!(inject(&spared, &Cancel::new().unwrap()).0.unwrap(), Outcome::Skipped(_)));
    assert!(matches!(state(child), b'S' | b'R' | b'D'));
    pidfd::kill(child, libc::SIGKILL).unwrap();
}

#[test]
fn kernel_threads_and_process_one_never_match() {
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let kernel = |reader: &mut Reader, pid: u32| {
        reader.stat(pid).unwrap().is_some_and(|stat| stat.is_kernel_thread() || pid == 1)
    };
    let pids = reader.pids().unwrap();
    assert!(pids.into_iter().any(|pid| kernel(&mut reader, pid)));
    let found = find(&mut reader, NOBODY, &Selection::target("")).unwrap().candidates;
    assert!(!found.is_empty());
    assert!(found.iter().all(|candidate| !kernel(&mut reader, candidate.pid)));
}

#[test]
fn a_pid_that_somebody_else_has_by_now_is_left_alone() {
    let lab = Lab::new();
    let ward = lab.start(b"");
    let (mut reader, all) = (Reader::new(Path::new("/proc")).unwrap(), Selection::target(""));
    let found = find(&mut reader, NOBODY, &lab.failure().selection).unwrap().candidates;
    let [now] = found.as_slice() else { panic!("{found:?}") };
    let before = Candidate { start: now.start - 1, ..now.clone() };
    assert!(Victim::hold(&mut reader, &before, &all).unwrap().is_none(), "another start time");
    let other = Selection::target("no such name");
    assert!(Victim::hold(&mut reader, now, &other).unwrap().is_none(), "no match any more");
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
    let found = find(&mut reader, NOBODY, &lab.failure().selection).unwrap().candidates;
    let victim =
        Victim::hold(&mut reader, &found[0], &lab.failure().selection).unwrap().unwrap().without_pidfd();
    let cancel = Cancel::new().unwrap();
    assert_eq!(victim.wait(&mut reader, &cancel, Some(Instant::now())).unwrap(), Fate::Alive);
    cancel.cancel();
    assert_eq!(victim.wait(&mut reader, &cancel, None).unwrap(), Fate::Cancelled);
    assert!(victim.send(&mut reader, libc::SIGTERM).unwrap());
    let cancel = Cancel::new().unwrap();
    assert_eq!(victim.wait(&mut reader, &cancel, None).unwrap(), Fate::Dead, "a zombie is dead");
    assert_eq!(ward.signal(), Some(libc::SIGTERM));
}

#[test]
fn a_refusal_names_what_is_missing() {
    let lab = Lab::new();
    let mut ward = lab.start(b"");
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let uid = reader.uid(ward.pid()).unwrap();
    let found = find(&mut reader, NOBODY, &lab.failure().selection).unwrap().candidates;
    let victim = Victim::hold(&mut reader, &found[0], &lab.failure().selection).unwrap().unwrap();
    let denied = victim.forbidden(&reader, libc::SIGKILL, std::io::Error::from_raw_os_error(libc::EACCES));
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
    assert!(ward.0.try_wait().unwrap().is_none());
}

#[test]
fn readiness_asks_whether_a_victim_may_be_signalled_and_signals_nobody() {
    let lab = Lab::new();
    let (host, fault) = (Host::default(), lab.configured("{target_name: WORD, count: 2}"));
    // Nobody to be a victim now is no reason against the fault, where others can be seen at all.
    let nobody = fault.ready(&host).unwrap();
    assert!(nobody.starts_with("kills nobody now: no process that may be a victim matches"), "{nobody}");
    let alone = lab.configured("target_name: WORD");
    let alone = ProcessFault { own: 1, ..alone }.ready(&host).unwrap_err().to_string();
    assert!(alone.contains("shareProcessNamespace: true"), "{alone}");
    let mut ward = lab.start(b"");
    assert_eq!(fault.ready(&host).unwrap(), fault.describe(&host));
    if Reader::new(&host.proc).unwrap().uid(std::process::id()) != Some(0) {
        return; // only root can become somebody who may not signal the victim
    }
    let mut own = Ward::spawn(Command::new(lab.program(b"own")).arg("1000").uid(65534));
    let (mixed, denied) = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            pidfd::become_user(65534).unwrap();
            let mixed = fault.ready(&host).unwrap();
            own.0.kill().unwrap();
            own.0.wait().unwrap();
            (mixed, fault.ready(&host).unwrap_err().to_string())
        });
        stranger.join().unwrap()
    });
    let matches = format!("processes matching {:?} may not be signalled", lab.word);
    assert!(mixed.starts_with("kills 2 of 2") && mixed.ends_with(&format!("; 1 of 2 {matches}")), "{mixed}");
    let wanted = "; run the agent as their user, or as uid 0 with the capability KILL";
    assert_eq!(denied, format!("1 of 1 {matches}{wanted}"));
    assert!(ward.0.try_wait().unwrap().is_none());
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

#[test]
fn the_conditions_of_match_and_exclude_are_asked_of_the_kernel() {
    let lab = Lab::new();
    let ward = lab.start(b"one");
    let exe = lab.folder.join(format!("{}one", lab.word));
    let mut reader = Reader::new(Path::new("/proc")).unwrap();
    let uid = reader.uid(ward.pid()).unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", ward.pid())).unwrap();
    let path = cgroup.lines().last().unwrap().rsplit(':').next().unwrap();
    let mut count = |conditions: &str| {
        let fault = lab.configured(&format!("{{target_name: WORD, {conditions}}}"));
        find(&mut reader, NOBODY, &fault.selection).unwrap().candidates.len()
    };
    for (conditions, wanted) in [
        ("match: {exe: WORDone}", 1),
        (&*format!("match: {{exe: {}}}", exe.display()), 1),
        ("match: {exe: one}", 0),
        (&*format!("match: {{uid: {uid}}}"), 1),
        (&*format!("match: {{uid: {}}}", uid + 1), 0),
        (&*format!("match: {{container: '{path}'}}"), 1),
        ("match: {container: no-such-cgroup}", 0),
        ("match: {exact_name: WORDone}", 1),
        ("match: {exact_name: WORDon}", 0),
        ("exclude: [{name: WORDone}]", 0),
        ("exclude: [{name: WORDtwo}, {cmdline: ' 1001'}]", 1),
        ("exclude: [{name: WORDtwo}, {cmdline: ' 1000'}]", 0),
        (&*format!("exclude: [{{name: WORD, uid: {uid}}}]"), 0),
        (&*format!("exclude: [{{name: WORD, uid: {}}}]", uid + 1), 1),
        ("exclude: [{exe: WORDone}]", 0),
    ] {
        assert_eq!(count(conditions), wanted, "{conditions}");
    }
}

#[test]
fn who_may_not_see_a_program_is_told_and_spares_it_in_doubt() {
    let lab = Lab::new();
    let ward = lab.start(b"");
    if Reader::new(Path::new("/proc")).unwrap().uid(ward.pid()) != Some(0) {
        return; // only root can become somebody who may not look
    }
    let stranger = |yaml: &str| {
        let fault = lab.configured(yaml);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                pidfd::become_user(65534).unwrap();
                inject(&fault, &Cancel::new().unwrap()).0.unwrap()
            });
            thread.join().unwrap()
        })
    };
    let Outcome::Skipped(why) = stranger("{target_name: WORD, match: {exe: WORD}}") else { panic!() };
    assert!(why.starts_with("the program of 1 processes") && why.contains("CAP_SYS_PTRACE"), "{why}");
    let Outcome::Skipped(why) = stranger("{target_name: WORD, exclude: [{exe: other}]}") else { panic!() };
    assert!(why.starts_with("no process"), "{why}");
}

#[test]
fn of_a_crowd_only_those_chosen_die() {
    let lab = Lab::new();
    let program = lab.program(b"");
    let sleeper = || Ward::spawn(Command::new(&program).arg("1000"));
    let mut crowd: Vec<Ward> = (0..60).map(|_| sleeper()).collect();
    let dead = |crowd: &mut Vec<Ward>| {
        let before = crowd.len();
        crowd.retain_mut(|ward| ward.0.try_wait().unwrap().is_none());
        before - crowd.len()
    };
    killed(&lab.failure());
    assert_eq!(dead(&mut crowd), 1);
    killed(&lab.configured("{target_name: WORD, pick: random, count: '10%'}"));
    assert_eq!(dead(&mut crowd), 6, "59 rounded up");
    let line = lab.configured("{target_name: WORD, pick: random, count: 4}").describe(&Host::default());
    assert_eq!(line, format!("kills 4 of 53 processes matching {:?}", lab.word));
    let newest = crowd.iter().map(Ward::pid).next_back().unwrap();
    killed(&lab.configured("{target_name: WORD, pick: newest}"));
    assert!(dead(&mut crowd) == 1 && crowd.iter().all(|ward| ward.pid() != newest));
    killed(&lab.configured("{target_name: WORD, pick: all, min_survivors: 2}"));
    assert_eq!((dead(&mut crowd), crowd.len()), (50, 2));
    let spared = lab.configured("{target_name: WORD, min_survivors: 2}");
    assert!(matches!(inject(&spared, &Cancel::new().unwrap()).0.unwrap(), Outcome::Skipped(_)));
    let line = spared.describe(&Host::default());
    assert_eq!(line, "kills nobody now: 2 match and min_survivors is 2");
}

#[test]
fn the_same_seed_chooses_the_same_victim() {
    let lab = Lab::new();
    let program = lab.program(b"");
    let mut crowd: Vec<Ward> = (0..8).map(|_| Ward::spawn(Command::new(&program).arg("1000"))).collect();
    let fault = lab.configured("{target_name: WORD, pick: random, action: signal, signal: USR1}");
    let found = fault.find(&Host::default(), &mut open(&Host::default()).unwrap()).unwrap();
    let wanted = fault.choice.choose(&found.candidates, 77)[0].pid;
    let ran = run(&fault, &Cancel::new().unwrap(), Duration::ZERO, 77);
    assert_eq!((ran.outcome.unwrap(), ran.active), (Outcome::Success, true));
    assert_eq!(ran.measured, [("chaos_process_signals_total", &["SIGUSR1"][..], 1.0)]);
    let chosen = crowd.iter_mut().find(|ward| ward.pid() == wanted).unwrap();
    assert_eq!(chosen.signal(), Some(libc::SIGUSR1));
    assert_eq!(crowd.iter_mut().filter_map(|ward| ward.0.try_wait().unwrap()).count(), 1);
}

#[test]
fn the_return_of_a_victim_is_timed() {
    let lab = Lab::new();
    let program = lab.program(b"");
    // the supervisor's own command line does not match: the program's path comes by its environment
    let script = "\"$P\" 1000; sleep 0.1; exec \"$P\" 1000";
    let mut supervisor = Command::new("sh");
    let mut supervisor = Ward::spawn(supervisor.args(["-c", script]).env("P", &program));
    let fault = lab.configured("{target_name: WORD, action: kill, recovery_seconds: 60}");
    let host = Host::default();
    let found = || fault.find(&host, &mut open(&host).unwrap()).unwrap().candidates;
    until("the victim's start", || found().len() == 1);
    let first = found()[0].clone();
    let begin = Instant::now();
    let ran = run(&fault, &Cancel::new().unwrap(), Duration::ZERO, 1);
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(ran.outcome.unwrap(), Outcome::Success);
    let [("chaos_process_signals_total", ["SIGTERM"], 1.0), ("chaos_victim_recovery_seconds", [], seconds)] =
        *ran.measured
    else {
        panic!("{:?}", ran.measured)
    };
    assert!((0.08..=took).contains(&seconds), "{seconds} of {took}");
    assert_ne!(found()[0].pid, first.pid);
    assert!(supervisor.0.try_wait().unwrap().is_none());
}

#[test]
fn the_watch_for_a_return_ends_with_its_limit_and_with_the_agent() {
    let lab = Lab::new();
    let _ward = lab.start(b"");
    let ran = run(
        &lab.configured("{target_name: WORD, recovery_seconds: 0.02}"),
        &Cancel::new().unwrap(),
        Duration::ZERO,
        1,
    );
    assert_eq!((ran.outcome.unwrap(), ran.measured.len()), (Outcome::Success, 1));
    let _ward = lab.start(b"other");
    let (cancel, fault) =
        (Cancel::new().unwrap(), lab.configured("{target_name: WORD, recovery_seconds: 3600}"));
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&fault, &cancel, Duration::ZERO, 1));
        until("the victim's death", || {
            fault.find(&Host::default(), &mut open(&Host::default()).unwrap()).unwrap().candidates.is_empty()
        });
        cancel.cancel();
        running.join().unwrap()
    });
    assert!(!ran.measured.iter().any(|(name, ..)| *name == "chaos_victim_recovery_seconds"));
}

#[test]
fn a_victim_in_uninterruptible_sleep_that_a_signal_can_break_dies() {
    let me = std::env::current_exe().unwrap();
    let lab = Lab::new();
    let mut command = Command::new(me);
    command.args(["--exact", "sys::pidfd::tests::helper_uninterruptible", "--ignored"]);
    let ward =
        Ward::spawn(command.env("WORD", &lab.word).arg0(&lab.word).stdout(std::process::Stdio::null()));
    // the thread that sleeps is one of several; vfork blocks it alone
    until("a thread in uninterruptible sleep", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", ward.pid()));
        tasks.is_ok_and(|mut tasks| {
            tasks.any(|task| {
                let stat = fs::read(task.unwrap().path().join("stat")).unwrap_or_default();
                crate::proc::Stat::parse(&stat).is_some_and(|stat| stat.state == b'D')
            })
        })
    });
    let before = lab.configured("target_name: WORD");
    let found = before.find(&Host::default(), &mut open(&Host::default()).unwrap()).unwrap().candidates;
    killed(&lab.configured("{target_name: WORD, pick: all}"));
    assert!(found.len() >= 2, "parent and child of a vfork: {found:?}");
    let mut reader = open(&Host::default()).unwrap();
    assert!(found.iter().all(|one| reader.is_gone(one.pid, one.start).unwrap()));
}

#[test]
fn the_actions_are_read_with_their_conditions() {
    let problems = |yaml: &str| {
        let mut report = Report::default();
        let node = read_yaml(yaml, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report);
        section.set_required(true);
        let _ = parse_fault(&mut section);
        section.ignore("duration_seconds");
        drop(section.finish());
        report.problems("f").join("\n")
    };
    for (yaml, wanted) in [
        ("{target_name: redis, action: pause}", "duration_seconds: is missing"),
        ("{target_name: redis, action: pause, duration_seconds: 1, signal: HUP}", "no use with action pause"),
        ("{target_name: redis, action: signal}", "signal: is missing"),
        ("{target_name: redis, action: signal, signal: STOP}", "action: pause"),
        ("{target_name: redis, action: kill, signal: 20}", "action: pause"),
        ("{target_name: redis, signal: HUPP}", "is no signal"),
        ("{target_name: redis, signal: 65}", "is no signal"),
        ("{target_name: redis, grace_seconds: -1}", "grace_seconds"),
        ("{target_name: redis, action: explode}", "action"),
    ] {
        assert!(problems(yaml).contains(wanted), "{yaml}: {}", problems(yaml));
    }
    assert_eq!(problems("{target_name: redis, action: signal, signal: 1}"), "");
    assert_eq!(problems("{target_name: redis, action: pause, duration_seconds: 1}"), "");
}
