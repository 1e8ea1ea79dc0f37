//! The one way to write to the ledger: a store that becomes visible after every store before it.
//!
//! A process that is killed has done a prefix of its stores, in the order in which the processor
//! made them visible. Recovery depends on that order, so each store has release ordering: neither
//! the compiler nor the processor may move an earlier store behind it. On x86-64 that costs
//! nothing. The tests have a writer that dies after n stores, which is a death at that instruction.

use std::sync::atomic::{AtomicU64, Ordering};

/// Writes to the ledger.
pub(crate) trait CommitWriter {
    /// One store.
    fn store(&self, cell: &AtomicU64, value: u64);
}

/// The writer of every process that runs: a plain store with release ordering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleaseStore;

impl CommitWriter for ReleaseStore {
    #[inline]
    fn store(&self, cell: &AtomicU64, value: u64) {
        cell.store(value, Ordering::Release);
    }
}
