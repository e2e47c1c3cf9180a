//! Names and command lines for logs: one line, no control characters, no secrets, not too long.

use std::fmt::Write;

/// Longest command line in a log, in bytes.
const MAX: usize = 160;
/// What stands for a secret.
const HIDDEN: &str = "***";
/// A word with one of these in its name has a value that must not be shown.
const SECRET: [&str; 9] = ["pass", "pwd", "secret", "token", "key", "cred", "auth", "bearer", "cookie"];

/// Any bytes as one printable line: what is no UTF-8 is replaced, control characters are escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut line = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        // the bidirectional and line-breaking controls can make a terminal or a log viewer lie
        if letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}') {
            let _ = write!(line, "{}", letter.escape_unicode());
        } else {
            line.push(letter);
        }
    }
    line
}

/// A command line with the values of password-like options replaced by `***`, cut at 160 bytes. Arguments are
/// taken apart at blanks too, because `sh -c "..."` and titles hold whole command lines.
pub fn redacted(cmdline: &[u8]) -> String {
    let mut line = String::new();
    let mut hide_next = false;
    for word in cmdline.split(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\n')).filter(|word| !word.is_empty())
    {
        if line.len() > MAX {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let word = printable(word);
        let (shown, next) = redact(&word, hide_next);
        line.push_str(&shown);
        hide_next = next;
    }
    if line.len() > MAX {
        let end = (0..=MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// A word as it may be shown, and whether the next one is its secret value.
fn redact(word: &str, hide: bool) -> (String, bool) {
    if hide && !word.starts_with("--") {
        return (HIDDEN.to_owned(), is_secret(word)); // "Authorization: Bearer x" has two
    }
    if let Some((name, value)) = word.split_once(['=', ':'])
        && !value.is_empty()
        && !value.starts_with("//")
        && is_secret(name)
    {
        return (format!("{name}={HIDDEN}"), is_secret(value));
    }
    if let Some(shown) = without_login(word) {
        return (shown, false);
    }
    let takes_next = word.starts_with('-') || word.ends_with(':') || word.eq_ignore_ascii_case("bearer");
    (word.to_owned(), takes_next && is_secret(word))
}

/// `scheme://user:password@host` without the password.
fn without_login(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (login, _) = authority.rsplit_once('@')?;
    let (user, _) = login.split_once(':')?;
    Some(format!("{scheme}://{user}:{HIDDEN}{}", rest.get(login.len()..)?))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        for (cmdline, shown) in [
            (&b"app\0--password\0hunter2\0-v\0"[..], "app --password *** -v"),
            (b"app\0--password=hunter2\0", "app --password=***"),
            (b"app\0--api-key:hunter2\0", "app --api-key=***"),
            (b"java\0-Ddb.PassWord=hunter2\0", "java -Ddb.PassWord=***"),
            (b"sh\0-c\0TOKEN=hunter2 exec app --secret hunter2\0", "sh -c TOKEN=*** exec app --secret ***"),
            (b"curl\0-H\0Authorization: Bearer hunter2\0", "curl -H Authorization: *** ***"),
            (b"curl\0-H\0Authorization:Bearer hunter2\0", "curl -H Authorization=*** ***"),
            (b"app\0redis://me:hunter2@db/0?x=1\0", "app redis://me:***@db/0?x=1"),
            (b"app\0--url=amqp://me:hun@ter2@db\0", "app --url=amqp://me:***@db"),
            (b"app\0--auth\0--verbose\0", "app --auth --verbose"),
            (b"redis-server *:6379", "redis-server *:6379"),
            (b"app\0http://host/path@x:1\0", "app http://host/path@x:1"),
            (b"", ""),
        ] {
            assert_eq!(redacted(cmdline), shown);
            assert!(!redacted(cmdline).contains("ter2"));
        }
    }

    #[test]
    fn lines_stay_lines_and_short() {
        assert_eq!(printable(b"a\nb\x1b[31m\xff\xe2\x80\xae"), "a\\u{a}b\\u{1b}[31m\u{fffd}\\u{202e}");
        let long = redacted(&[&b"x".repeat(159)[..], "é\0more".as_bytes()].concat());
        assert_eq!(long, format!("{}...", "x".repeat(159)), "cut before the letter, not within");
        assert!(redacted(&b"word\0".repeat(30_000)).len() < 200);
    }
}
