//! A line that was in use, and how far off the times by it can be. Times are ns.

use serde::{Deserialize, Serialize};

use super::super::clock_line::ClockLine;

/// So long after its use a line is judged: what was read meanwhile limits the offset from behind.
pub(super) const JUDGED_AFTER_NS: u64 = 5_000_000_000;

/// How far off times between the clocks can be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PathBounds {
    pub(crate) one_way_ns: u64,
    /// `None` where no floor is known.
    pub(crate) queueing_ns: Option<u64>,
    /// They rest on what the plan claims of the wall clocks.
    pub(crate) is_claimed: bool,
}

impl PathBounds {
    /// Both hold.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            one_way_ns: self.one_way_ns.max(other.one_way_ns),
            queueing_ns: self.queueing_ns.max(other.queueing_ns),
            is_claimed: self.is_claimed || other.is_claimed,
        }
    }
}

/// A line that was, or is, in use.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct UsedLine {
    pub(super) line: ClockLine,
    /// The greatest reading of the agent's clock at which it may have been in use. `None`: it is.
    pub(super) until_ns: Option<u64>,
}
