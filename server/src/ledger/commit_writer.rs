//! The one way to write to the ledger: a store that everything before it has reached.
//!
//! A process that is killed has done a prefix of its stores. Release keeps the compiler from
//! changing which prefixes there are; on x86-64 it costs nothing. The tests have a pen that runs
//! dry after n stores, which is a death at that instruction.

use std::sync::atomic::{AtomicU64, Ordering};

/// Writes to the ledger.
pub(crate) trait CommitWriter {
    /// One store.
    fn store(&self, cell: &AtomicU64, value: u64);
}

/// The pen of every process that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleaseStore;

impl CommitWriter for ReleaseStore {
    #[inline]
    fn store(&self, cell: &AtomicU64, value: u64) {
        cell.store(value, Ordering::Release);
    }
}
