//! The image by itself.

use std::fs;
use std::process::Command;

use crate::common::output::words;
use crate::podman::{AGENT_IMAGE, home, images, manifest_images, podman, run};

#[test]
fn the_image_is_one_small_file() {
    images();
    let archive = home().join("image.tar");
    let _ = fs::remove_file(&archive);
    podman(&["save", "-q", "-o", archive.to_str().unwrap(), AGENT_IMAGE]);
    let folder = home().join("image.unpacked");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    tar(&["-xf", archive.to_str().unwrap(), "-C", folder.to_str().unwrap()]);
    let layers: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let layers: Vec<_> =
        layers.iter().filter(|path| path.extension().is_some_and(|end| end == "tar")).collect();

    assert_eq!(layers.len(), 1, "{layers:?}");
    let listed = tar(&["-tvf", layers[0].to_str().unwrap()]);
    let files: Vec<_> = listed.lines().filter(|line| !line.starts_with('d')).collect();
    assert_eq!(files.len(), 1, "{listed}");
    let words: Vec<_> = files[0].split_whitespace().collect();
    assert_eq!(words[5], "chaos-agent");
    let size: u64 = words[2].parse().unwrap();
    assert!(size <= 1_000_000, "{size} bytes");
}

#[test]
fn it_runs_as_any_user_without_rights_or_a_writable_place() {
    images();
    let output = run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--user",
        "12345:54321",
        AGENT_IMAGE,
        "version",
    ]);
    assert!(
        output.status.success() && words(&output).contains(env!("CARGO_PKG_VERSION")),
        "{}",
        words(&output)
    );
}

#[test]
fn without_a_config_it_says_where_it_looked() {
    images();
    let output = run(&["run", "--rm", "--network", "none", AGENT_IMAGE]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in ["/etc/chaos-agent/config.yaml", "/app/config.yaml", "--demo"] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
}

#[test]
fn everything_in_deploy_names_the_image_of_this_version() {
    let root = crate::podman::root();
    let mut found = 0;
    for folder in ["plain", "kustomize/component", "policies"] {
        for entry in fs::read_dir(root.join("deploy").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let named =
                |line: &&str| line.trim_start().starts_with("image: ") && line.contains("chaos-agent");
            for line in text.lines().filter(named) {
                let image =
                    line.trim().trim_start_matches("image: ").trim_end_matches(',').trim_matches('\'');
                assert_eq!(image, AGENT_IMAGE, "{}", path.display());
                found += 1;
            }
        }
    }
    assert_eq!(found, 7, "images named");
    assert!(manifest_images().iter().any(|image| image == AGENT_IMAGE), "{:?}", manifest_images());
}
