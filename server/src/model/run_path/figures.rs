//! The figures of one agent's path in one run, and how far off its times can be. Times in ns.

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::super::clock_relation::ClockOffset;

/// The figures of one agent's path in one run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct PathFigures {
    pub(crate) probes_sent: u64,
    pub(crate) probes_answered: u64,
    /// From the sending of a probe to the reading of its answer, on the agent's clock.
    pub(crate) probe_rtt: Histogram,
    /// How far off any one-way time of this agent in the run can be. `None` where it has none, and
    /// for the whole run once the exchanges contradicted each other.
    pub(crate) one_way_bound_ns: Option<u64>,
    /// The same of queueing, as far as the least that was seen of the path is the least there is.
    pub(crate) queueing_bound_ns: Option<u64>,
    /// The bounds rest on what the plan claims of the wall clocks.
    pub(crate) is_claimed: bool,
    /// How often no line of two steady clocks passed all exchanges of a window.
    pub(crate) contradictions: u32,
    /// What the plan claims did not agree with what the probes prove, and was dropped.
    pub(crate) is_claim_dropped: bool,
    /// The relation of the clocks at the end.
    pub(crate) clock: Option<ClockOffset>,
}

impl PathFigures {
    /// A line that was in use was as far off as this.
    pub(super) fn worsen(&mut self, bounds: Option<PathBounds>) {
        let Some(bounds) = bounds else { return };
        self.one_way_bound_ns = self.one_way_bound_ns.max(Some(bounds.one_way_ns));
        self.queueing_bound_ns = self.queueing_bound_ns.max(bounds.queueing_ns);
        self.is_claimed |= bounds.is_claimed;
    }
}

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
