//! The runs: started, driven to their end, and what is left of them.

pub(super) mod active;
pub(super) mod driver;
pub(super) mod resume;
mod run_guard;
mod snapshot;
pub(super) mod start;
pub(super) mod trace_report;
mod verdict_counters;

pub(crate) use verdict_counters::{VERDICTS, VerdictCounters, VerdictSums};
