//! What was done for a connection, to be attributed to the worker that did it.

use serde::{Deserialize, Serialize};

/// Packets that were counted, and reads that brought bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Work {
    pub(crate) packets: u64,
    pub(crate) reads: u64,
}

impl Work {
    /// Both sums, each at most 2^64 − 1.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            reads: self.reads.saturating_add(other.reads),
        }
    }

    /// What was done since `before`.
    #[must_use]
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            reads: self.reads.saturating_sub(before.reads),
        }
    }
}
