//! Runs the real binary as a process and watches it from outside: its log, its metrics, its exit.
#![allow(dead_code)]

pub use crate::common::http::{get, sample};
pub use crate::common::proc::state;
pub use crate::common::running::Running;
pub use crate::common::signal::kill;
use crate::common::wait::until;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Generous: a deadline only decides how long a broken build takes to fail.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CHAOS_AGENT").map_or_else(|| env!("CARGO_BIN_EXE_chaos-agent").into(), PathBuf::from)
}

/// A folder of this test's own, removed with it.
pub struct Folder(pub PathBuf, TempDir);

impl Folder {
    pub fn new() -> Folder {
        let folder = tempfile::Builder::new().prefix("chaos-agent-").tempdir().unwrap();
        Folder(folder.path().to_owned(), folder)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for a condition; panics with what it last said after the deadline.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let last = RefCell::new(String::new());
    let probe = || probe().map_err(|why| *last.borrow_mut() = why).ok();
    until(DEADLINE, what, probe, || last.borrow().clone())
}

/// A process that the agent may meet.
pub type Victim = Running;

impl Victim {
    pub fn spawn(command: &mut Command) -> Victim {
        Running(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

#[derive(Default)]
struct Log {
    /// The lines, and how many of the two streams have come to their end.
    lines: Mutex<(Vec<String>, usize)>,
    changed: Condvar,
}

/// A running agent.
pub struct Agent {
    pub child: Child,
    pub port: u16,
    pub folder: Folder,
    log: Arc<Log>,
}

impl Agent {
    /// Starts the agent on a config; `PORT` in it becomes a free port. `agent:` must contain
    /// `metrics: {address: 127.0.0.1, port: PORT}` for the metrics to be found.
    pub fn start(config: &str) -> Agent {
        Agent::start_with(config, &[], |_| {})
    }

    pub fn start_with(config: &str, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Agent {
        let folder = Folder::new();
        let port = free_port();
        let file = folder.write("config.yaml", config.replace("PORT", &port.to_string()));
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&file).args(args).current_dir(&folder.0);
        for name in ["LOG_LEVEL", "LOG_FORMAT", "JSON_LOGS", "LOG_FILE", "RUST_LOG", "CHAOS_CONFIG"] {
            command.env_remove(name);
        }
        prepare(&mut command);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        follow(child.stdout.take().unwrap(), Arc::clone(&log));
        follow(child.stderr.take().unwrap(), Arc::clone(&log));
        Agent { child, port, folder, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().0.join("\n")
    }

    /// Waits for a log line that contains `needle` and returns it.
    pub fn wait_log(&self, needle: &str) -> String {
        self.wait_logs(needle, 1).pop().unwrap()
    }

    /// Waits for `count` such lines.
    pub fn wait_logs(&self, needle: &str, count: usize) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let found: Vec<_> = lines.0.iter().filter(|line| line.contains(needle)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && lines.1 < 2,
                "no {count} x {needle:?} in the log:\n{}",
                lines.0.join("\n")
            );
            lines = self.log.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// The text of `/metrics`; waits until the exporter answers.
    pub fn metrics(&self) -> String {
        wait_for("answer on /metrics", || get(self.port, "/metrics").map_err(|error| error.to_string())).1
    }

    /// The value of one sample, by its whole name with labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        sample(&self.metrics(), name)
    }

    /// Waits until a sample satisfies `test` and returns it.
    pub fn wait_metric(&self, name: &str, test: impl Fn(f64) -> bool) -> f64 {
        wait_for(name, || match self.metric(name) {
            Some(value) if test(value) => Ok(value),
            other => Err(format!("{name} is {other:?}\n{}", self.log())),
        })
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for the end.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let pid = self.pid();
        let child = &mut self.child;
        wait_for(&format!("end of agent {pid}"), || {
            child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> (i32, String) {
        self.signal(libc::SIGTERM);
        let status = self.wait_exit();
        // The last lines may still be on their way; a process that outlives the agent may keep the pipes open.
        let lines = self.log.lines.lock().unwrap();
        drop(
            self.log.changed.wait_timeout_while(lines, Duration::from_secs(5), |lines| lines.1 < 2).unwrap(),
        );
        (status.code().unwrap_or_else(|| -status.signal().unwrap()), self.log())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Log>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lines.lock().unwrap().0.push(line);
            log.changed.notify_all();
        }
        log.lines.lock().unwrap().1 += 1;
        log.changed.notify_all();
    });
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// What the binary prints and how it ends.
pub fn run(args: &[&str], folder: &Path) -> std::process::Output {
    Command::new(binary()).args(args).current_dir(folder).env_remove("CHAOS_CONFIG").output().unwrap()
}
