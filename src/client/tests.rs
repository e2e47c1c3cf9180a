//! Real servers on the loopback, kind and hostile.

use super::*;
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Long enough for every test on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

/// Serves one connection by `serve`, after the request was read, and gives back what was asked.
fn server(address: &str, serve: impl FnOnce(TcpStream) + Send + 'static) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind(address).unwrap();
    let url = format!("http://{}/a?b", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        serve(stream);
        String::from_utf8(request).unwrap()
    });
    (Url::parse(&url).unwrap(), thread)
}

fn says(text: &'static str) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| stream.write_all(text.as_bytes()).unwrap()
}

#[test]
fn an_answer_comes_back_over_either_family() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (url, server) = server(address, says("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"));
        let answer = get(&url, PATIENCE).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"no"[..]));
        let request = server.join().unwrap();
        assert!(request.starts_with(&format!("GET /a?b HTTP/1.1\r\nHost: {}\r\n", url.place)), "{request}");
    }
}

#[test]
fn localhost_is_asked_by_both_families() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let place = Place::local(listener.local_addr().unwrap().port());
    let cancel = Cancel::new().unwrap();
    assert!(connect(&place, PATIENCE, &cancel).is_ok());
}

#[test]
fn a_kept_connection_and_a_chunked_answer_have_their_end() {
    let keep = |text: &'static str| {
        move |mut stream: TcpStream| {
            stream.write_all(text.as_bytes()).unwrap();
            // Until the client leaves.
            let _ = stream.read(&mut [0]);
        }
    };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for text in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", chunked] {
        let (url, server) = server("127.0.0.1:0", keep(text));
        assert_eq!(get(&url, PATIENCE).unwrap().body, b"ok");
        server.join().unwrap();
    }
}

#[test]
fn a_body_without_end_is_cut() {
    let endless = |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    };
    let (url, server) = server("127.0.0.1:0", endless);
    let answer = get(&url, PATIENCE).unwrap();
    assert_eq!((answer.body.len(), answer.cut), (KEPT, true));
    server.join().unwrap();
}

#[test]
fn one_deadline_covers_every_kind_of_slowness() {
    let silent = |mut stream: TcpStream| drop(stream.read(&mut [0]));
    // A byte at a time: each read makes progress, the whole never comes.
    let drip = |mut stream: TcpStream| {
        let mut all = b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'a'));
        while let Some(byte) = all.next()
            && stream.write_all(&[*byte]).is_ok()
        {
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    let body = |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").unwrap();
        let _ = stream.read(&mut [0]);
    };
    for (url, server) in
        [server("127.0.0.1:0", silent), server("127.0.0.1:0", drip), server("127.0.0.1:0", body)]
    {
        let why = get(&url, SHORT).unwrap_err().to_string();
        assert_eq!(why, format!("cannot get {url}: connected, but no whole answer within 0.05 s"));
        server.join().unwrap();
    }
}

#[test]
fn a_connection_that_nobody_takes_ends_at_the_deadline_or_by_a_cancel() {
    // A full backlog: the kernel answers no further SYN.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    net::set_backlog(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let place = Place::at(address.ip(), address.port());
    let cancel = Arc::new(Cancel::new().unwrap());
    let mut taken = Vec::new();
    let why = loop {
        match connect(&place, SHORT, &cancel) {
            Ok(stream) => taken.push(stream),
            Err(error) => break error.to_string(),
        }
        assert!(taken.len() < 100, "the backlog has no end");
    };
    assert_eq!(why, format!("cannot connect to {place}: no connection within 0.05 s"));
    let switch = Arc::clone(&cancel);
    let waiter = thread::spawn(move || connect(&place, PATIENCE * 10, &switch).is_err());
    cancel.cancel();
    assert!(waiter.join().unwrap());
}

#[test]
fn a_refusal_a_reset_and_another_protocol_are_told_apart() {
    // Port 1 is outside of the range that the kernel picks from, so no other test gets it.
    let why = get(&Url::new(Place::local(1), "/"), PATIENCE).unwrap_err().to_string();
    assert_eq!(why, "cannot connect to localhost:1: Connection refused");

    let (url, server_) = server("127.0.0.1:0", |stream| stream.shutdown(Shutdown::Both).unwrap());
    let why = get(&url, PATIENCE).unwrap_err().to_string();
    assert_eq!(why, format!("cannot get {url}: the connection was closed without an answer"));
    server_.join().unwrap();

    let (url, server) = server("127.0.0.1:0", says("+OK redis here\r\n"));
    let why = get(&url, PATIENCE).unwrap_err().to_string();
    assert!(why.ends_with("the answer is no HTTP/1: it starts with \"+OK redis here\\r\\n\""), "{why}");
    server.join().unwrap();
}
