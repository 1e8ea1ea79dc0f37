//! What is checked and measured of each packet of a client that has a schedule: whether it is on
//! the schedule, whether path and receiver kept up with it, and how far it is above the least
//! delay. A client of a flood and one that no plan has sent have no pace.
//!
//! In time is a packet by the last due time of the whole schedule, whatever was skipped; of random
//! arrivals by the last instant at which one may be due, which is up to a gap later.
//!
//! Times of due are counted from the client's start, and of the delays from its first due time;
//! times of reading from its first read: wherever the zeros of the two clocks lie, these are small,
//! and so is every difference.
//!
//! What changes from packet to packet lies among the connection's counters; the schedule is in a
//! [`LoadCheck`].

use metronome_proto::v1::ReceiverCounts;

use super::{
    due_times::{LeftOut, Taken},
    load_check::LoadCheck,
    spread::{self, Spread},
};
use crate::model::{CLOCK_DRIFT_PARTS, ClockRelation};

/// Words of it in the ledger: place and due time of the next packet, and the spread's.
pub(super) const WORDS: usize = 2 + spread::WORDS;

/// How far a client's schedule has come and how its packets keep to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// Place of the next packet, and when it is due after the client's start, ns. Within a batch
    /// the [`LoadCheck`] is ahead of them.
    place: u64,
    due_ns: u64,
    spread: Spread,
}

/// A packet, as far as its pace needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    /// When it was due after the client's start, on the sender's clock, and when the first packet
    /// of the connection was; 2^64 less than that where it was due before the start.
    pub(super) due_ns: u64,
    pub(super) first_due_ns: u64,
    /// When it was read after the first one was.
    pub(super) read_ns: u64,
    /// It came behind all before it. One that fills a gap is not compared with the schedule.
    pub(super) is_in_order: bool,
    /// Due in the warm-up, so that its spread is not recorded.
    pub(super) is_in_warm_up: bool,
    pub(super) clock: ClockRelation,
}

impl Paced {
    /// When it was due after the first packet of the connection, ns.
    #[inline]
    fn since_first_ns(&self) -> u64 {
        self.due_ns.wrapping_sub(self.first_due_ns)
    }

    /// Its (read − due) less that of the first packet, ns.
    #[inline]
    fn delay_ns(&self) -> i64 {
        self.read_ns
            .wrapping_sub(self.since_first_ns())
            .cast_signed()
    }
}

impl Pace {
    /// The pace of a client whose hello came at `read_ns`, with the place and due time of its first
    /// packet.
    pub(super) fn begin((place, due_ns): (u64, u64), read_ns: u64) -> Self {
        let mut spread = Spread::default();
        spread.begin_batch(read_ns);
        Self {
            place,
            due_ns,
            spread,
        }
    }

    /// Place and due time of the next packet.
    pub(super) fn next(&self) -> (u64, u64) {
        (self.place, self.due_ns)
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

    /// The batch is over: the next packet has such a place and due time.
    #[inline]
    pub(super) fn end_batch(&mut self, next: Option<(u64, u64)>) {
        if let Some(next) = next {
            (self.place, self.due_ns) = next;
        }
    }

    /// Checks, counts and measures a packet; returns its spread, ns, when there is a packet that it
    /// can be compared with.
    #[inline]
    pub(super) fn take(
        &mut self,
        packet: &Paced,
        check: &mut LoadCheck,
        counts: &mut ReceiverCounts,
    ) -> Option<u64> {
        if packet.is_in_order {
            count_place(packet.due_ns, check, counts);
        }
        let shown = self.spread.take(packet.delay_ns(), !packet.is_in_warm_up);
        if shown.uncertain > 0 {
            add(&mut counts.spread_uncertain, shown.uncertain);
        }
        if shown.understated > 0 {
            add(&mut counts.spread_understated, shown.understated);
        }
        if self.is_in_time(packet, check) {
            add(&mut counts.in_time, 1);
        }
        shown.spread_ns
    }

    /// The same of so many packets, due and read as the one before them in their batch was. Each of
    /// them came behind all before it, and has the spread that is returned.
    #[inline]
    pub(super) fn take_alike(
        &mut self,
        packet: &Paced,
        packets: u64,
        check: &mut LoadCheck,
        counts: &mut ReceiverCounts,
    ) -> Option<u64> {
        for _ in 0..packets {
            count_place(packet.due_ns, check, counts);
        }
        let is_recorded = !packet.is_in_warm_up;
        let spread_ns = (self.spread).take_alike(packet.delay_ns(), is_recorded, packets);
        if self.is_in_time(packet, check) {
            add(&mut counts.in_time, packets);
        }
        spread_ns
    }

    #[inline]
    fn is_in_time(&self, packet: &Paced, check: &LoadCheck) -> bool {
        let Some(least_ns) = self.spread.least_ns() else {
            return false;
        };
        let (end_ns, allowance_ns) = check.end_and_allowance_ns();
        let mut allowed_ns = least_ns.saturating_add(allowance_ns);
        if !packet.clock.is_same() {
            let since_first_ns = packet.since_first_ns().cast_signed().max(0);
            allowed_ns =
                allowed_ns.saturating_add(since_first_ns / CLOCK_DRIFT_PARTS.cast_signed());
        }
        // When the last one is due after the first packet.
        let last_ns = end_ns.wrapping_sub(packet.first_due_ns);
        packet.read_ns.wrapping_sub(last_ns).cast_signed() <= allowed_ns
    }

    /// Whether the figures fit each other and the packets received.
    pub(super) fn is_possible(&self, counts: &ReceiverCounts) -> bool {
        let [
            off_schedule,
            left_out,
            in_time,
            understated,
            uncertain,
            warm_up_left_out,
        ] = counters(counts);
        // Each packet that is on the schedule takes the next place behind those that it leaves out.
        let on_schedule = counts.received.checked_sub(off_schedule);
        let taken = self.place.checked_sub(left_out);
        let is_place_possible = on_schedule
            .zip(taken)
            .is_some_and(|(on_schedule, taken)| taken <= on_schedule);
        let [kept, kept_near] = self.spread.kept();
        let are_received = |kept: u64, counted| {
            let packets = kept.checked_add(counted);
            packets.is_some_and(|packets| packets <= counts.received)
        };
        is_place_possible
            && warm_up_left_out <= left_out
            && in_time <= counts.received
            && understated <= uncertain
            && are_received(kept, understated)
            && are_received(kept_near, uncertain)
    }

    /// Hands each word to `put`, with its index.
    #[inline]
    pub(super) fn put_words(&self, mut put: impl FnMut(usize, u64)) {
        put(0, self.place);
        put(1, self.due_ns);
        let spread = self.spread.to_words();
        for (index, word) in (2..).zip(spread) {
            put(index, word);
        }
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [place, due_ns, spread @ ..] = words;
        Self {
            place,
            due_ns,
            spread: Spread::from_words(spread),
        }
    }
}

/// Off schedule, left out, in time, understated, uncertain, left out in the warm-up; 0 where not
/// known.
fn counters(counts: &ReceiverCounts) -> [u64; 6] {
    [
        counts.off_schedule,
        counts.left_out,
        counts.in_time,
        counts.spread_understated,
        counts.spread_uncertain,
        counts.warm_up_left_out,
    ]
    .map(Option::unwrap_or_default)
}

/// Takes the place of a packet that is due then.
#[inline]
fn count_place(due_ns: u64, check: &mut LoadCheck, counts: &mut ReceiverCounts) {
    match check.take(due_ns) {
        Taken::Next => {}
        Taken::Later(left_out) => add_left_out(counts, left_out),
        Taken::Off(left_out) => {
            add(&mut counts.off_schedule, 1);
            add_left_out(counts, left_out);
        }
    }
}

#[cold]
fn add_left_out(counts: &mut ReceiverCounts, LeftOut { places, in_warm_up }: LeftOut) {
    add(&mut counts.left_out, places);
    add(&mut counts.warm_up_left_out, in_warm_up);
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
        warm_up_left_out: known(counts.warm_up_left_out),
        ..counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{counters::CounterList as _, load::Load, profile::Profile};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{
        due_times::Reach,
        load_words::{ClientLoad, tests::loads},
    };

    const MS: u64 = 1_000_000;

    /// 100 packets, one every 5 ms.
    const LOAD: Load = Load {
        profile: Profile::Constant {
            rate_millihertz: 200_000,
        },
        duration: Duration::from_millis(500),
        batch: 1,
        seed: 1,
    };

    fn client(load: Load) -> (Pace, LoadCheck) {
        let warm_up_ns = 0;
        let check = LoadCheck::admitted(
            &ClientLoad {
                packet_size: metronome_proto::packet_size::PacketSize::MIN,
                load,
                warm_up_ns,
            },
            3,
        );
        (Pace::begin(check.next().unwrap(), 0), check)
    }

    /// A packet due and read so many ns after the first one, which was due at the start.
    fn paced(due_ns: u64, read_ns: u64) -> Paced {
        Paced {
            due_ns,
            first_due_ns: 0,
            read_ns,
            is_in_order: true,
            is_in_warm_up: false,
            clock: ClockRelation::Same,
        }
    }

    /// Counts packets of a client due and read at these times, ms of our clock; returns how many
    /// were in time.
    fn in_time(load: Load, clock: ClockRelation, packets: &[(u64, u64)]) -> u64 {
        let (mut pace, mut check) = client(load);
        let mut counts = ReceiverCounts::zero();
        let (first_due_ms, first_read_ms) = packets[0];
        for (due_ms, read_ms) in packets {
            let packet = Paced {
                first_due_ns: first_due_ms * MS,
                clock,
                ..paced(due_ms * MS, (read_ms - first_read_ms) * MS)
            };
            pace.begin_batch(read_ms * MS);
            let _ = pace.take(&packet, &mut check, &mut counts);
            pace.end_batch(check.next());
            counts.received += 1;
            assert!(pace.is_possible(&counts));
        }
        assert_eq!(counts.off_schedule, Some(0));
        counts.in_time.unwrap()
    }

    #[test]
    fn a_packet_is_in_time_up_to_a_period_or_10_ms_behind_the_last_due_time() {
        // The last of 100 is due at 495 ms, and the fastest packet has taken 7 ms.
        let same = |load, due_ms: [u64; 2], read_ms| {
            let packets = [(0, 7), (due_ms[0], due_ms[0] + 300), (due_ms[1], read_ms)];
            in_time(load, ClockRelation::Same, &packets)
        };
        assert_eq!(same(LOAD, [5, 10], 512), 3);
        assert_eq!(same(LOAD, [5, 10], 513), 2);
        let slow = Load {
            duration: Duration::from_millis(125),
            batch: 4,
            ..LOAD
        };
        // The last write of 25 packets is due at 120 ms, its period is 20 ms.
        assert_eq!(same(slow, [20, 40], 147), 2);
        assert_eq!(same(slow, [20, 40], 148), 1);
        let rare = Load {
            profile: Profile::constant(1_000),
            duration: Duration::from_secs(3),
            ..LOAD
        };
        assert_eq!(same(rare, [1_000, 2_000], 3_007), 3);
        assert_eq!(same(rare, [1_000, 2_000], 3_008), 2);
        // 800 packets of a rate that begins at none and ends at 400 packets/s: the lowest rate
        // allows nothing, the last two are due 2.5 ms apart.
        let ramp = Load {
            profile: Profile::Ramp {
                from_millihertz: 0,
                to_millihertz: 400_000,
            },
            duration: Duration::from_secs(4),
            ..LOAD
        };
        let (_, check) = client(ramp);
        let (end_ns, allowance_ns) = check.end_and_allowance_ns();
        assert_eq!((end_ns / MS, allowance_ns), (3_997, 10_000_000));
        // The last instant of 60 ms at which one may be due, and the mean gap is 20 ms.
        let random = Load {
            profile: Profile::Poisson {
                rate_millihertz: 50_000,
            },
            duration: Duration::from_millis(60),
            ..LOAD
        };
        let (pace, check) = client(random);
        assert_eq!(check.end_and_allowance_ns(), (60 * MS - 1, 20_000_000));
        assert_eq!(pace.next(), check.next().unwrap());
    }

    #[test]
    fn the_last_due_time_is_that_of_the_schedule_whatever_was_skipped_at_its_begin() {
        for (read_ms, expected) in [(512, 2), (513, 1)] {
            let packets = [(300, 307), (495, read_ms)];
            assert_eq!(in_time(LOAD, ClockRelation::Same, &packets), expected);
        }
    }

    #[test]
    fn the_least_counts_as_it_is_when_the_packet_is_read() {
        let packets = [(0, 100), (5, 605), (490, 497)];
        assert_eq!(in_time(LOAD, ClockRelation::Same, &packets), 3);
        let reverse = [(0, 7), (5, 605), (490, 590)];
        assert_eq!(in_time(LOAD, ClockRelation::Same, &reverse), 1);
    }

    #[test]
    fn a_client_on_another_clock_may_take_a_1000th_of_its_time_longer() {
        let long = Load {
            profile: Profile::constant(1_000_000),
            duration: Duration::from_millis(10_000_001),
            ..LOAD
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
        let moved = Pace::begin((3, 0), 0);
        assert!(moved.is_possible(&received(3)));
        assert!(!moved.is_possible(&received(2)), "each packet moves once");
        let (mut measured, mut check) = client(LOAD);
        let mut counts = ReceiverCounts::zero();
        for place in 0..3 {
            let packet = paced(place * 5 * MS, place * 5 * MS);
            let _ = measured.take(&packet, &mut check, &mut counts);
            measured.end_batch(check.next());
            counts.received += 1;
        }
        assert!(measured.is_possible(&counts));
        for spoil in [
            (|it| it.off_schedule = Some(4)) as fn(&mut ReceiverCounts),
            |it| it.off_schedule = Some(1),
            |it| it.left_out = Some(4),
            |it| it.warm_up_left_out = Some(1),
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
        let (mut pace, mut check) = client(LOAD);
        let mut counts = ReceiverCounts::zero();
        let spreads = [(0, 7), (5, 15), (10, 20_010)].map(|(due_ms, read_ms)| {
            pace.begin_batch(read_ms * MS);
            let packet = paced(due_ms * MS, (read_ms - 7) * MS);
            pace.take(&packet, &mut check, &mut counts)
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
        fn any_words_are_a_pace_and_what_is_possible_stays_so(
            load in loads(),
            words in prop::collection::vec(edges(), WORDS),
            packets in prop::collection::vec((edges(), edges(), any::<[bool; 3]>()), 1..20),
            counts: [u64; metronome_proto::counters::WORDS],
        ) {
            let mut pace = Pace::from_words(words.try_into().unwrap());
            let mut counts = ReceiverCounts::from_words(&counts);
            let mut check = LoadCheck::at(&load, 3, pace.next());
            let was_possible = pace.is_possible(&counts) && counts.received < 1 << 60;
            for (due_ns, read_ns, [is_in_order, is_in_warm_up, is_same]) in packets {
                let clock = if is_same { ClockRelation::Same } else { ClockRelation::Unknown };
                check.begin_batch(Reach::MAX);
                pace.begin_batch(read_ns);
                let packet = Paced {
                    is_in_order,
                    is_in_warm_up,
                    clock,
                    ..paced(due_ns, read_ns)
                };
                let _ = pace.take(&packet, &mut check, &mut counts);
                pace.end_batch(check.next());
                counts.received = counts.received.wrapping_add(1);
                prop_assert!(!was_possible || pace.is_possible(&counts));
            }
        }

        #[test]
        fn what_can_be_stays_possible_whatever_packets_come(
            load in loads(),
            packets in prop::collection::vec(
                (0..3_000_u64, 0..9_000_000_000_u64, any::<[bool; 2]>(), 0..3_u64),
                1..200,
            ),
        ) {
            let (mut pace, mut check) = client(load.load);
            let (mut counts, mut read_ns) = (ReceiverCounts::zero(), 0);
            let (mut first_due_ns, mut first_read_ns) = (None, None);
            for (place, gap_ns, [is_in_order, is_next], off_ns) in packets {
                read_ns += gap_ns / 100;
                let due_ns = if is_next { pace.next().1 } else { place * MS + off_ns };
                let packet = Paced {
                    due_ns,
                    first_due_ns: *first_due_ns.get_or_insert(due_ns),
                    read_ns: read_ns - *first_read_ns.get_or_insert(read_ns),
                    is_in_order,
                    is_in_warm_up: due_ns < load.warm_up_ns,
                    clock: ClockRelation::Unknown,
                };
                check.begin_batch(Reach::MAX);
                pace.begin_batch(read_ns);
                let _ = pace.take(&packet, &mut check, &mut counts);
                pace.end_batch(check.next());
                counts.received += 1;
                prop_assert!(pace.is_possible(&counts));
                let mut words = [0; WORDS];
                pace.put_words(|index, word| words[index] = word);
                prop_assert_eq!(Pace::from_words(words), pace);
            }
        }
    }
}
