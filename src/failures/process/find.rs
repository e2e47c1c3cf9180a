//! The scan: every process that an entry means and that may be a victim.

use super::select::{Selection, Verdict};
use super::victim::Candidate;
use crate::linux::proc::Reader;
use crate::linux::sys;

/// Generations after which a line of parents is taken for a ring: pids are read one after the other, and a
/// number that is reused meanwhile could close one.
const GENERATIONS: usize = 4096;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Found {
    /// Who may be a victim, in ascending order of pid.
    pub candidates: Vec<Candidate>,
    /// How many would have to be asked for their `exe`, which the kernel does not show.
    pub hidden: usize,
}

/// All processes that `selection` means and that may be victims. Never process 1, kernel threads, what has
/// ended, the protected programs, `own` (the agent), its ancestors and its descendants.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find(reader: &mut Reader, own: u32, selection: &Selection) -> sys::Result<Found> {
    let mut pids = Vec::new();
    reader.scan(&mut |process| {
        if process.pid != own && selection.may_mean(process) {
            pids.push(process.pid);
        }
    })?;
    let mut family = Family::of(reader, own)?;
    let mut found = Found::default();
    for pid in pids {
        if family.includes(reader, pid)? {
            continue;
        }
        match selection.judge(reader, pid)? {
            Verdict::Meant(suspect) => {
                found.candidates.push(Candidate { pid, start: suspect.start, name: suspect.name });
            }
            Verdict::Hidden => found.hidden += 1,
            Verdict::No => {}
        }
    }
    Ok(found)
}

/// The agent, who started it, and whom it started.
struct Family {
    own: u32,
    own_session: u32,
    ancestors: Vec<u32>,
    /// Process, parent and session of those asked about so far, by number: mostly they are asked about in that order.
    known: Vec<(u32, (u32, u32))>,
}

impl Family {
    fn of(reader: &mut Reader, own: u32) -> sys::Result<Family> {
        let mut family = Family { own, own_session: 0, ancestors: Vec::new(), known: Vec::new() };
        let mut pid = own;
        while family.ancestors.len() < GENERATIONS && pid != 0 {
            let (parent, session) = family.parent(reader, pid)?;
            if pid == own {
                family.own_session = session;
            }
            family.ancestors.push(pid);
            pid = parent;
        }
        Ok(family)
    }

    /// Parent and session; zeros for who is gone.
    fn parent(&mut self, reader: &mut Reader, pid: u32) -> sys::Result<(u32, u32)> {
        let place = match self.known.binary_search_by_key(&pid, |(known, _)| *known) {
            Ok(place) => return Ok(self.known[place].1),
            Err(place) => place,
        };
        let row = reader.stat(pid)?.map_or((0, 0), |stat| (stat.ppid, stat.session));
        self.known.insert(place, (pid, row));
        Ok(row)
    }

    fn includes(&mut self, reader: &mut Reader, pid: u32) -> sys::Result<bool> {
        Ok(self.ancestors.contains(&pid) || self.descends(reader, pid)?)
    }

    /// Whether the agent started it. As process 1 the agent also inherits strangers' orphans: those have left
    /// the agent's session or never were in it.
    fn descends(&mut self, reader: &mut Reader, pid: u32) -> sys::Result<bool> {
        if self.own == 1 && self.parent(reader, pid)?.1 != self.own_session {
            return Ok(false);
        }
        let mut at = pid;
        for _ in 0..GENERATIONS {
            at = self.parent(reader, at)?.0;
            if at == 0 || at == self.own {
                return Ok(at == self.own && at != 0);
            }
        }
        Ok(true) // in doubt it is spared
    }
}
