//! `validate` on real files: what is good, and everything that is not.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// `validate FILE` with bounds on memory (KiB of address space) and CPU time (seconds) that no honest config
/// comes near: a bomb that goes off ends by a signal instead of exit code 64.
fn validate(file: &Path) -> Output {
    let script = "ulimit -v ${CHAOS_ADDRESS_SPACE:-262144}; ulimit -t 20; exec \"$0\" validate \"$1\"";
    Command::new("sh")
        .args(["-c", script])
        .arg(binary())
        .arg(file)
        .env_remove("CHAOS_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const GOOD: &str = "failures:\n  network: {enabled: true, probability: 0.5, duration_seconds: 2}\n";

/// Name, bytes, and words of the complaint.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let entry =
        |settings: &str| format!("failures:\n  network: {{enabled: true, {settings}}}\n").into_bytes();
    let laughs = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))
    });
    let wide = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(30_000), "*a,".repeat(10_000));
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(GOOD.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    vec![
        ("empty", vec![], "the file is empty"),
        ("comment", b"# later\n".to_vec(), "the file is empty"),
        ("null", b"~\n".to_vec(), "the file is empty"),
        ("list", b"- failures\n".to_vec(), "it must be a mapping"),
        ("word", b"failures".to_vec(), "it must be a mapping"),
        ("binary", own[..5000].to_vec(), "is not text"),
        ("large binary", own, "larger than 64 KiB"),
        ("latin1", b"failures: {} # \xe9t\xe9\n".to_vec(), "is not UTF-8: byte 15 is 0xe9"),
        ("utf16", utf16, "is UTF-16"),
        ("nul", b"failures: {}\n\0".to_vec(), "byte 13 is NUL"),
        ("10 MB of brackets", vec![b'['; 10 << 20], "larger than 64 KiB"),
        ("brackets", vec![b'['; 60_000], ":1:129: more than 128 brackets"),
        ("braces", "{a: ".repeat(16_000).into_bytes(), "more than 128 brackets"),
        ("pairs of brackets", "[]".repeat(30_000).into_bytes(), "goes on behind the end"),
        ("many lists", format!("a: [{}]", "[],".repeat(20_000)).into_bytes(), "too large"),
        ("dashes", format!("{}1", "- ".repeat(30_000)).into_bytes(), "nested too deeply"),
        ("questions", format!("{}1", "? ".repeat(30_000)).into_bytes(), "nested too deeply"),
        (
            "indents",
            (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into_bytes(),
            "nested",
        ),
        ("alias bomb", laughs.into_bytes(), "too large: over 20,000 values"),
        ("wide alias bomb", wide.into_bytes(), "too large: over 20,000 values"),
        ("own alias", b"failures: &a {x: *a}\n".to_vec(), "nested too deeply"),
        ("unknown alias", b"failures: *a\n".to_vec(), ":1:11: an alias"),
        (
            "anchor twice",
            b"x-a: &a 1\nx-b: &a 2\nx-c: *a\nfailures: {}\n".to_vec(),
            ":2:6: anchor &a is defined twice",
        ),
        ("documents", b"failures: {}\n---\nfailures: {}\n".to_vec(), "several YAML documents"),
        ("tag", b"failures: !net {}\n".to_vec(), ":1:11: a tag"),
        ("tab", b"failures:\n\tnetwork: {}\n".to_vec(), ":2:1: not valid YAML: text starts"),
        ("open quote", b"failures: \"\n".to_vec(), "not valid YAML"),
        ("20,000 keys", (0..9000).map(|n| format!("k{n}:\n")).collect::<String>().into_bytes(), "1000 keys"),
        ("no failures", b"agent: {interval_seconds: 10}\n".to_vec(), ": failures: is missing"),
        ("null failures", b"failures:\n".to_vec(), ": failures: is missing or empty"),
        ("list of failures", b"failures: [network]\n".to_vec(), ":1:1: failures: a list of 1 is not allowed"),
        ("duplicate key", b"failures: {}\nfailures: {}\n".to_vec(), ":2:1: failures: the key is here twice"),
        (
            "duplicate entry",
            b"failures:\n  network: {}\n  network: {}\n".to_vec(),
            ":3:3: failures.network: the key",
        ),
        (
            "unknown key",
            b"failures: {}\nagnet: {}\n".to_vec(),
            ":2:1: agnet: is not a known key; did you mean agent?",
        ),
        ("unknown type", b"failures:\n  networks: {}\n".to_vec(), "did you mean network?"),
        (
            "nan",
            entry("duration_seconds: 1, probability: .nan"),
            "probability: .nan is not allowed: a number from 0 to 1",
        ),
        ("inf", entry("duration_seconds: .inf, probability: 1"), "duration_seconds: .inf is not allowed"),
        ("negative", entry("duration_seconds: 1, probability: -0.1"), "probability: -0.1 is not allowed"),
        ("above one", entry("duration_seconds: 1, probability: 30"), "probability: 30 is not allowed"),
        ("quoted", entry("duration_seconds: 1, probability: \"0.3\""), "remove the quotes"),
        ("huge", entry("duration_seconds: 1e300, probability: 1"), "duration_seconds: 1e300 is not allowed"),
        (
            "wider than any",
            entry(&format!("duration_seconds: {}, probability: 1", "9".repeat(400))),
            "duration_seconds: \"999",
        ),
        ("zero", entry("duration_seconds: 0, probability: 1"), "duration_seconds: 0 is not allowed"),
        ("missing", entry("probability: 1"), ":2:3: failures.network.duration_seconds: is missing"),
        ("delay", entry("probability: 1, duration_seconds: 1, delay_ms: 10001"), "from 0 to 10000"),
        (
            "disabled but wrong",
            b"failures:\n  network: {enabled: false, delay_ms: fast}\n".to_vec(),
            "delay_ms: \"fast\"",
        ),
        (
            "interval",
            b"agent: {interval_seconds: 0}\nfailures: {}\n".to_vec(),
            "agent.interval_seconds: 0 is not allowed",
        ),
        ("port", b"agent: {metrics: {port: 65536}}\nfailures: {}\n".to_vec(), "from 1 to 65535"),
        (
            "seed",
            b"agent: {seed: 18446744073709551616}\nfailures: {}\n".to_vec(),
            "agent.seed: 18446744073709551616",
        ),
        ("escape", b"failures:\n  \"\\e[31m\": {}\n".to_vec(), "failures.\\u{1b}[31m"),
    ]
}

#[test]
fn every_bad_file_is_met_with_a_clear_error_and_exit_64() {
    let folder = Folder::new();
    for (name, bytes, words) in bad_files() {
        let file = folder.write("bad.yaml", bytes);
        let done = validate(&file);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(64), "{name}: {}: {said}", done.status);
        assert!(said.contains(words), "{name}: {words:?} is not in: {said}");
        assert!(done.stdout.is_empty(), "{name}");
        let place = format!("{}:", file.display());
        assert!(said.lines().all(|line| line.starts_with(&place)), "{name}: {said}");
        assert!(said.len() < 20_000, "{name}: {} bytes", said.len());
    }
}

#[test]
fn what_is_no_readable_file_is_met_with_a_clear_error_and_exit_64() {
    let folder = Folder::new();
    let there = |name: &str| folder.0.join(name);
    std::fs::create_dir(there("folder")).unwrap();
    std::os::unix::fs::symlink("loop", there("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(there("fifo")).status().unwrap().success());
    std::os::unix::fs::symlink("fifo", there("to-fifo")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(there("socket")).unwrap();
    std::fs::File::create(there("huge")).unwrap().set_len(1 << 30).unwrap();
    for (path, words) in [
        (there("nothing"), "No such file or directory"),
        (there("folder"), "it is a directory"),
        // "Too many levels of symbolic links" or "Symbolic link loop": each C library has its words.
        (there("loop"), "ymbolic link"),
        (there("nothing/deeper"), "No such file or directory"),
        (there("fifo"), "it is a pipe (FIFO), not a regular file"),
        (there("to-fifo"), "it is a pipe (FIFO), not a regular file"),
        (there("socket"), "it is a socket, not a regular file"),
        (there("huge"), "larger than 64 KiB"),
        (PathBuf::from("/dev/null"), "it is a device, not a regular file"),
        (PathBuf::from("/dev/zero"), "it is a device, not a regular file"),
        // "Input/output error" or "I/O error", likewise.
        (PathBuf::from("/proc/self/mem"), " error"),
    ] {
        let done = validate(&path);
        let said = text(&done.stderr);
        assert!(done.status.code() == Some(64) && said.contains(words), "{}: {said}", path.display());
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
}

#[test]
fn a_good_config_is_printed_with_its_defaults_and_its_print_is_the_same_again() {
    let folder = Folder::new();
    let done = validate(&folder.write("good.yaml", GOOD));
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""));
    let effective = text(&done.stdout);
    for line in
        ["  interval_seconds: 10", "    port: 8000", "    delay_ms: 100", "  level: INFO", "  seed: null"]
    {
        assert!(effective.lines().any(|found| found == line), "{line:?} is not in:\n{effective}");
    }
    let again = validate(&folder.write("again.yaml", &effective));
    assert_eq!(text(&again.stdout), effective, "{}", text(&again.stderr));
}

#[test]
fn a_warning_goes_to_standard_error_and_the_config_counts() {
    let folder = Folder::new();
    let file = folder.write("odd.yaml", GOOD.replace("0.5", "0"));
    let done = validate(&file);
    let expected = format!(
        "warning: {}:2:41: failures.network.probability: 0 is the probability of an enabled entry: \
         it will never happen\n",
        file.display()
    );
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), expected));
    assert!(text(&done.stdout).contains("probability: 0\n"));
}

#[test]
fn every_shipped_config_and_every_one_of_the_predecessor_is_good() {
    let mut files = vec![PathBuf::from("config/config.yaml")];
    for folder in ["config/examples", "tests/program/configs"] {
        files.extend(std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    }
    assert!(files.len() >= 8);
    for file in files {
        let done = validate(&file);
        assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""), "{}", file.display());
    }
}

#[test]
fn the_first_place_with_a_config_is_taken() {
    let (folder, other) = (Folder::new(), Folder::new());
    folder.write("config.yaml", GOOD.replace("0.5", "0.25"));
    let named = other.write("named.yaml", GOOD.replace("0.5", "0.75"));
    let probability = |prepare: &dyn Fn(&mut Command)| {
        let mut command = Command::new(binary());
        command.arg("validate").current_dir(&folder.0).env_remove("CHAOS_CONFIG");
        prepare(&mut command);
        let done = command.output().unwrap();
        let said = text(&done.stdout);
        let line = said.lines().find_map(|line| line.trim().strip_prefix("probability: ")).map(str::to_owned);
        line.unwrap_or_else(|| text(&done.stderr))
    };
    assert_eq!(probability(&|_| {}), "0.25");
    assert_eq!(probability(&|command| _ = command.env("CHAOS_CONFIG", "")), "0.25");
    assert_eq!(probability(&|command| _ = command.env("CHAOS_CONFIG", &named)), "0.75");
    assert_eq!(probability(&|command| _ = command.env("CHAOS_CONFIG", "/nowhere").arg(&named)), "0.75");
    // What was named must be there; nothing else is taken instead.
    let said = probability(&|command| _ = command.env("CHAOS_CONFIG", "/nowhere"));
    assert_eq!(said, "cannot read /nowhere: No such file or directory\n");
}

#[test]
fn a_closed_or_full_output_is_no_panic() {
    let folder = Folder::new();
    let file = folder.write("odd.yaml", GOOD.replace("0.5", "0"));
    for (redirect, code) in
        [(">/dev/full", 1), (">&-", 0), ("2>/dev/full", 0), ("2>&-", 0), (">&- 2>&-", 0), ("| true", 0)]
    {
        let script = format!("\"$0\" validate \"$1\" {redirect}");
        let done = Command::new("sh").args(["-c", &script]).arg(binary()).arg(&file).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{redirect}: {}", text(&done.stderr));
        assert!(!text(&done.stderr).contains("panick"), "{redirect}");
    }
}
