//! What is checked and measured of each packet of a client that has a schedule: whether it is on
//! the schedule, whether path and receiver kept up with it, and how far it is above the least
//! delay. A client of a flood and one that no plan has sent have no pace.
//!
//! The last due time is that of the schedule from the client's first packet on: of a client whose
//! first packets were skipped it is later than the agent's by as much, and the packets that were
//! skipped are missing among those in time.
//!
//! Times of due are counted from the client's first due time, and times of reading from its first
//! read: wherever the zeros of the two clocks lie, these are small, and so is every difference.
//!
//! All of it lies among the connection's counters, the schedule as well: a replay needs no
//! admission, also of a run that is over.

use metronome_proto::{schedule::Schedule, v1::ReceiverCounts};

use super::{
    due_times::{DueTimes, is_possible},
    spread::{self, Spread},
};
use crate::model::{CLOCK_DRIFT_PARTS, ClockRelation, IN_TIME_NS_MIN};

/// Words of it in the ledger: rate and batch, packets, place, and the spread's.
pub(super) const WORDS: usize = 3 + spread::WORDS;

/// The first word where there is no pace, whatever the others are: no schedule has a rate of 0.
pub(super) const NO_SCHEDULE: u64 = 0;

/// A client's schedule from its first packet on and how its packets keep to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    due_times: DueTimes,
    /// When the last packet is due after the first, and how long after that a packet is in time,
    /// ns: both follow from the schedule.
    end_ns: u64,
    allowance_ns: i64,
    spread: Spread,
}

/// A packet, as far as its pace needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    /// When it was due after the first packet of the connection, on the sender's clock; 2^64 less
    /// than that where it was due before it.
    pub(super) due_ns: u64,
    /// When it was read after the first one was.
    pub(super) read_ns: u64,
    /// The first of the connection, from whose times the others are counted.
    pub(super) is_first: bool,
    /// It came behind all before it. One that fills a gap is not compared with the schedule.
    pub(super) is_in_order: bool,
    pub(super) clock: ClockRelation,
}

impl Pace {
    /// The pace of a client whose hello came at `read_ns`. `None` without a schedule that is
    /// possible.
    pub(super) fn new(schedule: Option<Schedule>, read_ns: u64) -> Option<Self> {
        let mut pace = Self::at(schedule?, 0, Spread::default())?;
        pace.spread.begin_batch(read_ns);
        Some(pace)
    }

    /// The last packet had this place, counted from the first one's.
    fn at(schedule: Schedule, place: u64, spread: Spread) -> Option<Self> {
        let schedule = schedule.starting_at(0);
        let (rate, batch, packets) = schedule.steady()?;
        is_possible(rate, batch, packets).then(|| Self {
            due_times: DueTimes::at(schedule, place),
            end_ns: schedule.end_ns(),
            // At most 1024 packets at a packet in 1000 s.
            allowance_ns: schedule.period_ns().max(IN_TIME_NS_MIN).cast_signed(),
            spread,
        })
    }

    /// The pace of a client whose last packet had this place.
    #[cfg(test)]
    pub(super) fn on(schedule: Schedule, place: u64) -> Option<Self> {
        Self::at(schedule, place, Spread::default())
    }

    /// The least (read − due) of all packets less that of the first one, ns: 0 or less.
    pub(super) fn least_ns(&self) -> Option<i64> {
        self.spread.least_ns()
    }

    /// A batch of the client was read.
    #[inline]
    pub(super) fn begin_batch(&mut self, read_ns: u64) {
        self.spread.begin_batch(read_ns);
    }

    /// Checks, counts and measures a packet; returns its spread, ns, when there is a packet that it
    /// can be compared with.
    #[inline]
    pub(super) fn take(&mut self, packet: Paced, counts: &mut ReceiverCounts) -> Option<u64> {
        if !packet.is_first && packet.is_in_order {
            match self.due_times.take(packet.due_ns) {
                Some(0) => {}
                Some(places) => add(&mut counts.left_out, places),
                None => add(&mut counts.off_schedule, 1),
            }
        }
        let delay_ns = packet.read_ns.wrapping_sub(packet.due_ns).cast_signed();
        let shown = self.spread.take(delay_ns);
        if shown.uncertain > 0 {
            add(&mut counts.spread_uncertain, shown.uncertain);
        }
        if shown.understated > 0 {
            add(&mut counts.spread_understated, shown.understated);
        }
        if self.is_in_time(&packet) {
            add(&mut counts.in_time, 1);
        }
        shown.spread_ns
    }

    #[inline]
    fn is_in_time(&self, packet: &Paced) -> bool {
        let Some(least_ns) = self.spread.least_ns() else {
            return false;
        };
        let mut allowed_ns = least_ns.saturating_add(self.allowance_ns);
        if !packet.clock.is_same() {
            let since_first_ns = packet.due_ns.cast_signed().max(0);
            allowed_ns =
                allowed_ns.saturating_add(since_first_ns / CLOCK_DRIFT_PARTS.cast_signed());
        }
        packet.read_ns.wrapping_sub(self.end_ns).cast_signed() <= allowed_ns
    }

    /// Whether the figures fit each other and the packets received.
    pub(super) fn is_possible(&self, counts: &ReceiverCounts) -> bool {
        let [off_schedule, left_out, in_time, understated, uncertain] = counters(counts);
        let place = self.due_times.place();
        // Each packet but the first goes to the next place and the places that it leaves out.
        let moves = place.checked_sub(left_out);
        let is_place_possible = if counts.received == 0 {
            place == 0
        } else {
            moves.is_some_and(|moves| moves < counts.received)
        };
        let [kept, kept_near] = self.spread.kept();
        let are_received = |kept: u64, counted| {
            let packets = kept.checked_add(counted);
            packets.is_some_and(|packets| packets <= counts.received)
        };
        off_schedule <= counts.received
            && is_place_possible
            && in_time <= counts.received
            && understated <= uncertain
            && are_received(kept, understated)
            && are_received(kept_near, uncertain)
    }

    /// Hands each word to `put`, with its index.
    #[inline]
    pub(super) fn put_words(&self, mut put: impl FnMut(usize, u64)) {
        let (rate_millihertz, batch, packets) =
            self.due_times.schedule().steady().unwrap_or_default();
        put(0, rate_millihertz | u64::from(batch) << 32);
        put(1, packets);
        put(2, self.due_times.place());
        let spread = self.spread.to_words();
        for (index, word) in (3..).zip(spread) {
            put(index, word);
        }
    }

    #[cfg(test)]
    fn to_words(self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        self.put_words(|index, word| words[index] = word);
        words
    }

    /// `None` when the words hold no schedule that is possible.
    pub(super) fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [rate_and_batch, packets, place, spread @ ..] = words;
        let (rate, batch) = (
            rate_and_batch & u64::from(u32::MAX),
            (rate_and_batch >> 32) as u32,
        );
        if !is_possible(rate, batch, packets) {
            return None;
        }
        let schedule = Schedule::constant(0, rate, batch, packets);
        Self::at(schedule, place, Spread::from_words(spread))
    }
}

/// Off schedule, left out, in time, understated, uncertain; 0 where not known.
fn counters(counts: &ReceiverCounts) -> [u64; 5] {
    [
        counts.off_schedule,
        counts.left_out,
        counts.in_time,
        counts.spread_understated,
        counts.spread_uncertain,
    ]
    .map(Option::unwrap_or_default)
}

#[inline]
fn add(counter: &mut Option<u64>, more: u64) {
    *counter = Some(counter.unwrap_or(0).wrapping_add(more));
}

/// The counters that only a client with a pace has: all 0, or unknown.
pub(crate) fn with_pace_counts(counts: ReceiverCounts, has_pace: bool) -> ReceiverCounts {
    let known = |counter: Option<u64>| has_pace.then_some(counter.unwrap_or(0));
    ReceiverCounts {
        off_schedule: known(counts.off_schedule),
        left_out: known(counts.left_out),
        in_time: known(counts.in_time),
        spread_understated: known(counts.spread_understated),
        spread_uncertain: known(counts.spread_uncertain),
        ..counts
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::counters::CounterList as _;
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// 100 packets, one every 5 ms.
    const SCHEDULE: Schedule = Schedule {
        start_ns: 0,
        rate_millihertz: 200_000,
        batch: 1,
        packets: 100,
    };

    /// Counts packets of a client due and read at these times, ms of our clock; returns how many
    /// were in time.
    fn in_time(schedule: Schedule, clock: ClockRelation, packets: &[(u64, u64)]) -> u64 {
        let mut pace = Pace::new(Some(schedule), 0).unwrap();
        let mut counts = ReceiverCounts::zero();
        let (first_due_ms, first_read_ms) = packets[0];
        for (index, (due_ms, read_ms)) in packets.iter().enumerate() {
            let packet = Paced {
                due_ns: (due_ms - first_due_ms) * MS,
                read_ns: (read_ms - first_read_ms) * MS,
                is_first: index == 0,
                is_in_order: true,
                clock,
            };
            pace.begin_batch(read_ms * MS);
            let _ = pace.take(packet, &mut counts);
            counts.received += 1;
            assert!(pace.is_possible(&counts));
        }
        counts.in_time.unwrap()
    }

    #[test]
    fn a_packet_is_in_time_up_to_a_period_or_10_ms_behind_the_last_due_time() {
        // The last of 100 is due at 495 ms, and the fastest packet has taken 7 ms.
        let same = |schedule, read_ms| {
            in_time(
                schedule,
                ClockRelation::Same,
                &[(0, 7), (5, 400), (10, read_ms)],
            )
        };
        assert_eq!(same(SCHEDULE, 512), 3);
        assert_eq!(same(SCHEDULE, 513), 2);
        let slow = Schedule {
            packets: 25,
            batch: 4,
            ..SCHEDULE
        };
        // The last write of 25 packets is due at 120 ms, its period is 20 ms.
        assert_eq!(same(slow, 147), 2);
        assert_eq!(same(slow, 148), 1);
        let rare = Schedule {
            rate_millihertz: 1_000,
            packets: 2,
            ..SCHEDULE
        };
        assert_eq!(same(rare, 2_007), 3);
        assert_eq!(same(rare, 2_008), 2);
    }

    #[test]
    fn when_a_schedule_starts_changes_nothing() {
        for start_ns in [0, 10 * MS, 1 << 40] {
            let schedule = Schedule {
                start_ns,
                ..SCHEDULE
            };
            for (read_ms, expected) in [(505, 2), (506, 1)] {
                let packets = [(0, 0), (495, read_ms)];
                assert_eq!(in_time(schedule, ClockRelation::Same, &packets), expected);
            }
        }
    }

    #[test]
    fn the_least_counts_as_it_is_when_the_packet_is_read() {
        let packets = [(0, 100), (5, 605), (490, 497)];
        assert_eq!(in_time(SCHEDULE, ClockRelation::Same, &packets), 3);
        let reverse = [(0, 7), (5, 605), (490, 590)];
        assert_eq!(in_time(SCHEDULE, ClockRelation::Same, &reverse), 1);
    }

    #[test]
    fn a_client_on_another_clock_may_take_a_1000th_of_its_time_longer() {
        let long = Schedule {
            rate_millihertz: 1_000_000,
            packets: 10_000_001,
            ..SCHEDULE
        };
        let end_ms = 10_000_000;
        for (read_ms, same, unknown) in [(10, 2, 2), (11, 1, 2), (10_010, 1, 2), (10_011, 1, 1)] {
            let packets = [(0, 0), (end_ms, end_ms + read_ms)];
            assert_eq!(in_time(long, ClockRelation::Same, &packets), same);
            assert_eq!(in_time(long, ClockRelation::Unknown, &packets), unknown);
        }
    }

    #[test]
    fn a_pace_of_more_packets_than_were_received_is_impossible() {
        let received = |received| ReceiverCounts {
            received,
            ..ReceiverCounts::zero()
        };
        let moved = Pace::on(SCHEDULE, 2).unwrap();
        assert!(moved.is_possible(&received(3)));
        assert!(!moved.is_possible(&received(2)), "each packet moves once");
        let mut measured = Pace::new(Some(SCHEDULE), 0).unwrap();
        let mut counts = ReceiverCounts::zero();
        for place in 0..3 {
            let packet = Paced {
                due_ns: SCHEDULE.due_at(place),
                read_ns: SCHEDULE.due_at(place),
                is_first: place == 0,
                is_in_order: true,
                clock: ClockRelation::Same,
            };
            let _ = measured.take(packet, &mut counts);
            counts.received += 1;
        }
        assert!(measured.is_possible(&counts));
        for spoil in [
            (|it| it.off_schedule = Some(4)) as fn(&mut ReceiverCounts),
            |it| it.left_out = Some(3),
            |it| it.in_time = Some(4),
            |it| it.spread_understated = Some(1),
            |it| it.spread_uncertain = Some(1),
        ] {
            let mut impossible = counts;
            spoil(&mut impossible);
            assert!(!measured.is_possible(&impossible), "{impossible:?}");
        }
    }

    #[test]
    fn the_spread_of_a_client_is_that_above_the_least_of_late() {
        let mut pace = Pace::new(Some(SCHEDULE), 0).unwrap();
        let mut counts = ReceiverCounts::zero();
        let spreads = [(0, 7), (5, 15), (10, 20_010)].map(|(due_ms, read_ms)| {
            pace.begin_batch(read_ms * MS);
            let packet = Paced {
                due_ns: due_ms * MS,
                read_ns: (read_ms - 7) * MS,
                is_first: due_ms == 0,
                is_in_order: true,
                clock: ClockRelation::Same,
            };
            pace.take(packet, &mut counts)
        });
        assert_eq!(spreads, [None, Some(3 * MS), None]);
        assert_eq!(pace.least_ns(), Some(0));
    }

    fn edges() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..=u64::MAX,
            0..9_u64,
            u64::MAX - 9..=u64::MAX,
            (1_u64 << 63) - 5..(1 << 63) + 5
        ]
    }

    proptest! {
        #[test]
        fn any_words_are_a_pace_or_none_and_take_any_packet(
            rate in prop_oneof![0..=u64::from(u32::MAX), 0..2_000_000_000_u64],
            batch in prop_oneof![0..=u64::from(u32::MAX), 0..1_030_u64],
            rest in prop::collection::vec(edges(), WORDS - 1),
            packets in prop::collection::vec((edges(), edges(), any::<[bool; 3]>()), 1..20),
            counts: [u64; metronome_proto::counters::WORDS],
        ) {
            let mut words = [rate | batch << 32; WORDS];
            words[1..].copy_from_slice(&rest);
            let Some(mut pace) = Pace::from_words(words) else {
                return Ok(());
            };
            prop_assert_eq!(pace.to_words(), words);
            let mut counts = ReceiverCounts::from_words(&counts);
            for (due_ns, read_ns, [is_first, is_in_order, is_same]) in packets {
                let clock = if is_same { ClockRelation::Same } else { ClockRelation::Unknown };
                pace.begin_batch(read_ns);
                let packet = Paced { due_ns, read_ns, is_first, is_in_order, clock };
                let _ = (pace.take(packet, &mut counts), pace.is_possible(&counts));
            }
        }

        #[test]
        fn what_can_be_stays_possible_whatever_packets_come(
            packets in prop::collection::vec(
                (0..3_000_u64, 0..9_000_000_000_u64, any::<bool>(), 0..3_u64),
                1..200,
            ),
        ) {
            let mut pace = Pace::new(Some(SCHEDULE), 0).unwrap();
            let (mut counts, mut read_ns) = (ReceiverCounts::zero(), 0);
            let (mut first_due_ns, mut first_read_ns) = (None, None);
            for (place, gap_ns, is_in_order, off_ns) in packets {
                read_ns += gap_ns / 100;
                let due_ns = place * MS + off_ns;
                let packet = Paced {
                    due_ns: due_ns.wrapping_sub(*first_due_ns.get_or_insert(due_ns)),
                    read_ns: read_ns - *first_read_ns.get_or_insert(read_ns),
                    is_first: counts.received == 0,
                    is_in_order,
                    clock: ClockRelation::Unknown,
                };
                pace.begin_batch(read_ns);
                let _ = pace.take(packet, &mut counts);
                counts.received += 1;
                prop_assert!(pace.is_possible(&counts));
                prop_assert_eq!(Pace::from_words(pace.to_words()), Some(pace));
            }
        }
    }
}
