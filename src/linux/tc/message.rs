//! rtnetlink messages as bytes: header, body, attributes. Safe arithmetic only; what the kernel sends is read
//! so that no length in it can lead outside (a short field reads as absent or zero).

use std::sync::atomic::{AtomicU32, Ordering};

pub use crate::linux::sys::netlink::{HEADER, u16_at, u32_at};

/// Message types and flags (linux/rtnetlink.h, linux/netlink.h).
pub mod code {
    #![allow(missing_docs)]
    pub const RTM_NEWLINK: u16 = 16;
    pub const RTM_DELLINK: u16 = 17;
    pub const RTM_GETLINK: u16 = 18;
    pub const RTM_NEWQDISC: u16 = 36;
    pub const RTM_DELQDISC: u16 = 37;
    pub const RTM_GETQDISC: u16 = 38;
    pub const RTM_NEWTCLASS: u16 = 40;
    pub const RTM_GETTCLASS: u16 = 42;
    pub const RTM_NEWTFILTER: u16 = 44;
    pub const RTM_DELTFILTER: u16 = 45;
    pub const RTM_GETTFILTER: u16 = 46;
    pub const REQUEST: u16 = 1;
    pub const ACK: u16 = 4;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    /// Marks an attribute that holds attributes; not part of its number (`NLA_F_NESTED`, linux/netlink.h).
    pub const NESTED: u16 = 0x8000;
    pub const TCA_KIND: u16 = 1;
    pub const TCA_OPTIONS: u16 = 2;
    pub const TCA_CHAIN: u16 = 11;
    pub const TCA_STATS2: u16 = 7;
    /// Parents with a meaning of their own (linux/pkt_sched.h).
    pub const ROOT: u32 = 0xffff_ffff;
    pub const INGRESS: u32 = 0xffff_fff1;
}

/// A process-wide counter: a late answer to one request cannot pass for the answer to another.
static SEQUENCE: AtomicU32 = AtomicU32::new(1);

/// A message being written. Always complete: the lengths are kept right as it grows.
#[derive(Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A header and the fixed body that belongs to its type. `NLM_F_REQUEST` is added, and `NLM_F_ACK` to
    /// everything but dumps.
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Message {
        let ack = if flags & code::DUMP == code::DUMP && is_get(kind) { 0 } else { code::ACK };
        let mut message = Message(vec![0; 4]);
        message.0.extend(kind.to_ne_bytes());
        message.0.extend((flags | code::REQUEST | ack).to_ne_bytes());
        message.0.extend(SEQUENCE.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        message.0.extend([0; 4]);
        message.append(body);
        message
    }

    /// A message about a qdisc, class or filter: `struct tcmsg` (linux/rtnetlink.h).
    pub fn tc(kind: u16, flags: u16, tcm: Tcm) -> Message {
        let words = [0, tcm.ifindex as u32, tcm.handle, tcm.parent, tcm.info];
        Message::new(kind, flags, &bytes_of(&words))
    }

    /// Adds an attribute: `struct rtattr`, len u16 (header included), type u16, payload, padding to four.
    pub fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let start = self.begin(kind);
        self.append(payload);
        self.end(start);
    }

    /// Adds a NUL-terminated string.
    pub fn string(&mut self, kind: u16, text: &str) {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.attribute(kind, &payload);
    }

    /// Opens an attribute that holds others; [`Message::end`] takes what this returns.
    #[must_use]
    pub fn begin(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.append(&kind.to_ne_bytes());
        start
    }

    /// Closes what [`Message::begin`] opened.
    pub fn end(&mut self, start: usize) {
        // Payloads are a few kilobytes at most (a distribution table is 8 KiB), far below the u16.
        let length = self.0.len().saturating_sub(start) as u16;
        if let Some(field) = self.0.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *field = length.to_ne_bytes();
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.append(&[]);
    }

    /// Adds bytes as they are: the fixed part of an attribute that has one before its own attributes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let length = self.0.len() as u32;
        if let Some(field) = self.0.first_chunk_mut() {
            *field = length.to_ne_bytes();
        }
    }

    /// Overwrites the u32 at `offset`, for fields of the fixed body that are known late.
    pub fn set(&mut self, offset: usize, value: u32) {
        if let Some(field) = self.0.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
            *field = value.to_ne_bytes();
        }
    }

    /// The finished message.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Types come in fours: new, delete, get, set (linux/rtnetlink.h).
fn is_get(kind: u16) -> bool {
    kind % 4 == 2
}

/// Words in host order, as most fixed structs of pkt_sched.h and pkt_cls.h are.
pub fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct tcmsg` without its padding: what every qdisc, class and filter message is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcm {
    /// The interface.
    pub ifindex: i32,
    /// Own handle, `major << 16 | minor`.
    pub handle: u32,
    /// The parent's handle, or `0xffffffff` for the root.
    pub parent: u32,
    /// Qdisc: reference count; class: leaf qdisc; filter: `priority << 16 | protocol` (network order).
    pub info: u32,
}

impl Tcm {
    /// Reads a message body; `None` when it is too short. The attributes follow.
    pub fn read(body: &[u8]) -> Option<(Tcm, &[u8])> {
        let attributes = body.get(20..)?;
        let ifindex = u32_at(body, 4) as i32;
        Some((
            Tcm { ifindex, handle: u32_at(body, 8), parent: u32_at(body, 12), info: u32_at(body, 16) },
            attributes,
        ))
    }
}

/// The attributes in `bytes`, as (number without flags, payload); ends at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let payload = bytes.get(4..usize::from(u16_at(bytes, 0)))?;
        let kind = u16_at(bytes, 2) & 0x3fff;
        bytes = bytes.get((4 + payload.len()).next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The payload of the last attribute `kind`, which is the one that counts to the kernel too.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).filter(|(number, _)| *number == kind).last().map(|(_, payload)| payload)
}

/// The text in a payload, up to its NUL.
pub fn text(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

/// The u64 (host order) at `offset`, 0 where the bytes end before.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_ne_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_whatever_its_length() {
        for length in 0..9 {
            let payload = vec![7u8; length];
            let mut message = Message::tc(
                code::RTM_NEWQDISC,
                0,
                Tcm { ifindex: 3, handle: 0xca05_0000, parent: code::ROOT, info: 9 },
            );
            message.attribute(5, &payload);
            let nest = message.begin(2 | code::NESTED);
            message.attribute(1, &payload);
            message.string(3, "abc");
            message.end(nest);
            let bytes = message.bytes();
            assert_eq!(u32_at(bytes, 0) as usize, bytes.len());
            assert_eq!(u16_at(bytes, 6), code::REQUEST | code::ACK);
            let (tcm, rest) = Tcm::read(&bytes[HEADER..]).unwrap();
            assert_eq!(tcm, Tcm { ifindex: 3, handle: 0xca05_0000, parent: code::ROOT, info: 9 });
            assert_eq!(find(rest, 5), Some(&payload[..]));
            let nested = find(rest, 2).unwrap();
            assert_eq!(find(nested, 1), Some(&payload[..]));
            assert_eq!(text(find(nested, 3).unwrap()), "abc");
        }
    }

    #[test]
    fn hostile_attributes_never_lead_outside() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..50_000 {
            let bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(0..12)).collect();
            assert!(attributes(&bytes).map(|(_, payload)| payload.len()).sum::<usize>() <= bytes.len());
            let _ = (Tcm::read(&bytes), text(&bytes), u64_at(&bytes, 5));
        }
    }
}
