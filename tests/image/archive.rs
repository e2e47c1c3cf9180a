//! The archive by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::output::words;
use crate::support::{REFERENCE, archive, boards, folder, home, json, oci, product, run};

fn tar(arguments: &[&str], file: &Path) -> String {
    run(Command::new("tar").args(arguments).arg(file))
}

/// The sha256 of a file, by another program than the one that wrote it into the archive.
fn sha256(file: &Path) -> String {
    let printed = run(Command::new("openssl").args(["dgst", "-sha256", "-r"]).arg(file));
    printed.split_whitespace().next().unwrap().to_owned()
}

/// Reads the blob of a descriptor and checks its digest and size.
fn blob(layout: &Path, descriptor: &Value) -> std::path::PathBuf {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    assert_eq!(sha256(&path), digest);
    assert_eq!(Some(fs::metadata(&path).unwrap().len()), descriptor["size"].as_u64());
    path
}

fn read(path: &Path) -> Value {
    json(&fs::read_to_string(path).unwrap())
}

#[test]
fn the_same_input_makes_the_same_bytes_whatever_the_surroundings() {
    let first = archive("first.tar");
    let second = home().join("second.tar");
    let copy = folder("copy").join("another-name");
    fs::copy(product(), &copy).unwrap(); // of another time
    run(Command::new("chmod").arg("700").arg(&copy));
    let mut command = oci(&second, &[format!("amd64={}", copy.display())]);
    run(command
        .current_dir("/")
        .env("TZ", "Asia/Tokyo")
        .env("LANG", "de_DE.UTF-8")
        .env("TMPDIR", folder("tmp")));
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "the archives differ");
}

#[test]
fn the_layout_holds_one_small_file_and_every_digest_is_right() {
    let file = archive("layout.tar");
    let unpacked = folder("layout");
    run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xf").arg(&file));
    let listed = tar(&["-tf"], &file);
    assert!(listed.lines().all(|name| !name.ends_with('/')), "a folder entry: {listed}");
    assert_eq!(listed.lines().count(), 6, "{listed}");

    let index = read(&unpacked.join("index.json"));
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], REFERENCE);
    let manifest = read(&blob(&unpacked, entry));
    let config = read(&blob(&unpacked, &manifest["config"]));
    let layer = blob(&unpacked, &manifest["layers"][0]);
    assert_eq!(
        config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"],
        "the layer is not compressed"
    );
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(config["config"]["Labels"], manifest["annotations"]);
    assert_eq!(manifest["annotations"]["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.source"], "https://example.com/chaos-agent");

    let contents = tar(&["--numeric-owner", "-tvf"], &layer);
    let words: Vec<_> = contents.split_whitespace().collect();
    assert_eq!(
        (words.len(), words[0], words[1], words[5]),
        (6, "-rwxr-xr-x", "0/0", "chaos-agent"),
        "{contents}"
    );
    assert!(words[2].parse::<u64>().unwrap() <= 1_000_000, "{contents}");
}

#[test]
fn every_board_is_in_the_index_of_all_with_its_platform() {
    let file = home().join("all.tar");
    let mut pairs = vec![format!("amd64={}", product().display())];
    pairs.extend(boards().iter().map(|(board, path)| format!("{board}={}", path.display())));
    run(&mut oci(&file, &pairs));
    let unpacked = folder("all");
    run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xf").arg(&file));
    let top = read(&unpacked.join("index.json"));
    let index = read(&blob(&unpacked, &top["manifests"][0]));
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), pairs.len());
    for (entry, pair) in manifests.iter().zip(&pairs) {
        let config = read(&blob(&unpacked, &read(&blob(&unpacked, entry))["config"]));
        let (board, path) = pair.split_once('=').unwrap();
        let (architecture, variant) = if board == "armv7" { ("arm", Some("v7")) } else { (board, None) };
        for platform in [&entry["platform"], &config] {
            assert_eq!((&platform["architecture"], &platform["os"]), (&architecture.into(), &"linux".into()));
            assert_eq!(platform["variant"].as_str(), variant);
        }
        if board == "arm64" {
            assert!(fs::metadata(path).unwrap().len() <= 1_000_000);
        }
    }
}

#[test]
fn what_cannot_become_an_image_is_refused_and_leaves_no_file() {
    let file = home().join("refused.tar");
    let _ = fs::remove_file(&file);
    let product = product();
    let good = format!("amd64={}", product.display());
    let refused = |name: &str, value: &str, pair: &str| {
        let output = oci(&file, &[pair.to_owned()]).env(name, value).output().unwrap();
        assert!(!file.exists(), "{name}={value} {pair}: a file is there");
        (output.status.code(), words(&output))
    };
    for (name, value, pair, code, says) in [
        ("NAME", "localhost/chaos-agent", good.as_str(), 64, "a full reference is needed"),
        ("NAME", "localhost:5000/chaos-agent", &good, 64, "a full reference is needed"),
        ("VERSION", "1\",\"x\":\"", &good, 64, "only letters, digits"),
        ("CREATED", "yesterday", &good, 64, "is no number of seconds since 1970"),
        ("REVISION", "", &good, 1, "REVISION"),
        (
            "REVISION",
            "1",
            &format!("sparc={}", product.display()),
            64,
            "unknown architecture: sparc; amd64, arm64",
        ),
        ("REVISION", "1", "arm64=/nothing", 1, "cannot read /nothing; ./build.sh --arch arm64 makes it"),
    ] {
        let (got, said) = refused(name, value, pair);
        assert!(
            said.contains(says) && got.is_some_and(|got| got == code || (code == 1 && got > 0)),
            "{got:?} {said}"
        );
    }
}

#[test]
fn the_sums_beside_the_archive_are_right() {
    let listed = run(Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(home()));
    for name in ["archive.tar", "archive.cdx.json"] {
        assert!(listed.contains(&format!("{name}: OK")), "{listed}");
    }
}
