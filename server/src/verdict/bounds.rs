//! How far off the times between the server's clock and that of one agent can be. Times are ns.

use metronome_proto::{json::values::bound_is, v1::Metric};

use crate::model::{AgentRecords, ClockRelation, PathFigures};

/// How far off times can be, in either direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bound {
    pub(super) ns: u64,
    /// It rests on what the plan claims of the wall clocks, and is not proved.
    pub(super) is_claimed: bool,
}

impl Bound {
    /// Both hold.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            ns: self.ns.max(other.ns),
            is_claimed: self.is_claimed || other.is_claimed,
        }
    }

    /// What the bound rests on, in a word.
    pub(super) fn word(self) -> &'static str {
        bound_is(self.is_claimed)
    }
}

/// A time between two clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Between {
    OneWay,
    Queueing,
}

impl Between {
    /// `None` of a metric that is no such time.
    pub(super) fn of(metric: Metric) -> Option<Self> {
        match metric {
            Metric::OneWay => Some(Self::OneWay),
            Metric::Queueing => Some(Self::Queueing),
            _ => None,
        }
    }

    /// How far off it can be for one agent. `None` where the agent's packets have none.
    pub(super) fn bound_of(self, agent: &AgentRecords) -> Option<Bound> {
        // What was made of a claim that was found wrong is as wrong.
        let is_refuted = |path: &PathFigures| {
            path.contradictions > 0 || path.is_claimed && path.is_claim_dropped
        };
        let path = relation(agent).filter(|path| !is_refuted(path))?;
        let one_way_ns = path.one_way_bound_ns?;
        let ns = match self {
            Self::OneWay => one_way_ns,
            Self::Queueing => path.queueing_bound_ns?,
        };
        Some(Bound {
            ns,
            is_claimed: path.is_claimed,
        })
    }
}

/// What the probes of an agent have shown that was admitted as one on another clock. No other
/// agent's packets have such times.
pub(super) fn relation(agent: &AgentRecords) -> Option<&PathFigures> {
    let is_offset = agent.clock().relation == ClockRelation::Offset;
    agent.path.as_ref().filter(|_| is_offset)
}
