//! Host names to addresses, with a time limit.
//!
//! getaddrinfo(3) cannot be interrupted, and musl's answers nothing at all where one of the two questions of a look-up
//! (A and AAAA) fails or is not answered. So each family is asked by a thread of its own, which nobody waits for
//! longer than the limit, and what answers counts.

use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};
use crate::linux::sys::event::EventFd;
use crate::linux::sys::{net, poll, thread};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Room for getaddrinfo(3), which keeps packets on its stack.
const STACK: usize = 256 << 10;
/// Questions under way at a time in one family. One that nobody waits for any more goes on until the resolver gives up
/// (musl: 5 s); whoever asks the same meanwhile waits for the same answer.
const MOST: usize = 16;
/// Once one family has answered, the other has this part of the whole time: an answer that comes at all comes in a few
/// milliseconds, and Happy Eyeballs (RFC 8305) waits for 50.
const GRACE: u32 = 4;

/// The addresses of one family, or the resolver's words.
type Answer = std::result::Result<Vec<IpAddr>, &'static str>;

/// A name and a family on the way to its answer.
#[derive(Debug)]
struct Question {
    name: String,
    ipv6: bool,
    answer: Mutex<Option<Answer>>,
    /// Readable from the answer on.
    done: EventFd,
}

impl Question {
    fn answer(&self) -> Option<Answer> {
        lock(&self.answer).clone()
    }
}

static ASKED: Mutex<Vec<Arc<Question>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for one family of a name: the question, and whether it was under way already.
fn ask(name: &str, ipv6: bool) -> Result<(Arc<Question>, bool)> {
    let mut asked = lock(&ASKED);
    if let Some(same) = asked.iter().find(|one| one.ipv6 == ipv6 && one.name == name) {
        return Ok((Arc::clone(same), true));
    }
    if asked.iter().filter(|one| one.ipv6 == ipv6).count() >= MOST {
        return Err(Error::refused(format!("cannot resolve {name}: {MOST} names wait for DNS already")));
    }
    let done = EventFd::new().doing("open", "an eventfd")?;
    let question = Arc::new(Question { name: name.to_owned(), ipv6, answer: Mutex::new(None), done });
    let theirs = Arc::clone(&question);
    let resolve = move || {
        let found = net::addresses(&theirs.name, theirs.ipv6);
        lock(&ASKED).retain(|one| !Arc::ptr_eq(one, &theirs));
        *lock(&theirs.answer) = Some(found);
        theirs.done.signal();
    };
    thread::spawn("resolve", STACK, Box::new(resolve)).doing("start", "a thread")?;
    asked.push(Arc::clone(&question));
    Ok((question, false))
}

/// A question whose answer is waited for, and whether somebody else had asked it.
type Slot = Option<(Arc<Question>, bool)>;

fn fd(slot: &Slot) -> Option<BorrowedFd<'_>> {
    slot.as_ref().map(|(question, _)| question.done.as_fd())
}

/// What a look-up has heard.
#[derive(Default)]
struct Heard {
    addresses: Vec<IpAddr>,
    /// The resolver's words of the first family that failed.
    words: &'static str,
}

impl Heard {
    /// Takes the answers that are there; says whether one with addresses was among them.
    fn take(&mut self, slot: &mut Slot) -> bool {
        let Some((question, joined)) = slot else { return false };
        let good = match question.answer() {
            None => return false,
            // Somebody else's, asked before the server was well again.
            Some(Err(_)) if *joined => {
                *slot = ask(&question.name, question.ipv6).ok().map(|(again, _)| (again, false));
                return false;
            }
            Some(Err(why)) => {
                self.words = if self.words.is_empty() { why } else { self.words };
                false
            }
            Some(Ok(addresses)) => {
                for address in addresses.iter().map(IpAddr::to_canonical) {
                    if let Err(place) = self.addresses.binary_search(&address) {
                        self.addresses.insert(place, address);
                    }
                }
                !addresses.is_empty()
            }
        };
        *slot = None;
        good
    }
}

/// The addresses of a name by /etc/hosts and DNS, IPv4 first, and whether a family was silent; an IPv4-mapped one is the
/// IPv4 address.
///
/// # Errors
/// The name has no address, is not resolved within `limit` or before `cancel` is thrown, or too many names hang.
pub fn lookup(name: &str, limit: Duration, cancel: &Cancel) -> Result<(Vec<IpAddr>, bool)> {
    let mut end = Instant::now().checked_add(limit);
    // One family is enough where the other has too many questions that nobody answers.
    let mut slots = match (ask(name, false), ask(name, true)) {
        (Err(error), Err(_)) => return Err(error),
        (four, six) => [four.ok(), six.ok()],
    };
    let mut heard = Heard::default();
    let silent = loop {
        for slot in &mut slots {
            if heard.take(slot)
                && let Some(grace) = Instant::now().checked_add(limit / GRACE)
            {
                end = Some(end.map_or(grace, |end| end.min(grace)));
            }
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let silent = slots.iter().any(Option::is_some);
        if !silent || left == Some(Duration::ZERO) || cancel.is_cancelled() {
            break silent;
        }
        let [first, second] = &slots;
        poll::readable(&[Some(cancel.as_fd()), fd(first), fd(second)], left).doing("wait for", "DNS")?;
    };
    if !heard.addresses.is_empty() && !cancel.is_cancelled() {
        return Ok((heard.addresses, silent));
    }
    Err(Error::refused(match (silent, heard.words.is_empty()) {
        (true, _) => format!("the host name {name} was not resolved within {} s", limit.as_secs_f64()),
        (false, false) => format!("cannot resolve {name}: {}", heard.words),
        (false, true) => format!("the host name {name} has no address"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_name_of_the_hosts_file_resolves_and_a_stop_interrupts() {
        let cancel = Cancel::new().unwrap();
        assert!(lookup("localhost", LONG, &cancel).unwrap().0.iter().all(IpAddr::is_loopback));
        cancel.cancel();
        assert!(lookup("localhost", LONG, &cancel).is_err());
    }

    #[test]
    fn a_silent_question_is_asked_once_and_takes_no_time_from_the_other() {
        let cancel = Cancel::new().unwrap();
        let done = EventFd::new().unwrap();
        let name = "localhost.".to_owned();
        let hung = Arc::new(Question { name, ipv6: true, answer: Mutex::new(None), done });
        lock(&ASKED).push(Arc::clone(&hung));
        for _ in 0..2 * MOST {
            let begin = Instant::now();
            let found = lookup("localhost.", Duration::from_millis(80), &cancel);
            // Without a resolver that knows the name, only its bound can be seen.
            assert!(found.is_err() || found.unwrap() == (vec!["127.0.0.1".parse::<IpAddr>().unwrap()], true));
            assert!(begin.elapsed() < LONG);
            let under_way = lock(&ASKED).iter().filter(|one| one.name == "localhost." && one.ipv6).count();
            assert_eq!(under_way, 1);
        }
        // Its late failure is not taken for an answer to somebody who came later.
        *lock(&hung.answer) = Some(Err("Try again"));
        lock(&ASKED).retain(|one| !Arc::ptr_eq(one, &hung));
        let mut heard = Heard::default();
        let mut slot = Some((hung, true));
        assert!(!heard.take(&mut slot));
        assert!(slot.is_some_and(|(_, joined)| !joined) && heard.words.is_empty());
    }
}
