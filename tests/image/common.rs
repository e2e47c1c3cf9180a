//! What this tier shares with others.

#[path = "../common/daemon.rs"]
pub mod daemon;
#[path = "../common/output.rs"]
pub mod output;
#[path = "../common/podman.rs"]
pub mod podman;
#[path = "../common/signal.rs"]
pub mod signal;
#[path = "../common/wait.rs"]
pub mod wait;
