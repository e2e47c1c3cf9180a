//! A real Prometheus scrapes the real agent and answers questions about it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::exposition::check;
use crate::support::{Agent, Folder, Victim, free_port, get, wait_for};

/// An agent that injects twice a second.
const BUSY: &str = "
agent: {interval_seconds: 0.5, metrics: {address: 127.0.0.1, port: PORT}}
failures:
  cpu: {enabled: true, probability: 1, duration_seconds: 0.1}
  process: {enabled: true, probability: 1, target_name: no-such-program-anywhere}
";

pub struct Prometheus {
    port: u16,
    _process: Victim,
    _folder: Folder,
}

impl Prometheus {
    /// One that scrapes an agent five times a second, as the container of a pod, and evaluates the rules of a file as
    /// often.
    pub fn scraping(target: u16, rules: Option<&Path>) -> Prometheus {
        let folder = Folder::new();
        let port = free_port();
        let rules = rules.map(|file| format!("'{}'", file.display())).unwrap_or_default();
        let config = folder.write(
            "prometheus.yml",
            format!(
                "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
                 rule_files: [{rules}]\n\
                 scrape_configs:\n  - job_name: chaos\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n        \
                 labels: {{namespace: web, pod: web-1}}\n"
            ),
        );
        let process = Victim::spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let prometheus = Prometheus { port, _process: process, _folder: folder };
        wait_for("ready Prometheus", || match get(port, "/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        prometheus
    }

    /// The values that a PromQL expression has now, in Prometheus' order.
    pub fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let mut escaped = String::new();
        for byte in expression.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => escaped.push(byte.into()),
                _ => write!(escaped, "%{byte:02X}").unwrap(),
            }
        }
        let (status, body) =
            get(self.port, &format!("/api/v1/query?query={escaped}")).map_err(|error| error.to_string())?;
        assert_eq!(status, 200, "{expression}: {body}");
        // "value":[1700000000.123,"4"]
        let values = body.split("\"value\":[").skip(1);
        Ok(values.filter_map(|rest| rest.split('"').nth(1)?.parse().ok()).collect())
    }

    /// What a path of its API answers.
    pub fn get(&self, path: &str) -> String {
        get(self.port, path).unwrap().1
    }

    /// Waits until the expression has exactly one value, one that satisfies `test`.
    fn wait(&self, expression: &str, test: impl Fn(f64) -> bool) -> f64 {
        wait_for(expression, || match self.query(expression)?.as_slice() {
            [value] if test(*value) => Ok(*value),
            other => Err(format!("{other:?}")),
        })
    }
}

#[test]
fn prometheus_sees_the_injections_move() {
    let agent = Agent::start(BUSY);
    let prometheus = Prometheus::scraping(agent.port, None);
    prometheus.wait("up{job=\"chaos\"}", |up| up == 1.0);
    let total = "chaos_injections_total{failure_type=\"cpu\",status=\"success\"}";
    let first = prometheus.wait(total, |count| count >= 1.0);
    prometheus.wait(total, |count| count > first);
    prometheus.wait(&format!("rate({total}[1m]) > 0"), |rate| rate > 0.0);
    prometheus
        .wait("chaos_injections_total{failure_type=\"process\",status=\"skipped\"}", |count| count >= 1.0);
    prometheus
        .wait("max_over_time(chaos_injection_active{failure_type=\"cpu\"}[1m])", |active| active <= 1.0);
    let quantile =
        "histogram_quantile(0.5, rate(chaos_injection_duration_seconds_bucket{failure_type=\"cpu\"}[1m]))";
    prometheus.wait(quantile, |seconds| seconds > 0.0 && seconds < 60.0);
    prometheus.wait("chaos_agent_info", |one| one == 1.0);
    prometheus.wait("chaos_config_last_reload_successful", |one| one == 1.0);
    prometheus.wait("process_resident_memory_bytes{job=\"chaos\"} / 1e6", |megabytes| megabytes > 0.1);
    prometheus.wait("time() - process_start_time_seconds{job=\"chaos\"}", |age| (0.0..3600.0).contains(&age));
}

#[test]
fn promtool_has_nothing_to_say_about_a_live_scrape() {
    let agent = Agent::start(BUSY);
    agent
        .wait_metric("chaos_injections_total{failure_type=\"cpu\",status=\"success\"}", |count| count >= 1.0);
    let text = agent.metrics();
    let (code, said) = check(text.as_bytes());

    assert_eq!((code, said.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains("# TYPE chaos_injections_total counter"), "{text}");
}
