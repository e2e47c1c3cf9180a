//! The plan beside what the agent really does with the same seed, and its trails held against their seeds.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Ends and starts of these lie far from each other's ticks, so that a machine under load seldom shifts one.
const ENTRIES: &str =
    "  short: {type: cpu, enabled: true, probability: 0.5, duration_seconds: 0.05, cores: 0.1}
  middle: {type: memory, enabled: true, probability: 0.4, duration_seconds: 0.3, mb: 1}
  long: {type: cpu, enabled: true, probability: 0.1, duration_seconds: 3600, cores: 0.1}
  each: {type: cpu, enabled: true, schedule: '* * * * *', duration_seconds: 3600, cores: 0.1}
  never: {type: cpu, enabled: true, probability: 0.000000001, duration_seconds: 1}
";
const INTERVAL: f64 = 0.2;
const TICKS: u64 = 30;

/// The config of a run: `agent:` keys, the port and the trail are filled in.
fn config(keys: &str, trail: &Path) -> String {
    format!(
        "agent:\n  metrics: {{address: 127.0.0.1, port: PORT}}\n  interval_seconds: {INTERVAL}\n  seed: 18446744073709551557\n\
         \x20 audit_file: {}\n{keys}\nfailures:\n{ENTRIES}logging: {{level: DEBUG}}\n",
        trail.display()
    )
}

/// Lets an agent run for so many ticks; where its trail is, and what `plan` says about the same config.
fn run_and_plan(folder: &Folder, keys: &str) -> (Vec<Value>, PathBuf, Value) {
    let trail = folder.0.join("trail.jsonl");
    _ = fs::remove_file(&trail);
    let agent = Agent::start(&config(keys, &trail));
    agent.wait_logs(": never: no", TICKS as usize + 1);
    assert_eq!(agent.stop().0, 0);
    let lines: Vec<Value> =
        fs::read_to_string(&trail).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let file = folder.write("config.yaml", config(keys, &trail).replace("PORT", "8000"));
    let start = lines[0]["time"].as_str().unwrap();
    let ticks = TICKS.to_string();
    let args =
        ["plan", "--config", file.to_str().unwrap(), "--ticks", &ticks, "--start", start, "-o", "json"];
    let done = run(&args, &folder.0);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (lines, trail, serde_json::from_slice(&done.stdout).unwrap())
}

/// Whether the machine let the agent keep its times: no tick was missed, no entry was rolled later than its last
/// fault allows, and the minute did not change. An agent that is late by itself is so each time.
fn was_in_time(lines: &[Value]) -> bool {
    let in_time = |entry: &str, busy: u64| {
        let rolled = lines.iter().filter(|line| line["event"] == "decision" && line["entry"] == entry);
        let mut due = 0;
        for line in rolled {
            let tick = line["tick"].as_u64().unwrap();
            if tick > due {
                return false;
            }
            due = tick + if line["decision"] == "inject" { busy } else { 1 };
        }
        due >= TICKS
    };
    let minute = |line: &Value| line["time"].as_str().unwrap()[..16].to_owned();
    in_time("short", 1)
        && in_time("middle", 2)
        && in_time("long", u64::MAX / 2)
        && in_time("never", 1)
        && minute(&lines[0]) == minute(&lines[lines.len() - 1])
}

/// Tick, entry, decision and roll of what hit, before the last tick.
fn hits(lines: &[Value]) -> Vec<(u64, String, String, u64)> {
    let hit = |line: &&Value| matches!(line["decision"].as_str(), Some("inject" | "skip"));
    let tell = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let roll = line["roll"].as_f64().unwrap().to_bits();
        (line["tick"].as_u64().unwrap(), text("entry"), text("decision"), roll)
    };
    lines.iter().filter(hit).map(tell).filter(|(tick, ..)| *tick < TICKS).collect()
}

#[test]
fn run_does_what_the_plan_says() {
    let folder = Folder::new();
    for keys in ["", "  max_concurrent: 3\n  max_injections_per_hour: 12"] {
        let mut tries = 0;
        let (lines, trail, plan) = loop {
            let (lines, trail, plan) = run_and_plan(&folder, keys);
            if was_in_time(&lines) {
                break (lines, trail, plan);
            }
            tries += 1;
            assert!(tries < 20, "the machine never let the agent keep its times");
        };
        let planned = hits(plan["decisions"].as_array().unwrap());
        assert_eq!(hits(&lines), planned, "{keys}");
        assert!(planned.len() > 10 && planned.iter().any(|hit| hit.1 == "each"), "{planned:?}");
        let skips = planned.iter().filter(|hit| hit.2 == "skip").count();
        assert_eq!(skips > 0, !keys.is_empty(), "{planned:?}");

        let check = |path: &Path| {
            let done = run(&["plan", "--replay", path.to_str().unwrap()], &folder.0);
            (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap())
        };
        let (code, said) = check(&trail);
        assert!(code == 0 && said.contains("everything follows from the seed"), "{said}");
        // One injection that is denied.
        let text = fs::read_to_string(&trail).unwrap();
        let number = text.lines().position(|line| line.contains("\"decision\":\"inject\"")).unwrap();
        let forged = folder.write("forged.jsonl", text.replacen("\"inject\"", "\"no\"", 1));
        let (code, said) = check(&forged);
        assert!(code == 1 && said.contains(&format!("forged.jsonl:{}: tick ", number + 1)), "{said}");
    }
}

#[test]
fn a_fleet_is_planned_alike_each_time_and_touches_nothing() {
    let folder = Folder::new();
    let file = folder.write("config.yaml", config("", &folder.0.join("trail.jsonl")).replace("PORT", "8000"));
    let file = file.to_str().unwrap();
    let fleet = |format: &str| {
        let args = [
            "plan",
            "--config",
            file,
            "--for",
            "20s",
            "--pods",
            "3000",
            "--replicas",
            "2",
            "--seed",
            "5",
            "-o",
        ];
        let start = ["--start", "2026-11-24T09:00Z"];
        let done = run(&[&args[..], &[format], &start].concat(), &folder.0);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let text = fleet("text");
    // What an entry does is described as it would be here and now.
    let same =
        |text: &str| text.lines().filter(|line| !line.contains("available")).collect::<Vec<_>>().join("\n");
    assert_eq!(same(&text), same(&fleet("text")));
    assert!(
        text.starts_with("100 ticks of 0.2s (20s) from 2026-11-24T09:00:00.000Z, seed 5\n3,000 pods"),
        "{text}"
    );
    let read: Value = serde_json::from_str(&fleet("json")).unwrap();
    assert_eq!((read["pods"].as_u64(), read["groups"]["groups"].as_u64()), (Some(3000), Some(1500)));
    // Every pod gets its once-a-minute fault at the first tick, and all with a schedule get it together.
    assert_eq!(read["disturbed_pods"]["most"].as_u64(), Some(3000), "{text}");
    assert_eq!(read["groups"]["all_disturbed_groups"].as_u64(), Some(1500), "{text}");
    assert!(!folder.0.join("trail.jsonl").exists(), "a plan wrote an audit trail");
}

#[test]
fn what_cannot_be_planned_or_replayed_is_said() {
    let folder = Folder::new();
    let empty = folder.write("empty.jsonl", "");
    for (args, code, said) in [
        (vec!["plan", "--config", "none.yaml"], 64, "none.yaml"),
        (vec!["plan", "--replay", "none.jsonl"], 1, "cannot read none.jsonl"),
        (vec!["plan", "--replay", empty.to_str().unwrap()], 1, "there is no decision in it"),
        (vec!["plan", "--ticks", "1", "--for", "1h"], 64, "--ticks and --for exclude each other; give one"),
        (vec!["plan", "--demo"], 64, "plan does not know \"--demo\""),
    ] {
        let done = run(&args, &folder.0);
        let text = [done.stdout, done.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(done.status.code() == Some(code) && text.contains(said), "{args:?}: {text}");
    }
}
