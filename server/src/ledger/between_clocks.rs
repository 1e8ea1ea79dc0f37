//! Tests of the times of packets between two clocks: which packets have them, and that a death at
//! any store leaves each of them once, by the line that its batch had.

use metronome_proto::{counters::CounterList as _, histogram::bucket, v1::ReceiverCounts};
use proptest::prelude::*;

use super::{
    ConnectionCounters, Dimensions, Ledger,
    commit_writer::ReleaseStore,
    deaths::die_at_every_store_with,
    load_words::ClientLoad,
    world::{LOAD, World, conversation, hello, key, packet, start},
};
use crate::model::{ClockLine, ClockRelation, Floor, TimeKind};

const LINE: ClockLine = ClockLine {
    from_ns: 1_000,
    until_ns: u64::MAX,
    at_ns: 1_000,
    offset_ns: 100,
    drift_ppb: 40_000,
    floor: Some(Floor {
        offset_ns: 1_500,
        drift_ppb: 0,
    }),
};

const ANOTHER: ClockLine = ClockLine {
    from_ns: 7_000,
    offset_ns: -1_000_000,
    floor: None,
    ..LINE
};

fn world() -> World {
    World::on(ClockRelation::Offset)
}

fn begin(_: &World) -> ConnectionCounters {
    ConnectionCounters::default()
}

/// When a packet of a conversation is written.
fn written_ns(sequence: u64) -> u64 {
    1_007 + sequence * 4_000
}

/// Receives the first packets, read at `read_ns` while there is such a line.
fn received(world: &World, packets: u64, line: &ClockLine, read_ns: u64) -> ConnectionCounters {
    let mut counters = ConnectionCounters::default();
    let opening = [hello().encode(&key()), start()].concat();
    world.batch(&mut counters, &opening, 1, &ReleaseStore);
    world.set_line(Some(line));
    let bytes: Vec<u8> = (0..packets).flat_map(packet).collect();
    world.batch(&mut counters, &bytes, read_ns, &ReleaseStore);
    counters
}

/// The times of one kind: the bucket of each, in order.
fn buckets(world: &World, kind: TimeKind) -> Vec<usize> {
    let times = world.times().into_iter();
    let of_kind = times.filter(|(histogram, ..)| *histogram == kind as usize);
    of_kind
        .flat_map(|(_, bucket, count)| std::iter::repeat_n(bucket, count as usize))
        .collect()
}

#[test]
fn a_packet_has_a_time_by_the_line_and_one_above_its_floor_or_none() {
    let world = world();
    let line = ClockLine {
        from_ns: written_ns(1),
        until_ns: written_ns(3),
        drift_ppb: 0,
        ..LINE
    };
    // The last of the three was read 1 µs after the reading of its own clock, and the floor is
    // 1.5 µs.
    let counters = received(&world, 5, &line, written_ns(3) + 1_000);
    let expected = [900, 4_900, 8_900].map(bucket);
    assert_eq!(buckets(&world, TimeKind::OneWay), expected);
    let expected = [0, 3_500, 7_500].map(bucket);
    assert_eq!(buckets(&world, TimeKind::Queueing), expected);
    assert_eq!(counters.counts.received, 5);
    assert_eq!(counters.timed[TimeKind::OneWay], 3);
    assert_eq!(counters.timed[TimeKind::Queueing], 3);
    assert_eq!(counters.counts.below_floor, Some(1));
    assert!(counters.is_possible());
}

#[test]
fn a_line_without_a_floor_gives_no_queueing_and_a_packet_of_the_warm_up_has_neither() {
    let warm_up_ns = 2_000;
    let load = ClientLoad { warm_up_ns, ..LOAD };
    let world = World::with(ClockRelation::Offset, Some(load));
    let line = ClockLine {
        floor: None,
        ..LINE
    };
    let counters = received(&world, 5, &line, 90_000);
    assert_eq!(counters.counts.warm_up, Some(2));
    assert_eq!(counters.timed.0[4..], [3, 0]);
    assert_eq!(counters.counts.below_floor, Some(0));
    assert_eq!(world.sums(), counters.timed.0);
}

#[test]
fn a_client_whose_offset_is_not_measured_has_no_times_by_lines() {
    for clock in [ClockRelation::Same, ClockRelation::Unknown] {
        let world = World::on(clock);
        let counters = received(&world, 5, &LINE, 90_000);
        assert_eq!(counters.timed.0[4..], [0; 2]);
        assert_eq!(counters.counts.below_floor, None);
        assert_eq!(world.sums(), counters.timed.0);
    }
}

/// An upgrade does that: the new master and its workers open the memory of the old ones.
#[test]
fn the_lines_and_the_times_by_them_go_on_where_another_process_opens_the_ledger() {
    let old = world();
    let mut counters = received(&old, 3, &LINE, 90_000);
    let handed_over = old.ledger().descriptors();
    let handed_over = handed_over.map(|fd| fd.try_clone_to_owned().unwrap());
    let ledger = Ledger::open(Dimensions { slots: 2 }, handed_over).unwrap();
    let new = World::open(ClockRelation::Offset, ledger);
    assert_eq!(new.slot().counters(), Some(counters));
    drop(old);
    new.batch(&mut counters, &packet(3), 91_000, &ReleaseStore);
    assert_eq!(counters.timed[TimeKind::OneWay], 4);
    // Until the new master has a line of its own, or finds that there is none.
    new.set_line(Some(&ClockLine {
        floor: None,
        ..LINE
    }));
    new.batch(&mut counters, &packet(4), 92_000, &ReleaseStore);
    new.set_line(None);
    new.batch(&mut counters, &packet(5), 93_000, &ReleaseStore);
    assert_eq!(counters.timed.0[4..], [5, 4]);
    assert_eq!(new.sums(), counters.timed.0);
}

#[test]
fn a_death_at_any_store_leaves_the_times_by_the_line_that_the_batch_had() {
    let bytes = conversation(9);
    let (opening, rest) = bytes.split_at(64 + 77);
    let (one, rest) = rest.split_at(90);
    let (other, last) = rest.split_at(55);
    let lines = [None, Some(LINE), Some(ANOTHER), None];
    let batches = [
        (1_900, opening),
        (2_000, one),
        (9_000, other),
        (60_000_000, last),
    ];
    let later = ClockLine {
        offset_ns: 70_000_000,
        ..ANOTHER
    };
    for later in [None, Some(later)] {
        let (counted, deaths) = die_at_every_store_with(world, begin, &batches, &lines, later);
        assert!(deaths > 300, "only {deaths} deaths were tried");
        let expected = ReceiverCounts {
            received: 9,
            in_time: Some(9),
            replies_wanted: Some(3),
            read_before_written: None,
            below_floor: Some(3),
            ..ReceiverCounts::zero()
        };
        assert_eq!(counted.counts, expected);
        // Two whole packets came before the first line and three behind the last; of the others
        // the later line does not reach those that were written before it.
        let [lateness, transit, latency, _, one_way, queueing] = counted.timed.0;
        assert_eq!([lateness, transit, latency], [9, 0, 0]);
        assert_eq!((one_way, queueing), (4, 3));
    }
}

fn lines() -> impl Strategy<Value = Option<ClockLine>> {
    let floors = prop::option::of((-9_000..9_000_i64, -50_000..50_000_i32));
    let line = (
        0..40_000_u64,
        0..40_000_u64,
        0..40_000_u64,
        -9_000..9_000_i64,
        -50_000..50_000_i32,
        floors,
    );
    let line = line.prop_map(|(from_ns, lasts_ns, at_ns, offset_ns, drift_ppb, floor)| {
        let until_ns = from_ns + lasts_ns;
        let floor = floor.map(|(offset_ns, drift_ppb)| Floor {
            offset_ns,
            drift_ppb,
        });
        ClockLine {
            from_ns,
            until_ns,
            at_ns,
            offset_ns,
            drift_ppb,
            floor,
        }
    });
    prop::option::weighted(0.8, line)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Also where the line is another one before each batch and once more after the death.
    #[test]
    fn a_death_at_any_store_leaves_the_times_by_any_lines(
        packets in 1..8_u64,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 2),
        each_line in prop::collection::vec(lines(), 3),
        later in lines(),
        read_after_ns in prop::collection::vec(1..30_000_u64, 3),
    ) {
        let bytes = conversation(packets);
        // The line of a batch with the hello in it counts from the next one on.
        let cuts = cuts.iter().map(|cut| 32 + cut.index(bytes.len() - 31));
        let mut ends: Vec<usize> = cuts.chain([bytes.len()]).collect();
        ends.sort_unstable();
        let (mut at, mut now_ns, mut batches) = (0, 0, Vec::new());
        for (end, after_ns) in ends.into_iter().zip(read_after_ns) {
            now_ns += after_ns;
            batches.push((now_ns, &bytes[at..end]));
            at = end;
        }
        let (counted, _) = die_at_every_store_with(world, begin, &batches, &each_line, later);
        prop_assert_eq!(counted.counts.received, packets);
        prop_assert!(counted.timed[TimeKind::Queueing] <= counted.timed[TimeKind::OneWay]);
        prop_assert!(counted.timed[TimeKind::OneWay] <= packets);
    }
}
