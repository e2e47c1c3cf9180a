//! How many of the processes that match become victims, and which.

use super::victim::Candidate;
use crate::settings::{Scalar, Section};

/// Which processes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The lowest pids.
    First,
    /// By the injection's seed.
    Random,
    /// The longest running.
    Oldest,
    /// The latest started.
    Newest,
    /// Every one.
    All,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    Number(usize),
    Percent(f64),
}

/// The keys `pick`, `count` and `min_survivors`.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pick: Pick,
    count: Count,
    min_survivors: usize,
}

impl Choice {
    /// Reads the keys.
    pub fn parse(section: &mut Section<'_>) -> Choice {
        let pick = match section.choice("pick") {
            Some("random") => Pick::Random,
            Some("oldest") => Pick::Oldest,
            Some("newest") => Pick::Newest,
            Some("all") => Pick::All,
            _ => Pick::First,
        };
        let asked = (pick != Pick::All).then(|| section.scalar("count")).flatten();
        let count = match asked {
            None if pick == Pick::All && section.has("count") => None,
            None => Some(Count::Number(1)),
            Some(Scalar::Number(number)) if (1.0..=1e6).contains(&number) && number.fract() == 0.0 => {
                Some(Count::Number(number as usize))
            }
            Some(Scalar::Number(_)) => None,
            Some(Scalar::Text(text)) => percent(&text).map(Count::Percent),
        };
        if count.is_none() {
            let hint = "a whole number from 1, or a percentage below 100 such as \"50%\"; \
                 pick: all takes every one, without count";
            section.problem("count", "is not allowed", hint);
        }
        let survivors = section.integer("min_survivors").unwrap_or_default();
        let min_survivors = usize::try_from(survivors).unwrap_or(usize::MAX);
        Choice { pick, count: count.unwrap_or(Count::Number(1)), min_survivors }
    }

    /// How many victims there are among `found` processes. A percentage is rounded up but never takes all.
    pub fn size(&self, found: usize) -> usize {
        let wanted = match self.count {
            _ if self.pick == Pick::All => found,
            Count::Number(number) => number,
            Count::Percent(percent) => {
                ((found as f64 * percent / 100.0).ceil() as usize).min(found.saturating_sub(1))
            }
        };
        wanted.min(found.saturating_sub(self.min_survivors))
    }

    /// The victims among `found`, in the order in which they are met.
    pub fn choose<'a>(&self, found: &'a [Candidate], seed: u64) -> Vec<&'a Candidate> {
        let mut order: Vec<&Candidate> = found.iter().collect();
        match self.pick {
            Pick::Random => fastrand::Rng::with_seed(seed).shuffle(&mut order),
            // One sort for all: each has some kB of code. No two have the same key.
            pick => order.sort_unstable_by_key(|one| match pick {
                Pick::Oldest => (one.start, one.pid),
                Pick::Newest => (!one.start, !one.pid),
                _ => (0, one.pid),
            }),
        }
        order.truncate(self.size(found.len()));
        order
    }

    /// Whether the same processes are chosen whatever the seed.
    pub fn is_fixed(&self) -> bool {
        self.pick != Pick::Random
    }

    /// Why nobody was chosen although some matched.
    pub fn nobody(&self, found: usize) -> String {
        match self.min_survivors {
            0 => format!("{found} matches, and a percentage never takes all"),
            survivors => format!("{found} match and min_survivors is {survivors}"),
        }
    }
}

#[cfg(test)]
impl Default for Choice {
    fn default() -> Choice {
        Choice { pick: Pick::First, count: Count::Number(1), min_survivors: 0 }
    }
}

fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
    (number > 0.0 && number < 100.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Report, parse};
    use std::collections::HashSet;

    fn read(yaml: &str) -> (Choice, Vec<String>) {
        let mut report = Report::default();
        let node = parse(yaml, &mut report).unwrap();
        let mut section = Section::top(&node, &mut report, crate::failures::process::KEYS);
        let choice = Choice::parse(&mut section);
        drop(section.finish());
        (choice, report.problems("f"))
    }

    fn crowd(size: u32) -> Vec<Candidate> {
        let one = |pid: u32| Candidate { pid, start: u64::from(pid * 7 % 11), name: String::new() };
        (2..size + 2).map(one).collect()
    }

    #[test]
    fn sizes_are_rounded_up_and_leave_survivors() {
        for (yaml, found, size) in [
            ("{}", 0, 0),
            ("{}", 1, 1),
            ("{}", 9, 1),
            ("count: 3", 9, 3),
            ("count: 3", 2, 2),
            ("count: '50%'", 5, 3),
            ("count: '50%'", 1, 0),
            ("count: '1%'", 5, 1),
            ("count: 99.9%", 3, 2),
            ("pick: all", 5, 5),
            ("{pick: all, min_survivors: 2}", 5, 3),
            ("{count: 3, min_survivors: 8}", 9, 1),
            ("{min_survivors: 1}", 1, 0),
            ("{min_survivors: 5}", 1, 0),
        ] {
            let (choice, problems) = read(yaml);
            assert_eq!((choice.size(found), problems), (size, Vec::new()), "{yaml} of {found}");
            assert_eq!(choice.choose(&crowd(found as u32), 1).len(), size);
        }
        for yaml in [
            "count: 0",
            "count: 1.5",
            "count: 100%",
            "count: 0%",
            "count: x",
            "count: -1",
            "{pick: all, count: 1}",
        ] {
            assert_eq!(read(yaml).1.len(), 1, "{yaml}");
        }
    }

    #[test]
    fn the_order_is_what_pick_says_and_random_follows_the_seed() {
        let found = crowd(9);
        let pids = |yaml: &str, seed| {
            read(yaml).0.choose(&found, seed).iter().map(|one| one.pid).collect::<Vec<_>>()
        };
        assert_eq!(pids("{pick: first, count: 3}", 1), [2, 3, 4]);
        assert_eq!(pids("{pick: oldest, count: 3}", 1), [8, 5, 2]); // starts 1, 2, 3
        assert_eq!(pids("{pick: newest, count: 2}", 1), [3, 6]); // starts 10, 9
        assert_eq!(pids("{pick: random, count: 4}", 7), pids("{pick: random, count: 4}", 7));
        let all: HashSet<u32> = (0..200).map(|seed| pids("pick: random", seed)[0]).collect();
        assert_eq!(all.len(), 9, "every process is chosen by some seed");
    }
}
