//! The commands that ask a running agent: healthcheck and status.

use crate::support::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Output;

const CONFIG: &str = "agent:\n  dry_run: true\n  metrics: {address: ADDRESS, port: PORT}\nfailures:\n  cpu: {probability: 0}\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, standard output, standard error.
fn done(output: &Output) -> (i32, String, String) {
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Answers one request with this; gives back its first line.
fn serve(answer: String) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| line != "\r\n") {
            let mut line = String::new();
            assert!(stream.read_line(&mut line).unwrap() > 0);
            lines.push(line);
        }
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        lines.swap_remove(0)
    });
    (port, thread)
}

#[test]
fn healthcheck_finds_the_running_agent_by_its_config_or_port() {
    for address in ["127.0.0.1", "0.0.0.0", "'::'", "'::1'"] {
        let agent = Agent::start(&CONFIG.replace("ADDRESS", address));
        agent.wait_log("metrics on");
        let config = agent.folder.0.join("config.yaml");
        let ways = [
            vec!["healthcheck".to_owned()], // ./config.yaml
            vec!["healthcheck".to_owned(), format!("--config={}", config.display())],
            vec!["healthcheck".to_owned(), "--port".to_owned(), agent.port.to_string()],
            vec!["healthcheck".to_owned(), format!("http://localhost:{}/-/healthy", agent.port)],
        ];
        for way in &ways {
            let words: Vec<&str> = way.iter().map(String::as_str).collect();
            let output = run(&words, &agent.folder.0);
            assert_eq!(done(&output), (0, "ok\n".to_owned(), String::new()), "{address} {way:?}");
        }
        // A new config that is bad leaves the agent running on the old one, so it is well.
        std::fs::write(&config, format!("agent: {{typo: 1, metrics: {{port: {}}}}}", agent.port)).unwrap();
        if address != "'::1'" {
            assert_eq!(done(&run(&["healthcheck"], &agent.folder.0)).0, 0, "{address}");
        }
        assert_eq!(agent.stop().0, 0);
    }
}

#[test]
fn a_healthcheck_that_fails_says_why_and_exits_with_1() {
    let folder = Folder::new();
    // Nobody listens on port 1.
    let quiet = folder.write("quiet.yaml", "agent: {metrics: {address: 127.0.0.1, port: 1}}");
    let off = folder.write("off.yaml", "agent: {metrics: {enabled: false}}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port().to_string();
    let (stranger, thread) =
        serve("HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 3\r\n\r\nok\n".to_owned());
    let (ill, other) = serve("HTTP/1.1 503 No\r\nContent-Length: 8\r\n\r\ndraining".to_owned());
    for (args, words) in [
        (&["--config", quiet.to_str().unwrap()][..], "cannot connect to 127.0.0.1:1: Connection refused"),
        (&["--config", off.to_str().unwrap()], "agent.metrics.enabled is false"),
        (&["--config", "/no/such.yaml"], "cannot read /no/such.yaml: No such file"),
        (&["--port", &silent, "--timeout", "50ms"], "within 0.05 s"),
        (&["--port", &stranger.to_string()], "is answered by another program (nginx)"),
        (&[&format!("http://127.0.0.1:{ill}/ready")], "answered with status 503: draining"),
    ] {
        let (code, out, err) = done(&run(&[&["healthcheck"], args].concat(), &folder.0));
        assert!(code == 1 && out.is_empty() && err.contains(words), "{args:?}: {code} {out} {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert_eq!(thread.join().unwrap(), "GET /healthz HTTP/1.1\r\n");
    assert_eq!(other.join().unwrap(), "GET /ready HTTP/1.1\r\n");
    assert_eq!(run(&["healthcheck", "https://a/"], &folder.0).status.code(), Some(64));
}

#[test]
fn status_prints_what_the_agent_says_for_people_or_programs() {
    let folder = Folder::new();
    for (form, path) in [
        (&[][..], "/status?format=text"),
        (&["-o", "text"], "/status?format=text"),
        (&["-o", "json"], "/status"),
    ] {
        let answer = "HTTP/1.1 200 OK\r\nServer: chaos-agent\r\nContent-Length: 4\r\n\r\n{1}\n";
        let (port, thread) = serve(answer.to_owned());
        let port = port.to_string();
        let output = run(&[&["status", "--port", &port], form].concat(), &folder.0);
        assert_eq!(done(&output), (0, "{1}\n".to_owned(), String::new()));
        assert_eq!(thread.join().unwrap(), format!("GET {path} HTTP/1.1\r\n"));
    }
}
