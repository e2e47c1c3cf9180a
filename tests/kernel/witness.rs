//! Whether the machine kept pace while something was measured. The tests that judge times and shares run on emulated
//! processors beside other work: a figure that the machine's own lateness explains says nothing about the program, so
//! it is taken again; one that it does not explain is wrong.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How far apart the witness looks.
const BEAT: Duration = Duration::from_millis(2);
/// Rounds that are wrong while the machine kept pace, before a test fails: what nobody saw may have spoilt one.
const WRONG: usize = 3;
/// Rounds that the machine may spoil, before nothing more is tried.
const SPOILT: usize = 8;

/// What one round of a measurement says.
#[derive(Debug)]
pub enum Verdict {
    /// As asked.
    Right,
    /// Not as asked, and the machine is no excuse.
    Wrong(String),
    /// The machine was too slow to measure.
    TooSlow(String),
}

impl Verdict {
    /// For a figure that is off by what only a late machine can do: wrong if the machine was not late.
    pub fn late(is_late: bool, why: String) -> Verdict {
        if is_late { Verdict::TooSlow(why) } else { Verdict::Wrong(why) }
    }
}

/// Takes rounds until one is right; fails when several are wrong. A machine that was too slow each time has measured
/// nothing, and that is said.
pub fn settle(what: &str, mut round: impl FnMut() -> Verdict) {
    let (mut wrong, mut spoilt) = (Vec::new(), 0);
    loop {
        match round() {
            Verdict::Right => return,
            Verdict::Wrong(why) => {
                println!("{what}: wrong: {why}");
                wrong.push(why);
                assert!(wrong.len() < WRONG, "{what}: wrong {WRONG} times: {wrong:#?}");
            }
            Verdict::TooSlow(why) => {
                println!("{what}: the machine was too slow to measure: {why}");
                spoilt += 1;
                if spoilt == SPOILT {
                    println!("{what}: NOT MEASURED: the machine was too slow {SPOILT} times");
                    return;
                }
            }
        }
    }
}

/// How the machine did meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How late a thread that only waits came back, in milliseconds: of ten times, nine were at most so late.
    pub usual: f64,
    /// The latest.
    pub worst: f64,
    /// Packets that the kernel dropped because nobody took them in time.
    pub dropped: u64,
}

/// Looks on, from the start to [`Witness::pace`], on each processor.
pub struct Witness {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<f64>>>,
    dropped: u64,
}

impl Witness {
    pub fn start() -> Witness {
        let stop = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count).map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || beats(&stop))
        });
        Witness { threads: threads.collect(), dropped: dropped(), stop }
    }

    pub fn pace(self) -> Pace {
        self.stop.store(true, Ordering::Release);
        let mut late: Vec<f64> = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        late.sort_by(f64::total_cmp);
        let usual = late.get(late.len() * 9 / 10).copied().unwrap_or(f64::INFINITY);
        let worst = late.last().copied().unwrap_or(f64::INFINITY);
        Pace { usual, worst, dropped: dropped() - self.dropped }
    }
}

/// How late each wait was, in milliseconds.
fn beats(stop: &AtomicBool) -> Vec<f64> {
    let mut late = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let begin = Instant::now();
        thread::park_timeout(BEAT);
        late.push(begin.elapsed().saturating_sub(BEAT).as_secs_f64() * 1000.0);
    }
    late
}

/// The second column of /proc/net/softnet_stat, summed over processors (hexadecimal): packets that found the queue of
/// their processor full. netem's own drops are not among them.
fn dropped() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap();
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    text.lines().map(column).sum()
}

#[test]
fn a_machine_that_is_too_slow_is_told_from_one_that_is_wrong() {
    let mut rounds = 0;
    settle("spoilt each time", || {
        rounds += 1;
        Verdict::late(true, "1 s late".to_owned())
    });
    assert_eq!(rounds, SPOILT);
    let mut verdicts = vec![Verdict::Right, Verdict::Wrong(String::new()), Verdict::TooSlow(String::new())];
    settle("right at last", || verdicts.pop().unwrap());
    assert!(verdicts.is_empty());
    let wrong = thread::spawn(|| settle("wrong each time", || Verdict::late(false, String::new())));
    assert!(wrong.join().is_err());
    let witness = Witness::start();
    thread::park_timeout(20 * BEAT);
    let pace = witness.pace();
    assert!(pace.usual.is_finite() && pace.worst >= pace.usual, "{pace:?}");
}
