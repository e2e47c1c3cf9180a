//! What is done to victims, and what they do about it.

use super::*;

#[test]
fn who_ends_by_itself_within_the_grace_gets_no_sigkill() {
    let lab = Lab::new();
    let script = "trap '' TERM; exec \"$0\" 0.3";
    let mut ward = Ward::spawn(Command::new("sh").args(["-c", script]).arg(lab.program(b"brief")));
    until("the victim's start", || name_of(ward.pid()).starts_with(lab.word.as_bytes()));
    let fault = lab.configured("{target_name: WORD, grace_seconds: 60}");
    let ran = run(&Once(&fault), &Cancel::new().unwrap(), Duration::ZERO, 1);
    let signals: Vec<_> = ran.measured.iter().map(|(_, labels, _)| labels[0]).collect();
    match ran.outcome.unwrap() {
        Outcome::Success => assert_eq!(signals, ["SIGTERM"]),
        // On a loaded machine it may be gone before it was looked for.
        Outcome::Skipped(why) => {
            assert!(why.contains("ended by itself") || why.contains("no process"), "{why}")
        }
    }
    assert!(ward.0.wait().unwrap().success(), "it was killed");
}

#[test]
fn a_storm_of_forks_is_met_once_and_its_source_is_spared() {
    let lab = Lab::new();
    // Matching processes come and go while they are listed, held and signalled; the loop itself does not match.
    let script = "i=0; while [ -e \"$F\" ] && [ $i -lt 9999 ]; do \"$P\" 0.01 & i=$((i+1)); done; wait; exec sleep 1000";
    let goes_on = lab.folder.join("goes on");
    fs::write(&goes_on, "").unwrap();
    let mut storm = Command::new("sh");
    storm.args(["-c", script]).env("P", lab.program(b"storm")).env("F", &goes_on);
    let mut storm = Ward::spawn(&mut storm);
    let fault = lab.configured("{target_name: WORD, pick: all, grace_seconds: 10}");
    let host = Host::default();
    let mut met = 0;
    while met < 20 && name_of(storm.pid()) == b"sh" {
        let ran = run(&Once(&fault), &Cancel::new().unwrap(), Duration::ZERO, 1);
        match ran.outcome.unwrap() {
            Outcome::Success => met += ran.measured.len(),
            Outcome::Skipped(why) => {
                assert!(why.contains("ended by itself") || why.contains("no process"), "{why}")
            }
        }
    }
    fs::remove_file(goes_on).unwrap();
    until("the end of the storm", || name_of(storm.pid()) == b"sleep");
    assert!((20..9999).contains(&met), "{met} signals");
    assert!(storm.0.try_wait().unwrap().is_none(), "the loop was killed");
    assert!(fault.find(&host, &mut open(&host).unwrap()).unwrap().candidates.is_empty());
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
    // It is in force as soon as the signal is sent.
    let ran = run_until(&Once(&failure), &cancel, Duration::ZERO, 1, &|| cancel.cancel());
    let Outcome::Skipped(why) = ran.outcome.unwrap() else { panic!("the victim ignores SIGTERM") };
    assert!(why.starts_with("the agent stops; SIGTERM was sent, not ended by then: process "), "{why}");
    assert!(ward.0.try_wait().unwrap().is_none(), "the victim was killed on the way out");
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
    let denied =
        victim.forbidden(&reader, libc::SIGKILL, std::io::Error::from_raw_os_error(libc::EACCES).into());
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
        "cannot send SIGTERM to {victim} of uid 0: Operation not permitted [kill({}, SIGTERM)]; the agent \
         lacks CAP_KILL: add the capability KILL to the container and run it as uid 0, or run the agent as uid 0",
        ward.pid()
    );
    assert_eq!((refused.0.unwrap_err().to_string(), refused.1), (wanted, false));
    assert!(ward.0.try_wait().unwrap().is_none());
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
    command.args(["--exact", "linux::sys::pidfd::tests::helper_uninterruptible", "--ignored"]);
    let ward =
        Ward::spawn(command.env("WORD", &lab.word).arg0(&lab.word).stdout(std::process::Stdio::null()));
    // the thread that sleeps is one of several; vfork blocks it alone
    until("a thread in uninterruptible sleep", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", ward.pid()));
        tasks.is_ok_and(|mut tasks| {
            tasks.any(|task| {
                let stat = fs::read(task.unwrap().path().join("stat")).unwrap_or_default();
                crate::linux::proc::Stat::parse(&stat).is_some_and(|stat| stat.state == b'D')
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
        let mut section = Section::top(&node, &mut report, KEYS);
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
    let wanted = "; the agent lacks CAP_KILL: add the capability KILL to the container and run it as uid 0, or run \
                  the agent as their user";
    assert_eq!(denied, format!("1 of 1 {matches}{wanted}"));
    assert!(ward.0.try_wait().unwrap().is_none());
}
