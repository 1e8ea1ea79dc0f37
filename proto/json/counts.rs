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
    /// Those of both ends, and what was lost between them.
    #[must_use]
    pub fn of_both_ends(counts: &v1::Counts) -> Self {
        let generator = Self::of_list(counts.generator.as_ref()).0;
        let receiver = Self::of_list(counts.receiver.as_ref()).0;
        let lost = [
            ("lost", counts.lost),
            ("lost_unacknowledged", counts.lost_unacknowledged),
            ("lost_unread", counts.lost_unread),
        ];
        Self([&generator[..], &receiver, &lost].concat())
    }

    /// Those of one list; none of them is known when the list is not.
    #[must_use]
    pub fn of_list<L: CounterList>(list: Option<&L>) -> Self {
        Self(match list {
            Some(list) => list
                .values()
                .map(|(name, value)| (name, Some(value)))
                .collect(),
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
