//! What the probes of one agent have shown of its path and of its clock in one run. Pure; times in
//! ns.

use metronome_proto::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clock_relation::ClockOffset;

/// The figures of one agent's path in one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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

/// How much later an agent began to send than the run's start instant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct StartSkew {
    /// Negative where it was earlier.
    pub(crate) ns: i64,
    /// How far off that can be.
    pub(crate) bound_ns: u64,
}
