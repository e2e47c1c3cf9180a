//! What this tier shares with others.

#[path = "../common/daemon.rs"]
pub mod daemon;
#[path = "../common/http.rs"]
pub mod http;
#[path = "../common/namespace.rs"]
pub mod namespace;
#[path = "../common/output.rs"]
pub mod output;
#[path = "../common/podman.rs"]
pub mod podman;
#[path = "../common/proc.rs"]
pub mod proc;
#[path = "../common/signal.rs"]
pub mod signal;
#[path = "../common/wait.rs"]
pub mod wait;
