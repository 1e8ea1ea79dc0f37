//! The load of a run: from the profile over the instants at which packets are due to the writes.

pub(crate) mod assignment;
pub(crate) mod client;
pub(crate) mod client_counters;
pub(crate) mod due_times;
pub(crate) mod echo;
mod flood;
pub(crate) mod generator;
pub(crate) mod kernel_acknowledged;
pub(crate) mod live_counters;
pub(crate) mod outcome;
mod paced;
pub(crate) mod pacing;
pub(crate) mod pacing_thread;
pub(crate) mod packets;
pub(crate) mod partial_write;
pub(crate) mod phase;
pub(crate) mod replies;
pub(crate) mod send_buffer;
pub(crate) mod streams;
mod threads;
