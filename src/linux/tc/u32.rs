//! The u32 classifier: matches on packet words, from tc's words to bytes and back (tc-u32(8)).
//! Layouts: linux/pkt_cls.h (`struct tc_u32_sel`, `struct tc_u32_key`, `TCA_U32_*`).

use super::action::Action;
use super::message::{Message, attributes, bytes_of, code::TCA_OPTIONS, find, u32_at, u64_at};
use super::print::{Printer, classid};
use super::words::{self, Parsed, Stop, Words, keyword};
use std::net::Ipv6Addr;

const CLASSID: u16 = 1;
const HASH: u16 = 2;
const DIVISOR: u16 = 4;
const SEL: u16 = 5;
const ACT: u16 = 7;
const PCNT: u16 = 9;
const FLAGS: u16 = 11;
/// `TC_U32_TERMINAL`: the search ends here.
const TERMINAL: u8 = 1;

/// A 32-bit word of the packet compared under a mask; numbers as read in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which bits count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
    /// Where: bytes from the network header, a multiple of four.
    pub offset: i32,
    /// Whether from the transport header instead (`nexthdr+`).
    pub next_header: bool,
}

/// What a u32 filter matches and does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct U32 {
    /// All must match.
    pub keys: Vec<Key>,
    /// Where what matches goes.
    pub classid: Option<u32>,
    /// What happens to it.
    pub actions: Vec<Action>,
    /// Whether a selector was given (an empty one matches everything).
    selector: bool,
    terminal: bool,
    /// Buckets of a hash table: the kernel's own entry in front of the filters.
    pub divisor: Option<u32>,
    hash: Option<u32>,
    flags: Option<u32>,
    /// Hits of the rule, of all keys, and of each key.
    hits: Option<Vec<u64>>,
}

impl U32 {
    /// Reads `match ... [flowid ID] [action ...]`.
    ///
    /// # Errors
    /// A word or value that means nothing, or matches that contradict each other.
    pub fn parse(words: &mut Words<'_>) -> Parsed<U32> {
        let mut filter = U32::default();
        while let Some(word) = words.next() {
            match keyword(word, &["match", "classid", "action"]) {
                "match" => {
                    filter.selector = true;
                    filter.parse_match(words)?;
                }
                "flowid" | "classid" => {
                    filter.classid = Some(words.value("classid", words::classid)?);
                    filter.terminal = true;
                }
                "action" => {
                    filter.actions.push(Action::parse(words)?);
                    filter.terminal = true;
                }
                _ => return Err(Stop::unknown(word)),
            }
        }
        Ok(filter)
    }

    fn parse_match(&mut self, words: &mut Words<'_>) -> Parsed<()> {
        let layer = keyword(words.need()?, &["u32", "u16", "u8", "ip", "ip6", "udp", "tcp", "icmp"]);
        match layer {
            "u32" => self.parse_field(words, 4, 0, false),
            "u16" => self.parse_field(words, 2, 0, false),
            "u8" => self.parse_field(words, 1, 0, false),
            _ => {
                let field = words.need()?;
                let (bytes, offset, next_header) = match (layer, field) {
                    ("ip", "src" | "dst") => {
                        return self.parse_ip(words, if field == "src" { 12 } else { 16 });
                    }
                    ("ip6", "src" | "dst") => {
                        return self.parse_ip6(words, if field == "src" { 8 } else { 24 });
                    }
                    ("ip6", "priority") => return self.parse_traffic_class(words),
                    ("ip", "nofrag" | "firstfrag" | "df" | "mf") => return self.fragment(field),
                    ("ip", "tos" | "dsfield" | "precedence") => (1, 1, false),
                    ("ip", "ihl") => (1, 0, false),
                    ("ip", "protocol") => (1, 9, false),
                    ("ip", "sport") => (2, 20, false),
                    ("ip", "dport") => (2, 22, false),
                    ("ip", "icmp_type") => (1, 20, false),
                    ("ip", "icmp_code") => (1, 21, false),
                    ("ip6", "protocol") => (1, 6, false),
                    ("ip6", "flowlabel") => (4, 0, false),
                    ("ip6", "sport") => (2, 40, false),
                    ("ip6", "dport") => (2, 42, false),
                    ("ip6", "icmp_type") => (1, 40, false),
                    ("udp" | "tcp", "src") => (2, 0, true),
                    ("udp" | "tcp", "dst") => (2, 2, true),
                    ("icmp", "type") => (1, 0, true),
                    ("icmp", "code") => (1, 1, true),
                    _ => return Err(illegal(&format!("{layer} {field}"))),
                };
                self.parse_field(words, bytes, offset, next_header)
            }
        }
    }

    /// `VALUE MASK [at OFFSET]`: the value in any base, the mask hexadecimal.
    fn parse_field(
        &mut self,
        words: &mut Words<'_>,
        bytes: u32,
        offset: i32,
        next_header: bool,
    ) -> Parsed<()> {
        let value = words.value("match", words::u32)?;
        let mask = words.value("match", words::hex32)?;
        let (offset, next_header) = parse_at(words, offset, next_header)?;
        // Fields stand at the front of their word unless the offset leads behind.
        let shift = match (bytes, offset & 3) {
            (4, 0) => 0,
            (2, 0) => 16,
            (1, place) => 8 * (3 - place),
            (2, _) => 0,
            _ => return Err(illegal("at")),
        };
        let most = u32::MAX >> (32 - 8 * bytes);
        if value > most || mask > most {
            return Err(illegal("value"));
        }
        self.add(Key { mask: mask << shift, value: value << shift, offset: offset & !3, next_header })
    }

    fn fragment(&mut self, field: &str) -> Parsed<()> {
        let (value, mask) = match field {
            "nofrag" => (0, 0x3fff),
            "firstfrag" => (0x2000, 0x3fff),
            "df" => (0x4000, 0x4000),
            _ => (0x2000, 0x2000),
        };
        self.add(Key { mask, value, offset: 4, next_header: false })
    }

    fn parse_traffic_class(&mut self, words: &mut Words<'_>) -> Parsed<()> {
        let value = words.value("priority", words::u32)?;
        let mask = words.value("priority", words::hex32)?;
        if value > 0xff || mask > 0xff {
            return Err(illegal("priority"));
        }
        let (value, mask) = (value << 20, mask << 20);
        self.add(Key { mask, value, offset: 0, next_header: false })
    }

    fn parse_ip(&mut self, words: &mut Words<'_>, offset: i32) -> Parsed<()> {
        let (address, length) = words.value("match ip", |word| prefix(word, 32, ipv4))?;
        let (offset, next_header) = parse_at(words, offset, false)?;
        self.add(Key { mask: mask(length), value: address, offset, next_header })
    }

    fn parse_ip6(&mut self, words: &mut Words<'_>, offset: i32) -> Parsed<()> {
        let (address, length) = words.value("match ip6", |word| {
            prefix(word, 128, |text| Some(text.parse::<Ipv6Addr>().ok()?.to_bits()))
        })?;
        let (offset, next_header) = parse_at(words, offset, false)?;
        for word in 0..length.div_ceil(32) {
            let mask = mask((length - 32 * word).min(32));
            let value = (address >> (96 - 32 * word)) as u32;
            self.add(Key { mask, value, offset: offset + 4 * word as i32, next_header })?;
        }
        Ok(())
    }

    /// Adds a key, or joins it with the one that looks at the same word.
    fn add(&mut self, key: Key) -> Parsed<()> {
        let key = Key { value: key.value & key.mask, ..key };
        let same = |other: &&mut Key| other.offset == key.offset && other.next_header == key.next_header;
        if let Some(other) = self.keys.iter_mut().find(same) {
            if (key.value ^ other.value) & key.mask & other.mask != 0 {
                return Err(Stop::options("Illegal \"match\": it contradicts another, nothing could match"));
            }
            other.value |= key.value;
            other.mask |= key.mask;
        } else if self.keys.len() >= 128 || key.offset & 3 != 0 {
            return Err(illegal("offset"));
        } else {
            self.keys.push(key);
        }
        Ok(())
    }

    /// Writes `TCA_OPTIONS`.
    pub fn write(&self, message: &mut Message) {
        let options = message.begin(TCA_OPTIONS);
        if let Some(classid) = self.classid {
            message.attribute(CLASSID, &bytes_of(&[classid]));
        }
        if !self.actions.is_empty() {
            let list = message.begin(ACT);
            for (order, action) in (1..).zip(&self.actions) {
                action.write(message, order);
            }
            message.end(list);
        }
        if self.selector {
            message.attribute(SEL, &self.selector_bytes());
        }
        message.end(options);
    }

    /// `struct tc_u32_sel`: flags, offshift, nkeys u8, padding, offmask, off, offoff, hoff u16, hmask u32; then
    /// the keys, `struct tc_u32_key`: mask, val in network order, off, offmask i32.
    fn selector_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[0] = if self.terminal { TERMINAL } else { 0 };
        bytes[2] = self.keys.len() as u8;
        for key in &self.keys {
            bytes.extend(key.mask.to_be_bytes());
            bytes.extend(key.value.to_be_bytes());
            bytes.extend(key.offset.to_ne_bytes());
            bytes.extend((if key.next_header { -1i32 } else { 0 }).to_ne_bytes());
        }
        bytes
    }

    /// Reads `TCA_OPTIONS`.
    pub fn read(options: &[u8]) -> U32 {
        let number = |kind| find(options, kind).filter(|it| it.len() >= 4).map(|payload| u32_at(payload, 0));
        let selector = find(options, SEL).unwrap_or_default();
        let keys = selector.get(16..).unwrap_or_default().chunks_exact(16).map(|key| Key {
            mask: u32::from_be(u32_at(key, 0)),
            value: u32::from_be(u32_at(key, 4)),
            offset: u32_at(key, 8) as i32,
            next_header: u32_at(key, 12) != 0,
        });
        let actions = find(options, ACT).unwrap_or_default();
        U32 {
            keys: keys.collect(),
            classid: number(CLASSID),
            actions: attributes(actions).map(|(order, action)| Action::read(order, action)).collect(),
            selector: !selector.is_empty(),
            terminal: selector.first().is_some_and(|flags| flags & TERMINAL != 0),
            divisor: number(DIVISOR),
            hash: number(HASH),
            flags: number(FLAGS),
            hits: find(options, PCNT)
                .map(|counts| (0..counts.len() / 8).map(|place| u64_at(counts, 8 * place)).collect()),
        }
    }

    /// As tc prints it.
    pub fn print(&self, handle: u32, out: &mut Printer) {
        if handle != 0 {
            out.string("fh", &handle_text(handle), "fh ");
        }
        if handle & 0xfff != 0 {
            out.number("order", &(handle & 0xfff), format_args!("order {} ", handle & 0xfff));
        }
        if let Some(divisor) = self.divisor {
            out.number("ht_divisor", &divisor, format_args!("ht divisor {divisor} "));
        } else if let Some(hash) = self.hash {
            out.string("key_ht", &format!("{:x}", hash >> 20), "key ht ");
            out.string("bkt", &format!("{:x}", hash >> 12 & 0xff), "bkt ");
        }
        if let Some(id) = self.classid {
            out.string("flowid", &classid(id), if self.terminal { "*flowid " } else { "flowid " });
        } else if self.terminal {
            out.text(format_args!("terminal flowid "));
        }
        // `TCA_CLS_FLAGS_*`; the last two exclude each other.
        let flags = self.flags.unwrap_or(0);
        for (bit, name) in [(1, "skip_hw"), (2, "skip_sw"), (4, "in_hw"), (8, "not_in_hw")] {
            if flags & bit != 0 {
                out.flag(name);
            }
        }
        let hits = self.hits.as_ref().filter(|_| out.stats && self.selector);
        let hit = |place: usize| hits.and_then(|hits| hits.get(place)).copied();
        if let (Some(hit), Some(success)) = (hit(0), hit(1)) {
            out.number("rule_hit", &hit, format_args!("(rule hit {hit} "));
            out.number("success", &success, format_args!("success {success})"));
        }
        for (place, key) in self.keys.iter().enumerate() {
            key.print(out);
            if let Some(success) = hit(2 + place) {
                out.number("success", &success, format_args!(" (success {success} ) "));
            }
        }
        if !self.actions.is_empty() {
            out.open("actions", '[');
            self.actions.iter().for_each(|action| action.print(out));
            out.close(']');
        }
    }
}

impl Key {
    fn print(&self, out: &mut Printer) {
        let from = if self.next_header { "nexthdr+" } else { "" };
        out.open("match", '{');
        out.json_string("value", &format!("{:x}", self.value));
        out.json_string("mask", &format!("{:x}", self.mask));
        out.json_string("offmask", from);
        out.json("off", &self.offset);
        out.close('}');
        out.text(format_args!("\n  match {:08x}/{:08x} at {from}{}", self.value, self.mask, self.offset));
    }
}

fn illegal(what: &str) -> Stop {
    Stop::options(format!("Illegal \"match\": {what}"))
}

/// `[at [nexthdr+]OFFSET]`
fn parse_at(words: &mut Words<'_>, offset: i32, next_header: bool) -> Parsed<(i32, bool)> {
    if !words.accept("at") {
        return Ok((offset, next_header));
    }
    let word = words.need()?;
    let (next_header, offset) = match word.strip_prefix("nexthdr+") {
        Some("") => (true, words.need()?),
        Some(offset) => (true, offset),
        None => (next_header, word),
    };
    Ok((words::i32(offset).ok_or_else(|| Stop::wrong("at", offset))?, next_header))
}

/// The `length` highest bits.
fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0)
}

/// "ADDRESS/LENGTH", "ADDRESS/MASK", "ADDRESS"; "any" and "default" have length 0.
fn prefix<A: Default>(text: &str, most: u32, address: impl Fn(&str) -> Option<A>) -> Option<(A, u32)> {
    if matches!(text, "any" | "all" | "default") {
        return Some((A::default(), 0));
    }
    let Some((front, length)) = text.split_once('/') else {
        return Some((address(text)?, most));
    };
    let dotted = || {
        let mask = ipv4(length).filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32);
        mask.map(u32::leading_ones)
    };
    let length = words::u32(length).or_else(dotted).filter(|length| *length <= most)?;
    Some((address(front)?, length))
}

/// Dotted, and as tc has it, "10.8" is 10.8.0.0.
fn ipv4(text: &str) -> Option<u32> {
    let mut bytes = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    for (place, part) in parts.iter().enumerate() {
        *bytes.get_mut(place)? = words::u32(part)?.try_into().ok()?;
    }
    Some(u32::from_be_bytes(bytes))
}

/// A filter's number, "800::801" for table 800, no bucket, node 801 (hexadecimal).
pub fn handle(text: &str) -> Option<u32> {
    let mut parts = text.split(':');
    let mut part = |most: u32| match parts.next() {
        Some("") | None => Some(0),
        Some(part) => words::hex32(part).filter(|part| *part <= most),
    };
    match text.contains(':') {
        true => Some(part(0xfff)? << 20 | part(0xff)? << 12 | part(0xfff)?),
        false => text.starts_with("0x").then(|| words::hex32(text))?,
    }
}

fn handle_text(handle: u32) -> String {
    let (table, bucket, node) = (handle >> 20, handle >> 12 & 0xff, handle & 0xfff);
    let hex = |number: u32, before: &str, after: &str| match number {
        0 => String::new(),
        _ => format!("{before}{number:x}{after}"),
    };
    hex(table, "", ":") + &hex(bucket, "", "") + &hex(node, ":", "")
}
