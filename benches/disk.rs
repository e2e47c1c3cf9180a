//! disk: figures beside their goals, with the file system's own fallocate in one call at their side.
//!
//! `cargo bench --bench disk -- [--path DIRECTORY] [--runs N]`; the build folder and five runs when not said. It takes
//! 1 GiB there. Run it on a machine that does nothing else with that disk. Medians are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod figures;

use chaos_agent::failures::Host;
use chaos_agent::failures::disk::fill::Fill;
use chaos_agent::failures::disk::place::Place;
use chaos_agent::linux::sys::disk;
use figures::{median, milliseconds};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
/// What others may write meanwhile without being taken for the fault.
const NOISE: u64 = 64 << 20;
/// After this long the space is not back at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    };
    let path = option("--path").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    std::fs::create_dir_all(&path).unwrap();
    match words.first().map(String::as_str) {
        Some("ours") => return hold(&ours(&path)),
        Some("bare") => return hold(&bare(&path)),
        _ => {}
    }
    let runs = option("--runs").and_then(|runs| runs.parse().ok()).unwrap_or(5);
    let place = place(&path);
    println!("disk: 1 GiB on {}, medians of {runs}", place.shown());
    drop(place);
    drop(bare(&path)); // so that neither meets groups of blocks that were never looked at
    let floor = median((0..runs).map(|_| milliseconds(|| bare(&path))));
    let filled = median((0..runs).map(|_| milliseconds(|| ours(&path))));
    println!("floor: one fallocate       {floor:8.2} ms");
    println!("fill                       {filled:8.2} ms = {:+.2} ms (goal: 20)", filled - floor);
    for (name, who) in [("bare", "floor: a bare holder"), ("ours", "the fault")] {
        let back = median((0..runs).map(|_| back_after_kill(name, &path)));
        println!("space back after kill -9   {back:8.2} ms, {who} (goal: at once)");
    }
}

fn place(path: &Path) -> Place {
    Place::open(path, &Host::default(), true).unwrap()
}

/// What an injection does until the fault is in force, from the open directory on.
fn ours(path: &Path) -> Fill {
    let mut fill = Fill::create(&place(path), GIB, false, 1).unwrap();
    while !fill.is_full() {
        fill.grow(GIB, false).unwrap();
    }
    assert!(fill.verify());
    fill
}

/// What nothing can do without: a file without a name and one call.
fn bare(path: &Path) -> File {
    let file = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(path).unwrap();
    disk::allocate(file.as_fd(), 0, GIB).unwrap();
    file
}

/// The child's part: says that the space is taken, and waits for its end.
fn hold<T>(_taken: &T) {
    println!("ready");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// From the signal until the file system shows the space again.
fn back_after_kill(name: &str, path: &Path) -> f64 {
    let folder = File::open(path).unwrap();
    let free = || disk::space(folder.as_fd()).unwrap().free;
    let before = free();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child =
        command.arg(name).arg("--path").arg(path).stdout(Stdio::piped()).spawn().expect("a child");
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    assert!(free() + GIB < before + NOISE, "the space is not taken");
    let start = Instant::now();
    child.kill().unwrap();
    while free() + NOISE < before && start.elapsed() < PATIENCE {
        std::hint::spin_loop();
    }
    let took = start.elapsed().as_secs_f64() * 1e3;
    child.wait().unwrap();
    took
}
