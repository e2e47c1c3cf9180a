//! netem's options: from words (words.rs) to the kernel's bytes, and back to what is shown (show.rs).
//! Layouts and attribute numbers: linux/pkt_sched.h (`struct tc_netem_qopt`, `TCA_NETEM_*`).

mod show;
mod words;

use super::distribution::Distribution;
use super::message::{Message, bytes_of, code::NESTED, find, u32_at, u64_at};

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

impl Netem {
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
}
