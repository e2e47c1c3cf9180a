//! The agent with a network fault between two namespaces, and what a UDP datagram meets on its way between them.

pub use crate::common::http::get_from;
use crate::common::http::{get, sample};
use crate::common::namespace;
use crate::common::running::Running;
pub use crate::common::signal::kill;
use crate::common::wait::until;
use crate::support::{Link, Namespace, agent_path, tc, wait_for};
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Generous: a deadline only decides how long a broken build takes to fail.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The agent's exporter; each case has a namespace of its own, so that one port is enough.
pub const PORT: u16 = 18_000;

/// Runs `work` on a thread of its own inside a namespace.
pub fn inside<T: Send + 'static>(
    space: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    namespace::inside(File::open(format!("/run/netns/{}", space.name)).unwrap(), work)
}

/// An agent inside a namespace, with one network fault.
pub struct Agent {
    pub process: Running,
    log: PathBuf,
}

impl Agent {
    /// Starts the agent with a fault that begins at once.
    pub fn start(space: &Namespace, fault: &str) -> Agent {
        Agent::start_with(space.command(agent_path()), fault, "3600")
    }

    pub fn start_with(mut command: Command, fault: &str, interval: &str) -> Agent {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("/tmp/wire-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (config, log) = (PathBuf::from(format!("{name}.yaml")), PathBuf::from(format!("{name}.log")));
        let text = format!(
            "agent: {{interval_seconds: {interval}, metrics: {{address: \"::\", port: {PORT}}}}}\n\
             failures:\n  fault: {{type: network, enabled: true, probability: 1, {fault}}}\n"
        );
        fs::write(&config, text).unwrap();
        let file = File::create(&log).unwrap();
        command.arg("run").arg("--config").arg(&config);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Agent { process: Running(command.spawn().unwrap()), log }
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a log line with this in it.
    pub fn wait_log(&self, needle: &str) -> String {
        let found = || self.log().lines().find(|line| line.contains(needle)).map(str::to_owned);
        until(LIMIT, &format!("{needle:?} in the log"), found, || self.log())
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for the end; the exit code.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let child = &mut self.process.0;
        wait_for(LIMIT, "the agent to end", || child.try_wait().unwrap()).code()
    }

    /// Waits until the fault is in force, as the metrics tell.
    pub fn wait_active(&self, space: &Namespace) {
        let active = || {
            assert!(!self.log().contains(" ERROR "), "not active:\n{}", self.log());
            let value = metric(space, "chaos_injection_active{failure_type=\"network\"}");
            (value == Some(1.0)).then_some(())
        };
        until(LIMIT, "active fault", active, || self.log());
    }
}

/// A sample of the exporter, asked over the loopback of its namespace.
pub fn metric(space: &Namespace, name: &str) -> Option<f64> {
    let name = name.to_owned();
    inside(space, move || sample(&get(PORT, "/metrics").ok()?.1, &name)).join().unwrap()
}

/// Everything about queues, filters and interfaces that a fault may change, to compare before with after.
pub fn state(space: &Namespace) -> String {
    let links = space.run("ip -o link show");
    let names: Vec<_> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    format!("{} {names:?}", tc(space, "-j qdisc show"))
}

/// Answers every datagram on a port until dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub fn new(space: &Namespace, address: &str) -> Echo {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, address, ready) =
            (Arc::clone(&stop), address.to_owned(), Arc::new(AtomicBool::new(false)));
        let bound = Arc::clone(&ready);
        let thread = inside(space, move || {
            let socket = UdpSocket::bind(address).unwrap();
            bound.store(true, Ordering::Release);
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let mut bytes = [0; 2048];
            while !flag.load(Ordering::Acquire) {
                if let Ok((count, from)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..count], from);
                }
            }
        });
        wait_for(LIMIT, "the echo to be bound", || ready.load(Ordering::Acquire).then_some(()));
        Echo { stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Round trips of `count` datagrams in milliseconds, one after the other; `None` for those without an answer
/// within `patience`.
pub fn trips(space: &Namespace, to: &str, count: usize, patience: Duration) -> Vec<Option<f64>> {
    marked_trips(space, to, count, patience, 0)
}

/// The same with a type of service.
pub fn marked_trips(
    space: &Namespace,
    to: &str,
    count: usize,
    patience: Duration,
    tos: i32,
) -> Vec<Option<f64>> {
    let to: SocketAddr = to.parse().unwrap();
    inside(space, move || {
        let own = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: the int outlives the call, and its size is given.
        let set = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_TOS, (&raw const tos).cast(), 4)
        };
        assert!(set == 0 || !to.is_ipv4());
        socket.connect(to).unwrap();
        (0..count as u32)
            .map(|number| {
                let begin = Instant::now();
                let _ = socket.send(&number.to_ne_bytes());
                let mut bytes = [0; 64];
                loop {
                    let left = patience.checked_sub(begin.elapsed()).filter(|left| !left.is_zero())?;
                    socket.set_read_timeout(Some(left)).unwrap();
                    // Answers to earlier datagrams are not this one's.
                    if socket.recv(&mut bytes).is_ok_and(|_| bytes[..4] == number.to_ne_bytes()) {
                        return Some(begin.elapsed().as_secs_f64() * 1000.0);
                    }
                }
            })
            .collect()
    })
    .join()
    .unwrap()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub fn median(values: &[Option<f64>]) -> f64 {
    let mut values: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::INFINITY)).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What came of a stream of datagrams.
pub struct Stream {
    /// Their numbers in the order in which they came in.
    pub found: Vec<u32>,
    /// From the first to leave to the last to come in.
    pub took: Duration,
    /// How many left later after the one before than they should have, by 5 ms or more.
    pub stalls: usize,
}

/// How many of the last words have to come.
const ENDS: usize = 5;
/// What stands in a datagram that ends a stream, and is sent again until it comes through.
const END: u32 = u32::MAX;

/// `count` datagrams through the link. The stream ends by word, not by silence: a machine that stands still for a while
/// loses nothing.
pub fn stream(link: &Link, count: u32) -> Stream {
    fs::write("/proc/sys/net/core/rmem_default", "16777216").unwrap();
    let address = format!("{}:7000", link.far_address);
    let (ready, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (bound, sent, place) = (Arc::clone(&ready), Arc::clone(&done), address.clone());
    let sink = inside(&link.far, move || {
        let socket = UdpSocket::bind(place).unwrap();
        bound.store(true, Ordering::Release);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (mut found, mut last, mut ends) = (Vec::new(), Instant::now(), 0);
        let mut bytes = [0; 2048];
        // The first of the last words may have overtaken others: the queue is empty when several have come.
        while ends < ENDS {
            match socket.recv(&mut bytes).map(|_| u32::from_ne_bytes(bytes[..4].try_into().unwrap())) {
                Ok(END) => ends += 1,
                Ok(number) => (last, _) = (Instant::now(), found.push(number)),
                Err(_) => {}
            }
        }
        sent.store(true, Ordering::Release);
        (found, last)
    });
    wait_for(LIMIT, "the sink to be bound", || ready.load(Ordering::Acquire).then_some(()));
    let source = inside(&link.near, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(&address).unwrap();
        let begin = Instant::now();
        let (mut before, mut stalls) = (begin, 0);
        for number in 0..count {
            let mut bytes = [0x55; 64];
            bytes[..4].copy_from_slice(&number.to_ne_bytes());
            let _ = socket.send(&bytes);
            stalls += usize::from(before.elapsed() > Duration::from_millis(5));
            before = Instant::now();
            // Below what the receiver takes, so that only netem loses.
            if number % 20 == 19 {
                thread::park_timeout(Duration::from_millis(2));
            }
        }
        let mut bytes = [0x55; 64];
        bytes[..4].copy_from_slice(&END.to_ne_bytes());
        let end = Instant::now() + LIMIT;
        while !done.load(Ordering::Acquire) {
            assert!(Instant::now() < end, "the last word does not come through");
            let _ = socket.send(&bytes);
            thread::park_timeout(Duration::from_millis(50));
        }
        (begin, stalls)
    });
    let ((begin, stalls), (found, last)) = (source.join().unwrap(), sink.join().unwrap());
    Stream { found, took: last.saturating_duration_since(begin), stalls }
}
