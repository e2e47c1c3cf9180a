//! Figures of the exporter, measured on the real binary from outside, each beside its goal.
//!
//! `cargo bench --bench http -- BINARY [CONFIG PORT]`, or `CHAOS_AGENT`, `CHAOS_BENCH_CONFIG` and
//! `CHAOS_BENCH_PORT`. Without a configuration it writes one that injects nothing. Without a binary it measures
//! the library alone, in a process of its own, and says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod rows;

use chaos_agent::exporter::http::{Routes, spawn};
use chaos_agent::exporter::metrics::Metrics;
use rows::Rows;
use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
const STARTS: usize = 30;
const SCRAPES: usize = 3000;
const IDLE: usize = 500;
const IDLE_TIME: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return serve(words[1].parse().unwrap());
    }
    let names = ["CHAOS_AGENT", "CHAOS_BENCH_CONFIG", "CHAOS_BENCH_PORT"];
    for name in &names[words.len().min(3)..] {
        words.extend(env::var(name));
    }
    let agent = Agent::new(&words);
    println!("measuring {}", agent.about);
    let mut rows = Rows::new();
    rows.row("exec to first 200 on /metrics, p50", median(agent.starts()), 3000.0, "us");
    let running = agent.run();
    rows.row("scrape on a new connection, p50", median(agent.new_connections(SCRAPES)), 80.0, "us");
    rows.row("scrape on a kept connection, p50", median(agent.kept_connection(SCRAPES)), 40.0, "us");
    let (worst, growth, threads) = agent.flood(&running);
    rows.row("500 idle connections, 20 s: slowest scrape", worst, 5000.0, "us");
    rows.row("500 idle connections, 20 s: memory growth", growth, 1024.0, "kB");
    rows.row("500 idle connections, 20 s: further threads", threads, 0.0, "");
    rows.end()
}

/// The library alone: what this program runs as a child when there is no binary to measure.
fn serve(port: u16) -> ExitCode {
    let metrics = Arc::new(Metrics::new("0.0.0", 1));
    for kind in ["cpu", "memory", "process", "network"] {
        metrics.register(kind);
    }
    let _handle =
        spawn(Ipv4Addr::LOCALHOST.into(), port, Routes::new(metrics, |_, _| String::new()).into_handler())
            .unwrap();
    // Until the parent ends.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    ExitCode::SUCCESS
}

/// How to start what is measured, and where it listens.
struct Agent {
    about: String,
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
}

/// A running one; ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn new(words: &[String]) -> Agent {
        let port =
            words.get(2).map_or_else(free_port, |port| port.parse().expect("the third word is a port"));
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let Some(binary) = words.first() else {
            let about = "the library alone, for want of a binary".to_owned();
            let arguments = vec!["serve".to_owned(), port.to_string()];
            return Agent { about, program: env::current_exe().unwrap(), arguments, address };
        };
        let config = words.get(1).map_or_else(|| quiet_config(port), PathBuf::from);
        let arguments = ["run", "--config"].map(str::to_owned).into_iter();
        let arguments = arguments.chain([config.display().to_string()]).collect();
        Agent { about: binary.clone(), program: PathBuf::from(binary), arguments, address }
    }

    fn spawn(&self) -> Running {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display())))
    }

    /// Microseconds from exec to the end of the first good answer. Tries again without a pause.
    fn starts(&self) -> Vec<f64> {
        let start = |_| {
            let began = Instant::now();
            let _running = self.spawn();
            self.first_answer(began);
            micros(began)
        };
        (0..STARTS).map(start).collect()
    }

    fn run(&self) -> Running {
        let running = self.spawn();
        self.first_answer(Instant::now());
        // The heap and the caches as they are after a while.
        self.new_connections(200);
        running
    }

    fn first_answer(&self, began: Instant) {
        let mut buffer = Vec::new();
        while !TcpStream::connect(self.address).is_ok_and(|mut stream| scrape(&mut stream, &mut buffer)) {
            // Where the other core is busy, whoever spins would keep the agent waiting for a time slice (3 ms).
            std::thread::yield_now();
            assert!(began.elapsed() < Duration::from_secs(10), "no answer from {}", self.address);
        }
    }

    fn new_connections(&self, count: usize) -> Vec<f64> {
        let mut buffer = Vec::new();
        let mut one = |_| {
            let began = Instant::now();
            let mut stream = TcpStream::connect(self.address).unwrap();
            assert!(scrape(&mut stream, &mut buffer), "a bad answer");
            micros(began)
        };
        (0..count).map(&mut one).collect()
    }

    fn kept_connection(&self, count: usize) -> Vec<f64> {
        let mut buffer = Vec::new();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut one = |_| {
            let began = Instant::now();
            assert!(scrape(&mut stream, &mut buffer), "a bad answer");
            micros(began)
        };
        (0..count).map(&mut one).collect()
    }

    /// Slowest of the scrapes (us) while 500 connections do nothing, growth of memory (kB), further threads.
    fn flood(&self, running: &Running) -> (f64, f64, f64) {
        let pid = running.0.id();
        let (memory, threads) = (resident(pid), thread_count(pid));
        let began = Instant::now();
        let idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(self.address).unwrap()).collect();
        let (mut worst, mut growth, mut further) = (0f64, 0f64, 0f64);
        while began.elapsed() < IDLE_TIME {
            worst = worst.max(self.new_connections(1)[0]);
            growth = growth.max(resident(pid) - memory);
            further = further.max(thread_count(pid) - threads);
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(idle);
        (worst, growth, further)
    }
}

/// Sends a request and reads the whole answer, with one read where the kernel gives it at once; true for 200.
fn scrape(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    if stream.write_all(REQUEST).is_err() {
        return false;
    }
    buffer.resize(64 << 10, 0);
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return false,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        let Some(head) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if filled >= head + 4 + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0) {
            return text.starts_with("HTTP/1.1 200 ") && filled > 1000;
        }
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn thread_count(pid: u32) -> f64 {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() as f64
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A configuration with the usual entries, none of which can happen.
fn quiet_config(port: u16) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-http.yaml");
    let text = format!(
        "agent:\n  interval_seconds: 10\n  dry_run: true\n  metrics: {{address: 127.0.0.1, port: {port}}}\n\
         failures:\n  cpu: {{enabled: true, probability: 0, duration_seconds: 5}}\n\
         \x20 memory: {{enabled: true, probability: 0, duration_seconds: 5}}\n\
         \x20 process: {{enabled: true, probability: 0, target_name: nobody-here}}\n"
    );
    fs::write(&path, text).unwrap();
    path
}
