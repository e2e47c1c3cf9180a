//! Request heads: bytes to [`Request`], or the status that refuses them (RFC 9110, RFC 9112).

use tiny_http::Method;

/// Bytes of a request line with its headers.
pub(super) const MAX_HEAD: usize = 8 << 10;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;

/// What a route gets to see.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET`, or `HEAD`, which is answered like `GET`, without the body.
    pub method: Method,
    /// `/metrics`; not decoded, never empty, without the query.
    pub path: &'a str,
    /// What stands behind the `?`; empty without one.
    pub query: &'a str,
}

/// What the bytes at hand amount to.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// The head is not all here yet.
    Incomplete,
    /// To be answered with this status. The next request begins at the offset; `None`: it is not known
    /// where, so the connection has to end.
    Refused(u16, Option<usize>),
    /// A whole head.
    Complete {
        /// What it asks for.
        request: Request<'a>,
        /// Where the next one begins.
        next: usize,
        /// Whether the connection may stay for it.
        keep_alive: bool,
    },
}

/// Reads the first head in `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    // Empty lines before a request are to be ignored (RFC 9112, 2.2).
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let window = &bytes[start..bytes.len().min(start + MAX_HEAD)];
    let Some(end) = head_end(window) else {
        if bytes.len() >= MAX_HEAD {
            return Parsed::Refused(if window.contains(&b'\n') { 431 } else { 414 }, None);
        }
        // No method begins like this: TLS and other protocols need not wait for the deadline.
        let strange = window.first().is_some_and(|byte| !byte.is_ascii_alphabetic());
        return if strange { Parsed::Refused(400, None) } else { Parsed::Incomplete };
    };
    match parse_head(&window[..end], start + end) {
        Ok(parsed) => parsed,
        Err(status) => Parsed::Refused(status, None),
    }
}

/// Offset behind the empty line that ends a head. A bare line feed ends a line too.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'\n') {
        from += at + 1;
        match bytes.get(from..)? {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
    None
}

fn parse_head(head: &[u8], next: usize) -> Result<Parsed<'_>, u16> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (method, target, minor) = request_line(lines.next().unwrap_or_default())?;
    let headers = read_headers(lines, minor)?;
    if !matches!(method, Method::Get | Method::Head) {
        // Without a body it is known where the next request begins.
        let goes_on = headers.keep_alive && !headers.encoded && headers.length == 0;
        return Ok(Parsed::Refused(405, goes_on.then_some(next)));
    }
    if headers.encoded {
        return Err(411);
    }
    if headers.expects {
        return Err(417);
    }
    if headers.length > 0 {
        return Err(413);
    }
    let target = origin_form(target).ok_or(400u16)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request { method, path, query };
    Ok(Parsed::Complete { request, next, keep_alive: headers.keep_alive })
}

/// Method, target and the minor version: 0 for HTTP/1.0, 1 for every later HTTP/1.
fn request_line(line: &[u8]) -> Result<(Method, &str, u8), u16> {
    let line = std::str::from_utf8(line).map_err(|_| 400u16)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(400);
    };
    let target_is_clean = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    if method.is_empty() || !method.bytes().all(is_token) || !target_is_clean {
        return Err(400);
    }
    let minor = match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'1', b'.', minor]) if minor.is_ascii_digit() => u8::from(*minor > b'0'),
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => return Err(505),
        _ => return Err(400),
    };
    Ok((method.parse().map_err(|()| 400u16)?, target, minor))
}

/// The path of `/path` or of `http://host/path`, which a server must accept too.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.strip_prefix("http://")?;
    Some(rest.find('/').map_or("/", |slash| &rest[slash..]))
}

struct Headers {
    length: u64,
    encoded: bool,
    expects: bool,
    keep_alive: bool,
}

fn read_headers<'a>(lines: impl Iterator<Item = &'a [u8]>, minor: u8) -> Result<Headers, u16> {
    let mut found = Headers { length: 0, encoded: false, expects: false, keep_alive: minor > 0 };
    let mut has_length = false;
    for (count, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if count == MAX_HEADERS {
            return Err(431);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(400u16)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Blanks in or before a name and control bytes in a value are how requests are smuggled.
        let clean = value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        if name.is_empty() || !name.iter().copied().all(is_token) || !clean {
            return Err(400);
        }
        if name.eq_ignore_ascii_case(b"Content-Length") {
            if has_length {
                return Err(400);
            }
            has_length = true;
            found.length = content_length(value).ok_or(400u16)?;
        } else if name.eq_ignore_ascii_case(b"Transfer-Encoding") {
            found.encoded = true;
        } else if name.eq_ignore_ascii_case(b"Expect") {
            found.expects = true;
        } else if name.eq_ignore_ascii_case(b"Connection") {
            let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            found.keep_alive &= !words.any(|word| word.eq_ignore_ascii_case(b"close"));
        }
    }
    Ok(found)
}

/// Digits only: no sign, no list. A length that no integer holds is a body that is too long, not an error.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(value).ok()?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether the byte may stand in a method or header name (`tchar`, RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn status(text: &str) -> (u16, bool) {
        match parse(text.as_bytes()) {
            Parsed::Incomplete => (0, true),
            Parsed::Refused(status, next) => (status, next.is_some()),
            Parsed::Complete { keep_alive, .. } => (200, keep_alive),
        }
    }

    #[test]
    fn a_head_is_a_request_a_refusal_or_not_all_here() {
        let cases = [
            ("", 0, true),
            ("\r\n\r\n", 0, true),
            ("GET / HTTP/1.1\r\nHost: a\r\n", 0, true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, true),
            ("\r\nGET / HTTP/1.1\n\n", 200, true),
            ("GET / HTTP/1.0\r\n\r\n", 200, false),
            ("HEAD /metrics HTTP/1.7\r\nX: \u{e9}\r\n\r\n", 200, true),
            ("GET http://a:1/b HTTP/1.1\r\n\r\n", 200, true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", 200, false),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200, true),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", 413, false),
            ("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413, false),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nContent-Length: +0\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, false),
            ("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 417, false),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400, false),
            ("GET / HTTP/1.1\r\nAbc\r\n\r\n", 400, false),
            ("GET / HTTP/2.0\r\n\r\n", 505, false),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false),
            ("GET / HTTPS/1.1\r\n\r\n", 400, false),
            ("GET /\r\n\r\n", 400, false),
            ("GET  / HTTP/1.1\r\n\r\n", 400, false),
            ("GET a HTTP/1.1\r\n\r\n", 400, false),
            ("G@T / HTTP/1.1\r\n\r\n", 400, false),
            ("POST / HTTP/1.1\r\n\r\n", 405, true),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405, false),
            ("OPTIONS * HTTP/1.1\r\n\r\n", 405, true),
            ("BREW / HTTP/1.1\r\n\r\n", 405, true),
            ("\u{16}\u{3}\u{1}", 400, false),
        ];
        for (text, expected, goes_on) in cases {
            assert_eq!(status(text), (expected, goes_on), "{text:?}");
        }
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(status(&lines(MAX_HEADERS)).0, 200);
        assert_eq!(status(&lines(MAX_HEADERS + 1)).0, 431);
        let long = |size: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(size - 18));
        assert_eq!(status(&long(MAX_HEAD)).0, 200);
        assert_eq!(status(&long(MAX_HEAD + 1)).0, 431);
        assert_eq!(status(&"G".repeat(MAX_HEAD - 1)).0, 0);
        assert_eq!(status(&"G".repeat(MAX_HEAD)).0, 414);
        assert_eq!(status(&"\n".repeat(MAX_HEAD)).0, 414);
    }

    #[test]
    fn the_query_is_cut_off_and_the_next_request_found() {
        let two = b"GET /a?b=c?d HTTP/1.1\r\n\r\nGET /e HTTP/1.1\r\n\r\n";
        let Parsed::Complete { request, next, .. } = parse(two) else { panic!("not complete") };
        assert_eq!((request.path, request.query, next), ("/a", "b=c?d", 25));
        let Parsed::Complete { request, next, .. } = parse(&two[next..]) else { panic!("not complete") };
        assert_eq!((request.path, next), ("/e", two.len() - 25));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut dice = fastrand::Rng::with_seed(7);
        let words: [&[u8]; 12] = [
            b"GET",
            b" ",
            b"/",
            b"HTTP/1.1",
            b"\r\n",
            b"\n",
            b"\r",
            b":",
            b"Content-Length: 1",
            b"\0",
            b"\xff",
            b"?",
        ];
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..dice.usize(..12) {
                bytes.extend_from_slice(words[dice.usize(..words.len())]);
            }
            if let Parsed::Complete { next, .. } = parse(&bytes) {
                assert!(next <= bytes.len() && next > 0);
            }
        }
    }
    /// Pieces of requests, good and bad.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: [&[u8]; 24] = [
            b"GET / HTTP/1.1\r\n",
            b"HEAD /a?b HTTP/1.0\n",
            b"POST / HTTP/1.1\r\n",
            b"GET / HTTP/2.0\r\n",
            b"Host: a\r\n",
            b"Connection: close\r\n",
            b"Content-Length: 0\r\n",
            b"Content-Length: 7\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: x\r\n",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"A",
            b" ",
            b":",
            b"/",
            b"\0",
            b"\xff",
            b"9",
            b"?",
            b"HTTP/1.1",
        ];
        let whole =
            prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|all| all.concat());
        let start = whole.clone().prop_map(|rest| [&b"GET / HTTP/1.1\r\n"[..], &rest].concat());
        prop_oneof![whole, start]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::with_cases(5000)
        })]

        /// However the bytes are split on their way, what comes of them is the same; only what begins like no known
        /// method may be refused sooner for another reason.
        #[test]
        fn every_split_of_the_bytes_gives_the_same(bytes in pieces()) {
            let shown = bytes.escape_ascii().to_string();
            let whole = parse(&bytes);
            let ends = (0..bytes.len()).map(|end| parse(&bytes[..end]));
            let Some(first) = ends.into_iter().find(|it| !matches!(it, Parsed::Incomplete)) else { return Ok(()) };
            let start = bytes.iter().find(|byte| !b"\r\n".contains(byte)).copied();
            if start.is_some_and(|start| start.is_ascii_alphabetic()) {
                prop_assert_eq!(format!("{first:?}"), format!("{whole:?}"), "{}", shown);
            } else {
                prop_assert!(matches!((first, whole), (Parsed::Refused(..), Parsed::Refused(..))), "{}", shown);
            }
        }
    }
}
