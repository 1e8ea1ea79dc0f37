//! What the ledger counted, by run: of connections that have ended it is kept here, of those that
//! have not it is read when it is asked for.
//!
//! The data are [`crate::model::RunCounters`], because an upgrade hands them over; what is counted
//! in them, and when, is decided here only. A connection is recorded exactly once, after its worker
//! has released it. All of it is pure: no clock, no socket, and no reply to the control plane.

mod counters;
mod open_run;
mod second_record;
mod sparse_histogram;

pub(super) use counters::ClosedConnection;
