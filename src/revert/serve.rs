//! The guard process: the other end of [`crate::revert::guard`].
//!
//! It undoes first and talks afterwards, and never waits for whoever should hear it. A container runtime that shares
//! the PID namespace kills it a few milliseconds after the agent, so whatever can be had beforehand is: the processor
//! at once when the pipe ends, the program's pages in memory, a netlink socket, a hold on each stopped process.

use crate::linux::proc::{Handle, Reader, Stat};
use crate::linux::sys::{clock, event::EventFd, memory, poll, sched, task, thread};
use crate::revert::guard::{Line, Record, parse};
use crate::revert::undo::{HANDLE, Tools, Undo};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the guard waits before it tries again what the kernel refused.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether the agent is ending, while there is something to undo: a thread of it that waits for a
/// disk which hangs cannot be killed (`D`, uninterruptible), and keeps the pipe open.
const LOOK: Duration = Duration::from_secs(1);
/// How often it tries at the end, when nothing can change any more but the kernel's mind.
const LAST_TRIES: usize = 3;
/// So many stopped processes are held ready; for more, there might be no file descriptor left for anything else.
const HOLDS: usize = 256;
/// Bytes of words that wait to be read; what comes after is not said.
const MOST_WORDS: usize = 64 << 10;
/// How long the end of the guard waits for the reader of its last words.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Reads records from `input` until its end and undoes what is overdue or left; `say` gets a line at a time and must
/// not wait. Returns how many undos failed for good.
pub fn serve(input: impl Read + AsFd, say: &mut dyn FnMut(String)) -> usize {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE] {
        task::ignore(signal);
    }
    task::set_name(c"chaos-guard");
    let tools = Tools::default();
    let _ = tools.prepare(); // without a socket now there may be one when it is needed
    let reader = Reader::new(Path::new("/proc")).ok();
    let mut watch = Watch { tools, reader, holds: 0, records: Vec::with_capacity(64), say };
    // A rehearsal on what is not there brings the pages on the way into memory.
    for nothing in [
        Undo::Resume { pid: std::process::id(), start: 0 },
        Undo::RemoveRoot { ifindex: i32::MAX, handle: HANDLE },
    ] {
        let _ = nothing.perform(&watch.tools);
    }
    // Neither is vital: without the right, the guard is as quick as the machine's load allows.
    let _ = sched::hurry();
    let _ = memory::lock_all();
    watch.read(input);
    let ended = Instant::now();
    let left = watch.finish(ended);
    for one in &left {
        (watch.say)(format!("chaos-guard: gave up on: {}\n", one.record.undo));
    }
    left.len()
}

/// A record, when it is tried next, and a hold on the process that it is about.
struct Pending {
    record: Record,
    /// In milliseconds of CLOCK_BOOTTIME; `None` once undone.
    at: Option<u64>,
    hold: Option<Handle>,
}

struct Watch<'a> {
    tools: Tools,
    reader: Option<Reader>,
    /// How many of `records` have a hold.
    holds: usize,
    records: Vec<Pending>,
    say: &'a mut dyn FnMut(String),
}

impl Watch<'_> {
    /// Follows the pipe to its end; meanwhile undoes what passes its deadline.
    fn read(&mut self, mut input: impl Read + AsFd) {
        let mut line = Vec::new();
        let mut chunk = [0; 4096];
        let (agent, mut looked, mut ending) = (parent_id(), Instant::now(), false);
        loop {
            let next = self.records.iter().filter_map(|one| one.at).min();
            let left = next.map(|at| Duration::from_millis(at.saturating_sub(clock::boot_ms())).min(LOOK));
            match poll::readable(&[Some(input.as_fd())], left) {
                Ok([true]) => match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(count) => self.take(chunk.get(..count).unwrap_or_default(), &mut line),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                },
                Ok([false]) => {}
                Err(_) => return,
            }
            if next.is_some() && looked.elapsed() >= LOOK {
                looked = Instant::now();
                // Seen twice: in most cases the pipe ends a moment later, and with it all is undone in its order.
                if std::mem::replace(&mut ending, is_ending(agent)) && ending {
                    self.records.iter_mut().for_each(|one| one.at = one.at.and(Some(0)));
                }
            }
            // Also while the agent writes without a pause.
            self.overdue(clock::boot_ms());
        }
    }

    fn take(&mut self, bytes: &[u8], line: &mut Vec<u8>) {
        for byte in bytes {
            if *byte == b'\n' && !line.is_empty() {
                self.record(&String::from_utf8_lossy(line));
                line.clear();
            } else if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }

    /// Both ends are the same program, so a line that cannot be read has no good answer; it is said.
    fn record(&mut self, line: &str) {
        match parse(line) {
            Some(Line::Open(record)) => {
                let at = Some(record.deadline);
                // The youngest first: it is the one that is renewed or released next.
                match self.records.iter_mut().rev().find(|known| known.record.id == record.id) {
                    Some(known) => (known.record, known.at) = (record, at),
                    None => {
                        let hold = self.hold(record.undo);
                        self.records.push(Pending { record, at, hold });
                    }
                }
            }
            Some(Line::Release(id)) => {
                if let Some(place) = self.records.iter().position(|one| one.record.id == id) {
                    self.holds -= usize::from(self.records.remove(place).hold.is_some());
                }
            }
            None => (self.say)(format!("chaos-guard: cannot read {line:?}\n")),
        }
    }

    /// A hold on a process that is about to be stopped, so that one system call lets it go on.
    fn hold(&mut self, undo: Undo) -> Option<Handle> {
        let Undo::Resume { pid, start } = undo else { return None };
        let reader = self.reader.as_mut().filter(|_| self.holds < HOLDS)?;
        let hold = Handle::open(reader, pid, start).ok()??;
        self.holds += 1;
        Some(hold)
    }

    fn overdue(&mut self, now: u64) {
        let mut words = Vec::new();
        for one in &mut self.records {
            if one.at.is_none_or(|at| at > now) {
                continue;
            }
            let result = one.record.undo.perform(&self.tools);
            one.at = result.is_err().then(|| now + RETRY.as_millis() as u64);
            match result {
                Ok(true) => words.push(format!("the agent is late; undone: {}", one.record.undo)),
                Ok(false) => {}
                Err(error) => words.push(format!("{error}; trying again")),
            }
        }
        for word in words {
            (self.say)(format!("chaos-guard: {word}\n"));
        }
    }

    /// The agent is gone, noticed at `ended`. Acts first, talks later: there may be only milliseconds left. Returns
    /// what failed.
    fn finish(&mut self, ended: Instant) -> Vec<Pending> {
        let mut left = std::mem::take(&mut self.records);
        left.reverse();
        let mut undone = Vec::with_capacity(left.len());
        if let Some(reader) = &mut self.reader {
            left.retain(|one| {
                // Overdue and undone already.
                let Some(hold) = one.hold.as_ref().filter(|_| one.at.is_some()) else { return true };
                let sent = hold.send(reader, libc::SIGCONT);
                if matches!(sent, Ok(true)) {
                    undone.push((one.record.undo, ended.elapsed()));
                }
                sent.is_err()
            });
        }
        for _ in 0..LAST_TRIES {
            left.retain(|one| match one.record.undo.perform(&self.tools) {
                Ok(there) => {
                    undone.extend(there.then(|| (one.record.undo, ended.elapsed())));
                    false
                }
                Err(_) => true,
            });
        }
        for (undo, took) in undone {
            let micros = took.as_micros();
            (self.say)(format!("chaos-guard: the agent is gone; undone after {micros} us: {undo}\n"));
        }
        left
    }
}

/// Whether the first thread of a process has ended, which in the agent outlives no other one.
fn is_ending(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    Stat::parse(&line).is_some_and(|stat| matches!(stat.state, b'Z' | b'X'))
}

/// Standard error, for words that may be lost: written on a thread of its own, since no other way keeps a write to
/// somebody else's pipe from waiting for its reader.
#[derive(Default)]
pub struct Words {
    waiting: String,
    /// Who writes, and rings at the end.
    writer: Option<(JoinHandle<()>, Arc<EventFd>)>,
}

impl Words {
    /// Says a line soon, or never.
    pub fn say(&mut self, line: &str) {
        if self.waiting.len() + line.len() <= MOST_WORDS {
            self.waiting.push_str(line);
        }
        self.write();
    }

    /// Waits a moment for the reader of what was said last.
    pub fn end(mut self) {
        let end = Instant::now() + LAST_WORDS;
        while let Some((writer, bell)) = &self.writer {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || writer.is_finished() && self.waiting.is_empty() {
                return;
            }
            let _ = poll::readable(&[Some(bell.as_fd())], Some(left));
            self.write();
        }
    }

    fn write(&mut self) {
        let busy = self.writer.as_ref().is_some_and(|(writer, _)| !writer.is_finished());
        if busy || self.waiting.is_empty() {
            return;
        }
        let Ok(bell) = EventFd::new().map(Arc::new) else { return };
        let (text, ring) = (std::mem::take(&mut self.waiting), Arc::clone(&bell));
        let write = move || {
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            ring.signal();
        };
        self.writer = thread::spawn("words", 64 << 10, Box::new(write)).ok().map(|it| (it, bell));
    }
}
