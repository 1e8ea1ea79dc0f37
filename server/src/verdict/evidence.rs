//! What a verdict is made from.

use metronome_proto::plan::Plan;

use crate::model::{AgentRecords, FinalCounters};

/// All that is known of a run at its end.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// By the agents' indices; their shares cover the plan's clients.
    pub(crate) agents: &'a [AgentRecords],
    /// `None` when the master did not give it.
    pub(crate) record: Option<&'a FinalCounters>,
    /// When the first packet was due, ns of this host's CLOCK_MONOTONIC. `None`: never started.
    pub(crate) start_at_ns: Option<u64>,
    /// A stop came before the schedule was over.
    pub(crate) stopped: Option<StopCause>,
    /// Remarks of the server about itself.
    pub(crate) notes: &'a [String],
}

/// Who ended a run early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopCause {
    /// StopRun or StopAll: a user's Ctrl-C, for example.
    Operator,
    /// The server was told to end and the drain timeout was over.
    Shutdown,
}
