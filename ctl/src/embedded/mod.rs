//! The server and the agent that this executable carries, so that one binary is enough.
//!
//! | module | subject |
//! |---|---|
//! | [`roles`] | this executable started as a server, a worker or an agent |
//! | [`process`] | one embedded process: its start, its ready line, its end |
//! | [`system`] | a server and an agent for a run, started and ended together |
//! | [`database`] | past runs, read without a server |
//!
//! Besides `main.rs` only this folder imports the crates of the server and the agent.

mod database;
mod process;
mod roles;
mod system;

pub(crate) use database::{Listed, StoredRuns, database_path};
pub(crate) use roles::{StartedAs, agent_command, run_as_worker_if_asked, server_command};
pub(crate) use system::{Settings, System};
