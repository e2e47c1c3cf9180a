//! Figures of the exporter, measured on the real binary from outside, each beside its goal. What depends on the
//! machine is measured in turn with a bare server in C that sends the same bytes (`floor.c`, by `cc`), pair by pair;
//! the goal is for the median of the ratios.
//!
//! `cargo bench --bench http -- BINARY [CONFIG PORT]`, or `CHAOS_AGENT`, `CHAOS_BENCH_CONFIG` and
//! `CHAOS_BENCH_PORT`. Without a configuration it writes one that injects nothing. Without a binary it measures
//! the library alone, in a process of its own, and says so.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Pairs of starts, and of blocks of scrapes.
const STARTS: usize = 60;
const BLOCKS: usize = 40;
/// Scrapes in a block.
const SCRAPES: usize = 100;
const IDLE: usize = 500;
const IDLE_TIME: Duration = Duration::from_secs(20);
/// Clients that send ahead and never read, and the page that costs most.
const AHEAD: usize = 400;
const AHEAD_TIME: Duration = Duration::from_secs(10);
const PAGE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Of a scrape where there is no C compiler.
const ALONE: &str = "no cc: not compared with a bare server in C";

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return serve(words[1].parse().unwrap());
    }
    let names = ["CHAOS_AGENT", "CHAOS_BENCH_CONFIG", "CHAOS_BENCH_PORT"];
    for name in &names[words.len().min(3)..] {
        words.extend(env::var(name));
    }
    let agent = Served::new(&words);
    println!("measuring {}", agent.about);
    let floor = Served::floor(&agent);
    if floor.is_none() {
        println!("{ALONE}");
    }
    let mut rows = Rows::new();
    let starts = pairs(&agent, floor.as_ref(), STARTS, |served| {
        let began = Instant::now();
        let _running = served.spawn();
        served.first_answer(began);
        micros(began)
    });
    starts.print(&mut rows, "exec to first 200 on /metrics, p50", (3000.0, 1.4));
    // On one core both take turns; on two the figures would be those of where the kernel happened to wake whom.
    pin();
    let running = agent.run();
    let beside = floor.as_ref().map(Served::run);
    for (name, kept, goal) in [("new", false, 80.0), ("kept", true, 40.0)] {
        let pid = |served: &Served| match &beside {
            Some(beside) if !std::ptr::eq(served, &raw const agent) => beside.0.id(),
            _ => running.0.id(),
        };
        let mut cpu = Pairs::default();
        let block = |served: &Served| {
            let before = cpu_time(pid(served));
            let took = median(&served.scrapes(SCRAPES, kept));
            cpu.add(
                std::ptr::eq(served, &raw const agent),
                (cpu_time(pid(served)) - before) / SCRAPES as f64,
            );
            took
        };
        let took = pairs(&agent, floor.as_ref(), BLOCKS, block);
        took.print(&mut rows, &format!("scrape on a {name} connection, p50"), (goal, 1.1));
        cpu.print(&mut rows, "the same, processor time of the server", (goal, 1.3));
    }
    drop(beside);
    let (worst, growth, threads) = agent.flood(&running);
    rows.row("500 idle connections, 20 s: slowest scrape", worst, 5000.0, "us");
    rows.row("500 idle connections, 20 s: memory growth", growth, 1024.0, "kB");
    rows.row("500 idle connections, 20 s: further threads", threads, 0.0, "");
    let (worst, share) = agent.pipeline(&running);
    rows.row("400 that send ahead and never read, 10 s: slowest scrape", worst, 50_000.0, "us");
    rows.row("400 that send ahead and never read, 10 s: processor", share, 5.0, "%");
    rows.end()
}

/// Keeps this program and the servers that it starts from now on on one core.
fn pin() {
    // SAFETY: all bits zero are an empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes to the set whose size is told; the calling thread is meant by 0.
    unsafe { libc::sched_getaffinity(0, size_of_val(&cores), &raw mut cores) };
    // SAFETY: reads a set that lives.
    let allowed = (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &cores) });
    let last = allowed.max().unwrap();
    // SAFETY: writes to a set that lives.
    unsafe { libc::CPU_ZERO(&mut cores) };
    // SAFETY: the core is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(last, &mut cores) };
    // SAFETY: reads the set whose size is told.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores) }, 0);
}

/// The same figure of the agent and of the floor, in turn, in microseconds.
#[derive(Default)]
struct Pairs {
    agent: Vec<f64>,
    floor: Vec<f64>,
}

/// Measures one after the other, `count` times; who is first changes, so that neither gains by it.
fn pairs(agent: &Served, floor: Option<&Served>, count: usize, mut one: impl FnMut(&Served) -> f64) -> Pairs {
    let mut pairs = Pairs::default();
    for round in 0..count {
        let mut both = [Some(agent), floor];
        if round % 2 == 1 {
            both.reverse();
        }
        for served in both.into_iter().flatten() {
            pairs.add(std::ptr::eq(served, agent), one(served));
        }
    }
    pairs
}

impl Pairs {
    fn add(&mut self, is_agent: bool, figure: f64) {
        if is_agent { self.agent.push(figure) } else { self.floor.push(figure) }
    }

    /// The agent's median beside its goal, or, with a floor, the median of the ratios beside that goal.
    fn print(&self, rows: &mut Rows, figure: &str, (alone, ratio): (f64, f64)) {
        if self.floor.is_empty() {
            return rows.row(figure, median(&self.agent), alone, "us");
        }
        let ratios: Vec<f64> =
            self.agent.iter().zip(&self.floor).map(|(agent, floor)| agent / floor).collect();
        rows.ratio(figure, median(&self.agent), median(&self.floor), &ratios, ratio);
    }
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
struct Served {
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

impl Served {
    fn new(words: &[String]) -> Served {
        let port =
            words.get(2).map_or_else(free_port, |port| port.parse().expect("the third word is a port"));
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let Some(binary) = words.first() else {
            let about = "the library alone, for want of a binary".to_owned();
            let arguments = vec!["serve".to_owned(), port.to_string()];
            return Served { about, program: env::current_exe().unwrap(), arguments, address };
        };
        let config = words.get(1).map_or_else(|| quiet_config(port), PathBuf::from);
        let arguments = ["run", "--config"].map(str::to_owned).into_iter();
        let arguments = arguments.chain([config.display().to_string()]).collect();
        Served { about: binary.clone(), program: PathBuf::from(binary), arguments, address }
    }

    fn spawn(&self) -> Running {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display())))
    }

    /// A server in C that sends the agent's own answer; `None` without a C compiler.
    fn floor(agent: &Served) -> Option<Served> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (program, answer) = (folder.join("bench-floor"), folder.join("bench-floor.answer"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/floor.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", source, "-o"]).arg(&program);
        compiler.status().ok().filter(std::process::ExitStatus::success)?;
        let running = agent.run();
        let (mut stream, mut buffer) = (TcpStream::connect(agent.address).unwrap(), Vec::new());
        let length = scrape(&mut stream, &mut buffer).unwrap();
        fs::write(&answer, &buffer[..length]).unwrap();
        drop(running);
        let port = free_port();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let arguments = vec![port.to_string(), answer.display().to_string()];
        Some(Served { about: "a bare server in C".to_owned(), program, arguments, address })
    }

    fn run(&self) -> Running {
        let running = self.spawn();
        self.first_answer(Instant::now());
        // The heap and the caches as they are after a while.
        self.scrapes(200, false);
        running
    }

    fn first_answer(&self, began: Instant) {
        let mut buffer = Vec::new();
        while !TcpStream::connect(self.address)
            .is_ok_and(|mut stream| scrape(&mut stream, &mut buffer).is_some())
        {
            // Whoever spins keeps one of few cores from the server, which would wait for a time slice (3 ms).
            std::thread::park_timeout(Duration::from_micros(10));
            assert!(began.elapsed() < Duration::from_secs(10), "no answer from {}", self.address);
        }
    }

    /// Microseconds of each scrape, on one connection or each on its own.
    fn scrapes(&self, count: usize, kept: bool) -> Vec<f64> {
        let connect = || {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let (mut buffer, mut open) = (Vec::new(), kept.then(connect));
        let one = |_| {
            let began = Instant::now();
            match &mut open {
                Some(stream) => scrape(stream, &mut buffer).expect("a bad answer"),
                None => scrape(&mut connect(), &mut buffer).expect("a bad answer"),
            };
            micros(began)
        };
        (0..count).map(one).collect()
    }

    /// Slowest of the scrapes (us) while 500 connections do nothing, growth of memory (kB), further threads.
    fn flood(&self, running: &Running) -> (f64, f64, f64) {
        let pid = running.0.id();
        let (memory, threads) = (resident(pid), thread_count(pid));
        let began = Instant::now();
        let idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(self.address).unwrap()).collect();
        let (mut worst, mut growth, mut further) = (0f64, 0f64, 0f64);
        while began.elapsed() < IDLE_TIME {
            worst = worst.max(self.scrapes(1, false)[0]);
            growth = growth.max(resident(pid) - memory);
            further = further.max(thread_count(pid) - threads);
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(idle);
        (worst, growth, further)
    }
}

impl Served {
    /// Slowest of the scrapes (us) and share of a processor (%) while 400 clients ask for pages without end and read
    /// none; who is turned away comes back.
    fn pipeline(&self, running: &Running) -> (f64, f64) {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, over) = (self.address, Arc::clone(&stop));
        let clients = std::thread::spawn(move || {
            let block = PAGE.repeat(100);
            let mut clients: Vec<Option<TcpStream>> = (0..AHEAD).map(|_| None).collect();
            while !over.load(Ordering::Relaxed) {
                for client in &mut clients {
                    let stream = match client {
                        Some(stream) => stream,
                        None => match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                            Ok(stream) => {
                                stream.set_nonblocking(true).unwrap();
                                client.insert(stream)
                            }
                            Err(_) => continue,
                        },
                    };
                    match stream.write(&block) {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => *client = None,
                        _ => {}
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let (began, before) = (Instant::now(), cpu_time(running.0.id()));
        let mut worst = 0f64;
        while began.elapsed() < AHEAD_TIME {
            worst = worst.max(self.scrapes(1, false)[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
        let share = (cpu_time(running.0.id()) - before) / micros(began) * 100.0;
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap();
        (worst, share)
    }
}

/// Sends a request and reads the whole answer, with one read where the kernel gives it at once; its length for 200.
fn scrape(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    stream.write_all(REQUEST).ok()?;
    buffer.resize(64 << 10, 0);
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return None,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        let Some(head) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if filled >= head + 4 + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0) {
            return (text.starts_with("HTTP/1.1 200 ") && filled > 1000).then_some(filled);
        }
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Microseconds of processor time of all threads; schedstat counts nanoseconds.
fn cpu_time(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let one = |task: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e3
    };
    tasks.map(one).sum()
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
