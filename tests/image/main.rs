//! The image tier: what `build.sh image --oci` makes, taken apart, loaded and run by podman, containerd and docker;
//! the product built a second time elsewhere without a network; the products for other machines under emulation.
//! `run.sh` beside this file finds the parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod builds;
mod common;
mod engines;
mod sbom;
mod support;
