//! What this tier shares with others.

#[path = "../common/apart.rs"]
pub mod apart;
#[path = "../common/http.rs"]
pub mod http;
#[path = "../common/proc.rs"]
pub mod proc;
#[path = "../common/running.rs"]
pub mod running;
#[path = "../common/signal.rs"]
pub mod signal;
#[path = "../common/space.rs"]
pub mod space;
#[path = "../common/stalled.rs"]
pub mod stalled;
#[path = "../common/wait.rs"]
pub mod wait;
