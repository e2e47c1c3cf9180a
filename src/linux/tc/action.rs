//! Actions of a filter: gact (drop, pass, ...) and mirred (to another interface).
//! Layouts: linux/pkt_cls.h (`TCA_ACT_*`, `tc_gen`), linux/tc_act/tc_gact.h, linux/tc_act/tc_mirred.h.

use super::message::{Message, bytes_of, code::NESTED, find, text, u32_at, u64_at};
use super::print::Printer;
use super::words::{Parsed, Stop, Words};
use super::{counters, device, device_name};

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const STATS: u16 = 4;
/// `TCA_GACT_TM` and `TCA_MIRRED_TM`: jiffies since installed, last used, expires, first used, u64.
const TM: u16 = 1;
/// `TCA_GACT_PARMS` and `TCA_MIRRED_PARMS`.
const PARMS: u16 = 2;

/// `TC_ACT_*`, in the order in which tc tries abbreviations.
const VERDICTS: [(&str, i32); 9] = [
    ("continue", -1),
    ("drop", 2),
    ("shot", 2),
    ("pass", 0),
    ("ok", 0),
    ("reclassify", 1),
    ("pipe", 3),
    ("trap", 8),
    ("stolen", 4),
];

/// What happens to a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// "gact", "mirred", or a kind not known here.
    pub kind: String,
    /// Drop (2), pass (0), stolen (4), ...: `TC_ACT_*`.
    pub verdict: i32,
    /// mirred only: egress redirect 1, egress mirror 2, ingress redirect 3, ingress mirror 4.
    pub direction: u32,
    /// mirred only: the other interface.
    pub ifindex: i32,
    /// What the kernel adds.
    index: u32,
    order: u16,
    references: i32,
    bindings: i32,
    times: Vec<u8>,
    statistics: Vec<u8>,
}

fn verdict(word: &str) -> Option<i32> {
    // "stolen" is only told, never asked for.
    let known = VERDICTS.iter().take(8).find(|(name, _)| !word.is_empty() && name.starts_with(word));
    known.map(|(_, number)| *number)
}

/// 1 for the second of two words, 0 for the first; both may be cut short.
fn second(word: &str, table: [&str; 2]) -> Option<u32> {
    let place = table.iter().position(|entry| !word.is_empty() && entry.starts_with(word));
    place.map(|place| place as u32)
}

impl Action {
    fn new(kind: &str, verdict: i32) -> Action {
        Action {
            kind: kind.to_owned(),
            verdict,
            direction: 0,
            ifindex: 0,
            index: 0,
            order: 0,
            references: 0,
            bindings: 0,
            times: Vec::new(),
            statistics: Vec::new(),
        }
    }

    /// Reads what follows the word `action`.
    ///
    /// # Errors
    /// Words that mean nothing, or an absent device.
    pub fn parse(words: &mut Words<'_>) -> Parsed<Action> {
        let word = words.need()?;
        if let Some(verdict) = verdict(word) {
            return Ok(Action::new("gact", verdict));
        }
        match word {
            "gact" => Ok(Action::new("gact", words.value("action", verdict)?)),
            "mirred" => Action::parse_mirred(words),
            _ => Err(Stop::options(format!("Illegal \"action\": {word}"))),
        }
    }

    /// `egress|ingress redirect|mirror dev DEV`
    fn parse_mirred(words: &mut Words<'_>) -> Parsed<Action> {
        let ingress = words.value("mirred", |word| second(word, ["egress", "ingress"]))?;
        let mirror = words.value("mirred", |word| second(word, ["redirect", "mirror"]))?;
        if !words.accept("dev") {
            return Err(Stop::options("Illegal \"mirred\": the device is missing"));
        }
        // A redirected packet is gone (TC_ACT_STOLEN), a mirrored one goes on (TC_ACT_PIPE) or as asked.
        let mut action = Action::new("mirred", 4 - mirror as i32);
        action.direction = 1 + mirror + 2 * ingress;
        action.ifindex = device(words.need()?)?;
        if let Some(verdict) = verdict(words.peek()).filter(|_| mirror == 1) {
            action.verdict = verdict;
            words.next();
        }
        Ok(action)
    }

    /// Writes the attribute `order`.
    pub fn write(&self, message: &mut Message, order: u16) {
        let action = message.begin(order);
        message.string(KIND, &self.kind);
        let options = message.begin(OPTIONS | NESTED);
        // `tc_gen`: index, capab u32, action, refcnt, bindcnt i32; mirred adds eaction i32, ifindex u32.
        let mut parms = vec![0, 0, self.verdict as u32, 0, 0];
        if self.kind == "mirred" {
            parms.extend([self.direction, self.ifindex as u32]);
        }
        message.attribute(PARMS, &bytes_of(&parms));
        message.end(options);
        message.end(action);
    }

    /// Reads the attribute `order`.
    pub fn read(order: u16, action: &[u8]) -> Action {
        let options = find(action, OPTIONS).unwrap_or_default();
        let parms = find(options, PARMS).unwrap_or_default();
        Action {
            kind: text(find(action, KIND).unwrap_or_default()),
            verdict: u32_at(parms, 8) as i32,
            direction: u32_at(parms, 20),
            ifindex: u32_at(parms, 24) as i32,
            index: u32_at(parms, 0),
            order,
            references: u32_at(parms, 12) as i32,
            bindings: u32_at(parms, 16) as i32,
            times: find(options, TM).unwrap_or_default().to_vec(),
            statistics: find(action, STATS).unwrap_or_default().to_vec(),
        }
    }

    /// As tc prints it.
    pub fn print(&self, out: &mut Printer) {
        let known = VERDICTS.iter().find(|(name, number)| *number == self.verdict && *name != "shot");
        let verdict = known.map_or_else(|| self.verdict.to_string(), |(name, _)| (*name).to_owned());
        out.open("", '{');
        out.number("order", &self.order, format_args!("\n\taction order {}: ", self.order));
        out.string("kind", &self.kind, "");
        match self.kind.as_str() {
            "mirred" => self.print_mirred(&verdict, out),
            "gact" => print_gact(&verdict, out),
            _ => {
                out.close('}');
                return;
            }
        }
        let tab = if self.kind == "gact" { "\t " } else { "\t" };
        out.number("index", &self.index, format_args!("\n{tab}index {}", self.index));
        out.number("ref", &self.references, format_args!(" ref {}", self.references));
        out.number("bind", &self.bindings, format_args!(" bind {}", self.bindings));
        if out.stats {
            self.print_times(out);
        }
        out.text(format_args!("\n"));
        if out.stats && !self.statistics.is_empty() {
            out.text(format_args!("\tAction statistics:\n"));
            out.open("stats", '{');
            counters(out, &self.statistics, "\t");
            out.close('}');
            out.text(format_args!("\n"));
        }
        out.close('}');
    }

    fn print_mirred(&self, verdict: &str, out: &mut Printer) {
        let (side, direction) =
            if self.direction > 2 { ("Ingress", "ingress") } else { ("Egress", "egress") };
        let (verb, action) =
            if self.direction.is_multiple_of(2) { ("Mirror", "mirror") } else { ("Redirect", "redirect") };
        let device = device_name(self.ifindex);
        out.json_string("mirred_action", action);
        out.json_string("direction", direction);
        out.json_string("to_dev", &device);
        out.text(format_args!("({side} {verb} to device {device}) {verdict}"));
        print_verdict(verdict, out);
    }

    /// In seconds; the kernel's user ticks are 100 a second.
    fn print_times(&self, out: &mut Printer) {
        let times = [
            (0, "installed", "installed"),
            (8, "last_used", "used"),
            (24, "first_used", "firstused"),
            (16, "expires", "expires"),
        ];
        for (at, name, word) in times {
            let ticks = u64_at(&self.times, at);
            if ticks != 0 {
                out.number(name, &(ticks / 100), format_args!(" {word} {} sec", ticks / 100));
            }
        }
    }
}

fn print_verdict(verdict: &str, out: &mut Printer) {
    out.open("control_action", '{');
    out.json_string("type", verdict);
    out.close('}');
}

/// The random part of gact is never asked for here; tc prints it all the same.
fn print_gact(verdict: &str, out: &mut Printer) {
    out.text(format_args!("action {verdict}\n\t random type none pass val 0"));
    print_verdict(verdict, out);
    out.open("prob", '{');
    out.json_string("random_type", "none");
    print_verdict("pass", out);
    out.json("val", &0);
    out.close('}');
}
