//! An audit trail against its seed: every roll is rolled again and every decision drawn from it again, so that a
//! line that was changed by hand is found.

use crate::dice;
use crate::settings::{self, Node, Report, Value};
use std::io::{BufRead, Read};

/// Problems that are told one by one.
const TOLD: usize = 50;

/// Bytes of a line at most, several times those of an outcome with every process there can be; what is no trail at all may
/// have no line end.
const LINE: u64 = 64 << 20;

/// How each line begins.
const BEGIN: &str = "{\"time\":\"";

/// What is in a trail, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Trail {
    /// Lines that begin a config: a start or a reload.
    pub starts: u64,
    /// Decisions that were checked.
    pub decisions: u64,
    /// Of these, injections.
    pub injections: u64,
    /// Outcomes of injections.
    pub outcomes: u64,
    /// Lines of which a full disk or a kill left only the beginning.
    pub torn: u64,
    /// Lines that the agent says it had to drop.
    pub lost: u64,
    /// The number of each wrong line, from 1, and what is wrong; the first ones.
    pub problems: Vec<(u64, String)>,
    /// How many there are.
    pub wrong: u64,
    seed: Option<u64>,
    /// The last tick, and which entries were rolled at it.
    tick: u64,
    rolled: Vec<String>,
    /// The probability of each entry since the config began.
    probabilities: Vec<(String, f64)>,
    /// Injections without an outcome, by tick and entry.
    open: Vec<(u64, String)>,
}

/// Reads a trail. `seed` is the one of lines before the first start: a trail whose beginning was rotated away.
///
/// # Errors
/// The trail cannot be read.
pub fn replay(mut lines: impl BufRead, seed: Option<u64>) -> std::io::Result<Trail> {
    let mut trail = Trail { seed, ..Trail::default() };
    let mut bytes = Vec::new();
    let mut number = 0;
    while lines.by_ref().take(LINE).read_until(b'\n', &mut bytes)? > 0 {
        number += 1;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        let (short, whole) = without_lists(text);
        // The agent's lines begin with the time; what it began and did not end is nobody's forgery.
        let begun = text.starts_with(BEGIN) || BEGIN.starts_with(text);
        let torn = begun && !whole;
        trail.torn += u64::from(torn);
        let judged = if torn || text.is_empty() { Ok(()) } else { trail.line(&short) };
        if let Err(why) = judged {
            trail.wrong += 1;
            if trail.problems.len() < TOLD {
                trail.problems.push((number, why));
            }
        }
        bytes.clear();
    }
    Ok(trail)
}

impl Trail {
    /// `text` is without what is in its lists.
    fn line(&mut self, text: &str) -> Result<(), String> {
        let mut report = Report::default();
        let node = settings::parse(text, &mut report).filter(|_| report.is_clean());
        let line = node.filter(|node| matches!(node.value, Value::Map(_))).ok_or("is no JSON object")?;
        match text_of(&line, "event")? {
            "start" => self.start(&line),
            "decision" => self.decision(&line),
            "outcome" => self.outcome(&line),
            "lost" => {
                self.lost += whole(&line, "lines")?;
                Ok(())
            }
            // What else happened (a halt, a reload that failed, a stop) follows from no seed.
            _ => Ok(()),
        }
    }

    fn start(&mut self, line: &Node) -> Result<(), String> {
        self.starts += 1;
        self.probabilities.clear();
        // A reload goes on with the ticks; another agent begins with 0.
        self.rolled.clear();
        self.tick = 0;
        self.seed = Some(whole(line, "seed")?);
        Ok(())
    }

    fn decision(&mut self, line: &Node) -> Result<(), String> {
        self.decisions += 1;
        let (tick, entry) = (whole(line, "tick")?, text_of(line, "entry")?);
        if text_of(line, "decision")? == "inject" {
            self.injections += 1;
            self.open.push((tick, entry.to_owned()));
        }
        self.check(line, tick, entry).map_err(|why| format!("tick {tick}, {entry}: {why}"))
    }

    fn check(&mut self, line: &Node, tick: u64, entry: &str) -> Result<(), String> {
        let (roll, probability) = (number(line, "roll")?, number(line, "probability")?);
        let seed = self.seed.ok_or("stands before any start, so its seed is not known; --seed names it")?;
        if tick < self.tick {
            return Err(format!("comes after tick {}", self.tick));
        }
        if tick > self.tick {
            (self.tick, _) = (tick, self.rolled.clear());
        }
        if self.rolled.iter().any(|other| other == entry) {
            return Err("is decided twice".to_owned());
        }
        self.rolled.push(entry.to_owned());
        let rolled = dice::roll(seed, tick, entry).value;
        if roll != rolled {
            return Err(format!("the roll {roll} is not that of seed {seed}, which is {rolled}"));
        }
        match self.probabilities.iter().find(|(known, _)| known == entry) {
            Some((_, known)) if *known != probability => {
                return Err(format!(
                    "the probability {probability} was {known} before, under the same config"
                ));
            }
            Some(_) => {}
            None => self.probabilities.push((entry.to_owned(), probability)),
        }
        let decision = text_of(line, "decision")?;
        let right = match decision {
            "inject" | "skip" => roll < probability,
            "no" => roll >= probability,
            _ => false,
        };
        right
            .then_some(())
            .ok_or_else(|| format!("{decision} is wrong: roll {roll}, probability {probability}"))
    }

    fn outcome(&mut self, line: &Node) -> Result<(), String> {
        self.outcomes += 1;
        // A fault by hand follows from no seed.
        if value(line, "by").is_ok() {
            return Ok(());
        }
        let (tick, entry) = (whole(line, "tick")?, text_of(line, "entry")?);
        match self.open.iter().position(|(began, name)| *began == tick && name == entry) {
            Some(index) => _ = self.open.swap_remove(index),
            // The decision of the first ones may have been rotated away, or is among what was lost.
            None if self.starts == 0 || self.torn + self.lost > 0 => {}
            None => return Err(format!("tick {tick}, {entry}: an outcome without a decision to inject")),
        }
        Ok(())
    }
}

/// A JSON object without what is in its lists. None of it follows from a seed, and the victims of one outcome can be more
/// than a config could ever hold. And whether it has come to its end.
fn without_lists(text: &str) -> (String, bool) {
    let mut short = String::new();
    let (mut depth, mut open, mut quoted, mut escaped) = (0u32, 0u32, false, false);
    for letter in text.chars() {
        open += u32::from(!quoted && letter == '{');
        open = open.saturating_sub(u32::from(!quoted && letter == '}'));
        let ends = !quoted && letter == ']';
        depth = depth.saturating_sub(u32::from(ends));
        if depth == 0 {
            short.push(letter);
        }
        depth += u32::from(!quoted && letter == '[');
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
    }
    (short, !quoted && depth + open == 0)
}

fn value<'a>(line: &'a Node, key: &str) -> Result<&'a Value, String> {
    let Value::Map(pairs) = &line.value else { return Err("is no JSON object".to_owned()) };
    let pair = pairs.iter().find(|pair| pair.key == key);
    pair.map(|pair| &pair.node.value).ok_or_else(|| format!("{key} is missing"))
}

fn text_of<'a>(line: &'a Node, key: &str) -> Result<&'a str, String> {
    match value(line, key)? {
        Value::Text(text) => Ok(text),
        _ => Err(format!("{key} is no text")),
    }
}

fn whole(line: &Node, key: &str) -> Result<u64, String> {
    match value(line, key)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
    .ok_or_else(|| format!("{key} is no whole number from 0"))
}

fn number(line: &Node, key: &str) -> Result<f64, String> {
    match value(line, key)? {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        _ => Err(format!("{key} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::json::Object;

    fn decision(seed: u64, tick: u64, entry: &str, probability: f64) -> String {
        let roll = dice::roll(seed, tick, entry).value;
        let mut line = Object::new();
        line.text("time", "2026-11-24T20:00:00.000Z").text("event", "decision").whole("tick", tick);
        line.text("entry", entry).text("type", "cpu").number("roll", roll).number("probability", probability);
        line.text("decision", if roll < probability { "inject" } else { "no" }).optional("reason", None).end()
    }

    /// A trail of two configs, of so many ticks each.
    fn trail(ticks: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for (seed, chance) in [(u64::MAX, 0.3), (5, 0.5)] {
            let mut start = Object::new();
            start.text("event", "start").whole("seed", seed).number("interval_seconds", 10.0);
            lines.push(start.end());
            for tick in 0..ticks {
                lines.push(decision(seed, tick, "cpu \"0: {\"", chance));
                lines.push(decision(seed, tick, "kill", 0.01));
                if lines[lines.len() - 2].contains("inject") {
                    let mut done = Object::new();
                    done.text("event", "outcome").whole("tick", tick).text("entry", "cpu \"0: {\"");
                    lines.push(done.texts("victims", ["a\u{1b}b"]).end());
                }
            }
        }
        lines.push("{\"event\":\"stop\",\"reverted\":true}".to_owned());
        lines
    }

    fn read(lines: &[String], seed: Option<u64>) -> Trail {
        replay(lines.join("\n").as_bytes(), seed).unwrap()
    }

    #[test]
    fn a_trail_as_it_was_written_follows_from_its_seed() {
        let lines = trail(40);
        let read = read(&lines, None);
        assert_eq!((read.starts, read.decisions, read.problems), (2, 160, vec![]));
        assert!(read.injections > 20 && read.injections >= read.outcomes && read.outcomes > 20);
    }

    #[test]
    fn every_change_of_a_line_is_found_in_its_line() {
        let lines = trail(6);
        let mut changes = 0;
        for (index, line) in lines.iter().enumerate() {
            for (from, to) in [
                ("\"tick\":1", "\"tick\":3"),
                ("\"roll\":0.", "\"roll\":0.0"),
                ("\"probability\":0.3", "\"probability\":0.31"),
                ("\"probability\":0.01", "\"probability\":0.99"),
                ("\"inject\"", "\"no\""),
                ("\"no\"", "\"inject\""),
                ("\"no\"", "\"never\""),
                ("\"entry\":\"kill\"", "\"entry\":\"kilt\""),
                ("{", "["),
                ("\"entry\"", "\"entri\""),
            ] {
                // The first line of an entry says what its probability is; only the others can differ.
                let first = lines.iter().position(|other| other == line) == Some(index)
                    && (line.contains("\"tick\":0,") && from.contains("probability"));
                if first
                    || !line.contains(from)
                    || (line.contains("\"start\"") && from != "{")
                    || line.contains("\"stop\"")
                {
                    continue;
                }
                let mut changed = lines.clone();
                changed[index] = line.replacen(from, to, 1);
                let read = read(&changed, None);
                let told = read.problems.iter().any(|(number, _)| *number == index as u64 + 1);
                assert!(told, "{from} -> {to}: {}\n{:?}", changed[index], read.problems);
                changes += 1;
            }
        }
        assert!(changes > 80, "{changes}");
    }

    #[test]
    fn torn_and_lost_lines_are_counted_and_victims_may_be_many() {
        let mut lines = trail(6);
        let victims: Vec<String> = (0..20_000).map(|pid| format!("{pid} \"[\\]{{x")).collect();
        for line in lines.iter_mut().filter(|line| line.contains("victims")) {
            let (head, _) = line.split_once("\"victims\"").unwrap();
            let mut list = Object::new();
            list.texts("victims", victims.iter().map(String::as_str));
            *line = head.to_owned() + &list.end()[1..];
        }
        assert_eq!(read(&lines, None).problems, vec![]);
        let inject = lines.iter().position(|line| line.contains("\"inject\"")).unwrap();
        let half = lines[inject].len() / 2;
        lines[inject].truncate(half);
        lines.insert(inject + 1, "{\"event\":\"lost\",\"lines\":3}".to_owned());
        let said = read(&lines, None);
        assert_eq!((said.torn, said.lost, said.problems), (1, 3, vec![]));
        // Wherever it was torn.
        let line = "{\"time\":\"2026\",\"event\":\"outcome\",\"tick\":1,\"victims\":[\"}\"],\"x\":{\"y\":\"a\\\"}\"}}";
        for end in 0..line.len() {
            let said = read(&[line[..end].to_owned(), String::new()], None);
            assert_eq!((said.torn, said.problems), ((end > 0).into(), vec![]), "{}", &line[..end]);
        }
        assert_eq!(read(&[line.to_owned()], None).torn, 0);
    }

    #[test]
    fn another_seed_is_found_at_once_and_a_lost_start_needs_one() {
        let mut lines = trail(40);
        lines[0] = lines[0].replace("18446744073709551615", "18446744073709551614");
        assert!(read(&lines, None).wrong >= 80);
        lines.remove(0);
        let said = read(&lines, None);
        assert!(said.problems[0].1.contains("--seed"), "{:?}", said.problems[0]);
        assert_eq!(said.problems.len(), TOLD);
        assert_eq!(read(&lines, Some(u64::MAX)).problems, vec![]);
    }
}
