//! How an agent's CLOCK_MONOTONIC relates to this host's: whether a time that one has read may be
//! compared with a time that the other has read.
//!
//! Absent: clocks with a known offset and its bound. Nothing measures these yet.

use metronome_proto::v1;
use serde::{Deserialize, Serialize};

/// Two clocks of CLOCK_MONOTONIC run apart by less than one part in this many.
pub(crate) const CLOCK_DRIFT_PARTS: u64 = 1_000;

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

/// The relation of an agent's clock, with what proves it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AgentClock {
    pub(crate) relation: ClockRelation,
    /// The greatest offset that the exchanges of readings allow, ahead or behind, ns. `None` where
    /// the relation is not known.
    pub(crate) bound_ns: Option<u64>,
}

impl AgentClock {
    /// The same clock, proved to this bound.
    pub(crate) fn same(bound_ns: u64) -> Self {
        Self {
            relation: ClockRelation::Same,
            bound_ns: Some(bound_ns),
        }
    }

    /// The form of the API.
    pub(crate) fn to_proto(self) -> v1::ClockRelation {
        use v1::clock_relation::Relation;
        let relation = match self.relation {
            ClockRelation::Unknown => Relation::Unknown(v1::UnknownClock {}),
            ClockRelation::Same => Relation::Same(v1::SameClock {
                bound_ns: self.bound_ns.and_then(|bound_ns| bound_ns.try_into().ok()),
            }),
        };
        v1::ClockRelation {
            relation: Some(relation),
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::clock_relation::Relation;

    use super::*;

    #[test]
    fn a_clock_is_the_same_only_where_that_is_proved() {
        assert!(ClockRelation::Same.is_same() && !ClockRelation::Unknown.is_same());
        let relation = |clock: AgentClock| clock.to_proto().relation;
        let same = v1::SameClock { bound_ns: Some(70) };
        assert_eq!(relation(AgentClock::same(70)), Some(Relation::Same(same)));
        let unknown = Some(Relation::Unknown(v1::UnknownClock {}));
        assert_eq!(relation(AgentClock::default()), unknown);
    }
}
