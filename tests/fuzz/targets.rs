//! What reads bytes that others wrote: a target each. A target takes any bytes, and fails by a panic: one in the code
//! under test (overflows and assertions count), or its own about what must hold. Nothing here changes the machine.
//!
//! libFuzzer drives them (main.rs), and the unit tier runs every seed in the folder of the target's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chaos_agent::client::{Url, answer};
use chaos_agent::commands::{table, words};
use chaos_agent::config;
use chaos_agent::dice::schedule::{Cron, Offset};
use chaos_agent::error::Error;
use chaos_agent::exporter::http::request::{self, Parsed};
use chaos_agent::failures::KINDS;
use chaos_agent::linux::cgroup::Cgroup;
use chaos_agent::linux::proc::{Reader, Stat, base_name};
use chaos_agent::linux::sys::netlink;
use chaos_agent::linux::tc::action::Action;
use chaos_agent::linux::tc::link::Link;
use chaos_agent::linux::tc::message::{HEADER, Message, code};
use chaos_agent::linux::tc::netem::Netem;
use chaos_agent::linux::tc::print::Printer;
use chaos_agent::linux::tc::sched::{self, Prio, Tbf};
use chaos_agent::linux::tc::u32::U32;
use chaos_agent::linux::tc::words::{self as tc_words, Words};
use chaos_agent::linux::tc::{Filter, Options, Qdisc, filter, qdisc};
use chaos_agent::plan;
use chaos_agent::revert::{guard, undo::Undo};
use chaos_agent::settings::{self, Report};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A target, and the name of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("answer", answer),
    ("cgroup", cgroup),
    ("config", config),
    ("cron", cron),
    ("guard", guard),
    ("netlink", netlink),
    ("proc", proc),
    ("request", request),
    ("tc", tc),
    ("trail", trail),
    ("url", url),
    ("words", words),
];

/// The inputs of a target that takes several files: what stands between lines `---`.
fn parts(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while parts.len() + 1 < count
        && let Some(at) = rest.windows(5).position(|window| window == b"\n---\n")
    {
        parts.push(&rest[..=at]);
        rest = &rest[at + 5..];
    }
    parts.push(rest);
    parts.resize(count, b"");
    parts
}

/// A folder for a target that reads files; the same for every input.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// What is shown to people has no control characters but line ends.
fn shown(text: &str) {
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
}

/// A config file: a config whose effective form loads to itself, or problems that stand at a line of the file.
fn config(bytes: &[u8]) {
    let mut report = Report::default();
    if let Some(text) = settings::decode(bytes, &mut report) {
        let node = settings::parse(&text, &mut report);
        assert!(node.is_some() || !report.is_clean(), "neither a tree nor a problem");
    }
    match config::parse("f", bytes, KINDS) {
        Ok(loaded) => {
            shown(&loaded.effective);
            assert!(loaded.config.entries.iter().all(|entry| !entry.enabled || entry.failure.is_some()));
            let again = config::parse("f", loaded.effective.as_bytes(), KINDS);
            match again {
                Ok(again) => assert_eq!(again.effective, loaded.effective),
                // What the file leaves to its defaults may be more than a file may hold.
                Err(error) => {
                    assert!(error.to_string().contains("larger than"), "{error}\n{}", loaded.effective)
                }
            }
        }
        Err(Error::Config(text)) => {
            shown(&text);
            assert!(text.lines().all(|line| line.starts_with("f:")), "{text}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// A cron expression, and in a second line the offset of its clock: the next match is a match, after the start.
fn cron(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (text, offset) = text.split_once('\n').unwrap_or((&text, ""));
    let offset = Offset::parse(offset.trim_end()).unwrap_or(Offset::UTC);
    match Cron::parse(text) {
        Ok(cron) => {
            for after in [0, 29_000_000, -700_000_000] {
                let next = cron.next_match(after, offset).expect("what never comes is no expression");
                assert!(next > after, "{text}");
                let schedule = chaos_agent::dice::schedule::Schedule { cron, offset };
                assert!(schedule.matches(next * 60 + 59) && schedule.matches(next * 60), "{text}");
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// A command line, a word a line: read or refused, never carried out.
fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').map(str::to_owned);
    let name = lines.next().unwrap_or_default();
    let rest: Vec<String> = lines.collect();
    let Some(command) = table::find(&name) else { return };
    _ = words::asks_help(&rest);
    if let Err(why) = words::parse(command, &rest) {
        shown(&why);
        assert!(!why.is_empty());
    }
}

/// Words of tc: what they ask for is a message that reads back and prints as JSON.
fn tc(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for word in &line {
        _ = (tc_words::time(word), tc_words::time64(word), tc_words::size(word), tc_words::rate(word));
        _ = (
            tc_words::percent(word),
            tc_words::unsigned(word),
            tc_words::handle(word),
            tc_words::classid(word),
        );
        assert!(tc_words::fraction(word).is_none_or(|share| (0.0..=1.0).contains(&share)), "{word}");
    }
    let options = || Words(&line);
    _ = Action::parse(&mut options());
    _ = Prio::parse(&mut options());
    _ = Tbf::parse(&mut options());
    _ = U32::parse(&mut options());
    _ = sched::parse_fifo(&mut options());
    if let Ok(asked) = Netem::parse(&mut options()) {
        let mut message = Message::tc(code::RTM_NEWQDISC, 0, Default::default());
        message.string(code::TCA_KIND, "netem");
        asked.write(&mut message, false);
        let read = Qdisc::read(&message.bytes()[HEADER..]).unwrap();
        assert!(matches!(read.options, Options::Netem(_)));
    }
    // No device of this machine is asked for, so that nothing depends on it.
    if line.iter().any(|word| word.starts_with("de")) {
        return;
    }
    for verb in ["add", "replace", "change", "del"] {
        for message in [qdisc::change(verb, options()), filter::change(verb, options())].into_iter().flatten()
        {
            bodies(message.bytes());
        }
    }
}

/// What the kernel answers.
fn netlink(bytes: &[u8]) {
    bodies(bytes);
    for kind in ["netem", "prio", "tbf", "u32", "pfifo"] {
        let mut message = Message::tc(code::RTM_NEWQDISC, 0, Default::default());
        message.string(code::TCA_KIND, kind);
        message.attribute(code::TCA_OPTIONS, bytes.get(..60_000).unwrap_or(bytes));
        bodies(message.bytes());
    }
}

/// Every message that the bytes hold, read as each kind of answer and printed.
fn bodies(bytes: &[u8]) {
    for message in netlink::messages(bytes) {
        _ = Link::read(message.body);
        for json in [true, false] {
            let mut out = Printer::new(json, true);
            if let Some(qdisc) = Qdisc::read(message.body) {
                match qdisc.options {
                    Options::Netem(netem) => object(&mut out, |out| netem.print(out)),
                    Options::Prio(prio) => object(&mut out, |out| prio.print(out)),
                    Options::Tbf(tbf) => object(&mut out, |out| tbf.print(out)),
                    Options::Fifo(_) | Options::None => {}
                }
            }
            finish(out);
            let mut out = Printer::new(json, true);
            if let Some(Filter { options: Some(options), handle, .. }) = Filter::read(message.body) {
                object(&mut out, |out| options.print(handle, out));
            }
            finish(out);
            let mut out = Printer::new(json, true);
            Action::read(1, message.body).print(&mut out);
            finish(out);
        }
    }
}

fn object(out: &mut Printer, print: impl FnOnce(&mut Printer)) {
    out.open("", '{');
    print(out);
    out.close('}');
}

fn finish(out: Printer) {
    let json = out.json;
    let text = out.finish();
    if json && !text.trim().is_empty() {
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

/// The files of a process: stat, comm, cmdline, status.
fn proc(bytes: &[u8]) {
    let root = &folder().join("processes");
    let parts = parts(bytes, 4);
    fs::create_dir_all(root.join("7")).unwrap();
    for (name, part) in ["stat", "comm", "cmdline", "status"].into_iter().zip(&parts) {
        fs::write(root.join("7").join(name), part).unwrap();
    }
    let stat = Stat::parse(parts[0].strip_suffix(b"\n").unwrap_or(parts[0]));
    if let Some(stat) = stat {
        _ = (stat.is_dead(), stat.is_stopped(), stat.is_kernel_thread());
    }
    let mut reader = Reader::new(root).unwrap();
    let mut seen = 0;
    reader
        .scan(&mut |process| {
            assert!(process.name().len() <= process.cmdline.len().max(process.comm.len()));
            assert!(!base_name(process.argv0()).contains(&b'/'));
            seen += 1;
        })
        .unwrap();
    assert_eq!((seen, reader.pids().unwrap()), (1, vec![7]));
    _ = (reader.stat(7).unwrap().is_some(), reader.is_gone(7, 1).unwrap(), reader.uid(7));
}

/// The files of control groups: cgroup, mountinfo, meminfo, then those of a group, the same for all and both versions.
fn cgroup(bytes: &[u8]) {
    let (proc, sys) = (folder().join("proc"), folder().join("sys"));
    let parts = parts(bytes, 8);
    fs::create_dir_all(proc.join("self")).unwrap();
    for (name, part) in ["self/cgroup", "self/mountinfo", "meminfo"].into_iter().zip(&parts) {
        fs::write(proc.join(name), part).unwrap();
    }
    let files = [
        ["memory.max", "memory.limit_in_bytes"],
        ["memory.current", "memory.usage_in_bytes"],
        ["memory.high", "cpu.cfs_quota_us"],
        ["cpu.max", "cpu.cfs_period_us"],
        ["memory.stat", "cpu.stat"],
    ];
    for ([name, other], part) in files.iter().zip(&parts[3..]) {
        let file = proc.join(name);
        fs::write(&file, part).unwrap();
        for group in ["fs/cgroup", "fs/cgroup/a"].map(|group| sys.join(group)) {
            fs::create_dir_all(&group).unwrap();
            for name in [name, other] {
                _ = fs::hard_link(&file, group.join(name)); // there from the second input on
            }
        }
    }
    let group = Cgroup::of_self(&proc, &sys);
    assert!(group.cpus() > 0.0 && group.quota().is_none_or(|quota| quota > 0.0));
    _ = (group.throttled(), group.memory_limit(), group.memory_source(), group.cpu_source());
    for room in [group.room(), group.machine()].into_iter().flatten() {
        assert!(room.free() <= room.limit);
    }
}

/// What a client sends: every beginning of a request is one that is not all here yet, or refused alike.
fn request(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let next = match request::parse(rest) {
            Parsed::Incomplete => return,
            Parsed::Refused(status, next) => {
                assert!((400..=505).contains(&status));
                let Some(next) = next else { return };
                next
            }
            Parsed::Complete { request, next, .. } => {
                assert!(request.path.starts_with('/') && !request.path.contains('?'));
                for cut in [next / 2, next - 1] {
                    assert!(matches!(request::parse(&rest[..cut]), Parsed::Incomplete), "{rest:?}");
                }
                next
            }
        };
        assert!(next > 0);
        rest = &rest[next..];
    }
}

/// What a server answers: the same, however it was cut on its way.
fn answer(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let size = usize::from(*size).max(1);
    let read = |size: usize| {
        let mut parser = answer::Parser::new(1000);
        for piece in bytes.chunks(size) {
            match parser.push(piece) {
                Ok(false) => {}
                Ok(true) => break,
                Err(_) => return None,
            }
        }
        parser.finish().ok()
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole.as_ref().map(|answer| answer.status), read(size).map(|answer| answer.status));
    if let Some(answer) = whole {
        assert!((100..1000).contains(&answer.status) && answer.body.len() <= 1000);
        assert_eq!(Some(answer), read(size), "cut after every {size} bytes");
    }
}

/// An address in the config: what was read is what is shown, and reads back.
fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(url) = Url::parse(text) {
        let shown = url.to_string();
        assert_eq!(Url::parse(&shown).as_ref(), Ok(&url), "{text} {shown}");
    }
    if let Ok(place) = chaos_agent::client::Place::parse(text, None) {
        let shown = place.to_string();
        assert_eq!(chaos_agent::client::Place::parse(&shown, None), Ok(place), "{text} {shown}");
    }
}

/// What the agent tells its guard: what is understood is understood the same again.
fn guard(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.split('\n') {
        if let Some(again) = guard::understood(line) {
            assert_eq!(guard::understood(again.trim_end()), Some(again));
        }
        if let Ok(undo) = line.parse::<Undo>() {
            assert_eq!(undo.to_string().parse::<Undo>().unwrap(), undo);
        }
    }
}

/// An audit trail: whatever stands there, it is counted and the wrong lines are told.
fn trail(bytes: &[u8]) {
    for seed in [None, Some(7)] {
        let trail = plan::replay(bytes, seed).unwrap();
        assert!(trail.problems.len() as u64 <= trail.wrong && trail.injections <= trail.decisions);
        for (number, why) in &trail.problems {
            assert!(*number > 0 && !why.is_empty());
        }
    }
}
