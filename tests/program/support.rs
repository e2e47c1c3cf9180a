//! Runs the real binary as a process and watches it from outside: its log, its metrics, its exit.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Generous: a deadline only decides how long a broken build takes to fail.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CHAOS_AGENT").map_or_else(|| env!("CARGO_BIN_EXE_chaos-agent").into(), PathBuf::from)
}

/// A folder of this test's own, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("chaos-agent-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for a condition; panics with what it last said after the deadline.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(last) if Instant::now() > end => panic!("no {what} in time: {last}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

/// A child that is killed and waited for when the test ends, whatever happens.
pub struct Victim(pub Child);

impl Victim {
    pub fn spawn(command: &mut Command) -> Victim {
        Victim(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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

/// kill(2) on a process that the test started.
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: takes two integers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(result, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A plain HTTP GET: status and body.
pub fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// One sample of an exposition, by its whole name with labels.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// What the binary prints and how it ends.
pub fn run(args: &[&str], folder: &Path) -> std::process::Output {
    Command::new(binary()).args(args).current_dir(folder).env_remove("CHAOS_CONFIG").output().unwrap()
}
