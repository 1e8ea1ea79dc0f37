//! What the reader of replies has counted so far, read by others while the load runs.
//!
//! The reader is the one writer: it adds with plain stores, takes no lock and waits for no other
//! thread, so a control plane that hangs delays no reading. What is read meanwhile may be a moment
//! apart from one counter to the next; after the reader's end all of it agrees.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metronome_proto::{
    histogram::{BUCKETS, bucket},
    v1,
};

use super::stream::RoundTrip;

/// The replies of one run.
#[derive(Debug, Default)]
pub(crate) struct LiveReplies {
    groups: Vec<GroupTimes>,
    read: AtomicU64,
    unexpected: AtomicU64,
}

/// The round trips of one group.
#[derive(Debug)]
struct GroupTimes {
    name: String,
    from_due: LiveHistogram,
    from_write: LiveHistogram,
}

/// A histogram with one writer.
#[derive(Debug)]
struct LiveHistogram {
    counts: Box<[AtomicU64]>,
}

impl LiveReplies {
    /// For groups of these names, each once; nothing counted.
    pub(crate) fn new<'a>(groups: impl IntoIterator<Item = &'a str>) -> Self {
        let group = |name: &str| GroupTimes {
            name: name.into(),
            from_due: LiveHistogram::new(),
            from_write: LiveHistogram::new(),
        };
        Self {
            groups: groups.into_iter().map(group).collect(),
            ..Self::default()
        }
    }

    /// The position of the group with this name.
    pub(crate) fn position_of(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.name == name)
    }

    /// Counts a round trip of the group at this position. For the reader alone.
    #[inline]
    pub(super) fn record(&self, group: usize, round_trip: RoundTrip) {
        if let Some(group) = self.groups.get(group) {
            group.from_due.record(round_trip.from_due_ns);
            group.from_write.record(round_trip.from_write_ns);
        }
    }

    /// Counts replies. For the reader alone.
    #[inline]
    pub(super) fn count(&self, read: u64, unexpected: u64) {
        add(&self.read, read);
        if unexpected > 0 {
            add(&self.unexpected, unexpected);
        }
    }

    /// Replies read, and frames in their place that are none.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.read.load(Relaxed), self.unexpected.load(Relaxed))
    }

    /// The round trips of every group, as the API has them.
    pub(crate) fn round_trips(&self) -> Vec<v1::RoundTrips> {
        let round_trips = |group: &GroupTimes| v1::RoundTrips {
            group: group.name.clone(),
            from_due: Some(group.from_due.to_buckets()),
            from_write: Some(group.from_write.to_buckets()),
        };
        self.groups.iter().map(round_trips).collect()
    }
}

impl LiveHistogram {
    fn new() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline]
    fn record(&self, value_ns: u64) {
        add(&self.counts[bucket(value_ns)], 1);
    }

    fn to_buckets(&self) -> v1::Buckets {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let in_use = counts.enumerate().filter(|(_, count)| *count > 0);
        let (indices, counts) = in_use.map(|(index, count)| (index as u32, count)).unzip();
        v1::Buckets { indices, counts }
    }
}

/// Adds to a counter that no other thread writes.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed) + more, Relaxed);
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_group_has_its_own_times_as_a_histogram_has_them(
            times in prop::collection::vec((0..3_usize, any::<u64>(), any::<u64>()), 0..200),
        ) {
            let live = LiveReplies::new(["a", "b"]);
            let mut whole = [(); 2].map(|()| [(); 2].map(|()| Histogram::default()));
            for (group, from_due_ns, from_write_ns) in times {
                live.record(group, RoundTrip { from_due_ns, from_write_ns });
                // A group that does not exist has no times.
                if let Some([from_due, from_write]) = whole.get_mut(group) {
                    from_due.record(from_due_ns);
                    from_write.record(from_write_ns);
                }
            }
            let shown = live.round_trips();
            prop_assert_eq!(shown.len(), 2);
            for ((shown, whole), name) in shown.iter().zip(&whole).zip(["a", "b"]) {
                prop_assert_eq!(&shown.group, name);
                let shown = [shown.from_due.as_ref(), shown.from_write.as_ref()];
                let shown = shown.map(|buckets| Histogram::from_buckets(buckets.unwrap()));
                prop_assert_eq!(shown, whole.clone().map(Some));
            }
        }
    }

    #[test]
    fn replies_add_up() {
        let live = LiveReplies::new(["a"]);
        live.count(3, 0);
        live.count(4, 1);
        assert_eq!(live.counts(), (7, 1));
        assert_eq!(
            (live.position_of("a"), live.position_of("b")),
            (Some(0), None)
        );
    }
}
