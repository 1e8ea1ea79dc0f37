//! The slowest packets of a connection, ten of them, so that a tail can be looked at packet by
//! packet. Best effort, and not part of the counters: a death between two stores here may cost one
//! of the ten and never a count. An ordinary packet costs one comparison; the longest packets of a
//! random order come ever more rarely, about 90 times in 100,000.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromBytes;

use super::commit_writer::CommitWriter;
use crate::model::SlowPacket;

/// Packets kept per connection.
pub(crate) const KEPT: usize = 10;

/// The packets in shared memory.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
pub(super) struct Slowest([Cell; KEPT]);

/// One packet. It counts while `total_ns` is above 0, which is written last.
#[derive(Debug, FromBytes)]
#[repr(C)]
struct Cell {
    total_ns: AtomicU64,
    sequence: AtomicU64,
    due_ns: AtomicU64,
    lateness_ns: AtomicU64,
    read_ns: AtomicU64,
}

impl Slowest {
    /// Keeps a packet that is slower than the fastest of those kept, and returns how slow the next
    /// one has to be.
    #[cold]
    pub(super) fn keep(&self, packet: &SlowPacket, writer: &impl CommitWriter) -> u64 {
        let total = |cell: &Cell| cell.total_ns.load(Ordering::Relaxed);
        // A batch that is replayed after a death comes with the same packets.
        let is_kept = |cell: &Cell| {
            total(cell) > 0 && cell.sequence.load(Ordering::Relaxed) == packet.sequence
        };
        if !self.0.iter().any(is_kept)
            && let Some(cell) = self.0.iter().min_by_key(|cell| total(cell))
        {
            writer.store(&cell.total_ns, 0);
            writer.store(&cell.sequence, packet.sequence);
            writer.store(&cell.due_ns, packet.due_ns);
            writer.store(&cell.lateness_ns, packet.lateness_ns);
            writer.store(&cell.read_ns, packet.read_ns);
            writer.store(&cell.total_ns, packet.total_ns);
        }
        self.0.iter().map(total).min().unwrap_or(0)
    }

    /// Those kept, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = SlowPacket> {
        let read = |cell: &Cell| SlowPacket {
            total_ns: cell.total_ns.load(Ordering::Acquire),
            sequence: cell.sequence.load(Ordering::Acquire),
            due_ns: cell.due_ns.load(Ordering::Acquire),
            lateness_ns: cell.lateness_ns.load(Ordering::Acquire),
            read_ns: cell.read_ns.load(Ordering::Acquire),
        };
        self.0.iter().map(read).filter(|packet| packet.total_ns > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::{
        super::{Dimensions, Ledger, ReleaseStore},
        *,
    };

    fn packet(sequence: u64, total_ns: u64) -> SlowPacket {
        SlowPacket {
            sequence,
            due_ns: 1,
            lateness_ns: 2,
            read_ns: 1 + total_ns,
            total_ns,
        }
    }

    proptest! {
        #[test]
        fn the_ten_slowest_are_kept_each_once_however_often_a_batch_comes(
            times in prop::collection::vec(1..1_000_u64, 0..200),
            again in 0..200_usize,
        ) {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let slot = &ledger.slots()[0];
            let packets: Vec<_> = (0..)
                .zip(&times)
                .map(|(sequence, total_ns)| packet(sequence, *total_ns))
                .collect();
            let repeated = &packets[again.min(packets.len())..];
            packets
                .iter()
                .chain(repeated)
                .filter(|packet| slot.is_slow(packet.total_ns))
                .for_each(|packet| slot.keep_slow(packet, &ReleaseStore));
            let mut kept: Vec<_> = slot.slowest().map(|packet| packet.total_ns).collect();
            kept.sort_by_key(|total_ns| Reverse(*total_ns));
            let mut expected = times;
            expected.sort_by_key(|total_ns| Reverse(*total_ns));
            expected.truncate(KEPT);
            prop_assert_eq!(kept, expected);
        }
    }

    #[test]
    fn of_packets_that_are_equally_slow_the_first_ones_are_kept_and_one_of_no_time_never() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let slot = &ledger.slots()[0];
        assert!(!slot.is_slow(0) && slot.is_slow(1));
        for sequence in 0..2 * KEPT as u64 {
            if slot.is_slow(5) {
                slot.keep_slow(&packet(sequence, 5), &ReleaseStore);
            }
        }
        let mut kept: Vec<_> = slot.slowest().map(|packet| packet.sequence).collect();
        kept.sort_unstable();
        assert_eq!(kept, (0..KEPT as u64).collect::<Vec<_>>());
    }
}
