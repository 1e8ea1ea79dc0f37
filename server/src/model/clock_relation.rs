//! How an agent's CLOCK_MONOTONIC relates to this host's: whether a time that one has read may be
//! compared with a time that the other has read.
//!
//! Absent: how a relation is measured ([`super::clock_exchange`], [`super::clock_window`]).

use metronome_proto::v1;
use serde::{Deserialize, Serialize};

/// Two clocks of CLOCK_MONOTONIC run apart by less than one part in this many.
pub(crate) const CLOCK_DRIFT_PARTS: u64 = 1_000;

/// So much more than `ns` that `ns` are left of it when two clocks have run apart in all of it:
/// what one reading limits to `ns`, it limits to this at any reading so far away.
pub(super) fn with_drift(ns: u64) -> u64 {
    ns.saturating_add(ns / (CLOCK_DRIFT_PARTS - 1) + 1)
}

/// The relation of two clocks. What is not proved is unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ClockRelation {
    /// Nothing is known: no time between the two is taken.
    #[default]
    Unknown,
    /// Both read the same clock: transit and latency are exact.
    Same,
    /// Two clocks whose offset is measured all the time: one-way times and queueing are taken by
    /// the lines that follow from it.
    Offset,
}

impl ClockRelation {
    /// Whether both read the same clock.
    #[inline]
    pub(crate) fn is_same(self) -> bool {
        self == Self::Same
    }

    /// Whether times between the two are taken by lines.
    #[inline]
    pub(crate) fn has_lines(self) -> bool {
        self == Self::Offset
    }

    /// Its number in the ledger and in messages between processes.
    #[inline]
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Same => 1,
            Self::Offset => 2,
        }
    }

    /// The relation with a number. What is not proved is unknown: so is a relation that this
    /// version does not have.
    pub(crate) fn of_number(number: u16) -> Self {
        match number {
            1 => Self::Same,
            2 => Self::Offset,
            _ => Self::Unknown,
        }
    }
}

/// How far apart two clocks are, as far as exchanges of readings allow.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ClockOffset {
    /// The server's reading less the agent's at one instant.
    pub(crate) offset_ns: i64,
    /// How far the true offset can be from that.
    pub(crate) bound_ns: u64,
    /// How much faster the server's clock runs, parts per 10^9 …
    pub(crate) drift_ppb: i64,
    /// … and how far the true drift can be from that.
    pub(crate) drift_bound_ppb: u64,
    /// The bound rests on what the plan claims of the wall clocks.
    pub(crate) is_claimed: bool,
}

impl ClockOffset {
    /// The form of the API.
    pub(crate) fn to_proto(self) -> v1::OffsetClock {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        v1::OffsetClock {
            offset_ns: self.offset_ns,
            bound_ns: signed(self.bound_ns),
            drift_ppb: self.drift_ppb,
            drift_bound_ppb: signed(self.drift_bound_ppb),
            bound_is_claimed: self.is_claimed,
        }
    }
}

/// The relation of an agent's clock, with what proves it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AgentClock {
    pub(crate) relation: ClockRelation,
    /// The greatest offset that the exchanges of readings allow, ahead or behind, ns. `None` but
    /// for the same clock.
    pub(crate) bound_ns: Option<u64>,
    /// How far another clock is off. `None` for the same one, and where nothing is known.
    #[serde(default)]
    pub(crate) offset: Option<ClockOffset>,
}

impl AgentClock {
    /// The same clock, proved to this bound.
    pub(crate) fn same(bound_ns: u64) -> Self {
        Self {
            relation: ClockRelation::Same,
            bound_ns: Some(bound_ns),
            offset: None,
        }
    }

    /// The form of the API.
    pub(crate) fn to_proto(self) -> v1::ClockRelation {
        use v1::clock_relation::Relation;
        let relation = match (self.relation, self.offset) {
            (ClockRelation::Offset, Some(offset)) => Relation::Offset(offset.to_proto()),
            (ClockRelation::Unknown | ClockRelation::Offset, _) => {
                Relation::Unknown(v1::UnknownClock {})
            }
            (ClockRelation::Same, _) => Relation::Same(v1::SameClock {
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_when_two_clocks_have_run_apart_is_all_of_it(
            ns in prop_oneof![0..10_000_u64, 0..1_u64 << 62, any::<u64>()],
        ) {
            let wide_ns = with_drift(ns);
            let runs_apart_ns = wide_ns.div_ceil(CLOCK_DRIFT_PARTS);
            prop_assert!(wide_ns == u64::MAX || wide_ns - runs_apart_ns >= ns);
        }
    }

    #[test]
    fn a_clock_is_the_same_only_where_that_is_proved() {
        assert!(ClockRelation::Same.is_same() && !ClockRelation::Unknown.is_same());
        let relation = |clock: AgentClock| clock.to_proto().relation;
        let same = v1::SameClock { bound_ns: Some(70) };
        assert_eq!(relation(AgentClock::same(70)), Some(Relation::Same(same)));
        let unknown = Some(Relation::Unknown(v1::UnknownClock {}));
        assert_eq!(relation(AgentClock::default()), unknown);
        // An offset without a figure is not known.
        let mut other = AgentClock {
            relation: ClockRelation::Offset,
            ..AgentClock::default()
        };
        assert_eq!(relation(other), unknown);
        let offset = ClockOffset {
            offset_ns: -7,
            bound_ns: u64::MAX,
            ..ClockOffset::default()
        };
        other.offset = Some(offset);
        assert_eq!(relation(other), Some(Relation::Offset(offset.to_proto())));
        assert_eq!(offset.to_proto().bound_ns, i64::MAX);
    }
}
