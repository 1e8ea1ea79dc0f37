//! What the packets of each client needed since a reading before: the differences of the histograms
//! that the ledger has of it. Times in ns. Pure.
//!
//! The ledger has a histogram of each client and time anyway, and once a second all of them are
//! read for the sums of the run, so nothing is added to the packet path: what is kept here is how
//! one of them stood, in 16 buckets of an octave instead of 128. That is 1.7 KB of a client, 17 MB
//! of the 10,000 of the largest run, and a value is at most 1/16 too high, or 64 ns.
//!
//! A process that takes over has no earlier reading, and so the first stretch of it is not known.
//! Nothing is handed over: it would be the largest part of an upgrade for one column of a picture.

use std::collections::BTreeMap;

use metronome_proto::{
    histogram::{BUCKETS, bucket_top_ns},
    v1::ClientTimes,
};

use super::times::TimeKind;

/// Buckets of the ledger that are one here.
const MERGED: usize = 8;

const COARSE: usize = BUCKETS / MERGED;

/// The share of packets that is not slower than the value that is kept, percent.
const PERCENT: u64 = 99;

/// How each client of a run stood when it was read last, and what came since of those that have
/// ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientReadings {
    /// A client that was not read before has begun since.
    is_from_the_start: bool,
    read: BTreeMap<u32, LastRead>,
    ended: BTreeMap<u32, i64>,
    /// What came of the client that was read last, by bucket.
    more: Vec<(usize, u32)>,
    /// A client had ended of which it is not known how it stood before.
    is_incomplete: bool,
}

#[derive(Clone, Debug)]
struct LastRead {
    /// Another connection of the client begins at nothing.
    attempt: u8,
    counts: Box<Counts>,
}

/// How many packets each bucket has so far, modulo 2^32: only differences count.
type Counts = [u32; COARSE];

impl ClientReadings {
    /// Those of a run of which no client has a packet yet.
    pub(crate) fn of_new_run() -> Self {
        Self {
            is_from_the_start: true,
            ..Self::default()
        }
    }

    /// Takes the buckets in use of a client, by rising index, and notes how it stands now.
    ///
    /// Returns the time that 99 % of the packets since the last reading did not exceed. `None`:
    /// there was none, or it is not known which they were.
    pub(crate) fn read(
        &mut self,
        (client, attempt): (u32, u8),
        buckets: impl Iterator<Item = (usize, u64)>,
    ) -> Option<i64> {
        let is_known = self.is_from_the_start || self.read.contains_key(&client);
        let reading = self
            .read
            .entry(client)
            .or_insert_with(|| LastRead::of(attempt));
        if reading.attempt != attempt {
            *reading = LastRead::of(attempt);
        }
        reading.advance(buckets, &mut self.more);
        slowest(&self.more).filter(|_| is_known)
    }

    /// Takes those of a client whose connection has ended, which is not read again.
    pub(crate) fn end(
        &mut self,
        (client, attempt): (u32, u8),
        buckets: impl Iterator<Item = (usize, u64)>,
    ) {
        let is_known = self.is_from_the_start || self.read.contains_key(&client);
        let slowest = self.read((client, attempt), buckets);
        self.is_incomplete |= !is_known && !self.more.is_empty();
        self.read.remove(&client);
        if let Some(slowest_ns) = slowest {
            let ended = self.ended.entry(client).or_insert(slowest_ns);
            *ended = slowest_ns.max(*ended);
        }
    }

    /// All of so many clients were read: what is known of them, with `live` of those that go on.
    pub(crate) fn all_were_read(
        &mut self,
        time: Option<TimeKind>,
        clients: u32,
        live: Vec<(u32, i64)>,
    ) -> Option<ClientTimes> {
        let ended = std::mem::take(&mut self.ended);
        let is_incomplete = std::mem::take(&mut self.is_incomplete);
        let is_from_the_start = std::mem::replace(&mut self.is_from_the_start, true);
        let is_known = is_from_the_start && !is_incomplete;
        let none = ClientTimes::empty(time.filter(|_| is_known)?.metric(), clients);
        Some(none.with(live.into_iter().chain(ended)))
    }
}

impl LastRead {
    fn of(attempt: u8) -> Self {
        let counts = Box::new([0; COARSE]);
        Self { attempt, counts }
    }

    /// Puts what came since the reading before into `more`, by rising bucket.
    fn advance(
        &mut self,
        buckets: impl Iterator<Item = (usize, u64)>,
        more: &mut Vec<(usize, u32)>,
    ) {
        more.clear();
        let mut buckets = buckets.peekable();
        while let Some((bucket, mut count)) = buckets.next() {
            let index = bucket / MERGED;
            while let Some((_, other)) = buckets.next_if(|(other, _)| other / MERGED == index) {
                count = count.wrapping_add(other);
            }
            let Some(known) = self.counts.get_mut(index) else {
                return;
            };
            let since = (count as u32).wrapping_sub(*known);
            *known = count as u32;
            // The counts of a damaged ledger may fall: then nothing came.
            if since > 0 && since.cast_signed() > 0 {
                more.push((index, since));
            }
        }
    }
}

/// The least time that 99 % do not exceed.
fn slowest(counts: &[(usize, u32)]) -> Option<i64> {
    let count = |counts: &(usize, u32)| u64::from(counts.1);
    let all = counts.iter().map(count).sum::<u64>();
    let wanted = (all * PERCENT).div_ceil(100);
    let mut sum = 0;
    let (index, _) = counts.iter().find(|counts| {
        sum += count(counts);
        sum >= wanted
    })?;
    i64::try_from(bucket_top_ns((index + 1) * MERGED - 1)).ok()
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::{Histogram, bucket};
    use proptest::prelude::*;

    use super::*;

    fn buckets(histogram: &Histogram) -> impl Iterator<Item = (usize, u64)> {
        let counts: Vec<_> = histogram
            .counts()
            .map(|(index, _, count)| (index, count))
            .collect();
        counts.into_iter()
    }

    const LATENCY: Option<TimeKind> = Some(TimeKind::Latency);

    proptest! {
        #[test]
        fn a_stretch_has_the_p99_of_its_own_packets_whatever_came_before(
            stretches in prop::collection::vec(
                prop::collection::vec(0..40_000_000_u64, 0..300),
                1..6,
            ),
            ends_at in 0..6_usize,
        ) {
            let mut readings = ClientReadings::of_new_run();
            let mut histogram = Histogram::default();
            for (stretch, mut times) in stretches.into_iter().enumerate() {
                times.iter().for_each(|ns| histogram.record(*ns));
                times.sort_unstable();
                let exact = (times.len() * 99).div_ceil(100).checked_sub(1).map(|at| times[at]);
                let live = if stretch == ends_at {
                    readings.end((3, 1), buckets(&histogram));
                    histogram = Histogram::default();
                    None
                } else {
                    readings.read((3, 1), buckets(&histogram))
                };
                let live = live.map(|ns| (3, ns)).into_iter().collect();
                let known = readings.all_were_read(LATENCY, 5, live).unwrap();
                let shown = known.by_row()[3];
                prop_assert_eq!(shown.is_some(), exact.is_some());
                if let Some((shown, exact)) = shown.zip(exact) {
                    let most = exact + (exact / 16).max(64);
                    let is_close = (exact..=most).contains(&shown.cast_unsigned());
                    prop_assert!(is_close, "{} {}", shown, exact);
                }
            }
        }

        #[test]
        fn no_counts_of_a_damaged_ledger_make_a_panic(
            counts in prop::collection::vec(
                prop::collection::vec((any::<usize>(), any::<u64>()), 0..50),
                1..4,
            ),
        ) {
            let mut readings = ClientReadings::default();
            for counts in counts {
                let _ = readings.read((1, 1), counts.iter().copied());
                readings.end((2, 1), counts.into_iter());
                let _ = readings.all_were_read(LATENCY, 3, Vec::new());
            }
        }
    }

    #[test]
    fn a_process_that_takes_over_has_nothing_to_say_of_its_first_stretch() {
        let mut readings = ClientReadings::default();
        let at = |count| std::iter::once((bucket(1_000), count));
        assert_eq!(readings.read((0, 1), at(900)), None);
        assert_eq!(readings.all_were_read(LATENCY, 2, Vec::new()), None);
        // From then on what comes is known, also of a client that begins then.
        assert!(readings.read((0, 1), at(901)).is_some());
        assert!(readings.read((1, 1), at(1)).is_some());
        assert!(readings.all_were_read(LATENCY, 2, Vec::new()).is_some());
    }

    #[test]
    fn a_client_that_ended_before_it_was_read_makes_that_stretch_unknown_and_no_later_one() {
        let mut readings = ClientReadings::default();
        readings.end((0, 1), std::iter::once((5, 7)));
        assert_eq!(readings.all_were_read(LATENCY, 2, Vec::new()), None);
        assert!(readings.all_were_read(LATENCY, 2, Vec::new()).is_some());
    }

    #[test]
    fn another_connection_of_a_client_begins_at_nothing_and_counts_that_fall_are_none() {
        let mut readings = ClientReadings::of_new_run();
        let at = |count| std::iter::once((bucket(1_000), count));
        assert!(readings.read((0, 1), at(900)).is_some());
        assert!(readings.read((0, 2), at(3)).is_some());
        assert_eq!(readings.read((0, 2), at(1)), None);
    }
}
