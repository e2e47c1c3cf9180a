//! Host names, asked of a name server of the test's own by the binary's own resolver.

use crate::common::apart::apart;
use crate::support::*;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server says to the questions of one family.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    /// This address.
    Is(&'static str),
    /// There is the name, but without such an address.
    Nothing,
    /// An error: 2 SERVFAIL, 3 NXDOMAIN, 4 NOTIMP, 5 REFUSED (RFC 1035, 4.1.1).
    Error(u8),
    /// No answer.
    Silence,
}

/// Answers to A and AAAA.
type Script = Arc<Mutex<[Says; 2]>>;

/// The answer to a question (RFC 1035, 4.1): header, question, and where there is one a record that points to its name.
fn answer(question: &[u8], script: &Script) -> Option<Vec<u8>> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0)? + 5;
    let kind = question[end - 3];
    let says = script.lock().unwrap()[usize::from(kind == 28)];
    let (code, address) = match says {
        Says::Is(address) => (0, Some(address.parse::<IpAddr>().unwrap())),
        Says::Nothing => (0, None),
        Says::Error(code) => (code, None),
        Says::Silence => return None,
    };
    let mut bytes = question[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    bytes.extend(&question[12..end]);
    let octets = match address {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets().to_vec(),
        None => return Some(bytes),
    };
    bytes.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, octets.len() as u8]);
    bytes.extend(octets);
    Some(bytes)
}

/// A name server at 127.0.0.1, which this namespace asks from now on, and a web server on every address.
fn servers() -> Script {
    let script: Script = Arc::new(Mutex::new([Says::Nothing; 2]));
    let folder = Folder::new();
    for (name, text) in
        [("resolv.conf", "nameserver 127.0.0.1\n"), ("hosts", "::ffff:127.0.0.1 mapped.test\n")]
    {
        let from = folder.write(name, text);
        let done =
            Command::new("mount").arg("--bind").arg(from).arg(format!("/etc/{name}")).status().unwrap();
        assert!(done.success());
    }
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let theirs = Arc::clone(&script);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(bytes) = answer(&buffer[..length], &theirs) {
                socket.send_to(&bytes, from).unwrap();
            }
        }
    });
    let web = TcpListener::bind("[::]:8080").unwrap();
    std::thread::spawn(move || {
        for mut stream in web.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            });
        }
    });
    script
}

/// Asks the web server by name; what went wrong, and how long it took.
fn check(name: &str, limit: &str) -> (Result<(), String>, Duration) {
    let begin = Instant::now();
    let mut command = Command::new(binary());
    let url = format!("http://{name}:8080/");
    let done = command.args(["healthcheck", &url, "--timeout", limit]).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    (if done.status.success() { Ok(()) } else { Err(told) }, begin.elapsed())
}

#[test]
fn a_name_is_resolved_when_one_family_answers_whatever_the_other_does() {
    if apart("names::a_name_is_resolved_when_one_family_answers_whatever_the_other_does") {
        return;
    }
    let script = servers();
    let bad = [2, 3, 4, 5].map(Says::Error).into_iter().chain([Says::Nothing, Says::Silence]);
    let (four, six) = (Says::Is("127.0.0.1"), Says::Is("::1"));
    for bad in bad {
        for says in [[four, bad], [bad, six]] {
            *script.lock().unwrap() = says;
            // Less than musl's resolver waits for a silent server.
            let (found, took) = check("app.test", "4");
            println!("{says:?}: {found:?} in {took:?}");
            assert_eq!(found, Ok(()), "{says:?}, after {took:?}");
        }
        // By neither family there is an error, in time, that says what the resolver said.
        *script.lock().unwrap() = [bad, bad];
        let (found, took) = check("app.test", "1");
        let why = found.unwrap_err();
        println!("{bad:?} twice: {why} in {took:?}");
        let late = why.contains("app.test was not resolved within 1 s");
        assert!(
            late || (bad != Says::Silence && why.contains("cannot resolve app.test: ")),
            "{bad:?}: {why}"
        );
    }
    *script.lock().unwrap() = [four, six];
    assert_eq!(check("app.test", "60").0, Ok(()));
    // An IPv4-mapped address of the hosts file or of a server is the IPv4 address, also where there is no IPv6.
    std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    assert_eq!(check("mapped.test", "60").0, Ok(()));
    *script.lock().unwrap() = [Says::Nothing, Says::Is("::ffff:127.0.0.1")];
    assert_eq!(check("app.test", "60").0, Ok(()));
}

#[test]
fn a_probe_by_name_is_well_while_the_other_family_is_silent() {
    if apart("names::a_probe_by_name_is_well_while_the_other_family_is_silent") {
        return;
    }
    let script = servers();
    *script.lock().unwrap() = [Says::Is("127.0.0.1"), Says::Silence];
    // Far more probes than questions may hang: those that nobody answers must not pile up.
    let probes: Vec<_> =
        (0..40).map(|number| format!("{{name: p{number}, tcp: 'app{number}.test:8080'}}")).collect();
    let config = format!(
        "agent:\n  dry_run: true\n  metrics: {{port: PORT}}\n  steady_state: [{}]\nfailures:\n  cpu: {{probability: 0}}\n",
        probes.join(", ")
    );
    let agent = Agent::start(&config);
    agent.wait_log("metrics on");
    wait_for("all probes to be well", || {
        let text = get(agent.port, "/metrics").map_err(|error| error.to_string())?.1;
        let well = |number| sample(&text, &format!("chaos_steady_state{{probe=\"p{number}\"}}")) == Some(1.0);
        match (0..40).filter(|number| !well(*number)).count() {
            0 => Ok(()),
            count => Err(format!("{count} are not\n{}", agent.log())),
        }
    });
}
