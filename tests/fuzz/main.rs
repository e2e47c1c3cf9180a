//! libFuzzer's way into the targets: `FUZZ_TARGET` names one; without it the names are printed.
#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some((_, run)) = targets::TARGETS.iter().find(|(known, _)| *known == name) else {
            for (name, _) in targets::TARGETS {
                println!("{name}");
            }
            std::process::exit(if name.is_empty() { 0 } else { 64 });
        };
        TARGET.get_or_init(|| *run);
    },
    |bytes: &[u8]| TARGET.get().expect("set before the first input")(bytes)
);
