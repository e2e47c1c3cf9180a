//! Signal names and numbers (signal(7)); the numbers are the target's own, from libc.

/// The signals that have a name on every Linux; each name is the value of a metric's label too.
static NAMES: [([&str; 1], i32); 31] = [
    (["SIGHUP"], libc::SIGHUP),
    (["SIGINT"], libc::SIGINT),
    (["SIGQUIT"], libc::SIGQUIT),
    (["SIGILL"], libc::SIGILL),
    (["SIGTRAP"], libc::SIGTRAP),
    (["SIGABRT"], libc::SIGABRT),
    (["SIGBUS"], libc::SIGBUS),
    (["SIGFPE"], libc::SIGFPE),
    (["SIGKILL"], libc::SIGKILL),
    (["SIGUSR1"], libc::SIGUSR1),
    (["SIGSEGV"], libc::SIGSEGV),
    (["SIGUSR2"], libc::SIGUSR2),
    (["SIGPIPE"], libc::SIGPIPE),
    (["SIGALRM"], libc::SIGALRM),
    (["SIGTERM"], libc::SIGTERM),
    (["SIGSTKFLT"], libc::SIGSTKFLT),
    (["SIGCHLD"], libc::SIGCHLD),
    (["SIGCONT"], libc::SIGCONT),
    (["SIGSTOP"], libc::SIGSTOP),
    (["SIGTSTP"], libc::SIGTSTP),
    (["SIGTTIN"], libc::SIGTTIN),
    (["SIGTTOU"], libc::SIGTTOU),
    (["SIGURG"], libc::SIGURG),
    (["SIGXCPU"], libc::SIGXCPU),
    (["SIGXFSZ"], libc::SIGXFSZ),
    (["SIGVTALRM"], libc::SIGVTALRM),
    (["SIGPROF"], libc::SIGPROF),
    (["SIGWINCH"], libc::SIGWINCH),
    (["SIGIO"], libc::SIGIO),
    (["SIGPWR"], libc::SIGPWR),
    (["SIGSYS"], libc::SIGSYS),
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
    NAMES.iter().find(|(name, _)| name[0].strip_prefix("SIG") == Some(short)).map(|(_, number)| *number)
}

/// `SIGTERM` for 15, `signal 40` for what has no name.
pub fn name(number: i32) -> String {
    match label(number) {
        [name] if is_named(number) => (*name).to_owned(),
        _ => format!("signal {number}"),
    }
}

/// Whether this is the number of a signal with a name.
pub fn is_named(number: i32) -> bool {
    label(number) != REAL_TIME
}

/// What has no name, as the value of a label.
const REAL_TIME: &[&str] = &["real-time"];

/// The name as the value of a metric's label; all that have no name share one.
pub fn label(number: i32) -> &'static [&'static str] {
    NAMES.iter().find(|(_, known)| *known == number).map_or(REAL_TIME, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_in_every_spelling() {
        for ([long], wanted) in NAMES {
            assert_eq!((number(long), number(&long[3..])), (Some(wanted), Some(wanted)));
            assert_eq!(label(wanted), [long]);
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
