//! Real applications: servers on the loopback that become ill and well, and processes that end.

use super::*;
use crate::linux::sys::poll;
use crate::settings::{Report, Section, parse};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, AtomicUsize};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn probes(list: &str) -> Vec<Probe> {
    let mut report = Report::default();
    let node = parse(&format!("steady_state: [{list}]"), &mut report).unwrap();
    let probes = read(&mut Section::top(&node, &mut report, crate::settings::Keys(""))).unwrap();
    assert_eq!(report.problems("f"), [""; 0], "{list}");
    probes
}

struct Lab {
    metrics: Arc<Metrics>,
    notify: Arc<EventFd>,
}

impl Lab {
    fn new() -> Lab {
        Lab { metrics: Arc::new(Metrics::new("0", 0)), notify: Arc::new(EventFd::new().unwrap()) }
    }

    fn start(&self, list: &str) -> Steady {
        let (metrics, notify) = (Arc::clone(&self.metrics), Arc::clone(&self.notify));
        Steady::start(probes(list), metrics, notify, Path::new("/proc")).unwrap()
    }

    /// Waits for a verdict as an agent would: only when something was signalled it looks again.
    fn wait(&self, steady: &Steady, wanted: impl Fn(&Verdict) -> bool) -> Verdict {
        let end = Instant::now() + PATIENCE;
        loop {
            self.notify.clear();
            let verdict = steady.verdict();
            if wanted(&verdict) {
                return verdict;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still {verdict:?}");
            poll::readable(&[Some(self.notify.as_fd())], Some(left)).unwrap();
        }
    }

    fn sample(&self, name: &str, probe: &str) -> Option<f64> {
        let mut out = Vec::new();
        self.metrics.render(&mut out);
        let text = String::from_utf8(out).unwrap();
        let start = format!("{name}{{probe=\"{probe}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    fn breaches(&self, probe: &str) -> Option<f64> {
        self.sample("chaos_steady_state_breaches_total", probe)
    }

    fn state(&self, probe: &str) -> Option<f64> {
        self.sample("chaos_steady_state", probe)
    }
}

/// Answers every request with the status that it has at that moment, and counts them.
struct App {
    url: String,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl App {
    fn new(status: u16) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(status));
        let asked = Arc::new(AtomicUsize::new(0));
        let (now, count) = (Arc::clone(&status), Arc::clone(&asked));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let status = now.load(Ordering::Relaxed);
                // Before the answer, so that who has it finds it counted.
                count.fetch_add(1, Ordering::Relaxed);
                let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            }
        });
        App { url, status, asked }
    }

    fn becomes(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn wait_asked(&self, more: usize) {
        let wanted = self.asked.load(Ordering::Relaxed) + more;
        let end = Instant::now() + PATIENCE;
        while self.asked.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < end, "asked {:?} of {wanted} times", self.asked);
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}

fn is_broken(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Broken { .. })
}

#[test]
fn tolerances_are_counted_in_rows() {
    let [probe] = &probes("{process: a, failures_before_halt: 3, successes_before_resume: 2}")[..] else {
        panic!("one probe")
    };
    let mut state = State::default();
    let (ok, ill) = (|| Ok(()), || Err("ill".to_owned()));
    let healths: Vec<Health> = [
        ill(),
        ill(),
        ill(),
        ill(),
        ok(), // unknown until the first success
        ill(),
        ill(),
        ok(),
        ill(),
        ill(),
        ill(), // a success in between begins the row anew
        ok(),
        ill(),
        ok(),
        ok(),
    ]
    .into_iter()
    .map(|result| {
        state.observe(probe, result);
        state.health
    })
    .collect();
    use Health::*;
    let wanted =
        [Unknown, Unknown, Unknown, Unknown, Well, Well, Well, Well, Well, Well, Ill, Ill, Ill, Ill, Well];
    assert_eq!(healths, wanted);
}

#[test]
fn an_application_is_awaited_watched_and_found_again() {
    let (lab, app) = (Lab::new(), App::new(503));
    let steady = lab.start(&format!("{{http: '{}', name: app, interval_seconds: 0.1}}", app.url));
    app.wait_asked(4);
    // Ill from the beginning: nothing was broken, and nothing is counted.
    assert_eq!(steady.verdict(), Verdict::Waiting(vec!["app".to_owned()]));
    assert_eq!((lab.state("app"), lab.breaches("app")), (Some(0.0), Some(0.0)));
    for round in 1..=2 {
        app.becomes(200);
        lab.wait(&steady, |verdict| *verdict == Verdict::Well);
        assert_eq!(lab.state("app"), Some(1.0));
        app.becomes(500);
        let verdict = lab.wait(&steady, is_broken);
        let reason = format!("{} answered 500, not 200", app.url);
        assert_eq!(verdict, Verdict::Broken { probe: "app".to_owned(), reason });
        assert_eq!((lab.state("app"), lab.breaches("app")), (Some(0.0), Some(f64::from(round))));
    }
}

#[test]
fn without_probes_everything_is_well_and_no_thread_runs() {
    let lab = Lab::new();
    let mut steady =
        Steady::start(Vec::new(), Arc::clone(&lab.metrics), Arc::clone(&lab.notify), Path::new("/proc"));
    let steady = steady.as_mut().unwrap();
    assert!(steady.thread.is_none());
    assert_eq!(steady.verdict(), Verdict::Well);
}

#[test]
fn one_that_is_ill_comes_before_those_awaited_and_probes_do_not_hinder_each_other() {
    let (lab, app, other) = (Lab::new(), App::new(200), App::new(200));
    // Port 1 is in nobody's hands; the hanging one costs its time limit again and again.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let steady = lab.start(&format!(
        "{{tcp: '127.0.0.1:1', name: never}}, {{http: 'http://{}', name: hangs, timeout_ms: 50, interval_seconds: 0.1}}, \
         {{http: '{}', name: app, interval_seconds: 0.1, failures_before_halt: 1}}, \
         {{http: '{}', name: other, expect_status: 404}}",
        hanging.local_addr().unwrap(),
        app.url,
        other.url
    ));
    app.wait_asked(2);
    assert_eq!(lab.state("app"), Some(1.0));
    app.becomes(503);
    let verdict = lab.wait(&steady, is_broken);
    assert!(matches!(&verdict, Verdict::Broken { probe, .. } if probe == "app"), "{verdict:?}");
    app.becomes(200);
    let verdict = lab.wait(&steady, |verdict| !is_broken(verdict));
    assert_eq!(verdict, Verdict::Waiting(["never", "hangs", "other"].map(str::to_owned).to_vec()));
    let reasons: Vec<_> = steady.states().into_iter().map(|(_, state)| state.reason).collect();
    assert!(reasons[0].contains("Connection refused") && reasons[1].contains("within 0.05 s"), "{reasons:?}");
    assert!(reasons[3].ends_with("answered 200, not 404"), "{reasons:?}");
}

#[test]
fn who_probes_only_between_faults_rests_during_them() {
    let (lab, idle, always) = (Lab::new(), App::new(200), App::new(200));
    let steady = lab.start(&format!(
        "{{http: '{}', name: idle, interval_seconds: 0.1, while: idle}}, {{http: '{}', interval_seconds: 0.1}}",
        idle.url, always.url
    ));
    lab.wait(&steady, |verdict| *verdict == Verdict::Well);
    steady.busy(true);
    idle.becomes(500); // the fault that is active now
    always.wait_asked(2); // one may have been under way
    let before = idle.asked.load(Ordering::Relaxed);
    always.wait_asked(5);
    assert_eq!(idle.asked.load(Ordering::Relaxed), before, "asked during a fault");
    assert_eq!(steady.verdict(), Verdict::Well);
    steady.busy(false);
    lab.wait(&steady, is_broken);
    assert_eq!(lab.breaches("idle"), Some(1.0));
}

#[test]
fn a_result_that_comes_during_a_fault_does_not_count() {
    // Answers only when told to.
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::new();
    let steady = lab.start(&format!(
        "{{http: 'http://{}', name: app, timeout_ms: 10000, interval_seconds: 0.1, while: idle}}, {{tcp: '{}'}}",
        app.local_addr().unwrap(),
        other.local_addr().unwrap()
    ));
    let answer = || {
        let mut stream = app.accept().unwrap().0;
        let _ = stream.read(&mut [0; 1024]);
        move || write!(stream, "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n").unwrap()
    };
    let mut first = answer();
    steady.busy(true);
    first();
    // The turn of the other comes when the result has been looked at.
    other.accept().unwrap();
    steady.busy(false);
    let mut second = answer();
    let verdict = steady.verdict();
    assert!(matches!(&verdict, Verdict::Waiting(names) if names.contains(&"app".to_owned())), "{verdict:?}");
    second();
    lab.wait(&steady, |verdict| *verdict == Verdict::Well);
}

#[test]
fn a_stop_does_not_wait_for_a_probe_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::new();
    let list = format!(
        "{{http: 'http://{}', timeout_ms: 10000, interval_seconds: 60}}",
        listener.local_addr().unwrap()
    );
    // Ten seconds each if they were waited for.
    let end = Instant::now() + PATIENCE;
    for _ in 0..20 {
        let steady = lab.start(&list);
        let stream = listener.accept().unwrap();
        drop(steady);
        drop(stream);
    }
    assert!(Instant::now() < end, "stops wait for the time limit of the probe");
}

#[test]
fn a_restart_takes_other_probes_and_leaves_the_same_alone() {
    let (lab, app) = (Lab::new(), App::new(200));
    let first = format!("{{http: '{}', name: first}}", app.url);
    let mut steady = lab.start(&first);
    lab.wait(&steady, |verdict| *verdict == Verdict::Well);
    steady.restart(probes(&first)).unwrap();
    assert_eq!(steady.verdict(), Verdict::Well, "the same probes begin anew");
    steady.restart(probes("{tcp: '127.0.0.1:1', name: second}")).unwrap();
    assert_eq!(steady.verdict(), Verdict::Waiting(vec!["second".to_owned()]));
    assert_eq!((lab.state("first"), lab.state("second")), (None, Some(0.0)));
    assert_eq!(lab.breaches("first"), None, "what no config names is forgotten");
    steady.restart(Vec::new()).unwrap();
    assert_eq!((steady.verdict(), lab.state("second")), (Verdict::Well, None));
}

#[test]
fn names_over_many_configs_do_not_make_the_metrics_endless() {
    let lab = Lab::new();
    let mut steady = lab.start("{tcp: '127.0.0.1:1', name: kept}");
    for round in 0..40 {
        let name = |number| format!("{{tcp: '127.0.0.1:1', name: '{round} {number} {}'}}", "\"".repeat(500));
        let list: Vec<String> = (0..99).map(name).collect();
        steady.restart(probes(&format!("{}, {{tcp: '127.0.0.1:1', name: kept}}", list.join(", ")))).unwrap();
    }
    let mut text = Vec::new();
    lab.metrics.render(&mut text);
    assert!(text.len() < 128 << 10, "{} bytes", text.len());
    assert_eq!(lab.breaches("kept"), Some(0.0));
}

#[test]
fn a_process_that_ends_is_a_breach() {
    use std::os::unix::process::CommandExt;
    let name = format!("steady-{}", std::process::id());
    let mut child = std::process::Command::new("sleep").arg0(&name).arg("1000").spawn().unwrap();
    let lab = Lab::new();
    let steady = lab.start(&format!("{{process: {name}, interval_seconds: 0.1, failures_before_halt: 1}}"));
    lab.wait(&steady, |verdict| *verdict == Verdict::Well);
    child.kill().unwrap();
    let verdict = lab.wait(&steady, is_broken);
    let reason = format!("0 processes are named {name:?}, not 1 or more");
    assert_eq!(verdict, Verdict::Broken { probe: name, reason });
    child.wait().unwrap();
}
