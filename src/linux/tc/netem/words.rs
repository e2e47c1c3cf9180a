//! netem's options as words (tc-netem(8)).

use super::{Chance, Loss, Netem, Rate};
use crate::linux::tc::distribution::Distribution;
use crate::linux::tc::words::{self, Parsed, Stop, Words, keyword};

const KEYS: [&str; 15] = [
    "limit",
    "latency",
    "delay",
    "loss",
    "drop",
    "seed",
    "ecn",
    "reorder",
    "corrupt",
    "gap",
    "duplicate",
    "distribution",
    "rate",
    "slot",
    "help",
];

impl Netem {
    /// Reads the options of tc-netem(8).
    ///
    /// # Errors
    /// A word or value that means nothing, or a combination that tc refuses.
    pub fn parse(words: &mut Words<'_>) -> Parsed<Netem> {
        let mut netem = Netem { limit: 1000, ..Netem::default() };
        let mut correlation = [0; 3];
        let mut correlated = false;
        while let Some(word) = words.next() {
            let key = keyword(word, &KEYS);
            match key {
                "limit" => netem.limit = words.value(key, words::size)?,
                "latency" | "delay" => {
                    netem.latency = words.value(key, words::time)?;
                    if let Some(jitter) = optional(words, key, words::time)? {
                        netem.jitter = jitter;
                        let found = optional(words, key, words::percent)?;
                        correlated |= found.is_some();
                        correlation[0] = found.unwrap_or(correlation[0]);
                    }
                }
                "loss" | "drop" => {
                    let found = netem.parse_loss(words)?;
                    correlated |= found.is_some();
                    correlation[1] = found.unwrap_or(correlation[1]);
                }
                "seed" => netem.seed = Some(words.value(key, words::decimal)?),
                "ecn" => netem.ecn = true,
                "reorder" | "corrupt" => {
                    let probability = words.value(key, words::percent)?;
                    let found = optional(words, key, words::percent)?;
                    correlated |= found.is_some();
                    let chance = Some(Chance { probability, correlation: found.unwrap_or(0) });
                    *(if key == "reorder" { &mut netem.reorder } else { &mut netem.corrupt }) = chance;
                }
                "gap" => netem.gap = words.value(key, words::u32)?,
                "duplicate" => {
                    netem.duplicate = words.value(key, words::percent)?;
                    // As in tc, this alone does not make the correlations be sent.
                    correlation[2] = optional(words, key, words::percent)?.unwrap_or(correlation[2]);
                }
                "distribution" => netem.distribution = Some(words.value(key, Distribution::named)?),
                "rate" => netem.rate = Some(parse_rate(words)?),
                "slot" => netem.parse_slot(words)?,
                _ => return Err(Stop::unknown(word)),
            }
        }
        netem.correlation = correlated.then_some(correlation);
        netem.checked()
    }

    /// Combinations, as tc checks them.
    fn checked(mut self) -> Parsed<Netem> {
        let reordering = self.reorder.is_some_and(|chance| chance.probability > 0);
        if reordering && self.latency == 0 {
            return Err(Stop::options("reordering not possible without specifying some delay"));
        }
        if !reordering && self.gap > 0 {
            return Err(Stop::options("gap specified without reorder probability"));
        }
        if reordering {
            self.gap = self.gap.max(1);
        }
        if self.ecn && matches!(self.loss, Loss::None | Loss::Random(Chance { probability: 0, .. })) {
            return Err(Stop::options("ecn requested without loss model"));
        }
        if self.distribution.is_some() && (self.latency == 0 || self.jitter == 0) {
            return Err(Stop::options("distribution specified but no latency and jitter values"));
        }
        Ok(self)
    }

    /// Returns the correlation, if one is given.
    fn parse_loss(&mut self, words: &mut Words<'_>) -> Parsed<Option<u32>> {
        if !matches!(self.loss, Loss::None | Loss::Random(Chance { probability: 0, .. })) {
            return Err(Stop::options("Illegal \"duplicate loss argument\""));
        }
        let model = if words.peek().starts_with(|first: char| first.is_ascii_digit()) {
            "random"
        } else {
            words.need()?
        };
        match model {
            "random" => {
                let probability = words.value("loss percent", words::percent)?;
                let correlation = optional(words, "loss correlation", words::percent)?;
                self.loss = Loss::Random(Chance { probability, correlation: correlation.unwrap_or(0) });
                return Ok(correlation);
            }
            "state" => {
                let p13 = words.value("loss p13", words::fraction)?;
                let mut model = [p13, 1. - p13, 0., 1., 0.].map(words::share);
                for value in model.iter_mut().skip(1) {
                    let Some(given) = optional(words, "loss state", words::percent)? else { break };
                    *value = given;
                }
                self.loss = Loss::State(model);
            }
            "gemodel" => {
                let p = words.value("loss gemodel p", words::fraction)?;
                let mut model = [p, 1. - p, 0., 0.].map(words::share);
                for (place, value) in model.iter_mut().enumerate().skip(1) {
                    let Some(given) = optional(words, "loss gemodel", words::percent)? else { break };
                    // The words say 1-h, the kernel takes h.
                    *value = if place == 2 { u32::MAX - given } else { given };
                }
                self.loss = Loss::Gemodel(model);
            }
            other => return Err(Stop::options(format!("Unknown loss parameter: {other}"))),
        }
        Ok(None)
    }

    fn parse_slot(&mut self, words: &mut Words<'_>) -> Parsed<()> {
        let mut slot = self.slot.unwrap_or_default();
        if let Some(word) = words.number() {
            slot.min_delay = words::time64(word).ok_or_else(|| Stop::wrong("slot min_delay", word))?;
            let longest = optional(words, "slot max_delay", words::time64)?;
            slot.max_delay = longest.unwrap_or(slot.min_delay);
            if slot.max_delay < slot.min_delay {
                return Err(Stop::options("Illegal \"slot max_delay\""));
            }
        } else {
            let word = words.need()?;
            if word != "distribution" {
                return Err(Stop::options(format!("Unknown slot parameter: {word}")));
            }
            self.slot_distribution = Some(words.value("slot distribution", Distribution::named)?);
            slot.dist_delay = words.value("slot delay", words::time64)?;
            slot.dist_jitter = words.value("slot jitter", words::time64)?;
            if slot.dist_jitter == 0 {
                return Err(Stop::options("Non-positive jitter"));
            }
        }
        if keyword(words.peek(), &["packets"]) == "packets" {
            words.next();
            slot.max_packets = words.value("slot packets", words::i32)?;
        }
        if keyword(words.peek(), &["bytes"]) == "bytes" {
            words.next();
            slot.max_bytes =
                words.value("slot bytes", |word| words::size(word).and_then(|size| size.try_into().ok()))?;
        }
        self.slot = Some(slot);
        Ok(())
    }
}

/// The value of `key` if the next word begins like a number.
#[inline(never)]
fn optional<T>(words: &mut Words<'_>, key: &str, parse: fn(&str) -> Option<T>) -> Parsed<Option<T>> {
    let word = words.number();
    word.map(|word| parse(word).ok_or_else(|| Stop::wrong(key, word))).transpose()
}

fn parse_rate(words: &mut Words<'_>) -> Parsed<Rate> {
    let wrong = |word| Stop::wrong("rate", word);
    let mut rate = Rate { rate: words.value("rate", words::rate)?, ..Rate::default() };
    if let Some(word) = words.signed() {
        rate.packet_overhead = words::i32(word).ok_or_else(|| wrong(word))?;
    }
    if let Some(word) = words.number() {
        rate.cell_size = words::u32(word).ok_or_else(|| wrong(word))?;
    }
    if let Some(word) = words.signed() {
        rate.cell_overhead = words::i32(word).ok_or_else(|| wrong(word))?;
    }
    Ok(rate)
}
