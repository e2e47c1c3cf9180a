//! The end of `chaos-agent inject`.

use super::{LINE, TOLD, is_trusted, line, name, who};
use crate::agent::why::Why;
use crate::board::Past;
use crate::failures::Facts;
use crate::linux::sys::poll;
use crate::linux::sys::unix::{self, Peer};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the agent may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
const SAYS_NO: &str = "the agent that runs here says no: ";

/// What came of asking for leave to inject.
pub enum Found {
    /// No agent runs here.
    Nobody,
    /// There is somebody, but not an agent that can be talked to; the sentence says who and why.
    Unsure(String),
    /// The agent says no, in these words.
    Refused(String),
    /// The agent knows of the fault from now on.
    Seat(Seat),
}

/// The agent's knowledge of one fault, for as long as both live.
#[derive(Debug)]
pub struct Seat {
    stream: UnixStream,
    /// Victims and commands that were told.
    told: Mutex<[usize; 2]>,
    over: AtomicBool,
}

/// Asks the agent of this port for leave to inject: `words` are the type, milliseconds, "1" to insist or "0", and what
/// it would do.
#[inline(never)]
pub fn register(port: u16, words: &[&str; 4]) -> Found {
    let name = name(port);
    let stream = match unix::connect(&name) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Found::Nobody,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            return Found::Unsure(format!("@{name} is taken, but answers nobody: too many are waiting"));
        }
        // A kernel without Unix sockets has no agent that could be asked.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Found::Nobody,
        Err(error) => return Found::Unsure(format!("the agent at @{name} cannot be asked: {error}")),
    };
    let peer = unix::peer(&stream).unwrap_or(Peer { pid: 0, uid: u32::MAX });
    if !is_trusted(peer) {
        return Found::Unsure(format!(
            "@{name} is held by {}, which is no agent of this uid or of root",
            who(peer)
        ));
    }
    let mut text = String::new();
    let [kind, time, force, plan] = *words;
    line(&mut text, &["inject", kind, time, force, plan]);
    // It may have refused and gone before it read this; its answer is there all the same.
    _ = (&stream).write_all(text.as_bytes());
    let answer = answer(&stream).unwrap_or_default();
    match answer.split_once('\t').unwrap_or((&answer, "")) {
        ("go", _) => Found::Seat(Seat { stream, told: Mutex::default(), over: AtomicBool::new(false) }),
        ("no", why) => Found::Refused(format!("{SAYS_NO}{why}; --force insists")),
        ("never", why) => Found::Refused(SAYS_NO.to_owned() + why),
        _ => Found::Unsure(format!("the agent, {}, does not answer within {} s", who(peer), LIMIT.as_secs())),
    }
}

/// One line, byte by byte, so that nothing behind it is taken.
fn answer(mut stream: &UnixStream) -> Option<String> {
    let end = Instant::now() + LIMIT;
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while bytes.len() < LINE {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) if byte[0] == b'\n' => return String::from_utf8(bytes).ok(),
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() || poll::readable(&[Some(stream.as_fd())], Some(left)).is_err() {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
    None
}

impl Seat {
    /// Whether the fault must end, and why: the agent says so, or is gone. To be asked when there is something to read.
    pub fn hear(&self) -> Option<Why> {
        let answer = answer(&self.stream);
        match answer {
            // What comes after the end of the fault is the end of the connection.
            _ if self.is_over() => None,
            Some(text) => text.strip_prefix("end\t").and_then(Why::named),
            None => Some(Why::Gone),
        }
    }

    /// Whether the fault has ended, so that the agent may go.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The fault is in force.
    pub fn active(&self, facts: &Facts) {
        self.tell(facts, &["active"]);
    }

    /// The fault has ended, and so has the agent's interest in this process.
    pub fn ended(&self, past: &Past, failed: usize, cut: Option<Why>) {
        self.over.store(true, Ordering::Release);
        let failed = failed.to_string();
        let reason = past.reason.as_deref().unwrap_or_default();
        self.tell(&past.live.facts, &["end", past.status.name(), &failed, cut.map_or("", Why::name), reason]);
    }

    /// What became known since the last time, and this. Never waits: all of it together is less than a socket takes,
    /// and a fault must end whether the agent listens or not.
    fn tell(&self, facts: &Facts, words: &[&str]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for ((kind, list), from) in ["victim", "tc"].iter().zip(facts.get(TOLD)).zip(&mut *told) {
            for item in list.lines.iter().skip(*from) {
                line(&mut text, &[kind, item]);
            }
            *from = list.lines.len();
        }
        line(&mut text, words);
        if let Err(error) = (&self.stream).write_all(text.as_bytes()) {
            log::warn!("the agent does not hear what this fault does: {error}");
        }
    }
}

impl AsFd for Seat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
