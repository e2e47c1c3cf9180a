//! What could be known before the first injection: whether victims can be seen and signalled from here.

use super::{ProcessFault, open};
use crate::error::{Error, Result};
use crate::failures::{Failure, Host};
use crate::linux::ability::{Ability, Refusal, SIGNALS};
use crate::linux::proc::{Reader, base_name};
use crate::linux::sys::{pidfd, task};

/// Whether the agent could do what the entry asks for, and what that would be now. Nobody to be a victim at this
/// moment is no hindrance, unless nobody ever can be seen.
///
/// # Errors
/// Only the agent's own container is visible, or no process that matches may be signalled.
pub fn ready(fault: &ProcessFault, host: &Host) -> Result<String> {
    let mut reader = open(host)?;
    let found = fault.find(host, &mut reader)?.candidates;
    if found.is_empty() && is_alone(&mut reader, fault.own) {
        return Err(Error::refused(format!(
            "{}, and processes of other containers cannot be seen: process 1 is the agent's own; set \
             shareProcessNamespace: true in the pod, or pid: \"service:NAME\" in Compose",
            fault.describe(host)
        )));
    }
    if found.is_empty()
        && let Some(uid) = barred(fault, &reader)
    {
        let refusal = Refusal::Lacks(task::CAP_KILL);
        return Err(Error::refused(format!(
            "processes of uid {uid} may not be signalled; {refusal}{}",
            refusal.beside(&format!("uid {uid}"))
        )));
    }
    // Signal 0 checks the right and sends nothing (kill(2)).
    let refusal = |pid| match SIGNALS.told(pidfd::kill(pid, 0).err()?.raw_os_error()) {
        Ability::Refused(refusal) => Some(refusal),
        _ => None,
    };
    let refusals: Vec<_> = found.iter().filter_map(|one| refusal(one.pid)).collect();
    let denied = refusals.len();
    let matches = format!("{denied} of {} processes matching {}", found.len(), fault.selection.shown);
    match refusals.first() {
        None => Ok(fault.describe(host)),
        Some(refusal) if denied == found.len() => Err(Error::refused(format!(
            "{matches} may not be signalled; {refusal}{}",
            refusal.beside("their user")
        ))),
        Some(_) => Ok(format!("{}; {matches} may not be signalled", fault.describe(host))),
    }
}

/// What is known while nobody is there who could be a victim, though others could be seen: in an init container the
/// application does not run yet. `None` where [`ready`] knows more.
pub fn untold(fault: &ProcessFault, host: &Host) -> Option<String> {
    let mut reader = open(host).ok()?;
    let found = fault.find(host, &mut reader).ok()?;
    let told = !found.candidates.is_empty() || found.hidden > 0;
    if told || is_alone(&mut reader, fault.own) || barred(fault, &reader).is_some() {
        return None;
    }
    let rights = match (task::has_capability(task::CAP_KILL), reader.uid(fault.own)) {
        (true, _) => "CAP_KILL is held, so a process of any user may be signalled".to_owned(),
        (false, uid) => format!(
            "without CAP_KILL only processes of uid {} may be signalled: the application must run as it, by the \
             securityContext of its container or pod, or this container as uid 0 with the capability KILL",
            uid.unwrap_or_default()
        ),
    };
    Some(format!("cannot be judged before the application runs: {}; {rights}", fault.nobody(&found)))
}

/// The uid that the entry asks for, where it is not the agent's and the capability for others is missing.
fn barred(fault: &ProcessFault, reader: &Reader) -> Option<u32> {
    let other = fault.selection.uid().filter(|uid| reader.uid(fault.own) != Some(*uid));
    other.filter(|_| !task::has_capability(task::CAP_KILL))
}

/// Whether the agent is the first process of its PID namespace, or beside one (an exec into its container).
fn is_alone(reader: &mut Reader, own: u32) -> bool {
    let first = reader.process(1).ok().flatten();
    own == 1 || first.is_some_and(|first| base_name(first.argv0()).starts_with(b"chaos-agent"))
}
