//! Faults by hand: `chaos-agent inject` registers with the agent that runs in its network namespace, so that the agent
//! counts, shows, limits and ends every fault of the pod, not only its own.
//!
//! The place is a Unix socket with an abstract name, `@chaos-agent/PORT`: no file that could be left over, linked or in
//! a read-only file system, and what the network namespace of the pod holds, whatever the PID namespaces. PORT is
//! `agent.metrics.port`, by which agents of one namespace (a host network) differ anyway. Anybody there could take the
//! name first, so each end asks the kernel for the uid of the other and talks only to its own uid and to root.
//!
//! Lines of words with tabs between them. From `inject`: `inject TYPE MILLISECONDS FORCE PLAN`, then `victim WHO`,
//! `tc WORDS`, `active`, and `end STATUS REVERTS_FAILED WHY REASON`. From the agent: `go`, `no REASON` or `never REASON`
//! (whoever insists), and `end WHY` when the fault must end. `inject` holds fault and guard: the end of either process is the end of the connection, at which
//! `inject` reverts its fault, and the agent takes it off the gauge.

mod client;
mod server;

pub use client::{Found, Seat, register};
pub(super) use server::Hands;

use crate::linux::sys::task;
use crate::linux::sys::unix::Peer;

/// Longest line in bytes, its end included.
const LINE: usize = 1024;
/// Victims, and commands, that are told of one fault.
const TOLD: usize = 50;

/// The abstract name at which the agent of this port is found.
fn name(port: u16) -> String {
    format!("chaos-agent/{port}")
}

/// Whether the other end is one to talk to.
fn is_trusted(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == task::uid()
}

/// "process 7 of uid 1000"
fn who(peer: Peer) -> String {
    match peer.pid {
        0 => format!("a process of another container, of uid {}", peer.uid),
        pid => format!("process {pid} of uid {}", peer.uid),
    }
}

/// Appends a line of these words, with what would end a word or a line escaped and what is too long cut.
fn line(out: &mut String, words: &[&str]) {
    let begin = out.len();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push('\t');
        }
        for letter in word.chars() {
            if out.len() - begin > LINE - 16 {
                break;
            }
            match letter.is_control() {
                true => out.extend(letter.escape_default()),
                false => out.push(letter),
            }
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_ends_a_line_and_none_is_too_long() {
        let mut out = String::new();
        line(&mut out, &["victim", "a\tb\nc\u{1b}[0m ü\"<"]);
        assert_eq!(out, "victim\ta\\tb\\nc\\u{1b}[0m ü\"<\n");
        let mut out = String::new();
        line(&mut out, &["tc", &"\u{1F980}\n".repeat(3000), "more"]);
        assert!(out.len() <= LINE && out.matches('\n').count() == 1, "{}", out.len());
    }
}
