//! Taking faults back: what has to be undone, and the process that undoes it when the agent no longer can.

pub mod guard;
pub mod serve;
pub mod undo;
