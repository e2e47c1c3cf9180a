//! Who has which side of an interface: all faults of all agents carry the same marks, so two at a time on one side
//! would take each other for a left-over.

use crate::linux::claim::{self, Refused};
use crate::linux::tc::link::Link;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Index of an interface, and whether it is the outgoing side.
type Side = (i32, bool);

static CLAIMED: Mutex<Vec<Side>> = Mutex::new(Vec::new());

fn claimed() -> MutexGuard<'static, Vec<Side>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sides that one injection has to itself until this is dropped.
#[derive(Debug)]
pub struct Claim {
    sides: Vec<Side>,
    /// Keep other agents of the namespace away.
    _held: Vec<claim::Claim>,
}

impl Claim {
    /// Claims the sides of all these interfaces, or says who has one of them.
    pub fn new<'a>(
        links: impl Iterator<Item = &'a Link>,
        egress: bool,
        ingress: bool,
    ) -> Result<Claim, String> {
        let mut taken = claimed();
        let (mut sides, mut held) = (Vec::new(), Vec::new());
        for link in links {
            for (_, outgoing) in [(egress, true), (ingress, false)].into_iter().filter(|(wants, _)| *wants) {
                if taken.contains(&(link.index, outgoing)) {
                    return Err(format!("another entry has its fault on {} at this time", link.name));
                }
                match claim::claim(link.index, outgoing) {
                    Ok(claim) => {
                        if let Some(holder) = claim.ignored {
                            log::warn!("{holder} claims {} too; that does not count", link.name);
                        }
                        held.push(claim);
                    }
                    Err(Refused::Taken(holder)) => {
                        return Err(format!("{holder} has its fault on {} at this time", link.name));
                    }
                    // Without a socket, other agents have to look out themselves.
                    Err(Refused::Failed(error)) => {
                        log::warn!("cannot hold {} against other agents: {error}", link.name);
                    }
                }
                sides.push((link.index, outgoing));
            }
        }
        taken.extend(&sides);
        Ok(Claim { sides, _held: held })
    }

    /// Whether the side belongs to this injection.
    pub fn has(&self, index: i32, outgoing: bool) -> bool {
        self.sides.contains(&(index, outgoing))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        claimed().retain(|side| !self.sides.contains(side));
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
        let taken = Claim::new(both.iter().rev(), true, true).unwrap_err();
        assert_eq!(taken, "another entry has its fault on eth-8 at this time");
        drop((out, into));
        drop(Claim::new(both.iter(), true, true).unwrap());
        let other = claim::claim(-8, true).unwrap();
        let taken = Claim::new(both.iter(), true, false).unwrap_err();
        let wanted =
            format!("another agent (pid {}) has its fault on eth-8 at this time", std::process::id());
        assert_eq!(taken, wanted);
        drop(other);
        drop(Claim::new(both.iter(), true, true).unwrap());
    }
}
