//! The exporter as a client that knows nothing of the agent meets it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Generous: it only decides how long a broken build takes to fail.
const LIMIT: Duration = Duration::from_secs(60);

/// A plain GET over the loopback of the calling thread's network: status and body.
pub fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    get_from(SocketAddr::from(([127, 0, 0, 1], port)), path)
}

/// The same from anywhere.
pub fn get_from(at: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(ErrorKind::InvalidData)?, body.to_owned()))
}

/// One sample of an exposition, by its whole name with labels.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
