//! The round trips of one client: its own distributions, and its part of those of its group, which
//! others read meanwhile. Pure.

use super::{
    live_replies::LiveReplies,
    outcome::ClientReplies,
    small_histogram::{BlockPool, SmallHistogram},
    stream::{ReplyStream, RoundTrip},
};

/// The quantile that the record of a client has, in millionths.
const P99: u32 = 990_000;

/// The times of one client.
#[derive(Debug)]
pub(crate) struct ClientTimes {
    /// Position of its group among those of the [`LiveReplies`].
    group: usize,
    from_due: SmallHistogram,
    from_write: SmallHistogram,
}

impl ClientTimes {
    /// Without a round trip, of a client in the group at this position.
    pub(crate) fn new(group: usize) -> Self {
        Self {
            group,
            from_due: SmallHistogram::new(),
            from_write: SmallHistogram::new(),
        }
    }

    /// Counts one round trip.
    #[inline]
    pub(crate) fn record(
        &mut self,
        round_trip: RoundTrip,
        pool: &mut BlockPool,
        live: &LiveReplies,
    ) {
        live.record(self.group, round_trip);
        self.from_due.record(round_trip.from_due_ns, pool);
        self.from_write.record(round_trip.from_write_ns, pool);
    }

    /// What the record of the client has, of these replies.
    pub(super) fn replies(&self, stream: &ReplyStream, pool: &BlockPool) -> ClientReplies {
        ClientReplies {
            read: stream.read(),
            unexpected: stream.unexpected(),
            answered_below: stream.answered_below(),
            round_trips: self.from_due.count(),
            from_due_p99_ns: self.from_due.quantile_ns(P99, pool),
            from_write_p99_ns: self.from_write.quantile_ns(P99, pool),
            refused: None,
        }
    }
}
