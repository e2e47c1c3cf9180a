//! Rules and dashboard: read by promtool, and executed by a real Prometheus that scrapes a real agent.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;

use crate::common::output::words;
use crate::prometheus::Prometheus;
use crate::support::{Agent, Folder, Victim, wait_for};
use crate::yaml::{at, list, of_kind, read, text};

const RULES: &str = "deploy/monitoring/rules.yaml";
const UNIT_TESTS: &str = "tests/ecosystem/rules_test.yaml";
const DASHBOARD: &str = "deploy/monitoring/dashboard.json";
const ANNOTATIONS: &str = "deploy/monitoring/annotations.json";

fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool").args(arguments).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(words(&output)) }
}

fn rules() -> Vec<Value> {
    let groups = read(RULES).remove(0);
    list(&groups, "groups").iter().flat_map(|group| list(group, "rules").to_vec()).collect()
}

#[test]
fn promtool_takes_the_rules_and_their_unit_tests() {
    promtool(&["check", "rules", "--lint-fatal", RULES]).unwrap();
    promtool(&["test", "rules", UNIT_TESTS]).unwrap();
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases = read(UNIT_TESTS).remove(0);
    let cases: Vec<_> = list(&cases, "tests").iter().flat_map(|case| list(case, "alert_rule_test")).collect();
    let alerts: Vec<_> =
        rules().iter().map(|rule| text(rule, "alert").to_owned()).filter(|name| !name.is_empty()).collect();
    assert!(alerts.len() >= 9, "{alerts:?}");
    for alert in alerts {
        for fires in [true, false] {
            let found = cases
                .iter()
                .any(|case| text(case, "alertname") == alert && list(case, "exp_alerts").is_empty() != fires);
            assert!(found, "{alert}: no case with fires = {fires}");
        }
    }
}

#[test]
fn a_rule_that_changed_would_be_found() {
    let folder = Folder::new();
    let (rules, tests) = (fs::read_to_string(RULES).unwrap(), fs::read_to_string(UNIT_TESTS).unwrap());
    folder.write("tests.yaml", tests.replace("../../deploy/monitoring/rules.yaml", "rules.yaml"));
    let tests = folder.0.join("tests.yaml");
    for (right, wrong) in [
        ("for: 30m", "for: 20m"),
        ("unless chaos_reverts_failed_total offset 15m", "unless chaos_reverts_failed_total offset 60m"),
        ("up == 0 and on (job, instance)", "up == 0 or on (job, instance)"),
        ("chaos_halted == 1", "chaos_halted >= 0"),
        ("chaos_config_last_reload_successful == 0", "chaos_config_last_reload_successful == 1"),
        ("chaos_steady_state == 0", "chaos_steady_state == 1"),
        ("hour() >= bool 8", "hour() >= bool 9"),
        ("chaos_failure_ready == 0", "chaos_failure_ready >= 0"),
        ("severity: critical", "severity: warning"),
    ] {
        assert!(rules.contains(right), "no {right}");
        folder.write("rules.yaml", rules.replace(right, wrong));
        assert!(promtool(&["test", "rules", tests.to_str().unwrap()]).is_err(), "{wrong} passed");
    }
}

#[test]
fn the_operators_rules_are_the_same() {
    let documents = read("deploy/monitoring/prometheusrule.yaml");
    let operators = at(of_kind(&documents, "PrometheusRule"), "spec.groups");
    assert_eq!(
        operators,
        at(&read(RULES)[0], "groups"),
        "the first lines of prometheusrule.yaml say how to make it anew"
    );
}

#[test]
fn the_podmonitor_finds_the_sidecars() {
    let monitor = read("deploy/monitoring/podmonitor.yaml").remove(0);
    let endpoint = &list(&monitor, "spec.podMetricsEndpoints")[0];
    let wanted = at(&monitor, "spec.selector.matchLabels").as_mapping().unwrap().clone();
    let mut seen = 0;
    for (name, built) in crate::kustomize::builds() {
        let documents = crate::yaml::documents(&built);
        for one in documents
            .iter()
            .filter(|one| text(one, "kind") == "Deployment" && text(one, "metadata.name") != "left-alone")
        {
            let template = at(one, "spec.template");
            let labels = at(template, "metadata.labels").as_mapping().unwrap();
            assert!(wanted.iter().all(|(key, value)| labels.get(key) == Some(value)), "{name}");
            let all = [list(template, "spec.initContainers"), list(template, "spec.containers")].concat();
            let agent = all.iter().find(|one| text(one, "name") == "chaos-agent").unwrap();
            assert_eq!(text(agent, "ports.0.name"), text(endpoint, "port"), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 10);
}

/// The panels of a dashboard, those in rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let top = list(dashboard, "panels").iter();
    top.flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels"))).collect()
}

/// Every expression of dashboard and annotations as Prometheus sees it, with the place that it is from.
fn expressions() -> Vec<(String, String)> {
    let dashboard = read(DASHBOARD).remove(0);
    let mut found = Vec::new();
    for panel in panels(&dashboard) {
        assert!(!list(panel, "targets").is_empty(), "a panel without a query: {panel:?}");
        for target in list(panel, "targets") {
            found.push((
                format!("{} {}", text(panel, "title"), text(target, "refId")),
                text(target, "expr").to_owned(),
            ));
        }
    }
    for variable in list(&dashboard, "templating.list").iter().filter(|one| text(one, "type") == "query") {
        let query =
            text(variable, "query.query").strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (series, label) = query.rsplit_once(", ").unwrap();
        found.push((format!("${}", text(variable, "name")), format!("group by ({label}) ({series})")));
    }
    for file in [DASHBOARD, ANNOTATIONS] {
        let annotation = at(&read(file)[0], "annotations.list.0").clone();
        found.push((format!("annotation of {file}"), text(&annotation, "expr").to_owned()));
    }
    for (_, expression) in &mut found {
        for (name, value) in
            [("$__rate_interval", "1m"), ("$__range", "1m"), ("$namespace", ".*"), ("$pod", "web-.*")]
        {
            *expression = expression.replace(name, value);
        }
        assert!(!expression.is_empty() && !expression.contains('$'), "{expression}");
    }
    found
}

#[test]
fn the_dashboard_is_one_that_grafana_can_import() {
    let dashboard = read(DASHBOARD).remove(0);
    assert!(dashboard.get("id").is_some_and(Value::is_null), "an id would be somebody else's dashboard");
    let panels = panels(&dashboard);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panel ids are not unique");
    let mut taken = BTreeSet::new();
    for panel in &panels {
        assert!(!text(panel, "title").is_empty() && !text(panel, "description").is_empty(), "{panel:?}");
        let targets = list(panel, "targets").iter();
        for one in targets.chain(std::iter::once(*panel)) {
            assert_eq!(text(one, "datasource.uid"), "${datasource}", "{}", text(panel, "title"));
        }
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} covers another panel", text(panel, "title"));
        }
    }
    assert_eq!(text(&dashboard, "templating.list.0.type"), "datasource");
}

#[test]
fn promtool_takes_every_expression_of_the_dashboard() {
    let folder = Folder::new();
    let check = |expressions: &[String]| {
        let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
        for (number, expression) in expressions.iter().enumerate() {
            writeln!(
                rules,
                "      - {{record: 'panel:{number}', expr: '{}'}}",
                expression.replace('\'', "''")
            )
            .unwrap();
        }
        promtool(&["check", "rules", folder.write("rules.yaml", rules).to_str().unwrap()])
    };
    let all: Vec<_> = expressions().into_iter().map(|(_, expression)| expression).collect();
    assert!(all.len() > 20);
    check(&all).unwrap();
    assert!(check(&[all[0].replacen('(', "", 1)]).is_err(), "a slip was not found");
}

/// An agent that does a bit of everything, on an application that comes back when it is killed.
struct Busy {
    agent: Agent,
    _application: Victim,
    _folder: Folder,
}

impl Busy {
    fn start() -> Busy {
        let folder = Folder::new();
        let name = format!("moth{}", std::process::id());
        fs::copy("/bin/sleep", folder.0.join(&name)).unwrap();
        // Not long: the last one outlives this test by as much.
        let place = folder.0.display();
        let again = format!("while :; do {place}/{name} 2; done");
        let application =
            Victim::spawn(Command::new("/bin/sh").args(["-c", &again]).stderr(std::process::Stdio::null()));
        let config = format!(
            "agent:\n  interval_seconds: 0.5\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  \
             steady_state: [{{process: sh, name: shell, min: 1, interval_seconds: 1}}]\n\
             failures:\n  \
             cpu: {{enabled: true, probability: 1, duration_seconds: 0.1}}\n  \
             long: {{type: cpu, enabled: true, probability: 1, duration_seconds: 600, cores: 0.1, load_percent: 10}}\n  \
             memory: {{enabled: true, probability: 1, duration_seconds: 0.1, mb: 1}}\n  \
             much: {{type: memory, enabled: true, probability: 1, duration_seconds: 0.1, mb: 1048576}}\n  \
             disk: {{enabled: true, probability: 1, duration_seconds: 0.2, action: io, mb: 1, fsync_per_s: 10, \
             write_mb_per_s: 1, path: '{place}', allow_root_filesystem: true}}\n  \
             process: {{enabled: true, probability: 1, grace_seconds: 0, match: {{exact_name: {name}}}}}\n"
        );
        Busy { agent: Agent::start(&config), _application: application, _folder: folder }
    }
}

/// The agent's metrics that an expression is about.
fn metrics_of(expression: &str) -> BTreeSet<&str> {
    let words =
        expression.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'));
    let names = words.filter(|word| word.starts_with("chaos_") || word.starts_with("process_"));
    names
        .map(|word| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
        })
        .collect()
}

#[test]
fn every_expression_has_an_answer_about_a_real_agent() {
    let busy = Busy::start();
    let rules_file: PathBuf = fs::canonicalize(RULES).unwrap();
    let prometheus = Prometheus::scraping(busy.agent.port, Some(Path::new(&rules_file)));
    let mut all = expressions();
    for rule in rules() {
        let record = text(&rule, "record");
        if record.is_empty() {
            // An alert that is silent has an empty answer: only what it is about must be there.
            all.extend(
                metrics_of(text(&rule, "expr"))
                    .into_iter()
                    .map(|one| (text(&rule, "alert").to_owned(), one.to_owned())),
            );
        } else {
            all.push((record.to_owned(), record.to_owned()));
        }
    }
    for (place, expression) in &all {
        wait_for(&format!("{place}: {expression}"), || match prometheus.query(expression)? {
            values if values.iter().any(|value| value.is_finite()) => Ok(()),
            values => Err(format!("{values:?}\n{}", busy.agent.log())),
        });
    }
    let health = prometheus.get("/api/v1/rules");
    assert!(health.contains("\"health\":\"ok\"") && !health.contains("\"health\":\"err\""), "{health}");
    println!("expressions with an answer: {}", all.len());
}
