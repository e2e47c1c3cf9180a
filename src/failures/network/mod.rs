//! network: everything that netem can do to packets, aimed at exactly the traffic that was asked for, by `tc`
//! command lines.
//!
//! What `tc` sets outlives whoever set it, so every change is announced to the guard first, carries the agent's
//! own marks, and is read back before the fault counts as active.

mod claims;
mod keys;
mod plan;
mod ready;
mod resolve;
mod rule;
mod settings;
mod verify;
mod words;

use super::{Failure, Host, Injection, Kind, Outcome};
use crate::error::{Context, Error, Result};
use crate::linux::ability::{Ability, Feature, GACT, IFB, INGRESS, MIRRED, NETEM, PRIO, U32};
use crate::linux::command;
use crate::linux::sys::netlink::Netlink;
use crate::linux::tc::link::{self, Link};
use crate::revert::guard::Reverter;
use crate::revert::undo::{self, Tools, Undo};
use crate::settings::Section;
use claims::Claim;
use plan::{Aim, Change};
use settings::{Direction, Spec};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "network", timed: true, guarded: true, keys: keys::KEYS, parse };

/// How long one `tc` may take.
const TC_LIMIT: Duration = Duration::from_secs(5);
/// More filters than this on one interface slow down every packet; whoever needs them means a wider range.
const MOST_FILTERS: usize = 512;

struct Network {
    spec: Spec,
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    let spec = settings::read(section)?;
    Some(Box::new(Network { spec }))
}

/// Changes in force; taken back newest first.
#[derive(Default)]
struct Changes<'a>(Vec<Reverter<'a>>);

impl Changes<'_> {
    /// Takes everything back. Says whether everything had still been there.
    fn revert(mut self) -> Result<bool> {
        let mut there = true;
        let mut first = None;
        while let Some(change) = self.0.pop() {
            match change.revert() {
                Ok(was) => there &= was,
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(there), Err)
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        while let Some(change) = self.0.pop() {
            drop(change);
        }
    }
}

/// Why a step failed.
struct Trouble {
    error: Error,
    /// The kernel has no prio or u32, and the fault could do without.
    no_filters: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble { error, no_filters: false }
    }
}

impl Network {
    fn egress(&self) -> bool {
        self.spec.direction != Direction::Ingress
    }

    fn ingress(&self) -> bool {
        self.spec.direction != Direction::Egress
    }

    /// Sets everything up on one interface.
    fn set_up<'a>(
        &self,
        injection: &'a Injection<'_>,
        netlink: &Netlink,
        changes: &[Change],
        done: &mut Changes<'a>,
    ) -> std::result::Result<(), Trouble> {
        for change in changes {
            let mut no_filters = false;
            let applied = injection.change(change.undo, || {
                if injection.cancel.is_cancelled() {
                    return Err(Error::refused("stopped before the fault was in force"));
                }
                if let Some(name) = &change.ifb {
                    add_ifb(injection, netlink, name)?;
                }
                self.batch(injection, &change.lines).map_err(|trouble| {
                    no_filters = trouble.no_filters;
                    trouble.error
                })
            });
            done.0.push(applied.map_err(|error| Trouble { error, no_filters })?);
        }
        let lines: Vec<_> = changes.iter().flat_map(|change| &change.lines).cloned().collect();
        verify::verify(netlink, &lines)?;
        Ok(())
    }

    /// All lines by one `tc`, up to the first that fails.
    fn batch(&self, injection: &Injection<'_>, lines: &[Vec<String>]) -> std::result::Result<(), Trouble> {
        let mut input = String::new();
        for words in lines {
            let words = words.join(" ");
            log::info!("{}: tc {words}", injection.entry);
            injection.facts.command(format!("tc {words}"));
            input += &words;
            input.push('\n');
        }
        let mut command = self.program()?;
        // With the guard's pipe as its standard output, on which it says nothing: see Guard::pipe.
        command.args(["-batch", "-"]).stdout(injection.guard.pipe().map_or_else(Stdio::null, Stdio::from));
        let done = command::run(&mut command, input.as_bytes(), TC_LIMIT)?;
        if done.status.success() { Ok(()) } else { Err(explain(&done.stderr, lines)) }
    }

    /// `tc` from PATH where there is one, else this program itself.
    fn program(&self) -> Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        match (self.spec.tc, tc_in(&path)) {
            ("auto" | "system", Some(tc)) => Ok(Command::new(tc)),
            ("system", None) => Err(Error::refused(
                "there is no tc in the folders of PATH, of which only absolute ones count; install iproute2 there, or \
                 set tc to builtin",
            )),
            _ => {
                let mut own = Command::new("/proc/self/exe");
                own.arg("tc");
                Ok(own)
            }
        }
    }

    /// The fault on all its interfaces, or nothing. Where the kernel cannot filter, a fault that was not aimed
    /// is set on everything; an aimed one never is.
    fn set_all<'a>(
        &self,
        injection: &'a Injection<'_>,
        netlink: &Netlink,
        links: &[Link],
        aim: &Aim<'_>,
        done: &mut Changes<'a>,
    ) -> Result<()> {
        for link in links {
            let changes = plan::changes(&self.spec, aim, link, true);
            let filters = changes.iter().map(|change| change.lines.len()).sum::<usize>();
            if filters > MOST_FILTERS {
                return Err(Error::refused(format!(
                    "targets and exempts make {filters} filters on {}, at most {MOST_FILTERS} are set; use wider \
                     ranges of addresses and ports",
                    link.name
                )));
            }
            match self.set_up(injection, netlink, &changes, done) {
                Ok(()) => {}
                Err(trouble) if trouble.no_filters && !self.spec.aimed => {
                    log::warn!(
                        "{}: the kernel cannot filter ({}), so the fault meets the agent's own metrics too",
                        injection.entry,
                        trouble.error
                    );
                    let changes = plan::changes(&self.spec, aim, link, false);
                    self.set_up(injection, netlink, &changes, done).map_err(|trouble| trouble.error)?;
                }
                Err(trouble) => return Err(trouble.error),
            }
        }
        Ok(())
    }

    /// The interfaces, free of what others have set.
    fn links(&self, netlink: &Netlink) -> Result<Vec<Link>> {
        let links = resolve::interfaces(&self.spec, netlink)?;
        for link in &links {
            verify::look(netlink, link, self.egress(), self.ingress())?;
        }
        Ok(links)
    }
}

fn add_ifb(injection: &Injection<'_>, netlink: &Netlink, name: &str) -> Result<()> {
    let words = format!("ip link add {name} up type ifb");
    log::info!("{}: {words}", injection.entry);
    injection.facts.command(words);
    link::create_ifb(netlink, name).map_err(|refusal| {
        let hint = hint(IFB.told(refusal.source.raw_os_error()));
        Error::refused(format!("cannot create interface {name}: {refusal}; {hint}"))
    })
}

/// Removes what an earlier agent, or a revert that the kernel refused, left on the sides that are claimed now.
fn clear(injection: &Injection<'_>, claim: &Claim) -> Result<()> {
    let tools = Tools::default();
    for undo in undo::leftovers(&tools)? {
        let ours = match undo {
            Undo::RemoveRoot { ifindex, .. } => claim.has(ifindex, true),
            Undo::RemoveIngress { ifindex } => claim.has(ifindex, false),
            Undo::RemoveIfb { of } => claim.has(of, false),
            // A paused process is no matter of an interface.
            Undo::Resume { .. } => false,
        };
        if ours {
            log::warn!("{}: an earlier fault is still there; removing it: {undo}", injection.entry);
            undo.perform(&tools)?;
        }
    }
    Ok(())
}

/// The `tc` of a PATH. An empty or relative element would be wherever the agent happens to stand.
fn tc_in(path: &OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join("tc")).find(|tc| tc.is_file())
}

/// What to do about a refusal of the kernel, where its errno says that.
fn hint(ability: Ability) -> String {
    ability.required().map_or_else(|need| need.to_string(), |()| "these are the kernel's words".to_owned())
}

/// Words of `tc` lines that need a part of the kernel, the more special first.
static PARTS: [(&str, &Feature); 5] =
    [("ingress", &INGRESS), ("mirred", &MIRRED), ("u32", &U32), ("prio", &PRIO), ("netem", &NETEM)];

/// Says what a refusal of the kernel means and what to do about it. The last line that `tc` prints tells the
/// number of the line that failed: "Command failed -:3".
fn explain(stderr: &str, lines: &[Vec<String>]) -> Trouble {
    const FAILED: &str = "Command failed -:";
    let number = stderr.rsplit_once(FAILED).and_then(|(_, number)| number.trim().parse::<usize>().ok());
    let words = number.and_then(|number| lines.get(number.checked_sub(1)?)).cloned().unwrap_or_default();
    let said: Vec<_> = stderr.lines().filter(|line| !line.starts_with(FAILED)).collect();
    let said = said.join(" ").trim().to_owned();
    let absent = ["kind is unknown", "qdisc not found", "No such file", "classifier not found", "action"];
    let absent = absent.iter().any(|part| said.contains(part));
    let has = |word: &str| words.iter().any(|one| one == word);
    // Of a filter the kernel says whether it lacks that or what it does; an old one says "No such file" of both.
    let part = match PARTS.iter().find(|(part, _)| has(part)) {
        _ if said.contains("classifier") => &U32,
        _ if said.contains("action") => {
            if has("mirred") {
                &MIRRED
            } else {
                &GACT
            }
        }
        Some((_, part)) => *part,
        None => &NETEM,
    };
    // A program has no errno, so its words are taken for one.
    let errno = match said.contains("not permitted") {
        true => Some(libc::EPERM),
        false => absent.then_some(libc::ENOENT),
    };
    let hint = hint(part.told(errno));
    Trouble {
        error: Error::refused(format!("tc {} failed: {said}; {hint}", words.join(" "))),
        // What comes in is met by filters or not at all.
        no_filters: absent && (*part == PRIO || (*part == U32 && !has("ffff:"))),
    }
}

impl Failure for Network {
    fn check(&self, host: &Host) -> Result<()> {
        NETEM.allowed().required()?;
        self.program()?;
        let netlink = Netlink::open().doing("open", "a netlink socket")?;
        self.links(&netlink)?;
        resolve::exempts(&self.spec, host, &netlink).map(|_| ())
    }

    fn ready(&self, host: &Host) -> Result<String> {
        ready::ready(self, host)
    }

    fn asks_kernel(&self) -> bool {
        true
    }

    fn describe(&self, _host: &Host) -> String {
        let way = match self.spec.direction {
            Direction::Egress => "sent",
            Direction::Ingress => "received",
            Direction::Both => "sent and received",
        };
        let what = match self.spec.targets.len() {
            0 => "everything".to_owned(),
            1 => "what matches 1 target".to_owned(),
            count => format!("what matches {count} targets"),
        };
        let spared = match self.spec.exempt.len() + self.spec.exempt_defaults.len() {
            0 => String::new(),
            count => format!(" ({count} exempt)"),
        };
        let through = self.spec.interfaces.join(", ");
        format!("{} of {what} {way} through {through}{spared}", self.spec.effect)
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let netlink = Netlink::open().doing("open", "a netlink socket")?;
        let links = self.links(&netlink)?;
        // Dropped last, when everything is reverted.
        let claim = match Claim::new(links.iter(), self.egress(), self.ingress()) {
            Ok(claim) => claim,
            Err(who) => return Ok(Outcome::Skipped(who)),
        };
        clear(injection, &claim)?;
        let mut exempts = resolve::exempts(&self.spec, injection.host, &netlink)?;
        exempts.extend(self.spec.exempt.iter().cloned());
        let exempts = resolve::addresses(&exempts, injection.entry, injection.cancel)?;
        let targets = resolve::addresses(&self.spec.targets, injection.entry, injection.cancel)?;
        let aim = Aim { targets: &targets, exempts: &exempts };

        let mut changes = Changes::default();
        match self.set_all(injection, &netlink, &links, &aim, &mut changes) {
            Ok(()) => {}
            Err(_) if injection.cancel.is_cancelled() => {
                return Ok(Outcome::Skipped("stopped before the fault was in force".to_owned()));
            }
            Err(error) => return Err(error),
        }
        // The deadlines were set before the set-up, which may have taken its time.
        for change in &changes.0 {
            change.renew(injection.duration)?;
        }
        injection.hold();
        if !changes.revert()? {
            return Err(Error::refused(
                "what the agent had set was gone before its time: somebody removed it, or the interface",
            ));
        }
        Ok(Outcome::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_folders_of_the_path_are_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let tc = folder.path().join("tc");
        std::fs::write(&tc, "").unwrap();
        let here = std::env::current_dir().unwrap();
        let mut relative = PathBuf::new();
        here.components().skip(1).for_each(|_| relative.push(".."));
        relative.extend(folder.path().components().skip(1));
        let (relative, absolute) = (relative.to_str().unwrap(), folder.path().to_str().unwrap());
        assert!(relative.is_empty() || PathBuf::from(relative).join("tc").is_file());
        for path in [relative, "", ":", "::.", &format!(":{relative}"), "/nonexistent:"] {
            assert_eq!(tc_in(OsStr::new(path)), None, "{path:?}");
        }
        for path in [absolute, &format!(":{relative}:{absolute}:"), &format!("/nonexistent:{absolute}")] {
            assert_eq!(tc_in(OsStr::new(path)), Some(tc.clone()), "{path:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_part_of_the_kernel_that_is_not_there() {
        let lines = [
            "qdisc add dev e0 root handle ca05: prio bands 3",
            "qdisc add dev e0 parent ca05:3 handle ca07: netem delay 1ms",
            "qdisc add dev e0 ingress",
            "filter add dev e0 parent ffff: protocol ip pref 51718 u32 match ip dst 10.0.0.1/32 action pass",
            "filter add dev e0 parent ffff: protocol all pref 51722 u32 match u32 0 0 action mirred egress redirect dev i0",
            "filter add dev e0 parent ca05: protocol ip pref 51718 u32 match ip dst 10.0.0.1/32 flowid ca05:1",
        ]
        .map(words::glued);
        let (unknown, classifier, action) = (
            "Error: Specified qdisc kind is unknown.",
            "Error: TC classifier not found.\nWe have an error talking to the kernel",
            "Error: Failed to load TC action module.\nWe have an error talking to the kernel",
        );
        for (said, line, name, no_filters) in [
            (unknown, 1, "sch_prio", true),
            (unknown, 2, "sch_netem", false),
            (unknown, 3, "sch_ingress", false),
            (classifier, 4, "cls_u32", false),
            (classifier, 5, "cls_u32", false),
            (classifier, 6, "cls_u32", true),
            (action, 4, "act_gact", false),
            (action, 5, "act_mirred", false),
        ] {
            let trouble = explain(&format!("{said}\nCommand failed -:{line}"), &lines);
            let text = trouble.error.to_string();
            assert!(text.contains(&format!("the kernel has no {name}:")), "{said} of line {line}: {text}");
            assert_eq!(trouble.no_filters, no_filters, "{said} of line {line}");
        }
    }
}
