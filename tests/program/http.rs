//! The exporter against clients that behave and clients that do not, over real sockets. The server runs in
//! a process of its own, so that its threads, descriptors and memory can be counted.

use chaos_agent::exporter::http::{Reply, Routes, spawn};
use chaos_agent::exporter::metrics::Metrics;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than anything here may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BIG: usize = 200 << 10;
/// Connections that the server holds at a time.
const MAX_CONNECTIONS: usize = 64;

// ---- the server's end

/// Not a test: what the child process runs, until its stdin ends.
#[test]
#[ignore = "the server process of the other tests"]
fn server_process() {
    let metrics = Arc::new(Metrics::new("1.2.3", 42));
    for kind in ["cpu", "memory", "process", "network"] {
        metrics.register(kind);
    }
    let routes = Routes::new(metrics, |links, _| format!("{links:?}"))
        .with("/big", "a long body", |_| Reply::text(200, vec![b'x'; BIG]))
        .into_handler();
    let handle = spawn(LOOPBACK, 0, routes).unwrap();
    println!("\nPORT {}", handle.local_addr().unwrap().port());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Server {
    child: Child,
    /// Open as long as the child: what it prints must not fail.
    _output: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        Server::with_descriptors(1024)
    }

    /// A server that may have that many files open.
    fn with_descriptors(limit: usize) -> Server {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n \"$1\"; exec \"$0\" --exact http::server_process --ignored --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(limit.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let port =
            output.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("PORT ")?.parse().ok());
        let address = SocketAddr::new(LOOPBACK, port.expect("the server printed no port"));
        Server { child, _output: output, address }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    fn scrape(&self) {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200);
        assert!(response.body.contains("chaos_injections_total{failure_type=\"cpu\",status=\"failed\"} 0\n"));
    }

    fn entries(&self, folder: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{folder}", self.child.id())).unwrap().count()
    }

    /// Anonymous memory in kB.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- the client's end

struct Client(BufReader<TcpStream>);

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.response(false)
    }

    fn response(&mut self, head_only: bool) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "the connection ended within {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: String::new() };
        if !head_only {
            let length: usize = response.header("Content-Length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).unwrap();
            response.body = String::from_utf8(body).unwrap();
        }
        response
    }

    /// Whether the server ends the connection without a further byte.
    fn is_ended(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

// ---- clients that behave

#[test]
fn each_path_is_answered_to_get_and_head_and_to_nothing_else() {
    let server = Server::start();
    let mut client = server.connect();
    let cases = [
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics?name[]=up", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/-/healthy", 200, "text/plain; charset=utf-8"),
        ("/", 200, "text/html; charset=utf-8"),
        ("/nope", 404, "text/plain; charset=utf-8"),
        ("http://somewhere/healthz", 200, "text/plain; charset=utf-8"),
    ];
    for (path, status, kind) in cases {
        let got = client.get(path);
        assert_eq!((got.status, got.header("Content-Type")), (status, Some(kind)), "{path}");
        client.send(format!("HEAD {path} HTTP/1.1\r\n\r\n"));
        let head = client.response(true);
        assert_eq!((head.status, head.header("Content-Type")), (status, Some(kind)), "HEAD {path}");
        assert!(head.header("Content-Length").unwrap().parse::<usize>().unwrap() > 0, "HEAD {path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let got = client.response(false);
            assert_eq!((got.status, got.header("Allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    let page = client.get("/").body;
    assert!(page.contains("(\"/metrics\", "), "{page}");
}

#[test]
fn a_connection_lives_on_in_http_1_1_only_and_ends_when_asked() {
    let server = Server::start();
    for (request, ends) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", false),
        ("GET /healthz HTTP/1.1\nHost: a\n\n", false),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", true),
        ("GET /healthz HTTP/1.0\r\n\r\n", true),
        ("POST /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", true),
    ] {
        let mut client = server.connect();
        client.send(request);
        let response = client.response(false);
        assert_eq!(response.header("Connection") == Some("close"), ends, "{request:?}");
        if ends {
            assert!(client.is_ended(), "{request:?}");
        } else {
            assert_eq!(client.get("/healthz").status, 200, "{request:?}");
        }
    }
}

#[test]
fn requests_sent_ahead_or_byte_by_byte_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let began = Instant::now();
    client.send("GET /healthz HTTP/1.1\r\n\r\nGET /nope HTTP/1.1\r\n\r\n".repeat(5));
    for _ in 0..5 {
        assert_eq!((client.response(false).status, client.response(false).status), (200, 404));
    }
    // Nine of them wait a tenth of a second each: nobody keeps the thread busy by sending ahead.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response(false).status, 200);
    // The last one of a client that will send no more.
    client.send("GET /healthz HTTP/1.1\r\n\r\n");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response(false).status, 200);
    assert!(client.is_ended());
}

#[test]
fn every_address_means_both_families() {
    let routes = || Routes::new(Arc::new(Metrics::new("1", 1)), |_, _| String::new()).into_handler();
    let everywhere = spawn(Ipv6Addr::UNSPECIFIED.into(), 0, routes()).unwrap();
    let port = everywhere.local_addr().unwrap().port();
    assert_eq!(Client::connect((Ipv4Addr::LOCALHOST, port).into()).get("/healthz").status, 200);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert_eq!(Client::connect((Ipv6Addr::LOCALHOST, port).into()).get("/healthz").status, 200);
    }
}

#[test]
fn stopping_closes_the_port_and_every_connection() {
    let routes = Routes::new(Arc::new(Metrics::new("1", 1)), |_, _| String::new()).into_handler();
    let handle = spawn(LOOPBACK, 0, routes).unwrap();
    let address = handle.local_addr().unwrap();
    let mut served = Client::connect(address);
    assert_eq!(served.get("/healthz").status, 200);
    let mut idle = Client::connect(address);
    handle.stop();
    assert!(served.is_ended() && idle.is_ended());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_in_use_is_taken_once_it_is_free() {
    // An address of its own: no client can connect to itself.
    let own = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let taken = TcpListener::bind((own, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let routes =
        Routes::new(Arc::new(Metrics::new("port-in-use", 1)), |_, _| "port-in-use".to_owned()).into_handler();
    let handle = spawn(own, address.port(), routes).unwrap();
    assert_eq!(handle.local_addr(), None);
    drop(taken);
    let began = Instant::now();
    // Another test's server may have the port for a moment, so the answer must be ours.
    while !page(address).is_ok_and(|page| page.contains("port-in-use")) {
        assert!(began.elapsed() < PATIENCE, "the port was never taken");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn page(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    io::read_to_string(stream)
}

// ---- clients that do not

#[test]
fn what_is_not_a_request_is_refused_and_the_connection_ends() {
    let server = Server::start();
    let long = "a".repeat(9000);
    let many = "A: b\r\n".repeat(65);
    let cases = [
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".to_owned(), 400),
        ("GET /metrics\r\n\r\n".to_owned(), 400),
        ("GET /metrics HTTP/1.1\r\nbroken\r\n\r\n".to_owned(), 400),
        ("GET /metrics HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n".to_owned(), 400),
        ("GET /metrics HTTP/2.0\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        (format!("GET /metrics HTTP/1.1\r\nA: {long}\r\n\r\n"), 431),
        (format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 411),
        ("GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n".to_owned(), 417),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".to_owned(), 413),
        ("GET / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n".to_owned(), 413),
        ("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n".to_owned(), 405),
    ];
    for (bytes, status) in cases {
        let mut client = server.connect();
        client.send(&bytes);
        let response = client.response(false);
        let start = &bytes[..bytes.len().min(60)];
        assert_eq!((response.status, response.header("Connection")), (status, Some("close")), "{start:?}");
        // An orderly end, not a reset: that could overtake the response on a real network.
        assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "{start:?}");
        server.scrape();
    }
}

#[test]
fn endless_senders_cost_nothing() {
    let server = Server::start();
    server.scrape();
    let before = server.memory();
    for start in
        ["GET /", "GET / HTTP/1.1\r\nA: ", "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "\n"]
    {
        let mut client = server.connect();
        let _ = client.0.get_mut().write_all(start.as_bytes());
        let chunk = if start == "\n" { [b'\n'; 1 << 16] } else { [b'a'; 1 << 16] };
        let accepted = (0..320).take_while(|_| client.0.get_mut().write_all(&chunk).is_ok()).count();
        assert!(accepted < 320, "20 MB went in behind {start:?}");
        server.scrape();
    }
    assert!(server.memory() <= before + 1024, "grew from {before} to {} kB", server.memory());
}

#[test]
fn a_thousand_idle_connections_leave_room_for_a_scrape() {
    allow_descriptors(4096);
    let server = Server::start();
    let mut scraper = server.connect();
    assert_eq!(scraper.get("/metrics").status, 200);
    let (threads, files, memory) = (server.entries("task"), server.entries("fd"), server.memory());
    let mut idle = Vec::new();
    for batch in 0..20 {
        for at in 0..50 {
            let mut client = server.connect();
            if at % 2 == 1 {
                // Some get as far as half a head.
                let _ = client.0.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost:");
            }
            idle.push(client);
        }
        server.scrape();
        // The connection that was answered before is not given up for them.
        assert_eq!(scraper.get("/metrics").status, 200, "batch {batch}");
    }
    assert_eq!(idle.len(), 1000);
    assert_eq!(server.entries("task"), threads);
    assert!(server.entries("fd") <= files + MAX_CONNECTIONS, "{} descriptors", server.entries("fd"));
    assert!(server.memory() <= memory + 1024, "grew from {memory} to {} kB", server.memory());
    let ended = idle.len() - (MAX_CONNECTIONS - 1);
    assert!(idle.iter_mut().take(ended - 1).all(Client::is_ended), "the oldest were not given up first");
}

#[test]
fn answered_connections_cannot_keep_newcomers_out() {
    let server = Server::start();
    let mut hoard: Vec<Client> = (0..MAX_CONNECTIONS).map(|_| server.connect()).collect();
    for client in &mut hoard {
        assert_eq!(client.get("/healthz").status, 200);
    }
    // Among newcomers only, the second would push out the first before it has said a word.
    let mut first = server.connect();
    assert_eq!(server.connect().get("/healthz").status, 200);
    assert_eq!(first.get("/healthz").status, 200);
}

#[test]
fn a_head_that_does_not_end_is_cut_off_while_others_are_served() {
    let server = Server::start();
    let mut kept = server.connect();
    assert_eq!(kept.get("/healthz").status, 200);
    let mut slow = server.connect();
    slow.send("GET /metrics HTTP/1.1\r\nA: ");
    slow.0.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let began = Instant::now();
    let end = loop {
        assert!(began.elapsed() < PATIENCE, "a byte now and then kept the connection open");
        server.scrape();
        if let Err(error) = slow.0.get_mut().write_all(b"a") {
            break error.kind();
        }
        match slow.0.read(&mut [0; 1]) {
            Ok(0) => break ErrorKind::UnexpectedEof,
            Ok(_) => panic!("half a head was answered"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => break error.kind(),
        }
    };
    assert!(began.elapsed() >= Duration::from_secs(4), "{end:?} after {:?}", began.elapsed());
    // The time of a head begins with its first byte, not with the end of the last answer.
    kept.send("GET /healthz HT");
    server.scrape();
    kept.send("TP/1.1\r\n\r\n");
    assert_eq!(kept.response(false).status, 200);
}

#[test]
fn a_reader_that_does_not_read_delays_nobody_and_loses_nothing() {
    let server = Server::start();
    server.scrape();
    let memory = server.memory();
    let count = 20 + (socket_buffer("tcp_rmem") + 2 * socket_buffer("tcp_wmem")) / BIG;
    let mut lazy = server.connect();
    lazy.send("GET /big HTTP/1.1\r\n\r\n".repeat(count));
    for _ in 0..20 {
        server.scrape();
    }
    assert!(server.memory() <= memory + 1024, "grew from {memory} to {} kB", server.memory());
    for at in 0..count {
        let response = lazy.response(false);
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "response {at}: {}", response.head);
        assert_eq!(response.body.len(), BIG, "response {at}");
    }
    assert_eq!(lazy.get("/healthz").status, 200);
}

/// How many bytes the kernel takes at most for one end of a connection.
fn socket_buffer(setting: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}")).unwrap();
    text.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn clients_that_leave_early_leave_nothing_behind() {
    let server = Server::start();
    server.scrape();
    let (threads, files) = (server.entries("task"), server.entries("fd"));
    for at in 0..600 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        // None, half or the whole of a request, and gone: the answer meets a reset.
        let request = &b"GET /big HTTP/1.1\r\n\r\n"[..[0, 9, 21][at % 3]];
        let _ = stream.write_all(request);
    }
    server.scrape();
    let began = Instant::now();
    while server.entries("fd") > files {
        assert!(began.elapsed() < PATIENCE, "{} descriptors, {files} before", server.entries("fd"));
        server.scrape();
    }
    assert_eq!(server.entries("task"), threads);
}

#[test]
fn the_end_of_the_descriptors_is_not_the_end() {
    let server = Server::with_descriptors(16);
    server.scrape();
    let idle: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for _ in 0..20 {
        server.scrape();
    }
    drop(idle);
    server.scrape();
}

/// Lets this process hold that many files open; the usual limit is 1024.
fn allow_descriptors(count: usize) {
    let this = std::process::id().to_string();
    let set = Command::new("prlimit").args(["--pid", &this, &format!("--nofile={count}:")]).status();
    assert!(set.unwrap().success());
}
