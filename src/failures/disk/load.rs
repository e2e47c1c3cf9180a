//! Reads, writes and fsyncs at a rate: each on a thread of its own, so that a slow fsync holds up no read.
//!
//! A thread compares what it has done with what it owes by the wall clock, and works or waits. What the device
//! could not take stays owed for a second, so that a hiccup is made up for but a long stall leads to no burst.

use super::fill::Fill;
use crate::cancel::{Cancel, Waited};
use crate::error::{Context, Result};
use crate::failures::Series;
use crate::metrics::{Family, Kind};
use crate::sys::disk;
use crate::sys::event::EventFd;
use crate::sys::memory::{Mapping, page_size};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

/// Most that one call reads or writes.
const MOST: u64 = 1 << 20;
/// Calls a second where they are smaller: many enough that any second looks like the others.
const CALLS: f64 = 100.0;
/// How long what was not done stays owed.
const PATIENCE: f64 = 1.0;
/// Longest wait for the next call to be due, since a ramp changes when that is.
const NAP: Duration = Duration::from_millis(200);
/// Stack of a thread, which needs a few frames.
const STACK: usize = 64 << 10;

static BYTES: Family = Family {
    name: "chaos_disk_bytes_total",
    help: "Bytes that disk injections of action io were to read and write and did, counted at the end of each.",
    kind: Kind::Counter,
    labels: &["kind", "of"],
};
static FSYNCS: Family = Family {
    name: "chaos_disk_fsyncs_total",
    help: "Calls of fsync that disk injections of action io were to make and did, counted at the end of each.",
    kind: Kind::Counter,
    labels: &["of"],
};

/// What is done, in the order of [`Load::rates`].
pub const KINDS: [&str; 3] = ["read", "written", "fsync"];

/// The series of each kind: asked, delivered.
pub const SERIES: [Series; 6] = [
    (&BYTES, &["read", "asked"]),
    (&BYTES, &["read", "delivered"]),
    (&BYTES, &["written", "asked"]),
    (&BYTES, &["written", "delivered"]),
    (&FSYNCS, &["asked"]),
    (&FSYNCS, &["delivered"]),
];

/// What to do, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes read, bytes written, calls of fsync, each a second; 0 is none.
    pub rates: [f64; 3],
    /// The rates rise to these in a straight line over this time; part of `duration`.
    pub ramp: Duration,
    /// How long.
    pub duration: Duration,
}

/// What was owed and what was done: bytes or calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Until the end.
    pub asked: f64,
    /// In time.
    pub delivered: f64,
}

impl Load {
    /// Loads the device below `fill` until the time is over, `stop` is thrown by `wait`'s return, or something
    /// fails. `wait` is called when everything runs and returns when it shall end, at once when its descriptor
    /// becomes readable: then a thread has failed.
    ///
    /// # Errors
    /// The device or the kernel says no; everything has ended by then.
    pub fn run(&self, fill: &Fill, wait: &mut dyn FnMut(BorrowedFd<'_>)) -> Result<[Done; 3]> {
        let file = fill.file();
        // What was written to be read shall come from the device, and no writing back shall come between.
        file.sync_data().doing("write", "the file that loads the disk")?;
        disk::forget(file.as_fd(), 0, fill.length());
        let direct = goes_direct(file);
        let stop = Cancel::new().doing("open", "an eventfd")?;
        let failed = EventFd::new().doing("open", "an eventfd")?;
        let start = Instant::now();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (index, rate) in self.rates.into_iter().enumerate().filter(|(_, rate)| *rate > 0.0) {
                let (stop, failed) = (&stop, &failed);
                let work = move || {
                    let done = self.pay(Stream::new(index, rate, file, fill.length(), direct), start, stop);
                    if done.is_err() {
                        failed.signal();
                    }
                    done
                };
                let builder = thread::Builder::new().name(format!("disk-{}", KINDS[index]));
                match builder.stack_size(STACK).spawn_scoped(scope, work) {
                    Ok(worker) => workers.push((index, worker)),
                    Err(error) => {
                        stop.cancel();
                        return Err(error).doing("start", "a thread that loads the disk");
                    }
                }
            }
            wait(failed.as_fd());
            stop.cancel();
            let mut all = [Done::default(); 3];
            for (index, worker) in workers {
                let Ok(done) = worker.join() else { continue };
                all[index] = done.doing(["read", "write", "fsync"][index], "the file that loads the disk")?;
            }
            Ok(all)
        })
    }

    /// Works off what is owed.
    fn pay(&self, stream: io::Result<Stream<'_>>, start: Instant, stop: &Cancel) -> io::Result<Done> {
        let mut stream = stream?;
        let (unit, rate) = (stream.unit, stream.rate);
        let (mut delivered, mut forgiven) = (0.0, 0.0);
        let passed = || start.elapsed().min(self.duration);
        while !stop.is_cancelled() && passed() < self.duration {
            let behind = self.owed(rate, passed()) - delivered - forgiven;
            if behind < unit {
                let due =
                    Duration::from_secs_f64((unit - behind) / rate).clamp(Duration::from_micros(50), NAP);
                if stop.wait(due) == Waited::Cancelled {
                    break;
                }
                continue;
            }
            forgiven += (behind - unit - rate * PATIENCE).max(0.0);
            stream.step()?;
            delivered += unit;
        }
        Ok(Done { asked: self.owed(rate, passed()), delivered })
    }

    /// What is owed when this much time has passed: the area below the ramp and the plateau.
    fn owed(&self, rate: f64, passed: Duration) -> f64 {
        let (passed, ramp) = (passed.as_secs_f64(), self.ramp.as_secs_f64());
        rate * if passed < ramp { passed * passed / (2.0 * ramp) } else { passed - ramp / 2.0 }
    }
}

/// Whether the file can be read and written past the page cache, which it then is.
fn goes_direct(file: &File) -> bool {
    let probe = || {
        disk::direct(file.as_fd(), true)?;
        file.write_all_at(Mapping::anonymous(page_size())?.bytes(), 0)
    };
    // Some file systems say yes first and no at the first write.
    let goes = probe().is_ok();
    if !goes {
        let _ = disk::direct(file.as_fd(), false);
    }
    goes
}

/// One of the three.
struct Stream<'a> {
    index: usize,
    /// Bytes or calls a second.
    rate: f64,
    /// What one step adds to what was done.
    unit: f64,
    file: &'a File,
    offset: u64,
    length: u64,
    direct: bool,
    data: Mapping,
}

impl<'a> Stream<'a> {
    fn new(index: usize, rate: f64, file: &'a File, length: u64, direct: bool) -> io::Result<Stream<'a>> {
        let page = page_size() as u64;
        // O_DIRECT wants whole blocks at block borders, also of the memory.
        let bytes = match index {
            2 => page,
            _ => ((rate / CALLS) as u64).clamp(page, MOST.min(length)).next_multiple_of(page),
        };
        let mut data = Mapping::anonymous(bytes as usize)?;
        fastrand::Rng::with_seed(rate.to_bits()).fill(data.bytes());
        let unit = if index == 2 { 1.0 } else { bytes as f64 };
        Ok(Stream { index, rate, unit, file, offset: 0, length, direct, data })
    }

    /// One call, further on in the file, and from its start again at the end.
    fn step(&mut self) -> io::Result<()> {
        let bytes = self.data.len() as u64;
        let at = self.offset;
        self.offset = if at + 2 * bytes <= self.length { at + bytes } else { 0 };
        let data = self.data.bytes();
        match self.index {
            0 => self.file.read_exact_at(data, at)?,
            _ => self.file.write_all_at(data, at)?,
        }
        if self.index == 2 {
            self.file.sync_all() // of a file that was not written it would do nothing
        } else {
            if !self.direct {
                disk::forget(self.file.as_fd(), at, bytes);
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_the_area_below_the_rate() {
        let load = Load { rates: [0.0; 3], ramp: Duration::from_secs(2), duration: Duration::from_secs(9) };
        let owed = |seconds| load.owed(10.0, Duration::from_secs(seconds));
        assert_eq!([owed(0), owed(1), owed(2), owed(5)], [0.0, 2.5, 10.0, 40.0]);
        let flat = Load { ramp: Duration::ZERO, ..load };
        assert_eq!(flat.owed(10.0, Duration::from_secs(3)), 30.0);
    }
}
