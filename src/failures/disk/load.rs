//! Reads, writes and fsyncs at a rate, one call after the other.
//!
//! Each kind of call has a time when its next is due; whichever is most overdue is made. What the device could not
//! take stays due for a second, so that a hiccup is made up for but a long stall leads to no burst.

use super::fill::Fill;
use super::size;
use crate::error::{Context, Error, Result};
use crate::exporter::metrics::Family;
use crate::failures::{Injection, Series};
use crate::linux::sys::memory::{Mapping, page_size};
use crate::linux::sys::{self, disk};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Most that one call reads or writes.
const MOST: u64 = 1 << 20;
/// Calls a second where they are smaller: many enough that any second looks like the others.
const CALLS: f64 = 100.0;
/// For how many seconds a call that was not made stays due.
const PATIENCE: f64 = 1.0;
/// Longest wait in seconds, since a ramp changes when the next call is due.
const NAP: f64 = 0.2;
/// Undelivered share of what was asked above which the log says so.
const TOLERANCE: f64 = 0.02;

static BYTES: Family = Family::counter(
    "chaos_disk_bytes_total",
    "Bytes that disk injections of action io were to read and write and did, counted at the end of each.",
    &["kind", "of"],
);
static FSYNCS: Family = Family::counter(
    "chaos_disk_fsyncs_total",
    "Calls of fsync that disk injections of action io were to make and did, counted at the end of each.",
    &["of"],
);

/// Asked and delivered, of each rate.
pub const SERIES: [Series; 6] = [
    (&BYTES, &["read", "asked"]),
    (&BYTES, &["read", "delivered"]),
    (&BYTES, &["written", "asked"]),
    (&BYTES, &["written", "delivered"]),
    (&FSYNCS, &["asked"]),
    (&FSYNCS, &["delivered"]),
];

/// The calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Bytes or calls a second; 0 is none.
    rate: f64,
    /// Bytes of a call.
    bytes: u64,
    /// What a call counts: its bytes, or 1.
    unit: f64,
    /// When the next is due, as [`area`] counts.
    next: f64,
    delivered: f64,
    /// Where in the file.
    offset: u64,
}

/// The load under way.
#[derive(Debug)]
pub struct Load<'a> {
    file: &'a File,
    length: u64,
    /// Whether the page cache is passed by.
    direct: bool,
    /// Reads, writes, fsyncs.
    streams: [Stream; 3],
    data: Mapping,
    ramp: f64,
    start: Instant,
}

impl<'a> Load<'a> {
    /// A load that begins now. `rates`: bytes read, bytes written, calls of fsync, each a second; they rise to
    /// that over `ramp`.
    ///
    /// # Errors
    /// What was written to be read cannot be brought to the device, or there is no memory.
    pub fn new(fill: &'a Fill, rates: [f64; 3], ramp: Duration) -> Result<Load<'a>> {
        let (file, length) = (fill.file(), fill.length());
        // Reads shall come from the device, and no writing back shall come between.
        file.sync_data().map_err(failed)?;
        disk::forget(file.as_fd(), 0, length);
        let mut data = Mapping::anonymous(MOST as usize).doing("map", "memory")?;
        fastrand::Rng::with_seed(length).fill(data.bytes());
        let page = page_size() as u64;
        let mut streams = [Stream::default(); 3];
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.rate = rates[index];
            // O_DIRECT wants whole blocks at block borders.
            let even = ((stream.rate / CALLS) as u64).clamp(page, MOST).next_multiple_of(page);
            (stream.bytes, stream.unit) = if index == 2 { (page, 1.0) } else { (even, even as f64) };
            stream.next = stream.unit / stream.rate;
        }
        // Some file systems say yes first and no at the first write.
        let probe = data.bytes().get(..page as usize).unwrap_or_default();
        let direct = disk::direct(file.as_fd(), true).is_ok() && file.write_all_at(probe, 0).is_ok();
        if !direct {
            let _ = disk::direct(file.as_fd(), false);
        }
        Ok(Load { file, length, direct, streams, data, ramp: ramp.as_secs_f64(), start: Instant::now() })
    }

    /// Makes a call if one is due. Returns when to come back: at once after a call.
    ///
    /// # Errors
    /// The device or the kernel says no.
    pub fn step(&mut self) -> Result<Instant> {
        let now = Instant::now();
        let passed = area((now - self.start).as_secs_f64(), self.ramp);
        let mut most = 0;
        for index in 1..3 {
            if self.streams[index].next < self.streams[most].next {
                most = index;
            }
        }
        let stream = &mut self.streams[most];
        let left = stream.next - passed;
        if left > 0.0 {
            return Ok(now + Duration::from_secs_f64(left.min(NAP)));
        }
        stream.next = stream.next.max(passed - PATIENCE) + stream.unit / stream.rate;
        let (at, bytes) = (stream.offset, stream.bytes);
        stream.offset = if at + 2 * bytes <= self.length { at + bytes } else { 0 };
        let data = self.data.bytes().get_mut(..bytes as usize).unwrap_or_default();
        let done =
            if most == 0 { self.file.read_exact_at(data, at) } else { self.file.write_all_at(data, at) };
        done.map_err(failed)?;
        if most == 2 {
            // Of a file that was not written it would do nothing.
            self.file.sync_all().map_err(failed)?;
        } else if !self.direct {
            disk::forget(self.file.as_fd(), at, bytes);
        }
        stream.delivered += stream.unit;
        Ok(now)
    }

    /// Counts what was asked for until now, or until the end of `run`, and what was delivered; says what is
    /// missing.
    pub fn report(&self, run: &Injection<'_>) {
        let passed = area(self.start.elapsed().min(run.duration).as_secs_f64(), self.ramp);
        for (index, stream) in self.streams.iter().enumerate().filter(|(_, stream)| stream.rate > 0.0) {
            let asked = stream.rate * passed;
            (run.measure)(SERIES[2 * index], asked);
            (run.measure)(SERIES[2 * index + 1], stream.delivered);
            // A call that was not due before the end is no shortfall.
            if stream.delivered + stream.unit < asked * (1.0 - TOLERANCE) {
                let amount = |amount: f64| match index {
                    2 => format!("{amount:.0} fsyncs"),
                    _ => size(amount as u64),
                };
                log::warn!(
                    "{}: {} of {} to be {} were delivered: the device, or a limit on it, gave no more",
                    run.entry,
                    amount(stream.delivered),
                    amount(asked),
                    ["read", "written", "made"][index],
                );
            }
        }
    }
}

fn failed(error: io::Error) -> Error {
    sys::Failed::from(error).doing("use", "the file that loads the disk".to_owned())
}

/// Seconds at the full rate that come to the same as so many `passed` seconds with a ramp: the area below both.
fn area(passed: f64, ramp: f64) -> f64 {
    if passed < ramp { passed * passed / (2.0 * ramp) } else { passed - ramp / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_costs_half_of_its_time() {
        let seconds = |passed| area(passed, 2.0);
        assert_eq!([seconds(0.0), seconds(1.0), seconds(2.0), seconds(5.0)], [0.0, 0.25, 1.0, 4.0]);
        assert_eq!(area(3.0, 0.0), 3.0);
    }
}
