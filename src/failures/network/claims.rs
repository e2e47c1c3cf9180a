//! Who has which side of an interface: all faults of the agent carry the same marks, so two at a time on one
//! side would take each other for a left-over.

use crate::tc::link::Link;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Index of an interface, and whether it is the outgoing side.
type Side = (i32, bool);

static CLAIMED: Mutex<Vec<Side>> = Mutex::new(Vec::new());

fn claimed() -> MutexGuard<'static, Vec<Side>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sides that one injection has to itself until this is dropped.
#[derive(Debug)]
pub struct Claim(Vec<Side>);

impl Claim {
    /// Claims the sides of all these interfaces, or says the name of one that another injection has.
    pub fn new<'a>(
        links: impl Iterator<Item = &'a Link>,
        egress: bool,
        ingress: bool,
    ) -> Result<Claim, String> {
        let mut taken = claimed();
        let mut wanted = Vec::new();
        for link in links {
            for (_, outgoing) in [(egress, true), (ingress, false)].into_iter().filter(|(wants, _)| *wants) {
                if taken.contains(&(link.index, outgoing)) {
                    return Err(link.name.clone());
                }
                wanted.push((link.index, outgoing));
            }
        }
        taken.extend(&wanted);
        Ok(Claim(wanted))
    }

    /// Whether the side belongs to this injection.
    pub fn has(&self, index: i32, outgoing: bool) -> bool {
        self.0.contains(&(index, outgoing))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        claimed().retain(|side| !self.0.contains(side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_has_one_fault_at_a_time() {
        let link = |index| Link { index, name: format!("eth{index}"), flags: 0, kind: String::new() };
        let both = [link(-7), link(-8)];
        let out = Claim::new(both.iter(), true, false).unwrap();
        assert!(out.has(-7, true) && !out.has(-7, false));
        let into = Claim::new(both[..1].iter(), false, true).unwrap();
        assert_eq!(Claim::new(both.iter().rev(), true, true).unwrap_err(), "eth-8");
        drop((out, into));
        drop(Claim::new(both.iter(), true, true).unwrap());
    }
}
