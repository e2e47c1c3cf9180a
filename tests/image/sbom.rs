//! The list of parts beside the archive.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::{home, json, root, run};

#[test]
fn it_is_valid_cyclonedx() {
    let script = "import sys; from cyclonedx.schema import SchemaVersion; \
        from cyclonedx.validation.json import JsonStrictValidator; \
        text = open(sys.argv[1]).read(); \
        sys.exit(str(JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) or '') or 0)";
    let python = home().join("venv/bin/python3");
    let file = home().join("archive.cdx.json");
    run(Command::new(&python).args(["-c", script]).arg(&file));
    // The check can fail.
    let broken = home().join("broken.cdx.json");
    fs::write(&broken, fs::read_to_string(&file).unwrap().replace("\"library\"", "\"book\"")).unwrap();
    assert!(!Command::new(python).args(["-c", script]).arg(&broken).output().unwrap().status.success());
}

/// Name, version and checksum of every package of Cargo.lock.
fn locked() -> BTreeMap<(String, String), String> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let blocks = text.split("[[package]]").skip(1);
    let of = |block: &str| {
        let sum = value(block, "checksum").unwrap_or_default();
        ((value(block, "name").unwrap(), value(block, "version").unwrap()), sum)
    };
    blocks.map(of).collect()
}

#[test]
fn it_lists_what_runs_and_nothing_else_with_the_checksums_of_cargo_lock() {
    let list = json(&fs::read_to_string(home().join("archive.cdx.json")).unwrap());
    let locked = locked();
    let mut names = Vec::new();
    for part in list["components"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        names.push(name);
        if name == "rust-std" {
            continue;
        }
        let key = (name.to_owned(), part["version"].as_str().unwrap().to_owned());
        let sum = locked.get(&key).unwrap_or_else(|| panic!("{key:?} is not in Cargo.lock"));
        assert_eq!(part["hashes"][0]["content"].as_str(), Some(sum.as_str()), "{name}");
        assert!(
            part["licenses"][0]["expression"].as_str().is_some_and(|license| !license.contains('/')),
            "{name}"
        );
    }
    for direct in
        ["ctrlc", "env_logger", "fastrand", "libc", "log", "serde", "serde_yaml", "tiny_http", "rust-std"]
    {
        assert!(names.contains(&direct), "no {direct} in {names:?}");
    }
    // Of other systems, of build scripts, of macros, of tests: in Cargo.lock, but in no binary.
    for absent in [
        "windows-sys",
        "syn",
        "proc-macro2",
        "cfg_aliases",
        "chaos-agent",
        "proptest",
        "serde_json",
        "tempfile",
    ] {
        assert!(!names.contains(&absent), "{absent} in {names:?}");
    }
    assert!(locked.keys().any(|(name, _)| name == "syn" || name == "cfg_aliases"), "nothing was left out");
}
