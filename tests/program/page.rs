//! The status page as a browser gets it.

use crate::support::*;

#[test]
fn the_page_shows_what_is_active_what_was_and_what_cannot_be() {
    let agent = Agent::start(
        "agent:\n  metrics: {address: 127.0.0.1, port: PORT}\n  interval_seconds: 0.1\nfailures:\n  \
         burn: {type: cpu, enabled: true, probability: 1, duration_seconds: 3600, cores: 0.1}\n  \
         short: {type: memory, enabled: true, probability: 1, duration_seconds: 0.001, mb: 1}\n  \
         huge: {type: memory, enabled: true, probability: 1, duration_seconds: 1, mb: 1048576}\n",
    );
    agent.wait_metric("chaos_injection_active{failure_type=\"cpu\"}", |value| value == 1.0);
    agent.wait_logs("short: success", 60);
    let (status, page) = get(agent.port, "/").unwrap();
    assert_eq!(status, 200);
    assert!(page.contains("<h1 class=\"active\">"), "{page}");
    assert!(page.contains("<h2>burn <small>") && page.contains("burns 0.1 of "), "{page}");
    assert!(page.contains("<td class=\"failed\">not ready</td><td>cannot fill 1048576 MiB"), "{page}");
    assert!(page.contains("<rect class=\"success\"") && page.contains("<rect class=\"active\""), "{page}");
    assert!(page.contains("href=\"/metrics\"") && page.contains("href=\"/status\""), "{page}");
    assert!(!page.contains("//") || !page.contains("src="), "nothing from elsewhere: {page}");
    assert!(page.len() < 100 << 10, "{} bytes", page.len());
    assert_eq!(agent.stop().0, 0);
}
