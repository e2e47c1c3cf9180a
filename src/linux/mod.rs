//! All that knows the kernel's formats: system calls, `/proc`, cgroups, traffic control, watched files, processes.

pub mod ability;
pub mod cgroup;
pub mod claim;
pub mod command;
pub mod plain;
pub mod proc;
pub mod route;
pub mod sys;
pub mod tc;
pub mod trusted;
pub mod watch;
