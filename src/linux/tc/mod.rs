//! The built-in `tc`: a part of iproute2's tc(8), the same words in the same order, on raw rtnetlink; so the
//! agent needs no other program in its image, and a line from its log can be pasted into any shell.
//!
//! Bytes only: sockets are [`crate::linux::sys::netlink`]'s. Words are read before anything is asked of the kernel.

pub mod action;
pub mod class;
pub mod distribution;
pub mod filter;
pub mod link;
pub mod message;
pub mod netem;
pub mod print;
pub mod probe;
pub mod qdisc;
pub mod sched;
pub mod u32;
pub mod words;

use crate::linux::sys::netlink::{self, Netlink, Refusal};
pub use filter::{Filter, filters};
use message::{Message, Tcm, code, find, u32_at, u64_at};
use print::Printer;
pub use qdisc::{Options, Qdisc, qdiscs};
use std::io::{self, Write};
use words::{Parsed, Stop, Words, keyword};

const HELP: &str = "\
Usage: tc [ -s ] [ -j ] OBJECT COMMAND
       tc qdisc { add | replace | change | del } dev DEV { root | parent ID | ingress | clsact }
                [ handle ID ] { netem | prio | tbf | pfifo | bfifo } OPTIONS
       tc filter { add | replace | change | del } dev DEV { root | parent ID | ingress | egress }
                [ protocol { ip | ipv6 | all } ] [ prio N ] [ handle ID ] u32 match ... [ flowid ID ]
                [ action { drop | pass | mirred egress { redirect | mirror } dev DEV } ]
       tc { qdisc | class | filter } show [ dev DEV ]
       tc -batch [ FILE ]
       OPTIONS as in tc-netem(8), tc-prio(8), tc-tbf(8), tc-pfifo(8), matches as in tc-u32(8)
";

/// What stands before the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// `-j`.
    json: bool,
    /// `-s`.
    stats: bool,
}

impl Settings {
    fn printer(self) -> Printer {
        Printer::new(self.json, self.stats)
    }
}

/// The `tc` command: the words after `tc`; returns its exit code: 0, 1 (options that mean nothing, no such
/// device), 2 (the kernel refused) or 255 (a command line that cannot be read).
pub fn run(args: &[String], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // A closed pipe is not worth an error, as in the rest of the program.
    match command(Words(args)) {
        Ok(text) => {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            0
        }
        Err(stop) => {
            let _ = writeln!(err, "{}", stop.text);
            stop.code
        }
    }
}

fn command(mut words: Words<'_>) -> Parsed<String> {
    let mut settings = Settings::default();
    while words.peek().starts_with('-') {
        let word = words.need()?;
        // Both forms, -s and --s; "-p" only changes the white space of tc's JSON.
        match keyword(word, &["-statistics", "-stats", "-json", "-pretty", "-batch"]) {
            "-batch" => return batch(words.next().unwrap_or("-")),
            "-statistics" | "-stats" => settings.stats = true,
            "-json" => settings.json = true,
            "-pretty" => {}
            _ => return Err(Stop::line(format!("Option \"{word}\" is unknown, try \"tc help\"."))),
        }
    }
    let Some(object) = words.next() else { return Ok(HELP.to_owned()) };
    let verb = words.next().unwrap_or("show");
    let verb = keyword(verb, &["add", "change", "replace", "delete", "show", "list", "lst", "help"]);
    let object = keyword(object, &["qdisc", "class", "filter", "help"]);
    match (object, verb) {
        ("help", _) | (_, "help") => Ok(HELP.to_owned()),
        ("qdisc", "add" | "change" | "replace" | "delete") => send(&qdisc::change(verb, words)?),
        ("filter", "add" | "change" | "replace" | "delete") => send(&filter::change(verb, words)?),
        ("qdisc", "show" | "list" | "lst") => qdisc::show(words, settings, &open()?),
        ("class", "show" | "list" | "lst") => class::show(words, settings, &open()?),
        ("filter", "show" | "list" | "lst") => filter::show(words, settings, &open()?),
        ("qdisc" | "class" | "filter", _) => {
            Err(Stop::line(format!("Command \"{verb}\" is unknown, try \"tc {object} help\".")))
        }
        _ => Err(Stop::line(format!("Object \"{object}\" is unknown, try \"tc help\"."))),
    }
}

/// Carries out the lines of a file, or of standard input for `-`, up to the first that fails; empty ones and those
/// that begin with `#` count but do nothing.
fn batch(file: &str) -> Parsed<String> {
    let text = if file == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(file) };
    let text =
        text.map_err(|error| Stop::options(format!("Cannot open file \"{file}\" for reading: {error}")))?;
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        // A file that names itself would never come to an end.
        let nested = words.iter().any(|word| word.starts_with("-b") || word.starts_with("--b"));
        let done = if nested { Err(Stop::line("a batch in a batch")) } else { command(Words(&words)) };
        match done {
            Ok(said) => out += &said,
            Err(stop) => {
                let text = format!("{}\nCommand failed {file}:{}", stop.text, number + 1);
                return Err(Stop::options(text));
            }
        }
    }
    Ok(out)
}

fn open() -> Parsed<Netlink> {
    Netlink::open().map_err(|error| Stop { code: 1, text: format!("Cannot open rtnetlink: {error}") })
}

fn send(message: &Message) -> Parsed<String> {
    open()?.request(message.bytes())?;
    Ok(String::new())
}

impl From<Refusal> for Stop {
    /// In tc's words: "Error: Specified qdisc kind is unknown.", "RTNETLINK answers: Operation not permitted".
    fn from(refusal: Refusal) -> Stop {
        let text = match (refusal.text.as_str(), refusal.source) {
            ("", source) => {
                let words = source.to_string();
                format!("RTNETLINK answers: {}", words.split(" (os error").next().unwrap_or_default())
            }
            (text, _) => format!("Error: {}.", text.trim_end_matches('.')),
        };
        Stop { code: 2, text }
    }
}

/// The index of a device named on the command line.
fn device(name: &str) -> Parsed<i32> {
    netlink::index_of(name).ok_or_else(|| Stop::options(format!("Cannot find device \"{name}\"")))
}

fn device_name(ifindex: i32) -> String {
    netlink::name_of(ifindex).unwrap_or_else(|| format!("if{ifindex}"))
}

/// `TCA_STATS2` (linux/gen_stats.h): basic is bytes u64, packets u32; queue is qlen, backlog, drops, requeues,
/// overlimits u32.
fn counters(out: &mut Printer, statistics: &[u8], before: &str) {
    const BASIC: u16 = 1;
    const QUEUE: u16 = 3;
    const PACKETS64: u16 = 8;
    if let Some(basic) = find(statistics, BASIC) {
        let (bytes, packets) = (u64_at(basic, 0), u64::from(u32_at(basic, 8)));
        let packets = find(statistics, PACKETS64).map_or(packets, |wide| u64_at(wide, 0).max(packets));
        out.number("bytes", &bytes, format_args!("{before}Sent {bytes} bytes"));
        out.number("packets", &packets, format_args!(" {packets} pkt"));
    }
    if let Some(queue) = find(statistics, QUEUE) {
        let [qlen, backlog, drops, requeues, overlimits] = [0, 4, 8, 12, 16].map(|at| u32_at(queue, at));
        out.number("drops", &drops, format_args!(" (dropped {drops}"));
        out.number("overlimits", &overlimits, format_args!(", overlimits {overlimits}"));
        out.number("requeues", &requeues, format_args!(" requeues {requeues}) \n"));
        out.number("backlog", &backlog, format_args!("{before}backlog {}", print::size(backlog)));
        out.number("qlen", &qlen, format_args!(" {qlen}p requeues {requeues}"));
    }
}

/// Deletes the root qdisc of an interface if it has this handle (`major << 16`, not 0); the kernel compares and
/// deletes under one lock. `false` when there is nothing to undo: another qdisc, or the interface is gone. Two
/// system calls, and the qdisc is gone when the first returns.
///
/// # Errors
/// Anything else, such as `EPERM`.
pub fn delete_root(socket: &Netlink, ifindex: i32, handle: u32) -> io::Result<bool> {
    let tcm = Tcm { ifindex, handle, parent: code::ROOT, info: 0 };
    // Handle 0 means "whichever" to the kernel.
    if handle == 0 {
        return Ok(false);
    }
    undone(socket, &Message::tc(code::RTM_DELQDISC, 0, tcm))
}

/// Deletes the qdisc for incoming packets, if it is of this kind (`ingress` or `clsact`; both always have handle
/// `ffff:`, so whose it is must be known otherwise), with all its filters. `false` when there is nothing to undo.
///
/// # Errors
/// As [`delete_root`].
pub fn delete_ingress(socket: &Netlink, ifindex: i32, kind: &str) -> io::Result<bool> {
    let tcm = Tcm { ifindex, handle: code::INGRESS & 0xffff_0000, parent: code::INGRESS, info: 0 };
    let mut message = Message::tc(code::RTM_DELQDISC, 0, tcm);
    message.string(code::TCA_KIND, kind);
    undone(socket, &message)
}

/// Deletes all filters of one preference (1 to 65535) from a parent. `false` when there is nothing to undo.
///
/// # Errors
/// As [`delete_root`].
pub fn delete_filters(socket: &Netlink, ifindex: i32, parent: u32, preference: u16) -> io::Result<bool> {
    // Preference 0 means "all" to the kernel.
    if preference == 0 {
        return Ok(false);
    }
    let tcm = Tcm { ifindex, handle: 0, parent, info: u32::from(preference) << 16 };
    undone(socket, &Message::tc(code::RTM_DELTFILTER, 0, tcm))
}

/// Sends a deletion: `false` when there was nothing of this name and handle.
pub(crate) fn undone(socket: &Netlink, message: &Message) -> io::Result<bool> {
    let Err(refusal) = socket.request(message.bytes()) else { return Ok(true) };
    // EINVAL is the kernel's word for another handle ("Invalid handle") or kind ("Invalid qdisc name").
    let absent = [libc::ENODEV, libc::ENOENT, libc::EINVAL].iter().any(|errno| refusal.is(*errno));
    if absent { Ok(false) } else { Err(refusal.into()) }
}

#[cfg(test)]
mod tests;
