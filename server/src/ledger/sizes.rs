//! Tests of packets of every size, and of the replies that packets ask for: split at every byte,
//! with a death at every store, and beside what an older connection has left in the slot.

use std::ops::Range;

use metronome_proto::{packet::FRAME_BYTES, packet_size::PacketSize};
use proptest::prelude::*;

use super::{
    ConnectionCounters, Stage,
    commit_writer::ReleaseStore,
    counters::PartialFramePlace,
    deaths::die_at_every_store,
    world::{Frames, World, asks, hello, key, replies, reply},
};

/// The smallest and the largest sizes above 32, of which one is no whole number of words, and one
/// in between.
fn sizes() -> [Frames; 4] {
    [33, 200, 1471, 1472].map(frames)
}

fn frames(bytes: u32) -> Frames {
    Frames(PacketSize::new(bytes).unwrap())
}

/// The counters without what depends on how the bytes were split.
fn whole(counters: ConnectionCounters) -> ConnectionCounters {
    ConnectionCounters {
        reads: 0,
        partial_frame_place: PartialFramePlace::First,
        ..counters
    }
}

#[test]
fn a_death_at_any_store_loses_no_packet_of_any_size_and_no_reply() {
    for frames in sizes() {
        let (size, bytes) = (frames.0.bytes(), frames.conversation(6));
        // The second batch brings nothing whole: what was split is kept twice.
        let cuts = [FRAME_BYTES + 2 * size + size / 2, size / 4, 2 * size + 1];
        let mut left = &bytes[..];
        let mut batches = Vec::new();
        for (bytes, read_ns) in cuts.into_iter().zip([2_000, 7_000, 12_000]) {
            let (batch, behind) = left.split_at(bytes);
            batches.push((read_ns, batch));
            left = behind;
        }
        batches.push((17_000, left));
        let begin = |_: &World| ConnectionCounters::default();
        let counted = die_at_every_store(|| frames.world(), begin, &batches);
        let counts = counted.counts;
        assert_eq!((counts.received, counts.corrupt), (6, 0), "{size}");
        let of_replies = (counts.replies_wanted, counts.replies_dropped);
        assert_eq!(of_replies, (Some(2), Some(0)));
        assert_eq!((counted.stage, counted.reported_sent), (Stage::Ended, 6));
        assert_eq!(counted.bytes, bytes.len() as u64);
        assert_eq!(counted.partial_frame_place, PartialFramePlace::Second);
    }
}

/// To a peer that is gone nothing is sent: the queue fills up, and whichever process comes to that
/// drops the same replies. The one to the end is not among them.
#[test]
fn a_death_at_any_store_drops_the_same_replies_where_none_can_be_sent() {
    let frames = frames(32);
    let begin = |world: &World| {
        let mut counters = world.client_after(1_000, [0; 4]);
        counters.reply_bytes_sent -= (252 * FRAME_BYTES) as u64;
        world.slot().commit(&counters, &ReleaseStore);
        counters
    };
    let packets = |sequences: Range<u64>| -> Vec<u8> {
        let packets = sequences.flat_map(|sequence| frames.packet(sequence));
        packets.collect()
    };
    // 3, 2 and 1 of them ask.
    let (fills, is_dropped) = (packets(1_000..1_007), packets(1_007..1_013));
    let last = [packets(1_013..1_016), frames.end(1_016)].concat();
    let batches = [
        (2_000_000, &fills[..]),
        (3_000_000, &is_dropped[..]),
        (4_000_000, &last[..]),
    ];
    let counted = die_at_every_store(World::new, begin, &batches);
    let counts = counted.counts;
    assert_eq!((counts.received, counted.stage), (1_016, Stage::Ended));
    let of_replies = (counts.replies_wanted, counts.replies_dropped);
    assert_eq!(of_replies, (Some(6), Some(4)));
    let pending = counted.reply_bytes_queued - counted.reply_bytes_sent;
    assert_eq!(pending, (255 * FRAME_BYTES) as u64, "with the end-ack");
}

#[test]
fn a_stream_may_be_split_anywhere() {
    for frames in sizes() {
        let bytes = frames.conversation(3);
        let counted = |batches: &[&[u8]]| {
            let (world, mut counters) = (frames.world(), ConnectionCounters::default());
            for batch in batches {
                world.batch(&mut counters, batch, 9_000, &ReleaseStore);
                assert!(counters.is_possible(), "{counters:?}");
                assert_eq!(world.slot().counters(), Some(counters));
            }
            (whole(counters), world.replies(&counters), world.sums())
        };
        let at_once = counted(&[&bytes]);
        assert_eq!(
            (at_once.0.counts.received, at_once.0.stage),
            (3, Stage::Ended)
        );
        assert_eq!(at_once.1, replies(3));
        // Of the largest every seventh: so every byte of a word is one of them.
        let step = if frames.0.bytes() > 1_000 { 7 } else { 1 };
        for cut in (1..bytes.len()).step_by(step) {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(counted(&[one, other]), at_once, "{frames:?} at {cut}");
        }
    }
}

#[test]
fn a_start_or_an_end_of_another_size_or_with_other_bytes_than_zeros_is_corrupt() {
    for frames in sizes() {
        let size = frames.0.bytes();
        let end = frames.end(0);
        let spoiled = |frame: &[u8], at: usize| {
            let mut frame = frame.to_vec();
            frame[at] ^= 1;
            frame
        };
        let mut authenticated_for_32 = [super::world::start().to_vec(), vec![0; size]].concat();
        authenticated_for_32.truncate(size);
        let mut end_for_32 =
            [&hello().end(0, PacketSize::MIN, &key())[..], &vec![0; size]].concat();
        end_for_32.truncate(size);
        let start = frames.start();
        let bad = [
            authenticated_for_32,
            spoiled(&start, FRAME_BYTES),
            spoiled(&start, size - 1),
            end_for_32,
            spoiled(&end, FRAME_BYTES),
            spoiled(&end, size - 1),
        ];
        let (world, mut counters) = (frames.world(), ConnectionCounters::default());
        world.batch(&mut counters, &hello().encode(&key()), 1, &ReleaseStore);
        world.batch(&mut counters, &bad.concat(), 2, &ReleaseStore);
        assert_eq!(
            (counters.counts.corrupt, counters.start),
            (6, None),
            "{size}"
        );
        assert_eq!(counters.stage, Stage::Packets);
        let good = [
            start,
            frames.packet(0),
            spoiled(&frames.packet(1), size - 1),
            end,
        ]
        .concat();
        world.batch(&mut counters, &good, 3, &ReleaseStore);
        let counts = counters.counts;
        assert_eq!((counts.received, counts.corrupt), (1, 7));
        assert_eq!((counters.stage, counters.reported_sent), (Stage::Ended, 0));
        assert!(counters.is_possible());
        world.batch(&mut counters, &frames.packet(2), 4, &ReleaseStore);
        assert_eq!(counters.counts.corrupt, 8, "behind the end");
    }
}

/// A worker commits what the kernel has taken of the replies between two batches.
#[test]
fn a_commit_that_moves_only_replies_leaves_a_split_frame_where_it_is() {
    for frames in sizes() {
        let (world, mut counters) = (frames.world(), ConnectionCounters::default());
        let bytes = frames.conversation(3);
        let (one, other) = bytes.split_at(bytes.len() - frames.0.bytes() - 7);
        world.batch(&mut counters, one, 8_000, &ReleaseStore);
        let place = counters.partial_frame_place;
        assert_eq!(place, PartialFramePlace::Second);
        for sent in [1, 32, 64] {
            counters.reply_bytes_sent = sent;
            world.slot().commit(&counters, &ReleaseStore);
            let read = world.slot().counters().unwrap();
            assert_eq!((read, read.partial_frame_place), (counters, place));
        }
        world.batch(&mut counters, other, 9_000, &ReleaseStore);
        let counts = counters.counts;
        assert_eq!((counts.received, counts.corrupt), (3, 0));
    }
}

#[test]
fn what_an_older_connection_has_left_in_the_slot_changes_nothing() {
    for (old, new) in [(1472, 33), (33, 1472), (200, 32), (32, 200)] {
        let (old, new) = (frames(old), frames(new));
        let fresh = new.world();
        let used = new.world();
        // The bytes of frames of another size lie in the buffer and in both places.
        let noise = [old.packet(5), old.packet(6)].concat();
        let slot = used.slot();
        for place in [PartialFramePlace::First, PartialFramePlace::Second] {
            slot.set_partial_frame(place, &old.packet(7), &ReleaseStore);
        }
        let mut before = ConnectionCounters::default();
        let left: Vec<u8> = noise.iter().map(|byte| !byte).collect();
        super::world::fill(slot, &before, &left);
        let mut after = before;
        let bytes = new.conversation(4);
        for (batch, read_ns) in bytes.chunks(new.0.bytes() - 5).zip(9_000..) {
            fresh.batch(&mut before, batch, read_ns, &ReleaseStore);
            used.batch(&mut after, batch, read_ns, &ReleaseStore);
            assert_eq!(after, before, "{old:?} {new:?}");
        }
        assert_eq!((after.counts.received, after.stage), (4, Stage::Ended));
    }
}

/// What a worker does with the replies after a batch.
#[derive(Clone, Copy, Debug)]
struct Step {
    packets: u64,
    /// Stores before the death of the worker, and of the process that replays.
    deaths: Option<[usize; 2]>,
    /// Bytes that the kernel takes, and whether the worker commits that or dies before.
    taken: u64,
    is_committed: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deaths = prop::option::of(prop::array::uniform2(0..2_500_usize));
    let step = (0..500_u64, deaths, 0..9_000_u64, any::<bool>());
    let step = step.prop_map(|(packets, deaths, taken, is_committed)| Step {
        packets,
        deaths,
        taken,
        is_committed,
    });
    prop::collection::vec(step, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle has a list of replies and a length of what is sent; no places, no bytes.
    #[test]
    fn each_reply_that_is_not_dropped_is_sent_once_whatever_dies(
        bytes in prop_oneof![Just(32_u32), 33..300_u32],
        steps in steps(),
    ) {
        let frames = frames(bytes);
        let (world, mut counters) = (frames.world(), ConnectionCounters::default());
        world.batch(&mut counters, &frames.opening(), 1, &ReleaseStore);
        let (mut sent, mut wanted, mut sequence) = (Vec::new(), vec![hello().ack(&key())], 0);
        let mut dropped = 0;
        for (step, number) in steps.into_iter().zip(2_u64..) {
            let sequences = sequence..sequence + step.packets;
            sequence = sequences.end;
            for asked in sequences.clone().filter(asks) {
                if wanted.len() * FRAME_BYTES - sent.len() < 254 * FRAME_BYTES {
                    wanted.push(reply(asked));
                } else {
                    dropped += 1;
                }
            }
            let stream: Vec<u8> = sequences.flat_map(|sequence| frames.packet(sequence)).collect();
            for (part, batch) in stream.chunks(60_000).enumerate() {
                let read_ns = number * 1_000_000_000_000 + part as u64;
                match step.deaths.filter(|_| part == 0) {
                    Some(deaths) => {
                        world.die_twice(&mut counters, batch, read_ns, deaths);
                    }
                    None => world.batch(&mut counters, batch, read_ns, &ReleaseStore),
                }
            }
            // The kernel takes what is pending, as far as it has room.
            let from = counters.reply_bytes_sent;
            let to = counters.reply_bytes_queued.min(from + step.taken);
            for at in from..to {
                sent.push(world.slot().reply(at)[at as usize % FRAME_BYTES]);
            }
            counters.reply_bytes_sent = to;
            if step.is_committed {
                world.slot().commit(&counters, &ReleaseStore);
            } else {
                // The master has the number from the kernel.
                counters = world.slot().counters().unwrap();
                counters.reply_bytes_sent = to;
                world.slot().commit(&counters, &ReleaseStore);
            }
            prop_assert!(counters.is_possible());
        }
        let wanted_bytes = wanted.as_flattened();
        prop_assert_eq!(counters.reply_bytes_queued, wanted_bytes.len() as u64);
        prop_assert_eq!(&sent[..], &wanted_bytes[..sent.len()]);
        let asked = (0..sequence).filter(asks).count() as u64;
        prop_assert_eq!(counters.counts.received, sequence);
        prop_assert_eq!(counters.counts.replies_wanted, Some(asked));
        prop_assert_eq!(counters.counts.replies_dropped, Some(dropped));
    }

    #[test]
    fn any_bytes_behind_a_hello_are_survived_whatever_the_size(
        bytes in 33..=1472_u32,
        noise in prop::collection::vec(any::<u8>(), 0..6_000),
        cuts in prop::collection::vec(1..3_000_usize, 1..6),
        packets in 0..3_u64,
    ) {
        let frames = frames(bytes);
        let (world, mut counters) = (frames.world(), ConnectionCounters::default());
        let good = (0..packets).flat_map(|sequence| frames.packet(sequence));
        let stream = [frames.opening(), good.collect(), noise.clone()].concat();
        let (mut left, mut cuts) = (&stream[..], cuts.into_iter().cycle());
        while !left.is_empty() {
            let (batch, behind) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
            world.batch(&mut counters, batch, 9_000, &ReleaseStore);
            prop_assert!(counters.is_possible());
            left = behind;
        }
        let counts = counters.counts;
        prop_assert_eq!(counts.received, packets);
        prop_assert_eq!(counts.corrupt, (noise.len() / frames.0.bytes()) as u64);
        prop_assert_eq!(usize::from(counters.partial_frame_bytes), noise.len() % frames.0.bytes());
    }
}
