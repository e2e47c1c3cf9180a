//! netem's options as text and JSON, as tc 6.1 prints them.

use super::{Chance, Loss, Netem, Rate, Slot, TICK};
use crate::linux::tc::print::{Printer, general, rate, time, time64};

impl Netem {
    /// Prints what tc 6.1 prints, and the seed as later ones do.
    pub fn print(&self, out: &mut Printer) {
        out.number("limit", &self.limit, format_args!("limit {}", self.limit));
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
            out.number("seed", &seed, format_args!(" seed {seed}"));
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

impl Rate {
    fn print(&self, out: &mut Printer) {
        out.open("rate", '{');
        out.number("rate", &self.rate, format_args!(" rate {}", rate(self.rate)));
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
