//! A line that was in use. Times are ns.

use serde::{Deserialize, Serialize};

use super::super::clock_line::ClockLine;

/// So long after its use a line is judged: what was read meanwhile limits the offset from behind.
pub(super) const JUDGED_AFTER_NS: u64 = 5_000_000_000;

/// A line that was, or is, in use.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct UsedLine {
    pub(super) line: ClockLine,
    /// The greatest reading of the agent's clock at which it may have been in use. `None`: it is.
    pub(super) until_ns: Option<u64>,
}
