//! Which processes are never victims, and which target names are too wide to be meant.

use crate::linux::proc::{COMM_LEN, Process, base_name};

/// Programs that hold a container, a node or a way into it together. Compared as whole names.
const PROTECTED: [&[u8]; 48] = [
    // what starts and reaps in containers and on nodes
    b"init",
    b"launchd",
    b"tini",
    b"tini-static",
    b"dumb-init",
    b"docker-init",
    b"catatonit",
    b"s6-svscan",
    b"s6-supervise",
    b"s6-linux-init",
    b"runsvdir",
    b"pause",
    // container runtimes
    b"dockerd",
    b"docker-proxy",
    b"containerd",
    b"runc",
    b"crun",
    b"youki",
    b"runsc",
    b"crio",
    b"conmon",
    b"conmonrs",
    b"podman",
    // Kubernetes
    b"kubelet",
    b"kube-proxy",
    b"kube-apiserver",
    b"kube-controller",
    b"kube-controller-manager",
    b"kube-scheduler",
    b"k3s",
    b"k3s-server",
    b"k3s-agent",
    b"k0s",
    // the ways in, and what the rest of a node stands on
    b"sshd",
    b"sshd-session",
    b"sshd-auth",
    b"dropbear",
    b"networkd",
    b"networkmanager",
    b"dbus-daemon",
    b"dbus-broker",
    b"dbus-broker-launch",
    b"rsyslogd",
    b"journald",
    b"udevd",
    b"elogind",
    b"agetty",
    b"login",
];

/// Families: the name itself, or the name and a dash (`systemd-journald`, `containerd-shim-runc-v2`,
/// `chaos-agent-linux-arm64`).
const FAMILIES: [&[u8]; 4] = [b"systemd", b"containerd-shim", b"chaos-agent", b"chaos-guard"];

/// Names that say only what a program is written in, or what nobody may kill. A version at the end is ignored.
const TOO_WIDE: [&str; 27] = [
    "python",
    "java",
    "node",
    "nodejs",
    "ruby",
    "perl",
    "php",
    "lua",
    "deno",
    "bun",
    "dotnet",
    "mono",
    "sh",
    "ash",
    "bash",
    "csh",
    "dash",
    "fish",
    "ksh",
    "tcsh",
    "zsh",
    "systemd",
    "init",
    "root",
    "kubelet",
    "dockerd",
    "containerd",
];

/// Why a target name is refused, or `None`.
pub fn refusal(target: &str) -> Option<&'static str> {
    let target = target.trim().to_ascii_lowercase(); // as the names that it is compared with
    let bare = target.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    if target.chars().count() < 3 {
        Some("is shorter than 3 characters, so it would match almost anything")
    } else if TOO_WIDE.contains(&target.as_str()) || TOO_WIDE.contains(&bare) {
        Some("is only the name of an interpreter, a shell or a system program, so it would match too much")
    } else {
        None
    }
}

/// Whether this program is never a victim. Looks at the process name and at the base name of the first
/// argument, or of the title that stands there (`sshd: root@pts/0`); never at further arguments.
pub fn is_protected(process: &Process<'_>) -> bool {
    let argv0 = process.argv0();
    let argv0 = argv0.strip_prefix(b"-").unwrap_or(argv0); // a login shell's dash
    let first = argv0.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let program = first.strip_suffix(b":").unwrap_or(argv0);
    is_name_protected(process.name()) || is_name_protected(base_name(program))
}

/// A name of exactly [`COMM_LEN`] bytes may have been cut by the kernel, so it stands for everything that it
/// begins; [`Process::name`] has completed it where that could be done.
fn is_name_protected(name: &[u8]) -> bool {
    let same = |known: &[u8]| {
        known.eq_ignore_ascii_case(name)
            || name.len() == COMM_LEN
                && known.get(..COMM_LEN).is_some_and(|cut| cut.eq_ignore_ascii_case(name))
    };
    let begins = |family: &[u8]| {
        name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
            && name.get(family.len()).is_none_or(|next| *next == b'-')
    };
    PROTECTED.iter().any(|known| same(known)) || FAMILIES.iter().any(|family| begins(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protected(comm: &str, cmdline: &[u8]) -> bool {
        is_protected(&Process { pid: 9, comm: comm.as_bytes(), cmdline })
    }

    #[test]
    fn names_are_compared_whole_and_only_the_program_counts() {
        for (comm, cmdline) in [
            ("pause", &b"/pause\0"[..]),
            ("4", b"/pause\0"),
            ("systemd-journal", b"/usr/lib/systemd/systemd-journald\0"),
            ("systemd-journal", b""),
            ("containerd-shim", b"/usr/bin/containerd-shim-runc-v2\0-id\0x\0"),
            ("kube-controller", b"kube-controller-manager\0"),
            ("kube-controller", b""),
            ("NetworkManager", b"/usr/sbin/NetworkManager\0"),
            ("dbus-broker-lau", b"/usr/bin/x\0"),
            ("anything", b"sshd: root@pts/0"),
            ("anything", b"sshd: /usr/sbin/sshd -D [listener]\0"),
            ("x", b"-init\0"),
            ("chaos-agent", b"/chaos-agent\0run\0"),
            ("chaos-agent-lin", b"dist/chaos-agent-linux-amd64\0"),
            ("chaos-guard", b"chaos-agent\0guard\0"),
            ("tini", b"/sbin/tini\0--\0myapp\0"),
        ] {
            assert!(protected(comm, cmdline), "{comm} {}", cmdline.escape_ascii());
        }
        for (comm, cmdline) in [
            ("mysqld", &b"mysqld\0--initialize\0"[..]),
            ("python3", b"python3\0app.py\0--pause\0init\0"),
            ("python3", b"python3\0/srv/chaos-agent/app.py\0"),
            ("app", b"/opt/init/app\0"),
            ("app", b"/opt/init files/app\0"),
            ("initialize", b"initialize\0"),
            ("pause-menu", b"pause-menu\0"),
            ("kube-controller", b"kube-controller-of-mine\0"),
            ("chaos-agents", b"chaos-agents\0"),
            ("systemdx", b"\0"),
            ("", b""),
            ("nginx", b"nginx: master process /usr/sbin/runc\0"),
        ] {
            assert!(!protected(comm, cmdline), "{comm} {}", cmdline.escape_ascii());
        }
    }

    #[test]
    fn wide_targets_are_refused_with_a_reason() {
        for wide in
            ["", " ", "ab", " ab ", "python", "Python3", "python3.11", "BASH", "sh", "init", "php8.2", "é"]
        {
            assert!(refusal(wide).is_some(), "{wide:?}");
        }
        for fine in ["abc", "redis", "python-app", "my.py", "node-exporter", "initialize", "日本語"] {
            assert_eq!(refusal(fine), None, "{fine:?}");
        }
    }
}
