//! What monitoring reads of the server, and the one call that asks another server for its health.

mod call_counters;
mod counters;
pub(crate) mod healthcheck;
pub(super) mod http;
pub(super) mod metrics;
pub(super) mod push;

pub(crate) use counters::Counters;
