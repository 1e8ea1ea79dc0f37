//! What the certainty that a threshold cannot hold rests on.

use metronome_proto::{plan::Plan, v1::GeneratorCounts};

use crate::model::{AgentRecords, BehindOfGroups, LiveCounters, RoundTrips};

/// What is known of a run that is going on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoFar<'a> {
    pub(crate) plan: &'a Plan,
    /// By the agents' indices.
    pub(crate) agents: &'a [AgentRecords],
    /// What the ledger has. Without times nothing is certain: they have what was late.
    pub(crate) counters: &'a LiveCounters,
    /// What each agent has reported, by its index.
    pub(crate) reported: &'a [Option<GeneratorCounts>],
    /// What those with clients of several groups have reported of them, by their indices.
    pub(crate) behind: &'a [BehindOfGroups],
    /// The round trips that are reported of each group, in the order of the plan.
    pub(crate) round_trips: &'a [RoundTrips],
    /// Whether the times between clocks have a bound by now.
    pub(crate) has_bounds: bool,
    /// Since the first packet of the run was due.
    pub(crate) elapsed_ns: u64,
}
