//! What other people's texts may show: one line, no control characters, no secrets, not too long.
//!
//! A list of what secrets look like is never complete. So this errs on the side of hiding: from the first word that
//! may have to do with a secret, the rest of an argument is gone. Whoever may see less gets [`program`].

use std::fmt::Write;

/// Longest command line, in bytes.
const MAX: usize = 160;
/// What stands for a secret.
const HIDDEN: &str = "***";
/// What follows a word with one of these in it is not shown.
const SECRET: [&str; 19] = [
    "pass", "pw", "secret", "token", "key", "cred", "auth", "bearer", "cookie", "sig", "dsn", "conn",
    "session", "jwt", "private", "salt", "user", "login", "header",
];
/// Words of the Authorization header that a secret follows.
const SCHEMES: [&str; 4] = ["basic", "bearer", "digest", "negotiate"];
/// Letters of short options that have a password, a login, a header or a cookie behind them somewhere: mysql -p,
/// curl -u, -H and -b, redis-cli -a, ldapsearch -w and -D, sshpass -p.
const SHORT: &str = "abkpuwHPUW";
/// What ends a word within an argument.
const ENDS: &str = " \t=:&;,?\"'`(){}[]<>|";

/// Any bytes as one printable line: what is no UTF-8 is replaced, control characters are escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut line = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        // the bidirectional and line-breaking controls can make a terminal or a log viewer lie
        if letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}')
        {
            let _ = write!(line, "{}", letter.escape_unicode());
        } else {
            line.push(letter);
        }
    }
    line
}

/// The first word of a command line and how many arguments there are: "sleep, 1 argument". Only the first word,
/// because programs that give themselves a title put a whole command line there.
pub fn program(cmdline: &[u8]) -> String {
    let mut arguments = arguments(cmdline);
    let first = arguments.next().unwrap_or_default();
    let word = first.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let count = arguments.count();
    let mut line = name(word);
    let _ = write!(line, ", {count} argument{}", if count == 1 { "" } else { "s" });
    line
}

/// The name of a program or process without what may be a secret, cut at 160 bytes: whoever may name himself may write
/// there what he likes.
pub fn name(bytes: &[u8]) -> String {
    cut(argument(&printable(bytes), true).0, MAX)
}

/// A command line without what may be a secret, cut at 160 bytes.
pub fn command_line(cmdline: &[u8]) -> String {
    let mut line = String::new();
    let mut hide = false;
    for (index, bytes) in arguments(cmdline).enumerate() {
        if line.len() > MAX {
            break;
        }
        if index > 0 {
            line.push(' ');
        }
        let text = printable(bytes);
        if hide {
            line.push_str(HIDDEN);
            hide = is_scheme(&text); // "Authorization:" "Basic" "x"
        } else {
            let (shown, next) = argument(&text, index == 0);
            line.push_str(&shown);
            hide = next;
        }
    }
    cut(line, MAX)
}

/// A text in which addresses (`SCHEME://...`) have neither a user name nor a query.
pub fn urls(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        // A password may hold what would end an address.
        let blank = after.find([' ', '\t', '\n']).unwrap_or(after.len());
        let from = after[..blank].rfind('@').unwrap_or(0);
        let end = after[from..].find([' ', '\t', '\n', '"', '\'', '<', '>']);
        let (address, others) = after.split_at(end.map_or(after.len(), |end| from + end));
        let (main, query) = match address.split_once(['?', '#']) {
            Some((main, query)) if !query.is_empty() => (main, true),
            _ => (address, false),
        };
        match address.rsplit_once('@') {
            // A password may hold what would end an address: then what is behind it is the address.
            Some((_, host)) => {
                out.push_str(HIDDEN);
                out.push('@');
                out.push_str(host.split(['?', '#']).next().unwrap_or_default());
            }
            // A login whose rest is behind a blank.
            None if !has_port(main) => out.push_str(HIDDEN),
            None => out.push_str(main),
        }
        if query {
            out.push('?');
            out.push_str(HIDDEN);
        }
        rest = others;
    }
    out.push_str(rest);
    out
}

/// Whether what follows the host of an address is a port, if anything does.
fn has_port(address: &str) -> bool {
    let host = address.split('/').next().unwrap_or_default();
    let (_, port) = host.split_once(']').unwrap_or((host, host)); // [::1]:80
    port.split_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Each ends with a NUL; a program that rewrote them may have left some at the end.
fn arguments(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    cmdline.get(..end).unwrap_or_default().split(|byte| *byte == 0)
}

/// The text up to `most` bytes; what is left out is told by three points.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}

/// An argument as it may be shown, and whether the next one may not be. The `first` is the program.
fn argument(text: &str, first: bool) -> (String, bool) {
    let Some(at) = text.rfind('@') else { return words(text, first) };
    let (login, host) = text.split_at(at);
    // "--url=amqp://" or "--dsn=" before a login of any letters.
    let name = |end: &usize| {
        login[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let start = login.find("://").map(|at| at + 3).or(login.find('=').filter(name).map(|at| at + 1));
    let (mut shown, hide) = words(&login[..start.unwrap_or(0)], false);
    if !shown.ends_with(HIDDEN) {
        shown.push_str(HIDDEN);
    }
    let (host, next) = words(host, false);
    shown.push_str(&host);
    (shown, hide && host.len() == 1 || next)
}

/// An argument up to the first word that says that a secret follows, or that looks like one.
fn words(text: &str, first: bool) -> (String, bool) {
    let mut start = 0;
    let ends = text.char_indices().filter(|(_, letter)| ENDS.contains(*letter));
    for (end, length) in ends.map(|(end, letter)| (end, letter.len_utf8())).chain([(text.len(), 0)]) {
        let word = &text[start..end];
        let (kept, rest) = text.split_at(end + length);
        let hidden = |kept: &str| (format!("{kept}{HIDDEN}"), false);
        let option =
            word.strip_prefix('-').and_then(|word| word.chars().next()).filter(|at| SHORT.contains(*at));
        if looks_random(word) {
            return hidden(&text[..start]);
        }
        if option.is_some() && word.len() > 2 {
            // -pX, or -password X
            return (format!("{}{HIDDEN}", &text[..start + 2]), rest.is_empty() && is_secret(word));
        }
        // The path of a program says nothing about what follows.
        let names = option.is_some() || is_bundle(word) || !(first && length == 0) && is_secret(word);
        if names || is_scheme(word) {
            return if rest.is_empty() { (text.to_owned(), true) } else { hidden(kept) };
        }
        if text[end..].starts_with('?') && rest.contains('=') {
            return hidden(kept);
        }
        start = end + length;
    }
    (text.to_owned(), false)
}

/// By the name, or the last part of a path.
fn is_secret(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// Whether these are short options in one word, of which the last has a secret behind it: curl -sSu.
fn is_bundle(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|letters| {
        letters.ends_with(|last| SHORT.contains(last))
            && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Whether a part of 12 letters or more goes to and fro between digits, small letters and capitals, as tokens, hashes
/// and UUIDs do and names and versions do not.
fn looks_random(word: &str) -> bool {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => 1,
        b'a'..=b'z' => 2,
        b'A'..=b'Z' => 3,
        _ => 0,
    };
    word.split(['/', '.']).any(|part| {
        let (mut digits, mut changes, mut before) = (0, 0, 0);
        for now in part.bytes().map(class).filter(|class| *class > 0) {
            digits += usize::from(now == 1);
            changes += usize::from(before > 0 && before != now);
            before = now;
        }
        part.len() >= 12 && digits >= 2 && changes >= 4
    })
}

#[cfg(test)]
mod tests;
