//! What a verdict is made from.

use metronome_proto::plan::Plan;

use crate::model::{AgentRecords, FinalCounters};

/// Everything that both ends report of a run at its end.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// By the agents' indices; their shares cover the plan's clients.
    pub(crate) agents: &'a [AgentRecords],
    /// `None` when the master did not send them in time.
    pub(crate) counters: Option<&'a FinalCounters>,
    /// When the first packet was due, ns of this host's CLOCK_MONOTONIC. `None`: never started.
    pub(crate) start_at_ns: Option<u64>,
    /// What stopped the run before its schedule was over. `None`: nothing did.
    pub(crate) stopped: Option<StopCause>,
    /// Remarks of the server about itself, as full sentences.
    pub(crate) notes: &'a [String],
}

/// What ended a run early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopCause {
    /// StopRun or StopAll: a user's Ctrl-C, for example.
    Operator,
    /// The server was shutting down and the drain timeout was over.
    Shutdown,
}
