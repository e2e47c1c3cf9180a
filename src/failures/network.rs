//! network: delays everything that leaves through an interface, by `tc` command lines that set a netem qdisc.
//!
//! The qdisc outlives whoever set it, so every one is announced to the guard first, carries the agent's own
//! handle, and is read back before the fault counts as active.

use super::{Failure, Host, Injection, Kind, Outcome};
use crate::command;
use crate::error::{Context, Error, Result};
use crate::settings::Section;
use crate::sys::{netlink::Netlink, task};
use crate::tc::{self, Options, Qdisc, message::code};
use crate::undo::{HANDLE, Undo};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The row of this failure in [`super::KINDS`].
pub const KIND: Kind = Kind { name: "network", timed: true, guarded: true, parse };

/// Longest name of an interface: `IFNAMSIZ` less the NUL (linux/if.h).
const MAX_NAME: usize = 15;
/// Root qdiscs that the kernel sets by itself, at handle 0: nobody's choice, so they may be replaced.
const DEFAULTS: [&str; 5] = ["noqueue", "pfifo_fast", "fq_codel", "fq", "mq"];
/// Packets a second that netem must be able to hold back without dropping: 1.2 Gbit/s of full-sized ones.
const PACKETS_PER_SECOND: f64 = 100_000.0;
/// netem's own default limit (net/sched/sch_netem.c), kept as the floor.
const FLOOR: f64 = 1000.0;
/// How long one `tc` may take.
const TC_LIMIT: Duration = Duration::from_secs(5);

struct Network {
    interface: String,
    delay_ms: f64,
    tc: &'static str,
}

fn parse(section: &mut Section<'_>) -> Option<Box<dyn Failure>> {
    let interface = section.text_or("interface", "eth0");
    if !name_is_valid(&interface) {
        section.problem(
            "interface",
            "is not the name of an interface",
            "1 to 15 letters, digits and the signs . _ : -",
        );
    }
    let delay_ms = section.number_or("delay_ms", 0.0..=10_000.0, 100.0);
    let tc = section.choice_or("tc", &["auto", "builtin", "system"], "auto");
    Some(Box::new(Network { interface, delay_ms, tc }))
}

/// Letters, digits, dot, underscore, colon and dash; the kernel (dev_valid_name in net/core/dev.c) takes more,
/// but nothing else is ever meant.
fn name_is_valid(name: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(sign) && !matches!(name, "." | "..")
}

impl Network {
    /// netem drops what comes in while it holds `limit` packets, so that a delay with the default limit of 1000
    /// loses traffic from 10,000 packets a second on: enough room for [`PACKETS_PER_SECOND`] instead.
    fn limit(&self) -> u32 {
        (FLOOR + self.delay_ms / 1000.0 * PACKETS_PER_SECOND).ceil() as u32
    }

    /// The words after `tc`.
    fn words(&self) -> Vec<String> {
        let line = format!(
            "qdisc add dev {} root handle {:x}: netem limit {} delay {}ms",
            self.interface,
            HANDLE >> 16,
            self.limit(),
            self.delay_ms
        );
        line.split(' ').map(str::to_owned).collect()
    }

    /// The interface's index.
    fn index(&self, host: &Host) -> Result<i32> {
        let file = host.sys.join("class/net").join(&self.interface).join("ifindex");
        std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            let there = interfaces(&host.sys.join("class/net"));
            Error::refused(format!(
                "there is no interface {}; interfaces here: {there}; set failures.*.interface",
                self.interface
            ))
        })
    }

    /// Refuses a root qdisc that somebody else has set. True if our own is there, left by an earlier agent.
    fn look(&self, netlink: &Netlink, index: i32) -> Result<bool> {
        match self.root(netlink, index)? {
            None => Ok(false),
            Some(root) if root.handle == HANDLE => Ok(true),
            Some(root) if root.handle == 0 && DEFAULTS.contains(&root.kind.as_str()) => Ok(false),
            Some(root) => Err(Error::refused(format!(
                "interface {} has a root qdisc {} {:x}: that the agent did not set; it will not be replaced: \
                 delete it (tc qdisc del dev {0} root) or choose another interface",
                self.interface,
                root.kind,
                root.handle >> 16
            ))),
        }
    }

    fn root(&self, netlink: &Netlink, index: i32) -> Result<Option<Qdisc>> {
        let all = tc::qdiscs(netlink, Some(index))
            .map_err(std::io::Error::from)
            .doing("list the qdiscs of", &self.interface)?;
        Ok(all.into_iter().find(|qdisc| qdisc.parent == code::ROOT))
    }

    /// Runs `tc` on the words of this fault.
    fn set(&self, injection: &Injection<'_>) -> Result<()> {
        let words = self.words();
        let mut command = self.program();
        command.args(&words);
        // With the guard's pipe as its standard input: see Guard::pipe.
        command.stdin(injection.guard.pipe().map_or_else(Stdio::null, Stdio::from));
        log::info!("{}: tc {}", injection.entry, words.join(" "));
        let done = command::run(&mut command, TC_LIMIT)?;
        if done.status.success() {
            return Ok(());
        }
        Err(explain(&done.stderr, &words))
    }

    /// `tc` from PATH where there is one, else this program itself.
    fn program(&self) -> Command {
        let in_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join("tc")).find(|tc| tc.is_file())
        };
        match (self.tc, in_path()) {
            ("auto" | "system", Some(tc)) => Command::new(tc),
            ("system", None) => Command::new("tc"),
            _ => {
                let mut own = Command::new("/proc/self/exe");
                own.arg("tc");
                own
            }
        }
    }

    /// Compares what the kernel has now with what was asked for.
    fn verify(&self, netlink: &Netlink, index: i32) -> Result<()> {
        let root = self.root(netlink, index)?;
        let asked = (self.delay_ms * 1e6).round() as i64;
        let is_ours = root.as_ref().is_some_and(|root| {
            let Options::Netem(netem) = &root.options else { return false };
            // Older kernels and tools carry the delay in ticks of 64 ns.
            root.handle == HANDLE && (netem.latency - asked).abs() <= 1000 && netem.limit == self.limit()
        });
        if is_ours {
            return Ok(());
        }
        let found = root.map_or_else(|| "nothing".to_owned(), |root| format!("{root:?}"));
        Err(Error::refused(format!("tc reported success, but interface {} has {found}", self.interface)))
    }
}

/// Says what a refusal of the kernel means and what to do about it.
fn explain(stderr: &str, words: &[String]) -> Error {
    let said = stderr.trim().replace('\n', " ");
    let hint = if said.contains("kind is unknown") || said.contains("qdisc not found") {
        "the kernel has no sch_netem: on the node, modprobe sch_netem, or install the package with the extra \
         kernel modules"
    } else if said.contains("not permitted") {
        "the container needs the capability NET_ADMIN and uid 0"
    } else {
        "see the words of tc above"
    };
    Error::refused(format!("tc {} failed: {said}; {hint}", words.join(" ")))
}

fn interfaces(folder: &Path) -> String {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|name| name.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Failure for Network {
    fn check(&self, host: &Host) -> Result<()> {
        let index = self.index(host)?;
        if !task::has_capability(task::CAP_NET_ADMIN) {
            return Err(Error::refused(
                "the agent lacks the capability NET_ADMIN; add it to the container's securityContext and run \
                 as uid 0",
            ));
        }
        let netlink = Netlink::open().doing("open", "a netlink socket")?;
        self.look(&netlink, index).map(|_| ())
    }

    fn describe(&self, _host: &Host) -> String {
        format!("delays everything sent through {} by {} ms", self.interface, self.delay_ms)
    }

    fn inject(&self, injection: &Injection<'_>) -> Result<Outcome> {
        let index = self.index(injection.host)?;
        let netlink = Netlink::open().doing("open", "a netlink socket")?;
        if self.look(&netlink, index)? {
            tc::delete_root(&netlink, index, HANDLE).doing("delete the qdisc left on", &self.interface)?;
        }
        let undo = Undo::RemoveRoot { ifindex: index, handle: HANDLE };
        let change = injection.change(undo, || {
            self.set(injection)?;
            self.verify(&netlink, index)
        })?;
        injection.hold();
        if !change.revert()? {
            return Err(Error::refused(format!(
                "the qdisc on {} had been removed by somebody else before its time",
                self.interface
            )));
        }
        Ok(Outcome::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_that_tc_and_the_kernel_take() {
        for good in ["eth0", "enp3s0f1", "br-lan", "eth0.100", "wlan_0", "eth0:1", "a", "abcdefghijklmno"] {
            assert!(name_is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", "abcdefghijklmnop", "eth 0", "eth0;reboot", "../eth0", "eth0\n", "ä"] {
            assert!(!name_is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_limit_leaves_room_for_a_gigabit_and_never_less_than_the_kernel_gives() {
        let limit = |delay_ms| Network { interface: "eth0".into(), delay_ms, tc: "auto" }.limit();
        assert_eq!((limit(0.0), limit(100.0), limit(10_000.0)), (1000, 11_000, 1_001_000));
    }

    #[test]
    fn the_words_are_tcs_own() {
        let network = Network { interface: "eth0".into(), delay_ms: 0.5, tc: "auto" };
        assert_eq!(
            network.words().join(" "),
            "qdisc add dev eth0 root handle ca05: netem limit 1050 delay 0.5ms"
        );
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let words = ["qdisc".to_owned(), "add".to_owned()];
        let hint = |text: &str| explain(text, &words).to_string();
        assert!(hint("Error: Specified qdisc kind is unknown.\n").contains("modprobe sch_netem"));
        assert!(hint("RTNETLINK answers: Operation not permitted").contains("NET_ADMIN"));
    }
}
