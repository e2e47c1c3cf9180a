//! The text of a settings file, before it is read: what is no text, and what serde_yaml must not be given.

use super::report::Report;
use super::tree::At;

/// Larger files are refused: serde_yaml's time and memory grow with the square of hostile input.
pub const MAX_BYTES: usize = 64 << 10;
/// Brackets inside each other. serde_yaml gives up at 128 levels too, but only after it has scanned the whole
/// text in quadratic time.
const MAX_DEPTH: usize = 128;

/// Bytes of a file to text, or a problem that says why they are none.
pub fn decode(bytes: &[u8], report: &mut Report) -> Option<String> {
    let why = if bytes.len() > MAX_BYTES {
        format!("is larger than {} KiB; that is no config", MAX_BYTES >> 10)
    } else if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        "is UTF-16; save it as UTF-8".to_owned()
    } else if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        format!("is not text: byte {at} is NUL")
    } else {
        match std::str::from_utf8(bytes) {
            // libyaml counts the byte order mark as a column, and then as indentation.
            Ok(text) => return Some(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
            Err(error) => {
                let at = error.valid_up_to();
                format!("is not UTF-8: byte {at} is 0x{:02x}", bytes.get(at).copied().unwrap_or_default())
            }
        }
    };
    report.problem(At::default(), "", &format!("the file {why}"));
    None
}

/// What serde_yaml must not be given.
pub(super) fn refuse(text: &str) -> Option<(At, String)> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some((place(text, at), format!("more than {MAX_DEPTH} brackets are open here")));
        }
    }
    let (at, name) = anchor_defined_twice(text)?;
    let why = format!("anchor &{name} is defined twice; give every anchor a name of its own");
    Some((place(text, at), why))
}

/// serde_yaml 0.9 mixes up aliases when an anchor is defined again (its loader numbers anchors by how many
/// names it knows), so a text with aliases that does this is refused. The search is coarse, it also looks into
/// quoted text: an anchor-like word there costs its author another name, a missed anchor would be a wrong value.
fn anchor_defined_twice(text: &str) -> Option<(usize, &str)> {
    let mut names: Vec<&str> = Vec::new();
    let mut twice = None;
    let mut aliases = false;
    let mut start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        let comment = line.trim_start().starts_with('#');
        for (at, sign) in line.match_indices(['&', '*']).filter(|_| !comment) {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|before| !before.is_whitespace() && !"[{,:-".contains(before)) {
                continue;
            }
            let end = |letter: char| letter.is_whitespace() || ",[]{}:".contains(letter);
            let name = line[at + 1..].split(end).next().unwrap_or_default();
            match sign {
                _ if name.is_empty() => {}
                "*" => aliases = true,
                _ => match names.binary_search(&name) {
                    Ok(_) => twice = twice.or(Some((start + at, name))),
                    Err(place) => names.insert(place, name),
                },
            }
        }
        start += line.len();
    }
    twice.filter(|_| aliases)
}

/// Line and column of a byte.
fn place(text: &str, byte: usize) -> At {
    let before = text.get(..byte).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    At { line: line as u32, column: column as u32 }
}
