//! Answers: what a route returns, and its bytes.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// Bytes of a body; a longer one is answered with 500, because every slow reader may hold one.
const MAX_BODY: usize = 256 << 10;

/// What a route answers.
#[derive(Debug)]
pub struct Reply {
    /// 200, 404, 503, ...; below 200 is not allowed.
    pub status: u16,
    /// The `Content-Type`: ASCII.
    pub content_type: &'static str,
    /// Up to 256 KiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// Status 200.
    pub fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status: 200, content_type, body: body.into() }
    }

    /// Any status, with a line of text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// The status and its name as text.
    pub fn status(status: u16) -> Reply {
        let name = StatusCode(status).default_reason_phrase();
        Reply::text(status, format!("{status} {name}\n"))
    }
}

/// Replaces `head` by the head of the response, and returns the body that belongs behind it. Without
/// `keep_alive` it says that the connection ends; with `head_only` the body is empty, whatever its length.
pub(super) fn print(reply: Reply, keep_alive: bool, head_only: bool, head: &mut Vec<u8>) -> Vec<u8> {
    let reply = if reply.body.len() > MAX_BODY { Reply::status(500) } else { reply };
    head.clear();
    let headers = Vec::from_iter(
        [
            Some(("Server", "chaos-agent")),
            Some(("Content-Type", reply.content_type)),
            (reply.status == 405).then_some(("Allow", "GET, HEAD")),
            // The types' author formats the date with code that panics outside of these years.
            (!clock_is_sane()).then_some(("Date", "Thu, 01 Jan 1970 00:00:00 GMT")),
        ]
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Header::from_bytes(name, value).ok()),
    );
    // Printed without its body, which needs no copy then. Writing to a Vec cannot fail.
    let _ = Response::new(StatusCode(reply.status), headers, io::empty(), Some(reply.body.len()), None)
        .with_chunked_threshold(usize::MAX)
        .raw_print(&mut *head, HTTPVersion(1, 1), &[], true, None);
    if !keep_alive && let Some(end) = head.iter().position(|byte| *byte == b'\n') {
        // The types refuse to carry this header, so it goes behind the status line by hand.
        head.splice(end + 1..=end, *b"Connection: close\r\n");
    }
    if head_only { Vec::new() } else { reply.body }
}

/// Whether now is in 1970 to 9999.
fn clock_is_sane() -> bool {
    const YEAR_10000: u64 = 253_402_300_800;
    SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|now| now.as_secs() < YEAR_10000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(reply: Reply, keep_alive: bool, head_only: bool) -> String {
        let mut out = b"left over".to_vec();
        let body = print(reply, keep_alive, head_only, &mut out);
        out.extend(body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_has_its_headers_and_its_body() {
        let text = printed(Reply::ok("a/b", "body"), true, false);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nbody"), "{text}");
        for header in ["Content-Length: 4", "Content-Type: a/b", "Server: chaos-agent", "Date: "] {
            assert_eq!(text.matches(&format!("\r\n{header}")).count(), 1, "{header} in {text}");
        }
        assert!(!text.contains("Connection") && !text.contains("Transfer-Encoding"), "{text}");
    }

    #[test]
    fn head_keeps_the_length_and_close_is_said() {
        let text = printed(Reply::ok("a/b", "x".repeat(100_000)), false, true);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 100000\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_refused_method_says_what_is_allowed_and_a_huge_body_is_not_sent() {
        assert!(printed(Reply::status(405), true, false).contains("\r\nAllow: GET, HEAD\r\n"));
        let text = printed(Reply::ok("a/b", vec![0; MAX_BODY + 1]), true, false);
        assert!(text.starts_with("HTTP/1.1 500 "), "{text}");
    }
}
