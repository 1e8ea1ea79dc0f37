//! The subcommands, one module each, and what several of them share:
//!
//! | module | subject |
//! |---|---|
//! | [`context`] | the flags that every command has |
//! | [`history`] | past runs, from the server or straight from the database |
//! | [`interrupts`] | Ctrl-C, once and twice |
//! | [`load_flags`] | the flags of a load, and the plan that they make |
//! | [`open`] | the server and agent to measure with |
//! | [`plan_file`] | a plan file, read and checked |
//! | [`report_files`] | `--junit`, `--markdown`, `--report` and `--plots` |
//! | [`wait_ready`] | waiting for a server and agents that are still coming up |

pub(crate) mod agents;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod delete;
pub(crate) mod doctor;
mod history;
pub(crate) mod interrupts;
mod load_flags;
pub(crate) mod man;
mod open;
mod payload_file;
pub(crate) mod plan;
mod plan_file;
pub(crate) mod report;
mod report_files;
pub(crate) mod rerun;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod start;
pub(crate) mod stop;
mod wait_ready;
pub(crate) mod watch;
mod watch_events;
