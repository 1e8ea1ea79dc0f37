//! Replaying a batch: what a process had taken but not committed when it died is processed again,
//! from its first byte, so that each packet is counted exactly once.
//!
//! The stores of a batch leave four kinds of traces, and each is harmless or undone here:
//!
//! - the *bytes* lie in the buffer behind the partial frame. The kernel counts how many were taken
//!   off the socket ever, the committed counters how many were counted; the difference is this
//!   batch;
//! - the *time of the read* may be stored or not. If it is, it is newer than the last batch and is
//!   used again; if not, nothing that depends on it was stored either, and the time of the recovery
//!   serves;
//! - the *histograms* may hold some of the packets: the recorder leaves those out;
//! - *replies* may have been queued: they are queued again, the same bytes in the same place.
//!
//! The counters themselves are never half written: a copy counts only once the index points to it.
//! A process that dies during a replay leaves the same traces, so the next one replays again.

use super::{
    authenticate::Authenticate, batch::Batch, commit_writer::CommitWriter,
    counters::ConnectionCounters, slot::Slot, time_recorder::TimeRecorder,
};

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
        now_ns
    };
    // The law of a committed connection is: each of its histograms holds as many times as its
    // counters demand. What is above was recorded by the batch that was cut off.
    let recorded = std::array::from_fn(|histogram| {
        slot.count(histogram)
            .saturating_sub(counters.timed[histogram])
    });
    let times = TimeRecorder::new(slot, writer, recorded);
    Batch {
        counters,
        read_ns,
        times,
    }
    .process(taken, admission);
    slot.commit(counters, writer);
}

#[cfg(test)]
mod tests {
    use metronome_proto::packet::{self, FRAME_BYTES, Frame};

    use super::*;
    use crate::ledger::{
        Stage,
        commit_writer::ReleaseStore,
        world::{World, conversation, hello, key, packet, replies},
    };

    /// The law of this product, with a death at every single store of every batch, twice in a row.
    #[test]
    fn a_death_at_any_store_loses_nothing_and_counts_nothing_twice() {
        let bytes = conversation(6);
        let cut = [0, 45, 100, bytes.len()];
        let mut deaths = 0;
        for batch in 0..cut.len() - 1 {
            for (first, second) in (0..400)
                .flat_map(|first| [(first, usize::MAX), (first, 1), (first, 9), (first, 30)])
            {
                let world = World::new();
                let mut counters = ConnectionCounters::default();
                for earlier in 0..batch {
                    world.batch(
                        &mut counters,
                        &bytes[cut[earlier]..cut[earlier + 1]],
                        100 * (earlier as u64 + 1),
                        &ReleaseStore,
                    );
                }
                if !world.die_twice(
                    &mut counters,
                    &bytes[cut[batch]..cut[batch + 1]],
                    5_000,
                    [first, second],
                ) {
                    break;
                }
                deaths += 1;
                for later in batch + 1..cut.len() - 1 {
                    world.batch(
                        &mut counters,
                        &bytes[cut[later]..cut[later + 1]],
                        6_000 + later as u64,
                        &ReleaseStore,
                    );
                }
                assert_eq!(world.replies(&counters), replies(6));
                let counted = (
                    counters.stage,
                    counters.counts.received,
                    counters.reported_sent,
                    counters.next_sequence,
                );
                assert_eq!(
                    counted,
                    (Stage::Ended, 6, 6, 6),
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(
                    (
                        counters.counts.gaps,
                        counters.counts.duplicated,
                        counters.counts.reordered,
                        counters.counts.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    world.sums(),
                    [6; 3],
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(world.slot().counters(), Some(counters));
            }
        }
        assert!(deaths > 300, "only {deaths} deaths were tried");
    }

    /// Packets, sequences and the counts of histograms cross 2^32 with the first, the bytes of both
    /// directions with the second.
    #[test]
    fn counters_cross_32_bits_with_a_death_at_any_store_and_stay_exact() {
        const PACKETS: u64 = 6;
        for start in [(1 << 32) - 3, (1 << 32) / FRAME_BYTES as u64 - 4] {
            let frames = start..start + PACKETS;
            let add = |digest, sequence| {
                packet::digest_with(digest, sequence, packet::checksum(&packet(sequence)))
            };
            let digest = frames.clone().fold(0, add);
            let mut bytes: Vec<u8> = frames.clone().flat_map(packet).collect();
            bytes.extend(hello().end(start + PACKETS, &key()));
            let mut deaths = 0;
            for stores in (0..400).flat_map(|first| [[first, usize::MAX], [first, 1], [first, 20]])
            {
                let world = World::new();
                let mut counters = world.client_after(start);
                let before = counters.reply_bytes_queued;
                // In two batches, so that a packet is split.
                let (one, other) = bytes.split_at(100);
                let mut died = world.die_twice(&mut counters, one, 5_000, stores);
                died |= world.die_twice(&mut counters, other, 6_000, stores);
                if !died {
                    break;
                }
                deaths += 1;
                let end = start + PACKETS;
                let counted = (
                    counters.stage,
                    counters.counts.received,
                    counters.next_sequence,
                    counters.reported_sent,
                );
                assert_eq!(
                    counted,
                    (Stage::Ended, end, end, end),
                    "{start}, deaths after {stores:?} stores"
                );
                assert_eq!(
                    (
                        counters.counts.gaps,
                        counters.counts.duplicated,
                        counters.counts.reordered,
                        counters.counts.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    (counters.digest, world.sums()),
                    (digest, [end; 3]),
                    "{start}, {stores:?}"
                );
                assert_eq!(
                    (counters.bytes, counters.partial_frame_bytes),
                    ((end + 2) * FRAME_BYTES as u64, 0)
                );
                let replies = (before..counters.reply_bytes_queued)
                    .step_by(FRAME_BYTES)
                    .map(|at| world.slot().reply(at));
                let echoes = frames
                    .clone()
                    .filter(|sequence| sequence % 3 == 1)
                    .map(packet);
                let expected: Vec<Frame> = echoes.chain([hello().end_ack(end, &key())]).collect();
                assert_eq!(replies.collect::<Vec<_>>(), expected, "{start}, {stores:?}");
                assert!(counters.is_possible());
                assert_eq!(world.slot().counters(), Some(counters));
            }
            assert!(deaths > 100, "only {deaths} deaths were tried");
        }
    }
}
