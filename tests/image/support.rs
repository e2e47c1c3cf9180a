//! Commands, folders and daemons of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::output::words;

/// The full reference under which every archive brings the image.
pub const REFERENCE: &str = concat!("localhost/chaos-agent:", env!("CARGO_PKG_VERSION"));

/// The top of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `run.sh` handed over.
pub fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by ./build.sh test image"))
}

/// The product for amd64.
pub fn product() -> PathBuf {
    given("CHAOS_AGENT").into()
}

/// Where this tier keeps what it makes.
pub fn home() -> PathBuf {
    Path::new(&given("CHAOS_TARGET")).join("image-tier")
}

/// A new, empty folder below [`home`].
pub fn folder(name: &str) -> PathBuf {
    let path = home().join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a command that must succeed and gives its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}: {}", output.status, words(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// `oci.sh FILE PAIR...` with the environment that it needs.
pub fn oci(file: &Path, pairs: &[String]) -> Command {
    let mut command = Command::new(root().join("deploy/image/oci.sh"));
    command.env("NAME", REFERENCE).env("VERSION", env!("CARGO_PKG_VERSION")).env("REVISION", "0123abc");
    command
        .env("CREATED", "1700000000")
        .env("SOURCE", "https://example.com/chaos-agent")
        .arg(file)
        .args(pairs);
    command
}

/// The archive of the product for amd64, as `oci.sh` makes it.
pub fn archive(name: &str) -> PathBuf {
    let file = home().join(name);
    run(&mut oci(&file, &[format!("amd64={}", product().display())]));
    file
}

/// The products for other machines that `run.sh` could build: architecture and path.
pub fn boards() -> Vec<(String, PathBuf)> {
    let boards = given("CHAOS_BOARDS");
    let pairs = boards.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(board, path)| (board.to_owned(), path.into())).collect()
}

/// JSON as a tree.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
