//! The steady state of a real application: faults wait for it, end with it, and come back with it.

use crate::support::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

/// An application that answers every request with the status it was told last.
struct App {
    port: u16,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl App {
    fn start(status: u16) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let (answer, count) = (Arc::clone(&status), Arc::clone(&asked));
        // Ends with the test's process; the agents that ask it end with their tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 1024]);
                count.fetch_add(1, Ordering::SeqCst);
                let status = answer.load(Ordering::SeqCst);
                let _ = write!(stream, "HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n");
            }
        });
        App { port, status, asked }
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn config(&self, more: &str) -> String {
        format!(
            "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: 0.1\n  steady_state:\n  \
             - {{http: 'http://127.0.0.1:{}/healthz', name: app, interval_seconds: 0.1, timeout_ms: 5000{more}}}\n\
             failures:\n  burn: {{type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}}\n",
            self.port
        )
    }
}

#[test]
fn the_query_of_a_probe_stays_with_who_asks() {
    let app = App::start(503);
    let secret = "http://127.0.0.1:PORT2/healthz?token=hunter2".replace("PORT2", &app.port.to_string());
    let config = app.config("").replace(&format!("http://127.0.0.1:{}/healthz", app.port), &secret);
    let agent = Agent::start(&config.replace("name: app, ", ""));
    agent.wait_log("answered 503, not 200");
    let place = format!("http://127.0.0.1:{}/healthz", app.port);
    assert_eq!(agent.metric(&format!("chaos_steady_state{{probe=\"{place}\"}}")), Some(0.0));
    // A problem of the next config is shown to everybody too.
    let broken = format!(
        "agent: {{steady_state: [{{http: 'https://u:hunter2@{}/?a=hunter2'}}]}}\nfailures: {{}}\n",
        app.port
    );
    std::fs::write(agent.folder.0.join("config.yaml"), broken).unwrap();
    agent.signal(libc::SIGHUP);
    agent.wait_log("needs TLS");
    for path in ["/metrics", "/status", "/status?format=text", "/"] {
        let (_, text) = get(agent.port, path).unwrap();
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
    assert!(!agent.log().contains("hunter2"), "{}", agent.log());
    assert_eq!(agent.stop().0, 0);
}

const ACTIVE: &str = "chaos_injection_active{failure_type=\"cpu\"}";
const STATE: &str = "chaos_steady_state{probe=\"app\"}";
const HALTED: &str = "chaos_halted{reason=\"steady_state\"}";

#[test]
fn a_fault_waits_for_the_application_ends_with_it_and_comes_back_with_it() {
    let app = App::start(503);
    let agent = Agent::start(&app.config(""));
    agent.wait_log("app is not well yet, so no fault starts: http://127.0.0.1");
    assert_eq!((agent.metric(ACTIVE), agent.metric(STATE)), (Some(0.0), Some(0.0)));
    let (_, text) = get(agent.port, "/status?format=text").unwrap();
    assert!(text.contains("the dice rest: waiting for a first success of app\n"), "{text}");
    app.set(200);
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    assert_eq!((agent.metric(STATE), agent.metric(HALTED)), (Some(1.0), Some(0.0)));
    app.set(500);
    agent.wait_log("halted (steady_state): app: ");
    let line = agent.wait_log("burn: success after");
    assert!(line.ends_with("all reverted, ended early: the application left its steady state"), "{line}");
    agent.wait_metric(HALTED, |value| value == 1.0);
    assert_eq!(agent.metric(ACTIVE), Some(0.0));
    assert_eq!(agent.metric("chaos_steady_state_breaches_total{probe=\"app\"}"), Some(1.0));
    app.set(200);
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    assert_eq!(agent.metric(HALTED), Some(0.0));
    let (code, log) = agent.stop();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_probe_for_idle_times_rests_while_a_fault_is_active() {
    let app = App::start(200);
    let agent = Agent::start(&app.config(", while: idle"));
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    app.set(500);
    let asked = app.asked.load(Ordering::SeqCst);
    let tick = |agent: &Agent| {
        let (_, body) = get(agent.port, "/status").unwrap();
        let tree: serde_json::Value = serde_json::from_str(&body).unwrap();
        tree["tick"].as_u64().unwrap()
    };
    let start = tick(&agent);
    wait_for("five ticks", || match tick(&agent) {
        now if now > start + 5 => Ok(()),
        now => Err(format!("tick {now}")),
    });
    // One question may have been on its way when the fault began.
    assert!(app.asked.load(Ordering::SeqCst) <= asked + 1);
    assert_eq!((agent.metric(ACTIVE), agent.metric(HALTED)), (Some(1.0), Some(0.0)));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn other_probes_of_another_config_are_asked_from_the_beginning() {
    let (ill, well) = (App::start(500), App::start(200));
    let agent = Agent::start(&ill.config(""));
    agent.wait_log("app is not well yet");
    let path = agent.folder.0.join("config.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&ill.port.to_string(), &well.port.to_string())).unwrap();
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    let text = text.lines().filter(|line| !line.contains("http:") && !line.contains("steady_state"));
    std::fs::write(&path, text.collect::<Vec<_>>().join("\n")).unwrap();
    agent.wait_logs("config loaded again", 2);
    assert_eq!(agent.metric(STATE), None, "a probe that is gone says nothing");
    assert_eq!(agent.metric(ACTIVE), Some(1.0));
    assert_eq!(agent.stop().0, 0);
}
