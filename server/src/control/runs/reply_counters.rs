//! Round trips of the runs of this server that have ended, summed since its start.
//!
//! Agents report them, so an invalid run, in which they may be anything, adds nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::RoundTrips;

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(crate) struct ReplyCounters(Mutex<ReplySums>);

/// The sums as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplySums {
    pub(crate) round_trips: RoundTrips,
    /// Frames in the place of a reply that were none, of every run: at most one for each packet
    /// that was planned.
    pub(crate) unexpected: u64,
}

impl ReplyCounters {
    /// A run has ended: its round trips, where they are to be believed, and its frames in the place
    /// of a reply.
    pub(super) fn run_ended(&self, round_trips: Option<&RoundTrips>, unexpected: u64) {
        let mut sums = self.lock();
        if let Some(round_trips) = round_trips {
            sums.round_trips.merge(round_trips);
        }
        sums.unexpected = sums.unexpected.saturating_add(unexpected);
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> ReplySums {
        self.lock().clone()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: ReplySums) {
        *self.lock() = sums;
    }

    fn lock(&self) -> MutexGuard<'_, ReplySums> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_and_one_that_is_not_believed_adds_no_round_trip() {
        let counters = ReplyCounters::default();
        let mut round_trips = RoundTrips::default();
        round_trips.from_due.record(5_000);
        round_trips.from_write.record(4_000);
        counters.run_ended(Some(&round_trips), 0);
        counters.run_ended(Some(&round_trips), u64::MAX);
        counters.run_ended(None, 7);
        let sums = counters.sums();
        let counts = [&sums.round_trips.from_due, &sums.round_trips.from_write];
        assert_eq!(counts.map(|times| times.count()), [2, 2]);
        assert_eq!(sums.unexpected, u64::MAX);
        let other = ReplyCounters::default();
        other.restore(sums.clone());
        assert_eq!(other.sums(), sums);
    }
}
