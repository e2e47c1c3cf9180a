//! The effect of a network fault: keys of the config to the words of tc-netem(8).

use crate::settings::Section;
use std::fmt::Write;

/// What the keys ask of netem.
#[derive(Default)]
pub struct Options {
    /// netem's words, without the limit.
    pub words: Vec<String>,
    /// The longest that a packet is held back on purpose, in milliseconds.
    pub held_ms: f64,
    /// Bytes a second, where a rate is asked for.
    pub rate: Option<f64>,
    told: Vec<String>,
}

/// Splits a line into words.
pub fn glued(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

impl Options {
    fn add(&mut self, words: &str, told: String) {
        self.words.extend(glued(words));
        self.told.push(told);
    }

    /// For people: "delays by 100 ms, loses 5 %".
    pub fn effect(&self, partition: bool) -> String {
        if partition { "drops".to_owned() } else { self.told.join(", ") }
    }
}

/// Keys that ask for an effect of their own: with one of these, no delay is assumed.
const EFFECTS: [&str; 9] = [
    "loss_percent",
    "loss_model",
    "duplicate_percent",
    "corrupt_percent",
    "reorder_percent",
    "rate",
    "slot",
    "jitter_ms",
    "partition",
];

/// Reads the keys. In a partition every other effect is a problem: nothing is left to delay.
pub fn netem_options(section: &mut Section<'_>, partition: bool) -> Options {
    let mut options = Options::default();
    let delay = delay(section, &mut options);
    loss(section, &mut options);
    share(section, &mut options, "duplicate", "duplicates");
    share(section, &mut options, "corrupt", "corrupts");
    reorder(section, &mut options, delay);
    rate(section, &mut options);
    slot(section, &mut options);
    if let Some(seed) = section.integer("seed") {
        options.words.extend(["seed".to_owned(), seed.to_string()]);
    }
    if partition && !options.told.is_empty() {
        let hint =
            "a partition drops everything that matches, so no other effect can show; remove one of the two";
        section.problem(
            "partition",
            &format!("stands beside another effect ({})", options.told.join(", ")),
            hint,
        );
    }
    options
}

/// Returns whether packets are delayed.
fn delay(section: &mut Section<'_>, options: &mut Options) -> bool {
    let assumed = !EFFECTS.iter().any(|key| section.has(key));
    let delay = if assumed { section.number("delay_ms") } else { section.number_given("delay_ms") };
    let jitter = section.number("jitter_ms").unwrap_or(0.0);
    let correlation = section.number("delay_correlation_percent");
    let distribution = section.choice("distribution");
    if jitter == 0.0 {
        for key in ["delay_correlation_percent", "distribution"] {
            if section.has(key) {
                section.problem(key, "means nothing without jitter", "set jitter_ms above 0, or remove it");
            }
        }
    }
    if delay.is_none() && jitter == 0.0 {
        return false;
    }
    let delay = delay.unwrap_or(0.0);
    let mut words = format!("delay {delay}ms");
    let mut told = format!("delays by {delay} ms");
    if jitter > 0.0 {
        let _ = write!(words, " {jitter}ms");
        let _ = write!(told, " ± {jitter} ms");
        if let Some(correlation) = correlation {
            let _ = write!(words, " {correlation}%");
        }
        if let Some(kind) = distribution.filter(|kind| *kind != "uniform") {
            let _ = write!(words, " distribution {kind}");
        }
        if jitter > delay {
            section.warning(
                "jitter_ms",
                "is more than the delay: what would be sent before it came is sent at once",
            );
        }
    }
    // The tables of the distributions reach to four standard deviations.
    options.held_ms += delay + jitter * 4.0;
    options.add(&words, told);
    delay > 0.0 || jitter > 0.0
}

fn loss(section: &mut Section<'_>, options: &mut Options) {
    let percent = section.number("loss_percent");
    let correlation = section.number("loss_correlation_percent");
    if correlation.is_some() && percent.is_none() {
        section.problem(
            "loss_correlation_percent",
            "means nothing without loss_percent",
            "set that, or remove it",
        );
    }
    if let Some(percent) = percent {
        let correlation = correlation.map_or_else(String::new, |percent| format!(" {percent}%"));
        options.add(&format!("loss {percent}%{correlation}"), format!("loses {percent} %"));
    }
    if !section.has("loss_model") {
        return;
    }
    let model = section.child("loss_model", |section| {
        let kind = section.choice("type");
        if kind.is_none() && !section.has("type") {
            section.problem("type", "is missing", "state or gemodel");
        }
        let (state, gemodel) = (&["p13", "p31", "p32", "p23", "p14"][..], &["p", "r", "1-h", "1-k"][..]);
        let (keys, others) = if kind? == "state" { (state, gemodel) } else { (gemodel, state) };
        for key in others.iter().filter(|key| section.has(key)).copied().collect::<Vec<_>>() {
            section.problem(key, "is of the other type of model", "remove it");
        }
        let mut words = format!("loss {}", kind?);
        // The words are positional, so a key can be left out only after the last one given.
        let given: Vec<_> = keys.iter().map(|key| section.number(key)).collect();
        let last = given.iter().rposition(Option::is_some);
        for (key, value) in keys.iter().zip(&given).take(last.map_or(0, |last| last + 1)) {
            if value.is_none() {
                section.problem(
                    key,
                    "is missing before the others",
                    "the parameters are given in order, in percent",
                );
            }
            let _ = write!(words, " {}%", value.unwrap_or(0.0));
        }
        if last.is_none() {
            section.problem(keys[0], "is missing", "at least the first parameter, in percent");
        }
        Some((words, format!("loses by the model {}", kind?)))
    });
    if let Some((words, told)) = model {
        if percent.is_some() {
            section.problem(
                "loss_model",
                "stands beside loss_percent",
                "netem has one loss; use one of the two",
            );
        }
        options.add(&words, told);
    }
}

/// `NAME_percent` and `NAME_correlation_percent`, for duplicate and corrupt.
fn share(section: &mut Section<'_>, options: &mut Options, word: &str, verb: &str) {
    let (key, other) = (format!("{word}_percent"), format!("{word}_correlation_percent"));
    let percent = section.number(&key);
    let correlation = section.number(&other);
    match percent {
        Some(percent) => {
            let correlation = correlation.map_or_else(String::new, |percent| format!(" {percent}%"));
            options.add(&format!("{word} {percent}%{correlation}"), format!("{verb} {percent} %"));
        }
        None if correlation.is_some() => {
            section.problem(&other, &format!("means nothing without {key}"), "set that, or remove it");
        }
        None => {}
    }
}

fn reorder(section: &mut Section<'_>, options: &mut Options, delayed: bool) {
    if section.has("reorder_percent") && !delayed {
        let hint =
            "netem reorders by sending some packets at once while it delays the others: set delay_ms above 0";
        section.problem("reorder_percent", "means nothing without a delay", hint);
        return;
    }
    share(section, options, "reorder", "reorders");
    if let Some(gap) = section.integer("gap") {
        if !section.has("reorder_percent") {
            section.problem("gap", "means nothing without reorder_percent", "set that, or remove it");
        }
        options.words.extend(["gap".to_owned(), gap.to_string()]);
    }
}

fn rate(section: &mut Section<'_>, options: &mut Options) {
    let rate = section.text("rate");
    let overhead = ["rate_packet_overhead", "rate_cell_size", "rate_cell_overhead"];
    let terms = [section.integer(overhead[0]), section.integer(overhead[1]), section.integer(overhead[2])];
    let Some(rate) = rate else {
        for key in overhead.iter().filter(|key| section.has(key)).copied().collect::<Vec<_>>() {
            section.problem(key, "means nothing without rate", "set that, or remove it");
        }
        return;
    };
    let known = crate::linux::tc::words::rate(&rate).filter(|bytes| *bytes > 0);
    let normal = known.map_or_else(|| rate.clone(), bits);
    match known {
        Some(bytes) => options.rate = Some(bytes as f64),
        None => section.problem("rate", "is not a rate", "a number and kbit, mbit or gbit: \"1mbit\""),
    }
    let lower = rate.to_ascii_lowercase();
    if let (Some(_), Some(number)) = (known, lower.strip_suffix("bps")) {
        let why = format!("is {normal}: as in tc, bps are bytes a second; write {number}bit for bits");
        section.warning("rate", &why);
    }
    let mut words = format!("rate {rate}");
    let last = terms.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    for term in terms.iter().take(last) {
        let _ = write!(words, " {}", term.unwrap_or(0));
    }
    options.add(&words, format!("limits to {normal}"));
}

/// Bytes a second as bits, in the largest unit of which there is one: "8 Mbit/s", "1.5 kbit/s".
fn bits(bytes: u64) -> String {
    let value = bytes as f64 * 8.0;
    let (mut scale, mut unit) = (1.0, "");
    for next in ["k", "M", "G", "T"] {
        if value >= scale * 1000.0 {
            (scale, unit) = (scale * 1000.0, next);
        }
    }
    format!("{} {unit}bit/s", value / scale)
}

fn slot(section: &mut Section<'_>, options: &mut Options) {
    if !section.has("slot") {
        return;
    }
    let slot = section.child("slot", |section| {
        if !section.has("min_ms") {
            section.problem("min_ms", "is missing", "the shortest time between two bursts, in milliseconds");
        }
        let min = section.number("min_ms").unwrap_or(0.0);
        let max = section.number("max_ms").unwrap_or(min);
        if max < min {
            section.problem("max_ms", &format!("{max} is less than min_ms"), &format!("{min} or more"));
        }
        let mut words = format!("slot {min}ms {max}ms");
        for key in ["packets", "bytes"] {
            if let Some(count) = section.integer(key) {
                let _ = write!(words, " {key} {count}");
            }
        }
        Some((words, max))
    });
    if let Some((words, max)) = slot {
        options.held_ms += max;
        options.add(&words, format!("sends in bursts every {max} ms"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::tc::words::rate;

    #[test]
    fn a_rate_is_told_in_bits_a_second_whatever_its_words() {
        for (words, told) in [
            ("1Mbps", "8 Mbit/s"),
            ("1mbit", "1 Mbit/s"),
            ("1000kbit", "1 Mbit/s"),
            ("1.1mbit", "1.1 Mbit/s"),
            ("250kbit", "250 kbit/s"),
            ("8000", "8 kbit/s"),
            ("999bit", "992 bit/s"), // tc counts in whole bytes
            ("1Mibps", "8.388608 Mbit/s"),
            ("12.5gbps", "100 Gbit/s"),
            ("2tbit", "2 Tbit/s"),
            ("2000tbit", "2000 Tbit/s"),
        ] {
            assert_eq!(bits(rate(words).unwrap()), told, "{words}");
        }
    }
}
