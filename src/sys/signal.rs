//! Signal names and numbers (signal(7)); the numbers are the target's own, from libc.

/// The signals that have a name on every Linux, without the `SIG` before it.
const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The highest signal number: `_NSIG` (asm-generic/signal.h). 35 to 64 are real-time signals of programs.
pub const MAX: i32 = 64;

/// The number of a signal given by name, with or without `SIG`, in any case, or by number (1 to [`MAX`]).
pub fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=MAX).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(name, _)| *name == short).map(|(_, number)| *number)
}

/// `SIGTERM` for 15, `signal 40` for what has no name.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_in_every_spelling() {
        for (short, wanted) in NAMES {
            assert_eq!(number(short), Some(wanted));
            assert_eq!(number(&name(wanted)), Some(wanted));
            assert_eq!(number(&name(wanted).to_lowercase()), Some(wanted));
            assert_eq!(number(&wanted.to_string()), Some(wanted));
        }
        assert_eq!((number("64"), number("40")), (Some(64), Some(40)));
        assert_eq!((name(15).as_str(), name(40).as_str()), ("SIGTERM", "signal 40"));
        for wrong in ["", "0", "65", "-9", "SIG", "SIGSIGTERM", "TERMINATE", "9x"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }
}
