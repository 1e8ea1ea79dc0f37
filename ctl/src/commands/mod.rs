//! The subcommands, one module each, and what several of them share:
//!
//! | module | subject |
//! |---|---|
//! | [`context`] | the flags that every command has |
//! | [`history`] | past runs, from the server or straight from the database |
//! | [`interrupts`] | Ctrl-C, once and twice |
//! | [`open`] | the server and agent to measure with |
//! | [`wait_ready`] | waiting for a server and agents that are still coming up |

pub(crate) mod agents;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod delete;
pub(crate) mod doctor;
mod history;
pub(crate) mod interrupts;
pub(crate) mod man;
mod open;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod start;
pub(crate) mod stop;
mod wait_ready;
pub(crate) mod watch;
