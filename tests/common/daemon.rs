//! A daemon of a test's own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::signal::kill;
use super::wait::until;

/// A daemon in a short folder of its own (the path of a socket may have 107 bytes); both end with the test.
pub struct Daemon {
    folder: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts `command` on a new folder and waits until `answers` succeeds.
    pub fn start(
        name: &str,
        command: impl Fn(&Path) -> Command,
        answers: impl Fn(&Path) -> Command,
    ) -> Daemon {
        let folder = tempfile::Builder::new().prefix(&format!("chaos-{name}-")).tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = command(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = Daemon { child: command.spawn().unwrap(), folder };
        let log = daemon.folder.path().join("log");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        let answers = || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "{name} has ended: {}", log());
            answers(daemon.folder.path()).output().unwrap().status.success().then_some(())
        };
        until(Duration::from_secs(120), &format!("answer of {name}"), answers, log);
        daemon
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not SIGKILL: it has children and mounts to take care of.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            kill(self.child.id(), libc::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
