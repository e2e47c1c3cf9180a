//! The status page as a browser gets it from the real agent.

use crate::support::*;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn config(agent: &str, failures: &str) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: 0.1\n{agent}\nfailures:\n{failures}\n"
    )
}

/// The page, well-formed: each tag that opens closes in the right order, and no `<`, `>` or `&` stands alone.
fn page(agent: &Agent) -> String {
    let (status, page) = get(agent.port, "/").unwrap();
    assert_eq!(status, 200);
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let mut open = Vec::new();
    let markup = [head.strip_prefix("<!DOCTYPE html>\n").unwrap(), body].concat();
    for part in markup.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("<{part} does not end"));
        assert!(!text.contains('>'), "a bare > in {text:?}");
        let entities = text.split('&').skip(1);
        for entity in entities {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|name| entity.starts_with(name)), "&{entity}");
        }
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}> in {page}"),
            None if ["meta", "br"].contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} left open in {page}");
    // Nothing is fetched from anywhere: the only addresses are links to this very server.
    for foreign in ["//", "src=", "url(", "@import", "<script", "<link", "<img", "<iframe"] {
        assert!(!page.contains(foreign), "{foreign} in {page}");
    }
    page
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
}

#[test]
fn the_page_shows_what_is_active_what_was_and_what_cannot_be() {
    let agent = Agent::start(&config(
        "",
        "  burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}
  short: {type: memory, enabled: true, probability: 1, duration_seconds: 0.001, mb: 1}
  huge: {type: memory, enabled: true, probability: 1, duration_seconds: 1, mb: 1048576}
  nobody: {type: process, enabled: true, probability: 1, target_name: no such program anywhere}",
    ));
    agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
    agent.wait_logs("short: success", 50);
    let text = page(&agent);
    // More than one while the short one is active too.
    has(
        &text,
        &[
            "<section class=\"answer now\"><h1>",
            " ACTIVE</h1>",
            "<h2>burn <small>cpu</small></h2>",
            " left, until ",
            "burns 0.1 of ",
            &format!("SIGUSR1 to process {}, ", agent.pid()),
            "<rect class=\"now\"",
            "<rect class=\"success\"",
            "<rect class=\"failed\"",
            "<span class=\"failed\">NOT READY</span> <span>cannot fill 1048576 MiB",
            "<td class=\"skipped\">skipped</td>",
            "config.yaml, loaded ",
        ],
    );
    assert_eq!(text.matches("<tr><td>").count(), 50, "{text}");
    let bars = text.find("<svg").unwrap()..text.find("</svg>").unwrap();
    let rest = text.len() - bars.len();
    assert!(rest < 24_000, "{rest} bytes without the time line of {} bytes", bars.len());
    // Every link of the page leads somewhere.
    let links: Vec<&str> =
        text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(
        ["metrics", "healthz", "status", "?refresh=off"].iter().all(|link| links.contains(link)),
        "{links:?}"
    );
    for link in links {
        assert_eq!(get(agent.port, &format!("/{link}")).unwrap().0, 200, "{link}");
    }
    has(&text, &["http-equiv=\"refresh\""]);
    assert!(!get(agent.port, "/?refresh=off").unwrap().1.contains("http-equiv=\"refresh\""));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn the_page_says_that_a_halt_has_ended_it() {
    let burn = "  burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}";
    let agent = Agent::start(&config("", burn));
    agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
    has(&page(&agent), &["<title>1 fault is ACTIVE - chaos-agent on "]);
    agent.signal(libc::SIGUSR1);
    agent.wait_log("burn: success after");
    agent.wait_log("halted (signal): ");
    let text = page(&agent);
    has(
        &text,
        &[
            "<section class=\"answer calm\"><h1>Halted: no fault is active</h1>",
            "<b>burn</b>, ended ",
            "<b>Halted (signal)</b>: SIGUSR1",
            "ended early by a halt",
            ">burn: 1 injection</text>",
        ],
    );
    assert!(!text.contains("<rect class=\"now\""), "{text}");
    assert_eq!(agent.stop().0, 0);
}

/// A process chooses its own name, and may want to be markup.
#[test]
fn a_victim_cannot_write_into_the_page() {
    let mut command = Command::new("sleep");
    command.arg0("</p><script>1\u{1b}[2J</script><b a=\"").arg("1000.8125");
    let victim = Victim::spawn(&mut command);
    let agent = Agent::start(&config(
        "",
        "  hold: {type: process, action: pause, enabled: true, probability: 1, duration_seconds: 3600, \
         match: {cmdline: '1000.8125'}}",
    ));
    agent.wait_metric("chaos_injection_active{failure_type=\"process\"}", |value| value == 1.0);
    let text = page(&agent);
    has(
        &text,
        &[&format!("<small>victim</small> process {} (sleep)", victim.pid()), "&lt;/p&gt;&lt;script&gt;1"],
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(agent.stop().0, 0);
}
