//! The answer of a server, taken apart as it comes in (RFC 9112). Whatever it sends, the memory is bounded.

/// Bytes of a head (status line and headers); servers keep theirs far below.
const MAX_HEAD: usize = 16 << 10;
/// Bytes of the line that begins a chunk.
const MAX_LINE: usize = 1 << 10;

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The `Server` header; empty without one.
    pub server: String,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
    /// Whether the body was longer than what the caller wanted, and is cut.
    pub cut: bool,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    Head,
    /// So many bytes of body, and then the end.
    Sized(u64),
    /// The body up to the end of the connection.
    Open,
    /// The line with the size of a chunk.
    ChunkLine,
    /// The rest of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
}

/// Reads an answer piece by piece.
#[derive(Debug)]
pub struct Parser {
    stage: Stage,
    rest: Vec<u8>,
    answer: Answer,
    /// Bytes of body to keep.
    most: usize,
}

impl Parser {
    /// Nothing read yet; the body will be cut after `most` bytes.
    pub fn new(most: usize) -> Parser {
        Parser { stage: Stage::Head, rest: Vec::new(), answer: Answer::default(), most }
    }

    /// Takes the next piece. True when the answer is complete, or cut.
    ///
    /// # Errors
    /// What is wrong with it: "the answer is no HTTP ...".
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.rest.extend_from_slice(bytes);
        while !self.answer.cut {
            match self.stage {
                Stage::Head => {
                    let Some(end) = head_end(&self.rest) else {
                        if !looks_like_http(&self.rest) {
                            return Err(no_http(&self.rest));
                        }
                        return match self.rest.len() > MAX_HEAD {
                            true => Err(format!("the head of the answer is longer than {MAX_HEAD} bytes")),
                            false => Ok(false),
                        };
                    };
                    let head: Vec<u8> = self.rest.drain(..end).collect();
                    self.head(&head)?;
                }
                Stage::Sized(0) => return Ok(true),
                Stage::Sized(left) | Stage::Chunk(left) if left > 0 => {
                    let taken = self.keep(left);
                    let left = left - taken;
                    self.stage = if let Stage::Sized(_) = self.stage {
                        Stage::Sized(left)
                    } else {
                        Stage::Chunk(left)
                    };
                    if left > 0 && !self.answer.cut {
                        return Ok(false);
                    }
                }
                Stage::Open => {
                    self.keep(u64::MAX);
                    return Ok(self.answer.cut);
                }
                Stage::Sized(_) | Stage::Chunk(_) => self.stage = Stage::ChunkEnd,
                Stage::ChunkEnd | Stage::ChunkLine => {
                    let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
                        return match self.rest.len() > MAX_LINE {
                            true => Err("the answer has a broken chunk".to_owned()),
                            false => Ok(false),
                        };
                    };
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    self.stage = match self.stage {
                        Stage::ChunkEnd => Stage::ChunkLine,
                        _ => Stage::Chunk(chunk_size(&line).ok_or("the answer has a broken chunk")?),
                    };
                    // Trailers behind the last chunk are nobody's business.
                    if let Stage::Chunk(0) = self.stage {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The end of the connection.
    ///
    /// # Errors
    /// It came before the end of the answer.
    pub fn finish(self) -> Result<Answer, String> {
        match self.stage {
            _ if self.answer.cut => Ok(self.answer),
            Stage::Head if self.rest.is_empty() => {
                Err("the connection was closed without an answer".to_owned())
            }
            Stage::Head => Err(no_http(&self.rest)),
            Stage::Sized(0) | Stage::Chunk(0) | Stage::Open => Ok(self.answer),
            _ => Err(format!("the answer broke off after {} bytes", self.answer.body.len())),
        }
    }

    /// Moves up to `left` bytes to the body; returns how many.
    fn keep(&mut self, left: u64) -> u64 {
        let room = self.most - self.answer.body.len();
        let there = self.rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.answer.body.extend(self.rest.drain(..there.min(room)));
        self.answer.cut = there > room;
        there.min(room) as u64
    }

    /// Reads status line and headers; an interim answer (1xx) leaves everything as it was.
    fn head(&mut self, head: &[u8]) -> Result<(), String> {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let status = status(lines.next().unwrap_or_default()).ok_or_else(|| no_http(head))?;
        if (100..200).contains(&status) && status != 101 {
            return Ok(());
        }
        self.answer.status = status;
        self.stage = Stage::Open;
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
            match (name.as_slice(), &self.stage) {
                (b"server", _) => self.answer.server = String::from_utf8_lossy(value).into_owned(),
                // Wins over a length (RFC 9112, 6.3).
                (b"transfer-encoding", _) if value.to_ascii_lowercase().ends_with(b"chunked") => {
                    self.stage = Stage::ChunkLine;
                }
                (b"content-length", Stage::Open) => {
                    let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                    self.stage = Stage::Sized(length.ok_or("the answer has a broken Content-Length")?);
                }
                _ => {}
            }
        }
        if matches!(status, 101 | 204 | 304) {
            self.stage = Stage::Sized(0);
        }
        Ok(())
    }
}

/// Where the blank line ends that ends a head.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.find_map(|at| {
        let rest = bytes.get(at..)?;
        let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        (blank > 0).then_some(at + blank)
    })
}

fn looks_like_http(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(byte, wanted)| byte == wanted)
}

/// `HTTP/1.1 200 OK`
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (digits, rest) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let ends = rest.first().is_none_or(|byte| *byte == b' ');
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (minor.is_ascii_digit() && ends && status >= 100).then_some(status)
}

/// `1a;name=value`: hexadecimal.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, 16).ok()
}

/// A server of another kind names itself in its first bytes: "SSH-2.0-OpenSSH".
fn no_http(bytes: &[u8]) -> String {
    let start = bytes.get(..40).unwrap_or(bytes);
    format!("the answer is no HTTP/1: it starts with \"{}\"", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same answer in one piece and in many.
    fn read(text: &str, most: usize) -> Result<Answer, String> {
        let whole = feed(&[text.as_bytes()], most);
        let size = if text.len() < 1000 { 1 } else { 97 };
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        assert_eq!(feed(&pieces, most).is_ok(), whole.is_ok(), "{text:?}");
        if let (Ok(whole), Ok(pieces)) = (&whole, feed(&pieces, most)) {
            assert_eq!(*whole, pieces, "{text:?}");
        }
        whole
    }

    fn feed(pieces: &[&[u8]], most: usize) -> Result<Answer, String> {
        let mut parser = Parser::new(most);
        for piece in pieces {
            if parser.push(piece)? {
                break;
            }
        }
        parser.finish()
    }

    #[test]
    fn every_framing_gives_status_and_body() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyMORE", 200, "body"),
            ("HTTP/1.0 503\n\nto the end", 503, "to the end"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 9\r\n\r\n\
              3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: r\r\n\r\n",
                200,
                "abc0123456789",
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, ""),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
                200,
                "x",
            ),
            ("HTTP/1.1 999 X\r\nno colon\r\n: no name\r\nContent-Length: 0\r\n\r\n", 999, ""),
        ] {
            let answer = read(text, 1000).unwrap();
            let got = String::from_utf8(answer.body).unwrap();
            assert_eq!((answer.status, got.as_str(), answer.cut), (status, body, false), "{text:?}");
        }
        assert_eq!(read("HTTP/1.1 200 OK\r\nSERVER:  a b \r\n\r\n", 9).unwrap().server, "a b");
    }

    #[test]
    fn a_body_is_cut_at_its_limit_and_not_before() {
        for head in ["", "Content-Length: 10\r\n"] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n0123456789");
            let answer = read(&text, 9).unwrap();
            assert_eq!((answer.body.as_slice(), answer.cut), (&b"012345678"[..], true));
            assert!(!read(&text, 10).unwrap().cut);
        }
    }

    #[test]
    fn what_is_no_whole_answer_is_said_to_be_so() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(MAX_HEAD));
        for (text, word) in [
            ("", "without an answer"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
            ("HTTP/2.0 200 OK\r\n\r\n", "no HTTP/1"),
            ("HTTP/1.1 20 OK\r\n\r\n", "no HTTP/1"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "no HTTP/1"),
            ("HTTP/1.1 +20 OK\r\n\r\n", "no HTTP/1"),
            ("HTTP/1.1 200 OK\r\n", "no HTTP/1"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "broke off after 2"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off after 2"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "chunk"),
            (&long, "longer than"),
        ] {
            let why = read(text, 1000).unwrap_err();
            assert!(why.contains(word), "{text:.60}: {why}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_keep_more_than_its_limits() {
        let mut dice = fastrand::Rng::with_seed(9);
        let words: [&[u8]; 14] = [
            b"HTTP/1.1 200 OK",
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
            b"Content-Length: ",
            b"18446744073709551615",
            b"7",
            b"Transfer-Encoding: chunked",
            b"ffffffffffffffff",
            b"3",
            b"abc",
            b"\xff",
            b":",
            b"HTTP/1.1 100 C\r\n\r\n",
        ];
        for _ in 0..20_000 {
            let mut parser = Parser::new(5);
            let mut done = Ok(false);
            parser.push(b"HTTP/1.1 200 OK\r\n").unwrap();
            for _ in 0..dice.usize(..20) {
                done = parser.push(words[dice.usize(..words.len())]);
                assert!(parser.answer.body.len() <= 5 && parser.rest.len() < 400);
                if done != Ok(false) {
                    break;
                }
            }
            if done.is_ok() {
                let _ = parser.finish();
            }
        }
    }
}
