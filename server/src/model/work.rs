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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_since_is_what_was_added_and_no_sum_wraps() {
        let work = |packets, reads| Work { packets, reads };
        assert_eq!(work(3, 2).plus(work(4, 1)), work(7, 3));
        assert_eq!(work(7, 3).since(work(3, 2)), work(4, 1));
        assert_eq!(work(u64::MAX, 0).plus(work(1, 0)), work(u64::MAX, 0));
    }
}
