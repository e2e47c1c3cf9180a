//! The kernel tier: runs as root on a Debian kernel of its own in QEMU (`run.sh` beside this file boots it), where
//! netem, cgroup v2 limits and network namespaces are real and iproute2 is the judge. One test at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;
mod cpu;
mod disk;
mod doctor;
mod ending;
mod figures;
mod grouped;
mod machine;
mod memory;
mod network;
mod process;
mod shape;
mod support;
mod tc_judge;
mod together;
mod victim;
mod wire;
mod witness;
