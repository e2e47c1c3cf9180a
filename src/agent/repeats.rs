//! An entry that comes to the same end again and again says so once, and then now and then with a count: what else is in
//! the log would be lost among its lines.

use crate::text::civil::timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// One entry and the end that it keeps coming to.
#[derive(Debug)]
struct Repeat {
    entry: String,
    end: String,
    count: u64,
    /// The first of them.
    since: SystemTime,
}

/// The entries whose last injection did not work.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Vec<Repeat>>);

/// What is to be logged of an end.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// About the ends before it.
    pub before: Option<String>,
    /// The end itself; `None` where that is nothing new.
    pub now: Option<String>,
    /// Whether it is the end that the entry came to before.
    pub again: bool,
}

impl Repeats {
    /// Whether the entry's last injection did not work, so that the next one is nothing new until it does.
    pub fn has(&self, entry: &str) -> bool {
        self.lock().iter().any(|repeat| repeat.entry == entry)
    }

    /// Takes note of an end, "failed: no such device"; one that `worked` ends the row and is none itself.
    pub fn end(&self, entry: &str, end: String, worked: bool, now: SystemTime) -> Said {
        let mut repeats = self.lock();
        let known = repeats.iter().position(|repeat| repeat.entry == entry);
        if let Some(repeat) =
            known.and_then(|index| repeats.get_mut(index)).filter(|repeat| repeat.end == end)
        {
            repeat.count += 1;
            // At 10, 100, 1000, ...
            let power = repeat.count == 10u64.pow(repeat.count.ilog10());
            return Said { before: None, now: power.then(|| repeat.text()), again: true };
        }
        let before = known.map(|index| repeats.swap_remove(index)).filter(|repeat| repeat.count > 1);
        let before = before.map(|repeat| repeat.text());
        if !worked {
            repeats.push(Repeat { entry: entry.to_owned(), end: end.clone(), count: 1, since: now });
        }
        Said { before, now: Some(end), again: false }
    }

    /// Forgets entries that are no more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().retain(|repeat| is_there(&repeat.entry));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Repeat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repeat {
    /// "failed: no such device; the same 14 times since 02:09"
    fn text(&self) -> String {
        let since = timestamp(self.since);
        let since = since.get(11..16).unwrap_or_default();
        format!("{}; the same {} times since {since}", self.end, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_same_end_is_told_at_powers_of_ten_and_when_it_changes() {
        let repeats = Repeats::default();
        let at = |minute: u64| UNIX_EPOCH + Duration::from_secs(7740 + minute * 60);
        let end = |text: &str, minute| repeats.end("a", text.to_owned(), text == "success", at(minute));
        assert!(!repeats.has("a"));
        let new = |text: &str| Said { before: None, now: Some(text.to_owned()), again: false };
        assert_eq!(end("failed: x", 0), new("failed: x"));
        assert!(repeats.has("a") && !repeats.has("b"));
        assert_eq!(repeats.end("b", "failed: x".to_owned(), false, at(0)), new("failed: x"));
        for minute in 1..=98 {
            let told = end("failed: x", minute).now;
            assert_eq!(told.is_some(), minute == 9, "{minute}: {told:?}");
        }
        let hundred = "failed: x; the same 100 times since 02:09";
        assert_eq!(end("failed: x", 99), Said { again: true, ..new(hundred) });
        let changed = end("failed: y", 100);
        assert_eq!((changed.before.as_deref(), changed.now.as_deref()), (Some(hundred), Some("failed: y")));
        // One alone is no row.
        assert_eq!(end("success", 101), new("success"));
        assert!(!repeats.has("a"));
        assert_eq!(end("success", 102), new("success"));
        repeats.keep(|entry| entry != "b");
        assert!(!repeats.has("b"));
    }
}
