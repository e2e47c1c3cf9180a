//! The fuzz targets on every seed, and on seeds changed a little; `build.sh fuzz` looks further.

#![allow(clippy::print_stdout, reason = "which input it was, if one fails")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// How many changed inputs a seed gives.
const CHANGED: usize = 20;

#[test]
fn no_seed_and_nothing_near_one_breaks_its_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (name, run) in targets::TARGETS {
        let mut seeds: Vec<_> =
            fs::read_dir(root.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has no seed");
        let mut random = fastrand::Rng::with_seed(7);
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            println!("{}", seed.display());
            run(&bytes);
            for _ in 0..CHANGED {
                let bytes = changed(&bytes, &mut random);
                println!("changed to \"{}\"", bytes.escape_ascii());
                run(&bytes);
            }
        }
    }
    let folders = fs::read_dir(root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(folders, targets::TARGETS.len(), "a folder of seeds without its target");
}

/// A few bytes set, put in, left out, doubled, or the end cut off.
fn changed(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let to = random.usize(at..=bytes.len().min(at + 16));
        match random.usize(..5) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => bytes.insert(at, *random.choice(b"\0\n\r\t -+:;,.=\"'[]{}/%9\xff").unwrap()),
            2 => drop(bytes.drain(at..to)),
            3 => drop(bytes.splice(at..at, bytes[at..to].to_vec()).collect::<Vec<_>>()),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
