//! The control plane: what operators, agents and monitoring see of the server. tokio and tonic are
//! used here and by the drivers of `upgrade`, nowhere else.
//!
//! Seven parts, each a folder with a public face; an arrow points to what a part may use:
//!
//! ```text
//! lifecycle ──▶ page ──▶ api ──▶ monitor ──▶ runs ──▶ agents ──▶ feed
//! ```
//!
//! | part | subject |
//! |---|---|
//! | [`feed`] | what happens, in one order, for all who watch |
//! | [`agents`] | who is connected, what each is assigned, what they report |
//! | [`runs`] | started, driven to their end, stored |
//! | [`monitor`] | counters, metrics over HTTP and OTLP, the health check of another server |
//! | [`api`] | the gRPC services for operators, health, tracing of every call |
//! | [`page`] | what the HTTP port has for browsers |
//! | [`lifecycle`] | the server from its ready line to its end |
//!
//! Each may skip parts, and all of them use what lies below: [`status`] (errors with details),
//! [`master_client`] (requests to the master), [`own_pauses`] (when this process did not run) and
//! [`server_info`] (what does not change).
//! [`shared`] hands the parts out to `api`, `page` and `lifecycle`.
//!
//! In an upgrade the control plane plays its part through the traits of [`crate::upgrade`], which
//! does not depend on it: `lifecycle` saves and restores, `runs` holds and resumes.

mod agents;
mod api;
mod feed;
mod lifecycle;
mod master_client;
mod monitor;
mod own_pauses;
mod page;
mod runs;
mod server_info;
mod shared;
mod status;

pub(crate) use lifecycle::{Settings, serve};
pub(crate) use monitor::run_healthcheck;
#[cfg(any(test, feature = "testing"))]
pub(crate) use runs::snapshots;
