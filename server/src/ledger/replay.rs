//! Replaying a batch: what a process had taken but not committed when it died is processed again,
//! from its first byte, so that each packet is counted exactly once.
//!
//! The stores of a batch leave four kinds of traces, and each is harmless or undone here:
//!
//! - the *bytes* lie in the buffer behind the partial frame. The kernel counts how many were taken
//!   off the socket ever, the committed counters how many were counted; the difference is this
//!   batch;
//! - the *time of the read* may be stored or not. If it is, it is newer than the last batch and is
//!   used again, with the *line* between two clocks that was stored before it; if not, nothing that
//!   depends on either was stored, and the time of the recovery and the present line serve;
//! - the *histograms* may hold some of the packets: the recorder leaves those out;
//! - *replies* may have been queued: they are queued again, the same bytes in the same place.
//!
//! The counters themselves are never half written: a copy counts only once the index points to it.
//! A process that dies during a replay leaves the same traces, so the next one replays again.

use super::{
    authenticate::Authenticate,
    batch::{Batch, begin_batch, line_of_batch},
    commit_writer::CommitWriter,
    counters::ConnectionCounters,
    slot::Slot,
    time_recorder::TimeRecorder,
};
use crate::model::TimeKind;

/// Processes what a process had taken but not committed when it died, and commits.
///
/// `taken` comes from the kernel and is at most the buffer less the partial frame. A batch whose
/// time of reading was not stored gets `now_ns`.
pub(crate) fn replay(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    taken: usize,
    now_ns: u64,
    admission: &impl Authenticate,
    writer: &impl CommitWriter,
) {
    let stored_ns = slot.read_ns();
    let read_ns = if stored_ns > counters.last_batch_ns {
        stored_ns
    } else {
        begin_batch(slot, counters, now_ns, admission, writer);
        now_ns
    };
    // The law of a committed connection is: each of its histograms holds as many times as its
    // counters demand. What is above was recorded by the batch that was cut off.
    let recorded = TimeKind::ALL.map(|kind| {
        slot.count(kind as usize)
            .saturating_sub(counters.timed[kind])
    });
    let times = TimeRecorder::new(slot, writer, recorded);
    let mut check = slot.load_check(counters);
    let line = line_of_batch(slot, counters);
    Batch {
        line: line.as_ref(),
        counters,
        check: &mut check,
        read_ns,
        times,
    }
    .process(taken, admission);
    slot.commit(counters, writer);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{
        counters::CounterList as _,
        handshake::{Challenges, Nonce},
        load::Load,
        packet::{self, FRAME_BYTES},
        packet_size::PacketSize,
        profile::{Profile, Step, Steps},
        v1::ReceiverCounts,
    };

    use super::*;
    use crate::{
        ledger::{
            Stage,
            deaths::{die_at_every_store, receive},
            load_words::ClientLoad,
            world::{
                CLIENT, World, conversation, hello, key, packet, packet_due, start_at,
                without_lines,
            },
        },
        model::{ClientStart, ClockRelation},
    };

    /// The law of this product.
    #[test]
    fn a_death_at_any_store_loses_nothing_and_counts_nothing_twice() {
        let bytes = conversation(6);
        let (one, rest) = bytes.split_at(77);
        let (other, last) = rest.split_at(55);
        for (clock, timed, read_before_written) in [
            (ClockRelation::Same, [6, 6, 6, 5], Some(3)),
            (ClockRelation::Unknown, [6, 0, 0, 5], None),
        ] {
            let begin = |_: &World| ConnectionCounters::default();
            let batches = [(2_000, one), (7_000, other), (12_000, last)];
            let counted = die_at_every_store(|| World::on(clock), begin, &batches);
            let expected = ReceiverCounts {
                received: 6,
                read_before_written,
                in_time: Some(6),
                replies_wanted: Some(2),
                below_floor: None,
                ..ReceiverCounts::zero()
            };
            assert_eq!(counted.counts, expected);
            assert_eq!(
                (counted.clock, counted.timed.0),
                (clock, without_lines(timed))
            );
            assert_eq!((counted.stage, counted.reported_sent), (Stage::Ended, 6));
        }
    }

    /// A connection of the static run: the challenge that is answered is that of the ledger, so
    /// whichever process reads the hello verifies it with the same key.
    #[test]
    fn a_death_at_any_store_leaves_a_connection_with_challenges_its_key() {
        let [client, server] = [[1; 16], [2; 16]].map(|bytes| Nonce::from_bytes(bytes).unwrap());
        let connection = key().of_connection(&Challenges { client, server });
        let mut bytes = client.challenge().to_vec();
        bytes.extend(hello().encode(&connection));
        bytes.extend((0..3).flat_map(packet));
        bytes.extend(hello().end(3, PacketSize::MIN, &connection));
        let new_world = || {
            let world = World::with(ClockRelation::Same, None);
            world.slot().header.set_server_nonce(server);
            world
        };
        let begin = |_: &World| ConnectionCounters::default();
        // The client cannot know its key before the first answer; only a fuzzer sends both at once.
        for cuts in [[32, 64], [40, 70], [96, 40]] {
            let (one, rest) = bytes.split_at(cuts[0]);
            let (other, last) = rest.split_at(cuts[1]);
            let batches = [(2_000, one), (7_000, other), (12_000, last)];
            let counted = die_at_every_store(new_world, begin, &batches);
            assert_eq!(
                (counted.stage, counted.reported_sent),
                (Stage::Ended, 3),
                "{cuts:?}"
            );
            let world = new_world();
            let mut counters = begin(&world);
            receive(&world, &mut counters, &batches);
            assert_eq!(
                world.replies(&counters)[..2],
                [server.challenge(), hello().ack(&connection)]
            );
        }
    }

    /// What a batch adds to a schedule's cursor, to the windows and marks of the spread and to the
    /// packets in time is added once, whatever was stored when a process died.
    #[test]
    fn a_death_at_any_store_leaves_the_checks_of_a_schedule_as_they_are() {
        const MS: u64 = 1_000_000;
        let load = Load {
            profile: Profile::constant(25_000),
            duration: Duration::from_millis(102 * 40),
            batch: 2,
            seed: 1,
        };
        // The first write was skipped, and the packets of the next eight were held.
        let held = 7_000 * MS;
        let start_ns = held - 640 * MS;
        let schedule = load.schedule(start_ns, 0).unwrap();
        let due_ns = |place| schedule.due_at(place).unwrap();
        let start = ClientStart {
            start_ns,
            offset_ns: 0,
        };
        let hello = [hello().encode(&key()), start_at(start)].concat();
        let first = (0..16).flat_map(|sequence| packet_due(sequence, due_ns(2 + sequence)));
        let first: Vec<u8> = hello.into_iter().chain(first).collect();
        let second = [
            packet_due(16, due_ns(30)),
            packet_due(3, due_ns(5)),
            packet_due(17, due_ns(31) + 7),
            packet_due(18, due_ns(31)),
            packet_due(20, due_ns(20)),
        ];
        let third = [packet_due(21, due_ns(35)), packet_due(19, due_ns(33))];
        let fourth = [packet_due(22, due_ns(101)), packet_due(23, due_ns(104))];
        let batches = [
            (held, &first[..]),
            (held + 100 * MS, second.as_flattened()),
            (held + 5_100 * MS, third.as_flattened()),
            (held + 40_000 * MS, fourth.as_flattened()),
        ];
        for clock in [ClockRelation::Same, ClockRelation::Unknown] {
            let warm_up_ns = 0;
            let new_world = || {
                World::with(
                    clock,
                    Some(ClientLoad {
                        packet_size: metronome_proto::packet_size::PacketSize::MIN,
                        load,
                        warm_up_ns,
                    }),
                )
            };
            let begin = |_: &World| ConnectionCounters::default();
            let counted = die_at_every_store(new_world, begin, &batches);
            let expected = ReceiverCounts {
                received: 24,
                duplicated: 1,
                reordered: 1,
                read_before_written: clock.is_same().then_some(6),
                off_schedule: Some(3),
                // Places 0 and 1, 18 to 29, one of 32 to 34, and from 36 to 99.
                left_out: Some(2 + 12 + 2 + 65),
                in_time: Some(20),
                spread_understated: Some(12),
                spread_uncertain: Some(17),
                warm_up: Some(0),
                warm_up_left_out: Some(0),
                replies_wanted: Some(8),
                replies_dropped: Some(0),
                ..ReceiverCounts::default()
            };
            assert_eq!(counted.counts, expected);
            assert_eq!((counted.reads, counted.timed[TimeKind::Spread]), (4, 22));
        }
    }

    fn profiles() -> [Profile; 6] {
        let step = |rate_millihertz, lasts_ms: u64| Step {
            rate_millihertz,
            lasts_ns: lasts_ms * 1_000_000,
        };
        let steps = [step(10_000, 500), step(0, 300), step(20_000, 0)];
        [
            Profile::constant(15_000),
            Profile::Poisson {
                rate_millihertz: 12_000,
            },
            Profile::Burst {
                packets: 5,
                every_ns: 300_000_000,
            },
            Profile::Ramp {
                from_millihertz: 0,
                to_millihertz: 25_000,
            },
            Profile::Steps(Steps::new(&steps).unwrap()),
            Profile::OnOff {
                rate_millihertz: 20_000,
                on_ns: 330_000_000,
                off_ns: 170_000_000,
            },
        ]
    }

    /// The cursor of every shape goes on where another process has left it, and the warm-up is the
    /// same for both. Every fifth packet is left out, and one of the last batch is off by a ns.
    #[test]
    fn a_death_at_any_store_leaves_the_place_in_a_load_of_any_shape() {
        let start = ClientStart {
            start_ns: 5_000_000_000,
            offset_ns: 40_000_000,
        };
        let warm_up_ns = 700_000_000;
        for profile in profiles() {
            let load = Load {
                profile,
                duration: Duration::from_secs(2),
                batch: 1,
                seed: 9,
            };
            let schedule = load.schedule(start.start_ns, CLIENT.into()).unwrap();
            let (mut cursor, mut places) = (schedule.first(), Vec::new());
            while !cursor.is_over(&schedule) {
                places.push(cursor.due_ns());
                cursor.advance(&schedule);
            }
            assert!((15..45).contains(&places.len()), "{}", places.len());
            let sent: Vec<u64> = (1..places.len() - 1)
                .filter(|place| place % 5 > 0)
                .map(|place| places[place] + u64::from(place == 11))
                .collect();
            let hello = [hello().encode(&key()), start_at(start)].concat();
            let packets = (0..).zip(&sent).map(|(n, due_ns)| packet_due(n, *due_ns));
            let bytes = [hello, packets.flatten().collect()].concat();
            let (one, rest) = bytes.split_at(64 + 45);
            let (other, last) = rest.split_at(200);
            let new_world = || {
                World::with(
                    ClockRelation::Same,
                    Some(ClientLoad {
                        packet_size: metronome_proto::packet_size::PacketSize::MIN,
                        load,
                        warm_up_ns,
                    }),
                )
            };
            let begin = |_: &World| ConnectionCounters::default();
            let reads_ns = [6_000_000_000, 7_000_000_000, 8_000_000_000];
            let batches = [one, other, last];
            let batches: Vec<_> = reads_ns.into_iter().zip(batches).collect();
            let counted = die_at_every_store(new_world, begin, &batches).counts;

            let warm_end_ns = start.start_ns - start.offset_ns + warm_up_ns;
            let warm = |times: &[u64]| times.iter().filter(|due| **due < warm_end_ns).count();
            let last = sent[sent.len() - 1];
            let before = |times: &[u64]| times.iter().filter(|due| **due < last).count();
            assert_eq!(counted.received, sent.len() as u64);
            assert_eq!(counted.off_schedule, Some(1), "{profile}");
            assert_eq!(counted.warm_up, Some(warm(&sent) as u64), "{profile}");
            // The packet that is off its place leaves that out.
            let left_out = 1 + before(&places) - before(&sent);
            if !matches!(profile, Profile::Burst { .. }) {
                assert_eq!(counted.left_out, Some(left_out as u64), "{profile}");
            }
        }
    }

    /// Each packet claims to be due in the warm-up; by its read the second batch is in it, too, on
    /// another clock after the first one.
    #[test]
    fn a_death_at_any_store_leaves_what_is_read_in_the_warm_up_of_a_flood() {
        let start = ClientStart {
            start_ns: 5_000_000_000,
            offset_ns: 0,
        };
        let load = ClientLoad {
            packet_size: metronome_proto::packet_size::PacketSize::MIN,
            load: Load {
                profile: Profile::Flood,
                duration: Duration::from_secs(2),
                batch: 1,
                seed: 9,
            },
            warm_up_ns: 700_000_000,
        };
        let hello = [hello().encode(&key()), start_at(start)].concat();
        let packets = (0..6).map(|n| packet_due(n, start.start_ns));
        let bytes = [hello, packets.flatten().collect()].concat();
        let (one, rest) = bytes.split_at(64 + 2 * FRAME_BYTES + 7);
        let (other, last) = rest.split_at(2 * FRAME_BYTES);
        for (clock, warm_up) in [(ClockRelation::Same, 2), (ClockRelation::Unknown, 4)] {
            let new_world = || World::with(clock, Some(load));
            let begin = |_: &World| ConnectionCounters::default();
            let batches = [
                (5_600_000_000, one),
                (5_700_000_000, other),
                (6_300_000_000, last),
            ];
            let counted = die_at_every_store(new_world, begin, &batches).counts;
            assert_eq!((counted.received, counted.warm_up), (6, Some(warm_up)));
        }
    }

    /// Packets, sequences and the counts of histograms cross 2^32 with the first, the bytes of both
    /// directions with the second.
    #[test]
    fn counters_cross_32_bits_with_a_death_at_any_store_and_stay_exact() {
        const PACKETS: u64 = 6;
        // Of the packets before: a replay must not take them for packets that are not recorded yet.
        const UNTIMED: [u64; 4] = [0, 2, 3, 1];
        for start in [(1 << 32) - 3, (1 << 32) / FRAME_BYTES as u64 - 4] {
            let end = start + PACKETS;
            let add = |digest, sequence| {
                packet::digest_with(digest, sequence, packet::checksum(&packet(sequence)))
            };
            let mut bytes: Vec<u8> = (start..end).flat_map(packet).collect();
            bytes.extend(hello().end(end, PacketSize::MIN, &key()));
            // So that a packet is split.
            let (one, other) = bytes.split_at(100);
            let begin = |world: &World| world.client_after(start, UNTIMED);
            let new_world = || World::on(ClockRelation::Same);
            let counted = die_at_every_store(new_world, begin, &[(2_000, one), (7_000, other)]);
            assert_eq!(counted.counts.received, end);
            assert_eq!(
                (counted.stage, counted.next_sequence, counted.reported_sent),
                (Stage::Ended, end, end)
            );
            assert_eq!(counted.digest, (start..end).fold(0, add));
            // The first packet with a pace has no spread.
            let [rest @ .., spread] = UNTIMED.map(|untimed| end - untimed);
            let [lateness, transit, latency] = rest;
            let timed = without_lines([lateness, transit, latency, spread - 1]);
            assert_eq!(counted.timed.0, timed);
            assert_eq!(counted.bytes, (end + 2) * FRAME_BYTES as u64);
        }
    }
}
