//! The product of other folders and for other machines.

use std::fs;
use std::process::Command;

use crate::common::output::words;
use crate::support::{boards, folder, given, home, product, root, run};

/// What `run.sh` has put there is what one carries to a machine without a network: the project and its crates.
#[test]
fn vendored_crates_in_another_folder_without_a_network_make_the_same_bytes() {
    let carried = home().join("carried");
    let _ = fs::remove_dir_all(carried.join("target"));
    let mut command = Command::new(carried.join("build.sh"));
    command.args(["binary", "--offline"]).current_dir("/").env("CARGO_NET_OFFLINE", "true");
    // A home without any crate, and no target folder but its own.
    command.env("CARGO_HOME", folder("cargo-home")).env_remove("CARGO_TARGET_DIR");
    run(command.env("RUSTUP_HOME", rustup_home()));
    let (here, there) =
        (fs::read(product()).unwrap(), fs::read(carried.join("dist/chaos-agent-linux-amd64")).unwrap());
    assert!(here == there, "{} and {} bytes, and they differ", here.len(), there.len());
}

fn rustup_home() -> String {
    std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{}/.rustup", std::env::var("HOME").unwrap()))
}

#[test]
fn no_path_of_this_machine_is_in_any_product() {
    let mut products = vec![product()];
    products.extend(boards().into_iter().map(|(_, path)| path));
    let home = std::env::var("HOME").unwrap();
    for path in products {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for place in [root().to_str().unwrap(), &format!("{home}/.cargo"), &format!("{home}/.rustup")] {
            assert!(!text.contains(place), "{place} is in {}", path.display());
        }
    }
}

/// The program tier on each, by `emulate.sh`, whose words about what it leaves out `run.sh` prints.
#[test]
fn the_program_tier_passes_on_every_board() {
    let mut notes = Vec::new();
    for (board, path) in boards() {
        let mut command = Command::new(root().join("tests/image/emulate.sh"));
        command.arg(&board).arg(&path).arg(given("CHAOS_PROGRAM_TIER")).current_dir(root());
        let output = command.output().unwrap();
        let said = words(&output);
        let summary = said.lines().find(|line| line.starts_with("test result: ")).unwrap_or_default();
        let passed: u32 = summary.split_whitespace().nth(3).and_then(|count| count.parse().ok()).unwrap_or(0);
        assert!(output.status.success() && passed > 30, "{board}:\n  {}", said.replace('\n', "\n  "));
        let about = |line: &&str| line.starts_with(&board) || line.starts_with("NOT TESTED");
        notes.extend(said.lines().filter(about).map(str::to_owned));
        notes.push(format!("{board}: {passed} passed"));
    }
    fs::write(crate::support::home().join("boards.txt"), notes.join("\n") + "\n").unwrap();
}
