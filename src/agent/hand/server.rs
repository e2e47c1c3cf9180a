//! The agent's end. It runs within the dice loop, which therefore must not wait here for anybody: at most [`CLIENTS`]
//! connections, each with a limit to what it may send and to the time until it says what it wants.

use super::{LINE, TOLD, is_trusted, line, name, who};
use crate::agent::why::Why;
use crate::agent::{Agent, INJECT};
use crate::board::{Live, Past};
use crate::exporter::metrics::Status;
use crate::failures::{self, Facts};
use crate::linux::sys::clock;
use crate::linux::sys::poll::{self, PollFd};
use crate::linux::sys::task;
use crate::linux::sys::unix::{self, Peer};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once; more wait in the kernel's queue, which is bounded too.
const CLIENTS: usize = 16;
/// How long one may take to say what it wants.
const GREETING: Duration = Duration::from_secs(2);
/// The longest fault, in milliseconds: a day, as in a config.
const LONGEST: u64 = 86_400_000;
/// What one may send in all, in bytes.
const MOST: usize = 256 << 10;
/// Connections that are accepted, and blocks that are read of one, in one turn of the loop.
const TURN: usize = 8;

/// Everybody who injects by hand.
#[derive(Debug, Default)]
pub struct Hands {
    port: u16,
    listener: Option<UnixListener>,
    /// Why nobody can register, as it was last said.
    trouble: Option<String>,
    /// Whether anybody is heard: not before it is known whether something halts the agent.
    open: bool,
    /// Until when nobody is accepted, because there was no descriptor for one.
    deaf: Option<Instant>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    peer: Peer,
    since: Instant,
    input: Vec<u8>,
    total: usize,
    fault: Option<Fault>,
}

/// A fault that was registered.
#[derive(Debug)]
struct Fault {
    live: Arc<Live>,
    /// Victims and commands that were told of it.
    told: usize,
    /// Whether it was told to end.
    ending: bool,
}

impl Hands {
    /// Hears whoever registers, from now on.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Listens at the name of this port, instead of another; tried again at each call where the name was taken.
    pub fn listen(&mut self, port: u16) {
        if self.listener.is_some() && self.port == port {
            return;
        }
        self.port = port;
        self.listener = None;
        let name = name(port);
        let bound = SocketAddr::from_abstract_name(&name).and_then(|name| UnixListener::bind_addr(&name));
        match bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
            Ok(listener) => {
                self.listener = Some(listener);
                if self.trouble.take().is_some() {
                    log::info!("faults by hand can be registered again");
                }
            }
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::AddrInUse => format!(
                        "the name @{name} is taken by {}; give each agent of a network namespace an \
                         agent.metrics.port of its own",
                        holder(&name)
                    ),
                    _ => format!("@{name}: {error}"),
                };
                if self.trouble.as_ref() != Some(&why) {
                    log::warn!("faults by hand cannot be registered: {why}");
                    self.trouble = Some(why);
                }
            }
        }
    }

    /// How many faults by hand are under way.
    pub fn active(&self) -> usize {
        self.clients.iter().filter(|client| client.fault.is_some()).count()
    }

    /// Tells every fault by hand to end; how many were not told before.
    pub fn end(&mut self, why: Why) -> usize {
        let mut count = 0;
        for client in &mut self.clients {
            if let Some(fault) = client.fault.as_mut().filter(|fault| !fault.ending) {
                fault.ending = true;
                count += 1;
                client.say(&["end", why.name()]);
            }
        }
        count
    }

    /// What the loop waits for.
    pub fn rows(&self) -> impl Iterator<Item = PollFd> {
        let room = self.open && self.clients.len() < CLIENTS && self.deaf.is_none();
        let listener = self.listener.iter().filter(move |_| room).map(AsRawFd::as_raw_fd);
        let clients = self.clients.iter().map(|client| client.stream.as_raw_fd());
        listener.chain(clients).map(|fd| poll::row(fd, libc::POLLIN))
    }

    /// When it must look again although nobody said anything.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.clients.iter().filter(|client| client.fault.is_none());
        waiting.map(|client| client.since + GREETING).chain(self.deaf).min()
    }

    #[inline(never)]
    fn accept(&mut self) {
        self.deaf = self.deaf.filter(|until| Instant::now() < *until);
        if !self.open || self.deaf.is_some() {
            return;
        }
        for _ in 0..TURN {
            let Some(listener) = self.listener.as_ref().filter(|_| self.clients.len() < CLIENTS) else {
                return;
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One who waits in the queue would wake the loop again and again.
                Err(_) => {
                    self.deaf = Some(Instant::now() + GREETING);
                    return;
                }
            };
            let peer = unix::peer(&stream).unwrap_or(Peer { pid: 0, uid: u32::MAX });
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let since = Instant::now();
            let client = Client { stream, peer, since, input: Vec::new(), total: 0, fault: None };
            if !is_trusted(peer) {
                log::debug!("{} may not register a fault", who(peer));
                client.say(&["never", &format!("only root and uid {} may register a fault", task::uid())]);
                continue;
            }
            self.clients.push(client);
        }
    }
}

/// Who has a name, as far as that can be told.
fn holder(name: &str) -> String {
    let peer = unix::connect(name).and_then(|socket| unix::peer(&socket));
    peer.map_or_else(|_| "another process".to_owned(), who)
}

impl Client {
    /// Never waits: a client that leaves so much unread is cut, which ends its fault.
    fn say(&self, words: &[&str]) {
        let mut text = String::new();
        line(&mut text, words);
        if (&self.stream).write_all(text.as_bytes()).is_err() {
            _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Takes in what has come; whether there may be more.
    #[inline(never)]
    fn read(&mut self) -> bool {
        let mut block = [0; 4096];
        for _ in 0..TURN {
            match self.stream.read(&mut block) {
                Ok(0) => return false,
                Ok(count) => {
                    self.total += count;
                    self.input.extend_from_slice(&block[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Whether it keeps to the limits.
    fn is_patient(&self) -> bool {
        let late = self.fault.is_none() && self.since.elapsed() >= GREETING;
        !late && self.input.len() <= LINE && self.total <= MOST
    }
}

impl Agent {
    /// Hears everybody who injects by hand. `tick` is the present one.
    pub(in crate::agent) fn hear(&mut self, tick: u64) {
        self.hands.accept();
        let mut index = 0;
        while index < self.hands.clients.len() {
            let client = &mut self.hands.clients[index];
            let open = client.read();
            let mut input = std::mem::take(&mut client.input);
            let whole = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            client.input = input.split_off(whole);
            let mut lines = input.split_inclusive(|byte| *byte == b'\n');
            let goes_on = lines.all(|line| self.told(index, &String::from_utf8_lossy(line), tick));
            if open && goes_on && self.hands.clients[index].is_patient() {
                index += 1;
                continue;
            }
            let client = self.hands.clients.swap_remove(index);
            if let Some(fault) = client.fault {
                let by = who(client.peer);
                let reason = format!("{by} ended without a word; its guard takes back what it left");
                // What nobody confirms is not said to be reverted.
                let reverted = fault.live.held().is_none();
                self.over(fault.live, Status::Failed, Some(reason), reverted, 0, None);
            }
        }
    }

    /// One line of a client. Says whether the connection goes on.
    #[inline(never)]
    fn told(&mut self, index: usize, line: &str, tick: u64) -> bool {
        let mut words = line.trim_end_matches('\n').splitn(5, '\t');
        let mut word = || words.next().unwrap_or_default();
        let first = word();
        let client = &mut self.hands.clients[index];
        let Some(fault) = &mut client.fault else {
            return first == "inject" && self.asked(index, &[word(), word(), word(), word()], tick);
        };
        match first {
            "victim" | "tc" if fault.told < 2 * TOLD => {
                fault.told += 1;
                let text = word().to_owned();
                if first == "tc" {
                    fault.live.facts.command(text)
                } else {
                    fault.live.facts.victim(text, None)
                }
                true
            }
            "victim" | "tc" => true,
            "active" => {
                let mut active = fault.live.active.lock().unwrap_or_else(PoisonError::into_inner);
                if active.is_none() {
                    *active = Some(Instant::now());
                    self.injector.metrics.active(fault.live.kind, 1);
                }
                true
            }
            "end" => {
                let status = word();
                let status = Status::ALL.into_iter().find(|known| known.name() == status);
                let failed = word().parse().unwrap_or(0);
                let cut = Why::named(word());
                let reason = Some(word().to_owned()).filter(|reason| !reason.is_empty());
                if let Some(fault) = client.fault.take() {
                    let status = status.unwrap_or(Status::Failed);
                    self.over(fault.live, status, reason, failed == 0, failed, cut);
                }
                false
            }
            _ => false,
        }
    }

    /// Somebody wants to inject: type, milliseconds, whether it insists, and what it would do.
    #[inline(never)]
    fn asked(&mut self, index: usize, [kind, time, force, plan]: &[&str; 4], tick: u64) -> bool {
        let time = time.parse().ok().filter(|time| *time <= LONGEST);
        let (Some(kind), Some(time)) = (failures::kind(kind), time) else { return false };
        let peer = self.hands.clients[index].peer;
        let (by, forced) = (who(peer), *force == "1");
        let hindrance = self.hindrance(forced);
        let refused = !forced && hindrance.is_some();
        self.injector.event("inject", |line| {
            line.text("type", kind.name)
                .text("what", plan)
                .text("decision", if refused { "no" } else { "inject" });
            line.optional("reason", hindrance.as_deref()).truth("forced", forced);
            line.whole("pid", peer.pid.into()).whole("uid", peer.uid.into());
        });
        let level = if hindrance.is_some() { log::Level::Warn } else { log::Level::Info };
        let (what, why) = match &hindrance {
            Some(why) if refused => (" is refused: ", why.as_str()),
            Some(why) => (" insists although ", why.as_str()),
            None => (" injects by hand", ""),
        };
        log::log!(level, "{INJECT}: {by}{what}{why}: {plan}");
        if refused {
            self.hands.clients[index].say(&["no", hindrance.as_deref().unwrap_or_default()]);
            return false;
        }
        self.injector.register(kind.name);
        let live = Arc::new(Live {
            entry: INJECT.to_owned(),
            kind: kind.name,
            by_hand: true,
            tick,
            plan: (*plan).to_owned(),
            started: clock::now(),
            since: Instant::now(),
            duration: Duration::from_millis(time),
            active: Mutex::new(None),
            facts: Arc::new(Facts::new(self.injector.is_heard())),
        });
        self.injector.board.begin(&live);
        self.hands.clients[index].fault = Some(Fault { live, told: 0, ending: false });
        self.hands.clients[index].say(&["go"]);
        true
    }

    /// Why nothing should be injected by hand now. If nothing hinders or with `forced`, the injection is counted as begun.
    #[inline(never)]
    fn hindrance(&mut self, forced: bool) -> Option<String> {
        let why = if let Some(why) = self.halts.text() {
            Some(format!("the agent is halted ({why})"))
        } else if let Some(gone) = &self.gone {
            Some(format!("the application is not there ({gone})"))
        } else if self.idle {
            Some("the agent has no config that can be used".to_owned())
        } else if let Some(waiting) = &self.waiting {
            Some(format!("the application was not seen well yet ({waiting})"))
        } else if self.config.agent.dry_run {
            Some("the agent is in a dry run".to_owned())
        } else {
            None
        };
        let active = self.running.len() + self.hands.active();
        let now = self.times.now();
        let counts = forced || why.is_none();
        let limit =
            counts.then(|| self.decider.admit(&self.config.agent.limits, now, active, forced)).flatten();
        why.or_else(|| limit.map(|limit| format!("{} is reached ({active} active)", limit.key())))
    }

    /// A fault by hand has ended.
    fn over(
        &self,
        live: Arc<Live>,
        status: Status,
        reason: Option<String>,
        reverted: bool,
        failed: usize,
        cut: Option<Why>,
    ) {
        let (took, held) = (live.since.elapsed(), live.held());
        let past = Past { live, status, reason, took, held, verified: held.is_some(), reverted };
        self.injector.conclude(past, failed, cut);
    }
}
