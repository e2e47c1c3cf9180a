//! netem's options: from words, to the kernel's bytes, back from them, and as text or JSON.
//! Layouts and attribute numbers: linux/pkt_sched.h (`struct tc_netem_qopt`, `TCA_NETEM_*`).

use super::distribution::Distribution;
use super::message::{Message, bytes_of, code::NESTED, find, u32_at, u64_at};
use super::print::{Printer, general, rate, time, time64};
use super::words::{self, Parsed, Stop, Words, keyword};

const CORR: u16 = 1;
const DELAY_DIST: u16 = 2;
const REORDER: u16 = 3;
const CORRUPT: u16 = 4;
const LOSS: u16 = 5;
const RATE: u16 = 6;
const ECN: u16 = 7;
const RATE64: u16 = 8;
const LATENCY64: u16 = 10;
const JITTER64: u16 = 11;
const SLOT: u16 = 12;
const SLOT_DIST: u16 = 13;
const PRNG_SEED: u16 = 14;
/// `NETEM_LOSS_GI` and `NETEM_LOSS_GE`.
const LOSS_STATE: u16 = 1;
const LOSS_GEMODEL: u16 = 2;

/// The packet scheduler's tick in nanoseconds (`PSCHED_SHIFT` of the kernel's include/net/pkt_sched.h; the same
/// since Linux 2.6.31, and what /proc/net/psched says).
pub const TICK: i64 = 64;

/// A probability and its correlation, shares of `u32::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance {
    /// How likely.
    pub probability: u32,
    /// How much the last draw weighs in the next.
    pub correlation: u32,
}

/// How packets are lost; probabilities are shares of `u32::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Not at all.
    #[default]
    None,
    /// Each by itself, or correlated with the one before.
    Random(Chance),
    /// Four-state Markov model: p13, p31, p32, p23, p14.
    State([u32; 5]),
    /// Gilbert-Elliot model: p, r, h, 1-k.
    Gemodel([u32; 4]),
}

/// The link speed simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes added to (or taken from) every packet.
    pub packet_overhead: i32,
    /// Cell size in bytes, 0 for none.
    pub cell_size: u32,
    /// Bytes added to every cell.
    pub cell_overhead: i32,
}

/// Bursts: packets are released only when a slot begins. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Shortest time between slots.
    pub min_delay: i64,
    /// Longest time between slots.
    pub max_delay: i64,
    /// Packets a slot, 0 for any number.
    pub max_packets: i32,
    /// Bytes a slot, 0 for any number.
    pub max_bytes: i32,
    /// Mean of the time between slots when it follows a distribution.
    pub dist_delay: i64,
    /// Its spread.
    pub dist_jitter: i64,
}

/// Everything that netem can be told. Two that compare equal make the kernel do the same, except for the
/// distribution tables, which the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netem {
    /// Packets held at most.
    pub limit: u32,
    /// Nanoseconds.
    pub latency: i64,
    /// Nanoseconds.
    pub jitter: i64,
    /// Correlations of delay, loss and duplication; `None` when none was asked for.
    pub correlation: Option<[u32; 3]>,
    /// What is lost; its correlation is in `correlation` too.
    pub loss: Loss,
    /// Share of packets sent twice.
    pub duplicate: u32,
    /// Share of packets sent at once, ahead of those delayed.
    pub reorder: Option<Chance>,
    /// Every how many packets one is reordered.
    pub gap: u32,
    /// Share of packets with a bit flipped.
    pub corrupt: Option<Chance>,
    /// Link speed.
    pub rate: Option<Rate>,
    /// Bursts.
    pub slot: Option<Slot>,
    /// Mark instead of lose.
    pub ecn: bool,
    /// Seed of netem's own generator (Linux 6.6 and later).
    pub seed: Option<u64>,
    /// Of the delay; not told by the kernel.
    pub distribution: Option<Distribution>,
    /// Of the time between slots; not told by the kernel.
    pub slot_distribution: Option<Distribution>,
}

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

    /// Writes `TCA_OPTIONS`, attributes in tc's order. Delay and jitter go in ticks, and in nanoseconds too
    /// where ticks cannot say them: tc 6.1 sends only the former, tc 6.14 and later only the latter.
    pub fn write(&self, message: &mut Message, changing: bool) {
        let ticks = |time: i64| u32::try_from(time / 1000 * 1000 / TICK).unwrap_or(u32::MAX);
        let random = if let Loss::Random(chance) = self.loss { chance.probability } else { 0 };
        let options = message.begin(super::message::code::TCA_OPTIONS);
        let (latency, jitter) = (ticks(self.latency), ticks(self.jitter));
        message.append(&bytes_of(&[latency, self.limit, random, self.gap, self.duplicate, jitter]));
        for (kind, time, ticks) in [(LATENCY64, self.latency, latency), (JITTER64, self.jitter, jitter)] {
            if time != i64::from(ticks) * TICK {
                message.attribute(kind, &time.to_ne_bytes());
            }
        }
        if let Some(correlation) = self.correlation {
            message.attribute(CORR, &bytes_of(&correlation));
        }
        let chance = |message: &mut Message, kind, chance: Option<Chance>| {
            if let Some(Chance { probability, correlation }) = chance {
                message.attribute(kind, &bytes_of(&[probability, correlation]));
            }
        };
        chance(message, REORDER, self.reorder);
        if self.ecn {
            message.attribute(ECN, &bytes_of(&[1]));
        }
        chance(message, CORRUPT, self.corrupt);
        if let Some(slot) = &self.slot {
            message.attribute(SLOT, &slot.bytes());
        }
        let loss = |message: &mut Message, kind, model: &[u32]| {
            let nest = message.begin(LOSS | NESTED);
            message.attribute(kind, &bytes_of(model));
            message.end(nest);
        };
        match &self.loss {
            // `struct tc_netem_gimodel` has p14 before p23.
            Loss::State([p13, p31, p32, p23, p14]) => {
                loss(message, LOSS_STATE, &[*p13, *p31, *p32, *p14, *p23]);
            }
            Loss::Gemodel(model) => loss(message, LOSS_GEMODEL, model),
            _ => {}
        }
        if let Some(rate) = &self.rate {
            rate.write(message);
        }
        if let Some(seed) = self.seed {
            message.attribute(PRNG_SEED, &seed.to_ne_bytes());
        }
        for (kind, distribution) in [(DELAY_DIST, self.distribution), (SLOT_DIST, self.slot_distribution)] {
            // Without a table netem draws evenly, but a table that is there stays.
            if let Some(distribution) = distribution.filter(|it| changing || *it != Distribution::Uniform) {
                message.attribute(kind, &distribution.table());
            }
        }
        message.end(options);
    }

    /// Reads `TCA_OPTIONS`; what is short reads as absent.
    pub fn read(options: &[u8]) -> Netem {
        let rest = options.get(24..).unwrap_or_default();
        let get = |kind, length| find(rest, kind).filter(|payload| payload.len() >= length);
        let time = |kind, ticks| match get(kind, 8) {
            Some(payload) => u64_at(payload, 0) as i64,
            None => i64::from(u32_at(options, ticks)) * TICK,
        };
        let chance = |kind| {
            get(kind, 8)
                .map(|payload| Chance { probability: u32_at(payload, 0), correlation: u32_at(payload, 4) })
        };
        let correlation = get(CORR, 12).map(|payload| [0, 4, 8].map(|at| u32_at(payload, at)));
        let model = get(LOSS, 0).unwrap_or_default();
        let random = Chance {
            probability: u32_at(options, 8),
            correlation: correlation.map_or(0, |correlation| correlation[1]),
        };
        let loss = match (find(model, LOSS_STATE), find(model, LOSS_GEMODEL)) {
            (Some(state), _) => Loss::State([0, 4, 8, 16, 12].map(|at| u32_at(state, at))),
            (_, Some(gemodel)) => Loss::Gemodel([0, 4, 8, 12].map(|at| u32_at(gemodel, at))),
            _ if random.probability > 0 => Loss::Random(random),
            _ => Loss::None,
        };
        Netem {
            limit: u32_at(options, 4),
            latency: time(LATENCY64, 0),
            jitter: time(JITTER64, 20),
            correlation,
            loss,
            duplicate: u32_at(options, 16),
            reorder: chance(REORDER),
            gap: u32_at(options, 12),
            corrupt: chance(CORRUPT),
            rate: get(RATE, 16).map(|payload| Rate::read(payload, get(RATE64, 8))),
            slot: get(SLOT, 40).map(Slot::read),
            ecn: get(ECN, 4).is_some(),
            seed: get(PRNG_SEED, 8).map(|payload| u64_at(payload, 0)),
            distribution: None,
            slot_distribution: None,
        }
    }

    /// Prints what tc 6.1 prints, and the seed as later ones do.
    pub fn print(&self, out: &mut Printer) {
        out.number("limit", self.limit, format_args!("limit {}", self.limit));
        let [delay_corr, loss_corr, duplicate_corr] = self.correlation.unwrap_or_default();
        self.print_delay(out, delay_corr);
        match self.loss {
            Loss::Random(Chance { probability, .. }) => {
                chances(out, "loss-random", "loss", probability, loss_corr);
            }
            Loss::State(model) => {
                let names = ["p13", "p31", "p32", "p23", "p14"];
                shares(out, "loss-state", " loss state", names.iter().zip(model));
            }
            Loss::Gemodel([p, r, h, k]) => {
                let model = [p, r, u32::MAX - h, k];
                shares(out, "loss-gemodel", " loss gemodel", ["p", "r", "1-h", "1-k"].iter().zip(model));
            }
            Loss::None => {}
        }
        let pairs = [
            ("duplicate", Some(Chance { probability: self.duplicate, correlation: duplicate_corr })),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (name, chance) in pairs {
            if let Some(chance) = chance.filter(|chance| chance.probability > 0) {
                chances(out, name, name, chance.probability, chance.correlation);
            }
        }
        if let Some(rate) = self.rate.filter(|rate| rate.rate > 0) {
            rate.print(out);
        }
        if let Some(slot) = &self.slot {
            slot.print(out);
        }
        if let Some(seed) = self.seed {
            out.number("seed", seed, format_args!(" seed {seed}"));
        }
        out.json("ecn", &self.ecn);
        if self.ecn {
            out.text(format_args!(" ecn "));
        }
        out.json("gap", &self.gap);
        if self.gap > 0 {
            out.text(format_args!(" gap {}", self.gap));
        }
    }

    fn print_delay(&self, out: &mut Printer, correlation: u32) {
        // Whole microseconds counted from ticks, as tc 6.1 does it: 100us print as 99us.
        let microseconds = |time: i64| u32::try_from(time / TICK * TICK / 1000).unwrap_or(u32::MAX);
        let (latency, jitter) = (microseconds(self.latency), microseconds(self.jitter));
        if self.latency < TICK {
            return;
        }
        out.open("delay", '{');
        out.json("delay", &general(f64::from(latency) / 1e6, 6));
        out.json("jitter", &general(f64::from(jitter) / 1e6, 6));
        out.text(format_args!(" delay {}", time(latency)));
        if self.jitter >= TICK {
            out.text(format_args!("  {}", time(jitter)));
        }
        print_correlation(out, correlation, self.jitter >= TICK);
        out.close('}');
    }
}

/// The value of `key` if the next word begins like a number.
fn optional<T>(words: &mut Words<'_>, key: &str, parse: impl Fn(&str) -> Option<T>) -> Parsed<Option<T>> {
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

impl Rate {
    /// `struct tc_netem_rate`: rate u32, packet_overhead i32, cell_size u32, cell_overhead i32.
    fn write(&self, message: &mut Message) {
        let rate = u32::try_from(self.rate);
        if rate.is_err() {
            message.attribute(RATE64, &self.rate.to_ne_bytes());
        }
        let overheads = [self.packet_overhead as u32, self.cell_size, self.cell_overhead as u32];
        let [packet, cell, cells] = overheads;
        message.attribute(RATE, &bytes_of(&[rate.unwrap_or(u32::MAX), packet, cell, cells]));
    }

    fn read(payload: &[u8], rate64: Option<&[u8]>) -> Rate {
        Rate {
            rate: rate64.map_or(u64::from(u32_at(payload, 0)), |payload| u64_at(payload, 0)),
            packet_overhead: u32_at(payload, 4) as i32,
            cell_size: u32_at(payload, 8),
            cell_overhead: u32_at(payload, 12) as i32,
        }
    }

    fn print(&self, out: &mut Printer) {
        out.open("rate", '{');
        out.number("rate", self.rate, format_args!(" rate {}", rate(self.rate)));
        counts(
            out,
            &[
                ("packetoverhead", self.packet_overhead.into()),
                ("cellsize", self.cell_size.into()),
                ("celloverhead", self.cell_overhead.into()),
            ],
        );
        out.close('}');
    }
}

impl Slot {
    /// `struct tc_netem_slot`: min_delay, max_delay i64, max_packets, max_bytes i32, dist_delay, dist_jitter i64.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(self.min_delay.to_ne_bytes());
        bytes.extend(self.max_delay.to_ne_bytes());
        bytes.extend(self.max_packets.to_ne_bytes());
        bytes.extend(self.max_bytes.to_ne_bytes());
        bytes.extend(self.dist_delay.to_ne_bytes());
        bytes.extend(self.dist_jitter.to_ne_bytes());
        bytes
    }

    fn read(payload: &[u8]) -> Slot {
        Slot {
            min_delay: u64_at(payload, 0) as i64,
            max_delay: u64_at(payload, 8) as i64,
            max_packets: u32_at(payload, 16) as i32,
            max_bytes: u32_at(payload, 20) as i32,
            dist_delay: u64_at(payload, 24) as i64,
            dist_jitter: u64_at(payload, 32) as i64,
        }
    }

    fn print(&self, out: &mut Printer) {
        let (names, times) = match self.dist_jitter > 0 {
            true => (["distribution", "jitter"], [self.dist_delay, self.dist_jitter]),
            false => (["min-delay", "max-delay"], [self.min_delay, self.max_delay]),
        };
        out.open("slot", '{');
        out.text(format_args!(" slot{}", if self.dist_jitter > 0 { " distribution" } else { "" }));
        for (name, time) in names.into_iter().zip(times) {
            out.json(name, &general(time as f64 / 1e9, 6));
            out.text(format_args!(" {}", time64(time)));
        }
        counts(out, &[("packets", self.max_packets.into()), ("bytes", self.max_bytes.into())]);
        out.close('}');
    }
}

/// Numbers that text leaves out when zero.
fn counts(out: &mut Printer, counts: &[(&str, i64)]) {
    for (name, count) in counts {
        out.json(name, count);
        if *count != 0 {
            out.text(format_args!(" {name} {count}"));
        }
    }
}

/// A probability: percent in text, 0 to 1 in JSON.
fn print_share(out: &mut Printer, name: &str, share: u32) {
    out.json(name, &general(f64::from(share) / f64::from(u32::MAX), 6));
    out.text(format_args!(" {name} {}%", general(100. * f64::from(share) / f64::from(u32::MAX), 6)));
}

fn print_correlation(out: &mut Printer, correlation: u32, wanted: bool) {
    out.json("correlation", &general(f64::from(correlation) / f64::from(u32::MAX), 6));
    if wanted && correlation > 0 {
        out.text(format_args!(" {}%", general(100. * f64::from(correlation) / f64::from(u32::MAX), 6)));
    }
}

fn chances(out: &mut Printer, object: &str, name: &str, probability: u32, correlation: u32) {
    out.open(object, '{');
    print_share(out, name, probability);
    print_correlation(out, correlation, true);
    out.close('}');
}

fn shares<'n>(
    out: &mut Printer,
    object: &str,
    title: &str,
    model: impl Iterator<Item = (&'n &'static str, u32)>,
) {
    out.open(object, '{');
    out.text(format_args!("{title}"));
    for (name, share) in model {
        print_share(out, name, share);
    }
    out.close('}');
}
