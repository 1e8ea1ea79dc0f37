//! The server from its start to its end: connections, shared state, signals.

pub(super) mod listener;
pub(super) mod shared;
pub(super) mod shutdown;
pub(super) mod upgrade;
