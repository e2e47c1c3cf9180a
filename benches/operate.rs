//! How fast a running agent does what a person asks: from the exchange of the config to the new one in use, and from
//! the halt to the last fault reverted. Each figure stands beside its goal.
//!
//! The binary is `$CHAOS_AGENT`.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod rows;

use rows::Rows;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

const ROUNDS: usize = 100;
const PORT: u16 = 18098;
/// What is active in each round: threads, memory, a stopped process.
const FAULTS: &str = "  cpu: {enabled: true, probability: 1, duration_seconds: 3600, cores: 2}\n\
    \x20 memory: {enabled: true, probability: 1, duration_seconds: 3600, mb: 256, pattern: zero}\n\
    \x20 process: {enabled: true, probability: 1, duration_seconds: 3600, action: pause, target_name: sleep 1000.0625}\n";

fn main() -> ExitCode {
    let binary = PathBuf::from(env::var_os("CHAOS_AGENT").expect("CHAOS_AGENT: ./build.sh bench sets it"));
    let mut rows = Rows::new();
    let victim = Ended(Command::new("sleep").arg("1000.0625").spawn().unwrap());
    let mut agent = Agent::start(&binary);
    let mut halts: Vec<f64> = (0..ROUNDS).map(|_| agent.halt()).collect();
    halts.sort_by(f64::total_cmp);
    rows.row("SIGUSR1 to three faults reverted and shown so, p50 of 100", halts[ROUNDS / 2], 100.0, "ms");
    rows.row("the same, p99", halts[ROUNDS * 99 / 100], 100.0, "ms");
    drop(victim);
    let mut loads: Vec<f64> = (0..ROUNDS).map(|round| agent.reload(round)).collect();
    loads.sort_by(f64::total_cmp);
    rows.row("exchange of the config to the new one in use, p50 of 100", loads[ROUNDS / 2], 5.0, "ms");
    rows.row("the same, p99", loads[ROUNDS * 99 / 100], 8.0, "ms");
    rows.end()
}

/// A child that ends with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Agent {
    child: Ended,
    folder: PathBuf,
    stream: BufReader<TcpStream>,
}

fn config(round: usize) -> String {
    format!(
        "# round {round}\nagent: {{interval_seconds: 0.05, metrics: {{address: 127.0.0.1, port: {PORT}}}}}\nfailures:\n{FAULTS}"
    )
}

impl Agent {
    fn start(binary: &PathBuf) -> Agent {
        let folder = env::temp_dir().join(format!("chaos-agent-bench-operate-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.yaml"), config(0)).unwrap();
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.join("config.yaml"));
        let child = Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", PORT)) {
                Ok(stream) => break stream,
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        };
        stream.set_nodelay(true).unwrap();
        Agent { child, folder, stream: BufReader::new(stream) }
    }

    /// The body of a path, on one kept connection.
    fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if self.stream.get_mut().write_all(request.as_bytes()).is_err() {
            self.connect();
            return self.get(path);
        }
        let mut length = None;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
                self.connect(); // a kept connection has its end too
                return self.get(path);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length.unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    fn connect(&mut self) {
        self.stream = BufReader::new(TcpStream::connect(("127.0.0.1", PORT)).unwrap());
        self.stream.get_ref().set_nodelay(true).unwrap();
    }

    fn active(&mut self) -> usize {
        let text = self.get("/metrics");
        let values = text.lines().filter_map(|line| line.strip_prefix("chaos_injection_active{"));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: takes two integers; the process is a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.0.id().cast_signed(), signal) }, 0);
    }

    /// Milliseconds from SIGUSR1 to no active fault; three are active before and after.
    fn halt(&mut self) -> f64 {
        while self.active() < 3 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let begin = Instant::now();
        self.signal(libc::SIGUSR1);
        while self.active() > 0 {}
        let took = begin.elapsed().as_secs_f64() * 1e3;
        self.signal(libc::SIGUSR2);
        took
    }

    /// Milliseconds from the rename of a new file to its hash on the board.
    fn reload(&mut self, round: usize) -> f64 {
        let hash = |text: String| text.split_once("\"hash\":\"").unwrap().1[..16].to_owned();
        let before = hash(self.get("/status"));
        let fresh = self.folder.join("fresh");
        fs::write(&fresh, config(round + 1)).unwrap();
        // The readiness of every entry is looked at after the exchange; a new config at that time would wait for it.
        std::thread::park_timeout(Duration::from_millis(30));
        let begin = Instant::now();
        fs::rename(&fresh, self.folder.join("config.yaml")).unwrap();
        while hash(self.get("/status")) == before {}
        begin.elapsed().as_secs_f64() * 1e3
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
