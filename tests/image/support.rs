//! Commands, folders and daemons of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_yaml::Value;

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

/// Everything that a command printed.
pub fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
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

/// JSON is YAML.
pub fn json(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// A daemon of this test alone, in a short folder of its own, which ends with it.
pub struct Daemon {
    pub folder: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `command` on a new folder and waits until `answers` succeeds.
    pub fn start(
        name: &str,
        command: impl Fn(&Path) -> Command,
        answers: impl Fn(&Path) -> Command,
    ) -> Daemon {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = command(&folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = Daemon { child: command.spawn().unwrap(), folder };
        let end = Instant::now() + Duration::from_secs(120);
        while !answers(&daemon.folder).output().unwrap().status.success() {
            let log = || fs::read_to_string(daemon.folder.join("log")).unwrap_or_default();
            assert!(daemon.child.try_wait().unwrap().is_none(), "{name} has ended: {}", log());
            assert!(Instant::now() < end, "{name} does not answer: {}", log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
