//! What is wrong with a settings file, all of it.

use super::tree::At;
use crate::text::redact;
use std::fmt::Write;

/// More problems than this are counted, not kept: a reader needs no more, and a hostile file has thousands.
const KEPT: usize = 50;

/// Problems and warnings of one file.
#[derive(Debug, Default)]
pub struct Report {
    problems: Findings,
    warnings: Findings,
}

#[derive(Debug, Default)]
struct Findings {
    kept: Vec<(At, String)>,
    more: usize,
}

impl Findings {
    fn add(&mut self, at: At, text: String) {
        if self.kept.len() < KEPT {
            let place = self.kept.partition_point(|(other, _)| *other <= at);
            self.kept.insert(place, (at, text)); // in the order of the file
        } else {
            self.more += 1;
        }
    }

    /// A line each, in the order of the file, control characters escaped.
    fn lines(&self, file: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.kept.iter().map(|(at, text)| line(file, *at, text)).collect();
        if self.more > 0 {
            lines.push(format!("{file}: and {} more", self.more));
        }
        lines
    }
}

fn line(file: &str, at: At, text: &str) -> String {
    let place = if at == At::default() { String::new() } else { format!("{}:{}:", at.line, at.column) };
    let mut line = format!("{file}:{place} ");
    // A value may be an address with a password, and problems of a reload are shown to everybody.
    for letter in redact::urls(text).chars() {
        match letter.is_control() {
            true => _ = write!(line, "{}", letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

impl Report {
    /// Notes what makes the file unusable. `path` may be empty.
    pub fn problem(&mut self, at: At, path: &str, text: &str) {
        self.problems.add(at, sentence(path, text));
    }

    /// Notes what the reader should know although the file can be used.
    pub fn warning(&mut self, at: At, path: &str, text: &str) {
        self.warnings.add(at, sentence(path, text));
    }

    /// Whether the file can be used.
    pub fn is_clean(&self) -> bool {
        self.problems.kept.is_empty()
    }

    /// `FILE:LINE:COLUMN: key.path: sentence`, a line each, in the order of the file.
    pub fn problems(&self, file: &str) -> Vec<String> {
        self.problems.lines(file)
    }

    /// The same for the warnings.
    pub fn warnings(&self, file: &str) -> Vec<String> {
        self.warnings.lines(file)
    }
}

fn sentence(path: &str, text: &str) -> String {
    if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_in_the_order_of_the_file_and_are_bounded() {
        let mut report = Report::default();
        for line in (1..=60).rev() {
            report.problem(At { line, column: 2 }, "a.b", "is\nwrong\u{1b}");
        }
        assert!(!report.is_clean());
        let lines = report.problems("f.yaml");
        assert_eq!(lines[0], "f.yaml:11:2: a.b: is\\nwrong\\u{1b}");
        assert_eq!((lines.len(), lines[50].as_str()), (51, "f.yaml: and 10 more"));
        assert!(report.warnings("f.yaml").is_empty());
    }
}
