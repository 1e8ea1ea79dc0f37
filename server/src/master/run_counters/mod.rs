//! What the ledger counted, by run: of connections that have ended it is kept here, of those that
//! have not it is read when it is asked for.
//!
//! A connection is recorded exactly once, after its worker has let go of it. All of it is pure: no
//! clock, no socket, and no reply to the control plane.

mod counters;
mod open_run;

pub(super) use counters::ClosedConnection;
pub(crate) use counters::RunCounters;
