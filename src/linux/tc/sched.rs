//! The other qdiscs that the agent sets: prio, tbf, pfifo and bfifo. Layouts: linux/pkt_sched.h.

use super::message::{Message, bytes_of, code::TCA_OPTIONS, find, u16_at, u32_at, u64_at};
use super::netem::TICK;
use super::print::{self, Printer};
use super::words::{self, Parsed, Stop, Words, keyword};

/// prio: a strict order of bands (`struct tc_prio_qopt`: bands i32, priomap 16 u8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prio {
    /// How many bands.
    pub bands: u32,
    /// Band of each packet priority.
    pub priomap: [u8; 16],
}

impl Prio {
    /// Reads `[bands N] [priomap P0 .. P15]` of tc-prio(8).
    ///
    /// # Errors
    /// A word or value that means nothing; a band beyond `bands`.
    pub fn parse(words: &mut Words<'_>) -> Parsed<Prio> {
        let mut prio = Prio { bands: 3, priomap: [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] };
        let mut places = None;
        while let Some(word) = words.next() {
            match (word, &mut places) {
                ("bands", _) => {
                    prio.bands = words.value("bands", |word| words::decimal(word)?.try_into().ok())?;
                }
                ("priomap", None) => places = Some(0),
                ("priomap", Some(_)) => return Err(Stop::options("Error: duplicate priomap")),
                (word, Some(place)) => {
                    let band: u8 = words::decimal(word)
                        .and_then(|band| band.try_into().ok())
                        .ok_or_else(|| Stop::wrong("priomap", word))?;
                    if u32::from(band) >= prio.bands {
                        return Err(Stop::options("\"priomap\" element is out of bands"));
                    }
                    *prio
                        .priomap
                        .get_mut(*place)
                        .ok_or_else(|| Stop::options("\"priomap\" index > TC_PRIO_MAX=15"))? = band;
                    *place += 1;
                }
                (word, None) => return Err(Stop::unknown(word)),
            }
        }
        Ok(prio)
    }

    /// Writes `TCA_OPTIONS`; tc adds an empty nest behind the struct.
    pub fn write(&self, message: &mut Message) {
        let options = message.begin(TCA_OPTIONS);
        message.append(&bytes_of(&[self.bands]));
        message.append(&self.priomap);
        let nest = message.begin(TCA_OPTIONS);
        message.end(nest);
        message.end(options);
    }

    /// Reads `TCA_OPTIONS`.
    pub fn read(options: &[u8]) -> Prio {
        let priomap = options.get(4..).and_then(|rest| rest.first_chunk());
        Prio { bands: u32_at(options, 0), priomap: priomap.copied().unwrap_or_default() }
    }

    /// As tc prints it.
    pub fn print(&self, out: &mut Printer) {
        out.number("bands", &self.bands, format_args!("bands {} priomap", self.bands));
        out.open("priomap", '[');
        for band in self.priomap {
            out.number("", &band, format_args!(" {band}"));
        }
        out.close(']');
        out.json("multiqueue", &false);
    }
}

/// tbf: a token bucket. Sizes in bytes, rates in bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tbf {
    /// Rate allowed in the long run.
    pub rate: u64,
    /// Bytes that may go at once.
    pub burst: u32,
    /// Bytes held at most.
    pub limit: u32,
    /// Rate of a burst, 0 for the link's.
    pub peakrate: u64,
    /// Bytes that may go at once at the peak rate.
    pub mtu: u32,
    /// Least size a packet counts for.
    pub mpu: u16,
    /// Bytes added to every packet.
    pub overhead: u16,
    /// ATM cells instead of Ethernet.
    pub atm: bool,
    cell_log: Option<u8>,
    peak_cell_log: Option<u8>,
    /// Burst and mtu as the kernel tells them: ticks.
    buffer: u32,
    mtu_ticks: u32,
}

const PARMS: u16 = 1;
const RTAB: u16 = 2;
const PTAB: u16 = 3;
const TBF_RATE64: u16 = 4;
const PRATE64: u16 = 5;
const BURST: u16 = 6;
const PBURST: u16 = 7;
const TBF_KEYS: [&str; 11] = [
    "limit", "latency", "burst", "buffer", "maxburst", "mtu", "minburst", "mpu", "rate", "peakrate",
    "overhead",
];

impl Tbf {
    /// Reads the options of tc-tbf(8).
    ///
    /// # Errors
    /// A word or value that means nothing, or rate, burst, and limit or latency not all there.
    pub fn parse(words: &mut Words<'_>) -> Parsed<Tbf> {
        let mut tbf = Tbf::default();
        let mut latency = None;
        while let Some(word) = words.next() {
            match keyword(word, &TBF_KEYS) {
                "limit" => tbf.limit = words.value("limit", words::size)?,
                "latency" => latency = Some(words.value("latency", words::time)?),
                "burst" | "buffer" | "maxburst" => {
                    (tbf.burst, tbf.cell_log) = words.value("burst", size_and_cell)?
                }
                "mtu" | "minburst" => (tbf.mtu, tbf.peak_cell_log) = words.value("mtu", size_and_cell)?,
                "mpu" => tbf.mpu = words.value("mpu", |word| words::size(word)?.try_into().ok())?,
                "rate" => tbf.rate = words.value("rate", words::rate)?,
                "peakrate" => tbf.peakrate = words.value("peakrate", words::rate)?,
                "overhead" => {
                    tbf.overhead = words.value("overhead", |word| words::decimal(word)?.try_into().ok())?
                }
                _ if keyword(word, &["linklayer"]) == "linklayer" => {
                    tbf.atm = words.value("linklayer", |word| {
                        ["ethernet", "atm", "adsl"].iter().position(|name| name.starts_with(word))
                    })? > 0;
                }
                _ => return Err(Stop::options(format!("tbf: unknown parameter \"{word}\""))),
            }
        }
        tbf.checked(latency)
    }

    fn checked(mut self, latency: Option<i64>) -> Parsed<Tbf> {
        let missing = [
            (self.rate == 0, "the \"rate\" parameter is mandatory."),
            (self.burst == 0, "the \"burst\" parameter is mandatory."),
            (self.peakrate > 0 && self.mtu == 0, "\"peakrate\" needs \"mtu\" too."),
            (self.limit == 0 && latency.is_none(), "either \"limit\" or \"latency\" is required."),
            (self.limit > 0 && latency.is_some(), "specifying both \"latency\" and \"limit\" is not allowed"),
        ];
        if let Some((_, why)) = missing.iter().find(|(missing, _)| *missing) {
            return Err(Stop::options(format!("tbf: {why}")));
        }
        if let Some(latency) = latency {
            // What comes in during the latency, and a burst.
            let held = |rate: u64, burst: u32| rate as f64 * (latency / 1000) as f64 / 1e6 + f64::from(burst);
            let limit = held(self.rate, self.burst);
            let peak = if self.peakrate > 0 { held(self.peakrate, self.mtu) } else { limit };
            self.limit = limit.min(peak) as u32;
        }
        Ok(self)
    }

    /// Writes `TCA_OPTIONS`, with the rate tables that kernels before 3.8 needed and later ones still demand.
    pub fn write(&self, message: &mut Message) {
        let short = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
        let (rate, peak) = (short(self.rate), short(self.peakrate));
        let cell_log = |given: Option<u8>| given.unwrap_or_else(|| least_cell_log(self.mtu));
        let mut parms = self.ratespec(rate, cell_log(self.cell_log));
        let buffer = transmit_ticks(rate, self.burst);
        if peak > 0 {
            parms.extend(self.ratespec(peak, cell_log(self.peak_cell_log)));
        } else {
            parms.extend([0; 12]);
        }
        let mtu = if peak > 0 { transmit_ticks(peak, self.mtu) } else { 0 };
        parms.extend(bytes_of(&[self.limit, buffer, mtu]));
        let options = message.begin(TCA_OPTIONS);
        message.attribute(PARMS, &parms);
        message.attribute(BURST, &self.burst.to_ne_bytes());
        if u32::try_from(self.rate).is_err() {
            message.attribute(TBF_RATE64, &self.rate.to_ne_bytes());
        }
        message.attribute(RTAB, &self.table(rate, cell_log(self.cell_log)));
        if peak > 0 {
            if u32::try_from(self.peakrate).is_err() {
                message.attribute(PRATE64, &self.peakrate.to_ne_bytes());
            }
            message.attribute(PBURST, &self.mtu.to_ne_bytes());
            message.attribute(PTAB, &self.table(peak, cell_log(self.peak_cell_log)));
        }
        message.end(options);
    }

    /// `struct tc_ratespec`: cell_log u8, linklayer u8, overhead u16, cell_align i16, mpu u16, rate u32.
    fn ratespec(&self, rate: u32, cell_log: u8) -> Vec<u8> {
        let mut bytes = vec![cell_log, if self.atm { 2 } else { 1 }];
        for field in [self.overhead, u16::MAX, self.mpu] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(rate.to_ne_bytes());
        bytes
    }

    /// How long a packet takes, for 256 sizes.
    fn table(&self, rate: u32, cell_log: u8) -> Vec<u8> {
        let ticks = (1..=256u32).map(|cells| {
            let size = cells.checked_shl(cell_log.into()).unwrap_or(0).max(self.mpu.into());
            transmit_ticks(rate, if self.atm { size.div_ceil(48).wrapping_mul(53) } else { size })
        });
        ticks.flat_map(u32::to_ne_bytes).collect()
    }

    /// Reads `TCA_OPTIONS`.
    pub fn read(options: &[u8]) -> Tbf {
        let parms = find(options, PARMS).unwrap_or_default();
        let rate = |kind, at| {
            let wide = find(options, kind).filter(|payload| payload.len() >= 8);
            wide.map_or(u64::from(u32_at(parms, at)), |payload| u64_at(payload, 0))
        };
        let (speed, peakrate) = (rate(TBF_RATE64, 8), rate(PRATE64, 20));
        let (buffer, mtu_ticks) = (u32_at(parms, 28), u32_at(parms, 32));
        Tbf {
            rate: speed,
            burst: transmit_size(speed, buffer),
            limit: u32_at(parms, 24),
            peakrate,
            mtu: transmit_size(peakrate, mtu_ticks),
            mpu: u16_at(parms, 6),
            overhead: u16_at(parms, 2),
            atm: parms.get(1).is_some_and(|layer| layer & 15 == 2),
            cell_log: None,
            peak_cell_log: None,
            buffer,
            mtu_ticks,
        }
    }

    /// As tc prints it.
    pub fn print(&self, out: &mut Printer) {
        out.number("rate", &self.rate, format_args!("rate {} ", print::rate(self.rate)));
        out.number("burst", &self.burst, format_args!("burst {} ", print::size(self.burst)));
        if self.peakrate > 0 {
            out.text(format_args!("peakrate {} ", print::rate(self.peakrate)));
            if self.mtu_ticks > 0 || self.mpu > 0 {
                out.number("minburst", &self.mtu, format_args!("minburst {} ", print::size(self.mtu)));
            }
        }
        let held = |rate: u64, ticks: u32| {
            1e6 * (f64::from(self.limit) / rate as f64) - f64::from(microseconds(ticks))
        };
        let mut latency = held(self.rate, self.buffer);
        if self.peakrate > 0 {
            latency = latency.max(held(self.peakrate, self.mtu_ticks));
        }
        if latency >= 0. {
            out.number("lat", &(latency as u64), format_args!("lat {} ", print::time(latency as u32)));
        } else {
            out.number("limit", &self.limit, format_args!("limit {} ", print::size(self.limit)));
        }
        if self.overhead > 0 {
            out.number("overhead", &self.overhead, format_args!("overhead {} ", self.overhead));
        }
        if self.atm {
            out.string("linklayer", "atm", "linklayer ");
        }
    }
}

/// "1540/8": bytes, and the size of a cell as a power of two.
fn size_and_cell(text: &str) -> Option<(u32, Option<u8>)> {
    let Some((size, cell)) = text.split_once('/') else {
        return Some((words::size(text)?, None));
    };
    let cell = words::u32(cell).filter(|cell| cell.is_power_of_two())?;
    Some((words::size(size)?, Some(cell.trailing_zeros() as u8)))
}

/// The least power of two by which 256 cells cover the packet size.
fn least_cell_log(mtu: u32) -> u8 {
    let mtu = if mtu == 0 { 2047 } else { mtu };
    (0..32).find(|log| mtu >> log <= 255).unwrap_or(0)
}

/// Microseconds and ticks are truncated one after the other, as tc does it.
fn transmit_ticks(rate: u32, size: u32) -> u32 {
    let microseconds = (1e6 * (f64::from(size) / f64::from(rate))) as u32;
    (f64::from(microseconds) * (1000. / TICK as f64)) as u32
}

fn microseconds(ticks: u32) -> u32 {
    (f64::from(ticks) / (1000. / TICK as f64)) as u32
}

fn transmit_size(rate: u64, ticks: u32) -> u32 {
    (rate as f64 * f64::from(microseconds(ticks)) / 1e6) as u32
}

/// Reads the options of tc-pfifo(8): `[limit N]`, packets for pfifo and bytes for bfifo.
///
/// # Errors
/// A word or value that means nothing.
pub fn parse_fifo(words: &mut Words<'_>) -> Parsed<Option<u32>> {
    let mut limit = None;
    while let Some(word) = words.next() {
        match word {
            "limit" => limit = Some(words.value("limit", words::size)?),
            word => return Err(Stop::options(format!("fifo: unknown parameter \"{word}\""))),
        }
    }
    Ok(limit)
}
