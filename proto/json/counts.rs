//! Counters by name, in the order of their lists: a counter that is added to a list is here by
//! itself.

use serde::{Serialize, Serializer};

use crate::{counters::CounterList, v1};

/// The name of a counter and its value, where it is known.
pub type Counter = (&'static str, Option<u64>);

/// Counters by name, each null where it is not known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counts(Vec<Counter>);

impl Counts {
    /// Those of both ends, and what was lost or not answered between them.
    #[must_use]
    pub fn of_both_ends(counts: &v1::Counts) -> Self {
        let Self(both) = Self::in_progress(counts.generator.as_ref(), counts.receiver.as_ref());
        let lost = [
            ("lost", counts.lost),
            ("lost_unacknowledged", counts.lost_unacknowledged),
            ("lost_unread", counts.lost_unread),
            ("replies_unanswered", counts.replies_unanswered),
        ];
        Self([&both[..], &lost].concat())
    }

    /// Those of both ends while a run is in progress: what is lost is known at its end only.
    #[must_use]
    pub fn in_progress(
        generator: Option<&v1::GeneratorCounts>,
        receiver: Option<&v1::ReceiverCounts>,
    ) -> Self {
        Self([Self::of_list(generator).0, Self::of_list(receiver).0].concat())
    }

    /// Those of one list; none of them is known when the list is not.
    #[must_use]
    pub fn of_list<L: CounterList>(list: Option<&L>) -> Self {
        Self(match list {
            Some(list) => list.values().collect(),
            None => L::NAMES.iter().map(|name| (*name, None)).collect(),
        })
    }

    /// Every counter.
    #[must_use]
    pub fn counters(&self) -> &[Counter] {
        &self.0
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}
