//! The event feed: what happens in this server, in one order, for all who watch.
//!
//! ```text
//! runs ─────┐                          ┌──▶ WatchEvents (gRPC)
//! agents ───┼──▶ publish ─▶ log ─▶ watch ──▶ /api/v1/events (SSE)
//! workers ──┘
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`log`] | the numbers, what is kept, the present state; pure |
//! | [`event`] | one event, and its form in the API |
//! | [`publish`] | the feed: who publishes calls it, who watches waits at it |
//! | [`selection`] | which events a watch is about; pure |
//! | [`watch`] | one watch: where it stands, what is next for it |
//! | [`worker_changes`] | what has changed of the workers between two readings; pure |
//! | [`worker_readings`] | the task that reads them |
//!
//! No watcher has a queue here. A watch is a place in the log, so that one that does not read takes
//! no memory and holds up no other: snapshots that a newer one has replaced are gone when it comes
//! back, and changes wait for it as long as they are kept.

mod event;
mod log;
mod publish;
mod selection;
mod watch;
mod worker_changes;
mod worker_readings;

pub(crate) use publish::Feed;
pub(crate) use selection::{Matching, Selection};
pub(crate) use watch::{Next, Watch};
pub(crate) use worker_readings::follow_workers;
