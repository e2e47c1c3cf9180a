//! Answers: what a route returns, and its bytes.

use crate::linux::sys::clock;
use crate::text::civil::Civil;
use std::io;
use std::time::Duration;
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
            // The types' author would ask for the time in a way that panics after 2038 on 32 bits, and after 9999.
            Some(("Date", &date(clock::unix()))),
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

/// `Thu, 01 Jan 1970 00:00:00 GMT` (RFC 9110, 5.6.7) of a time since 1970; that very date after 9999.
fn date(since: Duration) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = Some(since.as_secs()).filter(|seconds| *seconds < YEAR_10000).unwrap_or(0);
    let Civil { year, month, day, hour, minute, weekday } = Civil::from_minute((seconds / 60) as i64);
    let (weekday, month) = (DAYS[usize::from(weekday) % 7], MONTHS[usize::from(month + 11) % 12]);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{:02} GMT", seconds % 60)
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

    #[test]
    fn a_date_is_one_of_http() {
        for (seconds, shown) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // the example of the RFC
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (2_209_032_001, "Sun, 01 Jan 2040 12:00:01 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (253_402_300_800, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), shown);
        }
    }
}
