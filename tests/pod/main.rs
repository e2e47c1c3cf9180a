//! The pod tier: the scratch image in real pods, made by `podman kube play` from the manifest in `deploy/`, with
//! the process and network namespaces of the pod shared as in a cluster. `run.sh` beside this file finds the parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod faults;
mod image;
mod pod;
mod podman;
mod rights;
