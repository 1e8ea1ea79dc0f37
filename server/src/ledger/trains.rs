//! Packets of a batch that differ from the one before them in their sequence alone, as those of one
//! write do: they are checked and counted together, and come to what they would come to one by one.
//!
//! Each was due and written as the packet before it, and is read with it; it comes behind that, and
//! asks for no reply. So it has the same times, and is in the warm-up, in time, or read before it
//! was written exactly if that was. What is not the same for all of them is its place in the
//! schedule, which is taken for each.

use std::ops::Range;

use metronome_proto::{
    packet::Packet,
    train::{Alike, Train},
};

use super::{batch::Batch, commit_writer::CommitWriter};

#[cfg(test)]
thread_local! {
    /// What the thread takes has no trains: for tests that compare both ways.
    static ONE_BY_ONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl<W: CommitWriter> Batch<'_, W> {
    /// Takes the packets at these positions, at least one, as far as they are a train with
    /// `packet`: it is the one before them, is counted, came behind all before it, and asks for no
    /// reply. Returns how many.
    #[inline]
    pub(super) fn take_train(&mut self, packet: &Packet, positions: Range<usize>) -> usize {
        #[cfg(test)]
        if ONE_BY_ONE.get() {
            return 0;
        }
        let train = Train::of(packet);
        let mut frames = self.times.slot.buffer.frames(positions.clone());
        let next = self.counters.next_sequence;
        let may_go_on = frames
            .next()
            .is_some_and(|next_frame| train.may_go_on(next, &next_frame));
        if may_go_on {
            self.take_alike(&train, packet, positions)
        } else {
            0
        }
    }

    #[inline(never)]
    fn take_alike(&mut self, train: &Train, before: &Packet, positions: Range<usize>) -> usize {
        let sequence = self.counters.next_sequence;
        let frames = self.times.slot.buffer.frames(positions);
        let Alike { packets, digest } = train.alike(sequence, frames);
        if packets == 0 {
            return 0;
        }
        let first = Packet {
            sequence,
            ..*before
        };
        let is_in_warm_up = self.is_in_warm_up(&first);
        self.counters.next_sequence += packets;
        self.counters.digest = self.counters.digest.wrapping_add(digest);
        self.count_read_before_written(&first, packets);
        let paced = self.paced(&first, true, is_in_warm_up);
        let counters = &mut *self.counters;
        let pace = counters.pace.as_mut();
        let spread_ns = pace
            .and_then(|pace| pace.take_alike(&paced, packets, self.check, &mut counters.counts));
        self.count_packets(packets);
        self.record(&first, packets, is_in_warm_up, spread_ns);
        packets as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{
        load::Load,
        packet::{FLAG_ECHO, FRAME_BYTES, Frame},
        packet_size::PacketSize,
        profile::Profile,
        schedule::Schedule,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::{
            commit_writer::ReleaseStore,
            counters::{ConnectionCounters, HISTOGRAMS},
            deaths::die_at_every_store_with,
            load_words::ClientLoad,
            world::{CLIENT, World, hello, key, start_at},
        },
        model::{ClientStart, ClockLine, ClockRelation, Floor, SlowPacket},
    };

    const MS: u64 = 1_000_000;

    const START: ClientStart = ClientStart {
        start_ns: 1 << 40,
        offset_ns: MS,
    };

    /// In writes of eight packets, or of one after the other, or a flood, with a warm-up.
    const PROFILES: [(Profile, u32); 4] = [
        (Profile::Flood, 1),
        (
            Profile::Constant {
                rate_millihertz: 2_000_000,
            },
            8,
        ),
        (
            Profile::Burst {
                packets: 5,
                every_ns: 3 * MS,
            },
            1,
        ),
        (
            Profile::Poisson {
                rate_millihertz: 3_000_000,
            },
            1,
        ),
    ];

    fn load((profile, batch): (Profile, u32)) -> ClientLoad {
        ClientLoad {
            packet_size: PacketSize::MIN,
            load: Load {
                profile,
                duration: Duration::from_secs(1),
                batch,
                seed: 3,
            },
            warm_up_ns: 9 * MS,
        }
    }

    fn line() -> ClockLine {
        ClockLine {
            from_ns: START.start_ns,
            until_ns: u64::MAX,
            at_ns: START.start_ns,
            offset_ns: 100,
            drift_ppb: 40_000,
            floor: Some(Floor {
                offset_ns: 2 * MS.cast_signed(),
                drift_ppb: 0,
            }),
        }
    }

    /// Some packets in a row: how many, how many places of the schedule further they are due, ns by
    /// which that is none, how many sequences are left out before them (or come again), how late
    /// they are, which of them asks for a reply, and a bit of one that is flipped.
    #[derive(Clone, Debug)]
    struct Row {
        packets: u64,
        places: u64,
        off_ns: u64,
        left_out: i64,
        lateness_ns: u32,
        asks: Option<u64>,
        flipped: Option<(u64, usize)>,
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let rarely = |most: u64| prop::option::weighted(0.15, 0..most);
        let numbers = (
            1..40_u64,
            0..12_u64,
            prop_oneof![6 => Just(0), 1 => 1..9_u64],
        );
        let rest = (
            prop_oneof![6 => Just(0), 1 => -9..9_i64],
            prop_oneof![Just(0), Just(7), 0..5_000_000_u32],
            rarely(40),
            prop::option::weighted(0.15, (0..40_u64, 0..256_usize)),
        );
        let some = (numbers, rest).prop_map(
            |((packets, places, off_ns), (left_out, lateness_ns, asks, flipped))| Row {
                packets,
                places,
                off_ns,
                left_out,
                lateness_ns,
                asks,
                flipped,
            },
        );
        prop::collection::vec(some, 1..12)
    }

    /// The frames of the rows. In a flood they are due as a steady load is.
    fn frames(rows: &[Row], schedule: &Schedule) -> Vec<Frame> {
        let mut cursor = schedule.first();
        let (mut frames, mut sequence) = (Vec::new(), 0_u64);
        for row in rows {
            (0..row.places).for_each(|_| cursor.advance(schedule));
            sequence = sequence.saturating_add_signed(row.left_out);
            for n in 0..row.packets {
                let mut frame = Packet {
                    flags: if row.asks == Some(n) { FLAG_ECHO } else { 0 },
                    client: CLIENT.into(),
                    sequence,
                    due_ns: cursor.due_ns() + row.off_ns,
                    lateness_ns: row.lateness_ns,
                }
                .encode(&[]);
                if let Some((_, bit)) = row.flipped.filter(|(at, _)| *at == n) {
                    frame[bit / 8] ^= 1 << (bit % 8);
                }
                frames.push(frame);
                sequence += 1;
            }
        }
        frames
    }

    fn frames_of(rows: &[Row], load: &ClientLoad) -> Vec<Frame> {
        let steady = Load {
            profile: Profile::constant(1_000_000),
            ..load.load
        };
        let schedule = load.load.schedule(START.start_ns, CLIENT.into());
        let schedule = schedule.or(steady.schedule(START.start_ns, CLIENT.into()));
        frames(rows, &schedule.unwrap())
    }

    /// What a connection comes to.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        counters: ConnectionCounters,
        times: Vec<(usize, usize, u64)>,
        slowest: Vec<SlowPacket>,
        replies: Vec<Frame>,
    }

    /// Receives reads of whole frames, each at its time.
    fn received(
        (load, clock): (ClientLoad, ClockRelation),
        reads: &[(u64, &[Frame])],
        is_one_by_one: bool,
    ) -> Outcome {
        ONE_BY_ONE.set(is_one_by_one);
        let world = World::with(clock, Some(load));
        let mut counters = ConnectionCounters::default();
        let opening = [hello().encode(&key()), start_at(START)];
        world.batch(&mut counters, opening.as_flattened(), 1, &ReleaseStore);
        world.set_line(Some(&line()));
        for (read_ns, frames) in reads {
            world.batch(
                &mut counters,
                frames.as_flattened(),
                *read_ns,
                &ReleaseStore,
            );
        }
        ONE_BY_ONE.set(false);
        assert!(counters.is_possible());
        assert_eq!(world.sums(), counters.timed.0);
        Outcome {
            times: world.times(),
            slowest: world.slot().slowest().collect(),
            replies: world.replies(&counters),
            counters,
        }
    }

    const CLOCKS: [ClockRelation; 3] = [
        ClockRelation::Same,
        ClockRelation::Unknown,
        ClockRelation::Offset,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn packets_that_are_counted_together_come_to_what_they_come_to_one_by_one(
            rows in rows(),
            profile in prop::sample::select(&PROFILES[..]),
            clock in prop::sample::select(&CLOCKS[..]),
            cuts in prop::collection::vec((1..200_usize, 0..90 * MS), 1..6),
        ) {
            let load = load(profile);
            let frames = frames_of(&rows, &load);
            let (mut left, mut read_ns, mut reads) = (&frames[..], START.start_ns, Vec::new());
            for (cut, after_ns) in cuts.into_iter().cycle() {
                let (read, behind) = left.split_at(cut.min(left.len()));
                read_ns += after_ns;
                reads.push((read_ns, read));
                left = behind;
                if left.is_empty() {
                    break;
                }
            }
            let together = received((load, clock), &reads, false);
            let one_by_one = received((load, clock), &reads, true);
            prop_assert_eq!(together, one_by_one);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn a_death_at_any_store_leaves_what_is_counted_together_counted_once(
            rows in rows(),
            profile in prop::sample::select(&PROFILES[..]),
            clock in prop::sample::select(&CLOCKS[..]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 2),
            later: bool,
        ) {
            let load = load(profile);
            let packets = frames_of(&rows, &load);
            let opening = [hello().encode(&key()), start_at(START)];
            let bytes = [opening.as_flattened(), packets.as_flattened()].concat();
            let behind = opening.as_flattened().len();
            let cuts = cuts.iter().map(|cut| behind + cut.index(bytes.len() - behind + 1));
            let mut ends: Vec<usize> = cuts.chain([behind, bytes.len()]).collect();
            ends.sort_unstable();
            let (mut at, mut batches) = (0, Vec::new());
            for (end, n) in ends.into_iter().zip(1..) {
                batches.push((START.start_ns + 7 * n * MS, &bytes[at..end]));
                at = end;
            }
            let lines = [None, Some(line()), Some(line()), None];
            let later = later.then(line);
            let new_world = || World::with(clock, Some(load));
            let begin = |_: &World| ConnectionCounters::default();
            let (counted, _) = die_at_every_store_with(new_world, begin, &batches, &lines, later);
            prop_assert!(counted.is_possible());
        }
    }

    #[test]
    fn a_read_of_a_flood_is_one_store_for_each_histogram() {
        let load = load(PROFILES[0]);
        let world = World::with(ClockRelation::Same, Some(load));
        let mut counters = ConnectionCounters::default();
        let opening = [hello().encode(&key()), start_at(START)];
        world.batch(&mut counters, opening.as_flattened(), 1, &ReleaseStore);
        let row = Row {
            packets: 1_000,
            places: 0,
            off_ns: 0,
            left_out: 0,
            lateness_ns: 0,
            asks: None,
            flipped: None,
        };
        let frames = frames_of(&[row], &load);
        let read_ns = START.start_ns + 20 * MS;
        world.batch(&mut counters, frames.as_flattened(), read_ns, &ReleaseStore);
        assert_eq!(counters.counts.received, 1_000);
        assert_eq!(counters.next_sequence, 1_000);
        assert_eq!(counters.bytes, (1_002 * FRAME_BYTES) as u64);
        assert_eq!(world.times().len(), 2, "{HISTOGRAMS} histograms");
        assert_eq!(world.sums(), counters.timed.0);
    }
}
