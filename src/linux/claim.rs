//! Which agent has which side of an interface: by Unix sockets with abstract names, which belong to the network
//! namespace and end with their owner whatever happens (unix(7)). All agents carry the same marks, so this is how one
//! knows what another that runs has set.
//!
//! Anybody may have any abstract name, so a name alone says nothing: its owner is asked for, and only an agent's counts.

use super::sys::unix::{self, Peer};
use super::sys::{poll, task};
use std::fmt::{self, Display};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

/// The names of one side. An agent takes each that is free, so that somebody else's first does not hide it from others.
const NAMES: [&str; 2] = ["", "/2"];
/// An agent listens at once after it has its name; so long it may take on a loaded machine, in as many tries.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A side of an interface that this process has until this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// The names; none when others have all of them.
    held: Vec<UnixListener>,
    /// Whose claim did not count.
    pub ignored: Option<Holder>,
}

/// Who has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Somebody who listens as agents do.
    Listens(Peer),
    /// Somebody with more connections waiting than the kernel takes, so that he cannot be asked for.
    Full,
    /// Somebody who does not listen: no agent.
    Mute,
}

impl Holder {
    /// Whether his claim holds against a process of uid `me`: root's always does and everybody's own, and whoever is
    /// not root cannot take anything from others.
    fn counts(self, me: u32) -> bool {
        match self {
            Holder::Listens(peer) => me != 0 || peer.uid == 0,
            Holder::Full => me != 0,
            Holder::Mute => false,
        }
    }
}

impl Display for Holder {
    /// "another agent (pid 17)"; with the uid where it is another one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Listens(Peer { pid, uid }) => {
                f.write_str("another agent (")?;
                match pid {
                    0 => f.write_str("of another PID namespace")?,
                    pid => write!(f, "pid {pid}")?,
                }
                if *uid != task::uid() {
                    write!(f, ", uid {uid}")?;
                }
                f.write_str(")")
            }
            Holder::Full => f.write_str("a process that cannot be asked for"),
            Holder::Mute => f.write_str("a process that is no agent"),
        }
    }
}

/// Why a side was not claimed.
#[derive(Debug)]
pub enum Refused {
    /// It is somebody's.
    Taken(Holder),
    /// There is no socket for it.
    Failed(io::Error),
}

/// Claims one side of an interface for this process.
///
/// # Errors
/// Another agent has it.
pub fn claim(ifindex: i32, outgoing: bool) -> Result<Claim, Refused> {
    let side = if outgoing { "out" } else { "in" };
    let mut claim = Claim { held: Vec::new(), ignored: None };
    for suffix in NAMES {
        match take(&format!("chaos-agent/{ifindex}/{side}{suffix}")).map_err(Refused::Failed)? {
            Ok(listener) => claim.held.push(listener),
            Err(holder) if holder.counts(task::uid()) => return Err(Refused::Taken(holder)),
            Err(holder) => claim.ignored = Some(holder),
        }
    }
    Ok(claim)
}

/// Takes a name, or says who has it.
fn take(name: &str) -> io::Result<Result<UnixListener, Holder>> {
    let address = SocketAddr::from_abstract_name(name)?;
    let mut tries = TRIES;
    loop {
        match UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other.map(Ok),
        }
        match unix::connect(name).and_then(unix::peer) {
            // This process's own: dropped, but a child has it too of this process has until it becomes another program.
            Ok(peer) if peer.pid == std::process::id() && tries > 0 => tries -= 1,
            Ok(peer) => return Ok(Err(Holder::Listens(peer))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(Err(Holder::Full)),
                // His end, or he has not come to listen yet.
                Some(libc::ECONNREFUSED) if tries > 0 => tries -= 1,
                Some(libc::ECONNREFUSED | libc::EPROTOTYPE) => return Ok(Err(Holder::Mute)),
                _ => return Err(error.into()),
            },
        }
        let _ = poll::poll(&mut [], Some(PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn name(ifindex: i32, suffix: &str) -> SocketAddr {
        SocketAddr::from_abstract_name(format!("chaos-agent/{ifindex}/out{suffix}")).unwrap()
    }

    /// Who refuses, or whose claim does not count.
    fn found(ifindex: i32) -> (bool, Option<String>) {
        match claim(ifindex, true) {
            Ok(claim) => (true, claim.ignored.map(|holder| holder.to_string())),
            Err(Refused::Taken(holder)) => (false, Some(holder.to_string())),
            Err(Refused::Failed(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_side_is_one_agents_and_its_pid_is_told() {
        let held = claim(-101, true).unwrap();
        assert_eq!((held.held.len(), held.ignored), (2, None));
        let me = format!("another agent (pid {})", std::process::id());
        assert_eq!(found(-101), (false, Some(me.clone())));
        drop(held);
        assert_eq!(found(-101), (true, None));
        // One that came while somebody else had the first name.
        let second = UnixListener::bind_addr(&name(-101, "/2")).unwrap();
        assert_eq!(found(-101), (false, Some(me)));
        drop(second);
        // The sides and the interfaces are apart.
        let (out, other) = (claim(-101, true).unwrap(), claim(-102, true).unwrap());
        drop((claim(-101, false).unwrap(), out, other));
    }

    #[test]
    fn who_does_not_listen_is_no_agent() {
        let first = unix::mute("chaos-agent/-103/out");
        assert_eq!(found(-103), (true, Some("a process that is no agent".to_owned())));
        let second = unix::mute("chaos-agent/-103/out/2");
        assert_eq!(claim(-103, true).unwrap().held.len(), 0);
        drop((first, second));
        // Datagrams have names of their own.
        let _datagrams = UnixDatagram::bind_addr(&name(-103, "")).unwrap();
        assert_eq!(found(-103), (true, None));
    }

    #[test]
    fn roots_claim_wins_over_everybody_elses() {
        let listens = |uid| Holder::Listens(Peer { pid: 1, uid });
        for (holder, against_root, against_others) in [
            (listens(0), true, true),
            (listens(1000), false, true),
            (listens(65534), false, true),
            (Holder::Full, false, true),
            (Holder::Mute, false, false),
        ] {
            assert_eq!((holder.counts(0), holder.counts(1000)), (against_root, against_others), "{holder}");
        }
        assert_eq!(
            Holder::Listens(Peer { pid: 0, uid: 4242 }).to_string(),
            "another agent (of another PID namespace, uid 4242)"
        );
    }

    #[test]
    fn another_users_names_stop_nobody_who_is_root() {
        // This test once more, as that user, holds the names: the child below.
        const HOLD: &str = "CHAOS_TEST_HOLD";
        if std::env::var_os(HOLD).is_some() {
            let _held = ["", "/2"].map(|suffix| UnixListener::bind_addr(&name(-104, suffix)).unwrap());
            let _full: Vec<_> = (0..5000).map_while(|_| unix::connect("chaos-agent/-104/out").ok()).collect();
            println!("held");
            let _ = io::read_to_string(io::stdin());
            return;
        }
        if task::uid() != 0 {
            return; // only root can become another user
        }
        let mut child = std::process::Command::new("setpriv");
        let me = std::env::current_exe().unwrap();
        child.args(["--reuid", "65534", "--clear-groups"]).arg(me).env(HOLD, "1");
        child.args([
            "--exact",
            "--nocapture",
            "linux::claim::tests::another_users_names_stop_nobody_who_is_root",
        ]);
        let mut child =
            child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.map_while(Result::ok).any(|line| line.contains("held")));
        let wanted = format!("another agent (pid {}, uid 65534)", child.id());
        assert_eq!(found(-104), (true, Some(wanted)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
