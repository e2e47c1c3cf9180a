//! The pod tier: the scratch image in real pods, made by `podman kube play` from the manifests in
//! `deploy/plain`, with the process and network namespaces of the pod shared as in a cluster; and Docker Compose. `run.sh` beside this file finds the parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;
mod compose;
mod death;
mod faults;
mod image;
mod job;
mod pod;
mod podman;
mod rights;
