//! How an agent's CLOCK_MONOTONIC relates to this host's: whether a time that one has read may be
//! compared with a time that the other has read.
//!
//! Absent: clocks with a known offset and its bound. Nothing measures these yet.

use metronome_proto::v1;
use serde::{Deserialize, Serialize};

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
    /// The form of the API.
    pub(crate) fn to_proto(self) -> v1::ClockRelation {
        use v1::clock_relation::Relation;
        let relation = match self {
            Self::Unknown => Relation::Unknown(v1::UnknownClock {}),
            Self::Same => Relation::Same(v1::SameClock::default()),
        };
        v1::ClockRelation {
            relation: Some(relation),
        }
    }

    /// Whether both read the same clock.
    #[inline]
    pub(crate) fn is_same(self) -> bool {
        self == Self::Same
    }
}
