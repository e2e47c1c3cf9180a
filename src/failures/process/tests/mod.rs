//! Real victims: copies of `sleep` under odd names.

use super::find::find;
use super::victim::{Candidate, Fate, Victim};
use super::*;
use crate::cancel::Cancel;
use crate::linux::sys::{pidfd, task};
use crate::revert::guard::Guard;
use crate::settings::{Report, parse as read_yaml};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;
use std::{fs, io};

/// Nobody's pid: victims of these tests are children of the test, which a real agent would spare.
const NOBODY: u32 = 0;

mod acts;
mod late;

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
            returns: Returns::default(),
        }
    }

    /// As configured by `yaml`, with WORD for the word.
    fn configured(&self, yaml: &str) -> ProcessFault {
        let yaml = yaml.replace("WORD", &self.word);
        let mut report = Report::default();
        let node = read_yaml(&yaml, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report, KEYS);
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
    run_until(failure, cancel, duration, seed, &|| ())
}

/// The same; calls `begun` when it is in force.
fn run_until(
    failure: &dyn Failure,
    cancel: &Cancel,
    duration: Duration,
    seed: u64,
    begun: &(dyn Fn() + Sync),
) -> Ran {
    let (host, guard, began) = (Host::default(), Guard::new(), AtomicBool::new(false));
    let measured = Mutex::new(Vec::new());
    let on_active = || {
        began.store(true, Ordering::Relaxed);
        begun();
    };
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
