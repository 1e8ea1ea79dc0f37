//! What monitoring reads of the server, and the one call that asks another server for its health.

pub(crate) mod healthcheck;
pub(super) mod http;
pub(super) mod metrics;
pub(super) mod push;
