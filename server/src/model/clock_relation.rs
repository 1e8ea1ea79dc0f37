//! How an agent's CLOCK_MONOTONIC relates to this host's: whether a time that one has read may be
//! compared with a time that the other has read.
//!
//! Absent: clocks with a known offset and its bound. Nothing measures these yet.

use serde::{Deserialize, Serialize};

/// The relation of two clocks. What is not proved is unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ClockRelation {
    /// Nothing is known: transit and latency are unset.
    #[default]
    Unknown,
    /// Both read the same clock: transit and latency are exact.
    Same,
}

impl ClockRelation {
    /// Whether both read the same clock.
    #[inline]
    pub(crate) fn is_same(self) -> bool {
        self == Self::Same
    }
}
