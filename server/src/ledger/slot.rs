//! One connection's part of the ledger.
//!
//! All of it is atomics, so that any process may write at any time. A slot is virtual memory until
//! it is used: a connection that has sent nothing but its hello touches two pages, a histogram
//! touches a page per four octaves of times that it has seen.

use std::sync::atomic::{AtomicU64, Ordering};

use metronome_proto::{histogram::BUCKETS, packet::Frame};
use zerocopy::FromBytes;

use super::{
    commit_writer::CommitWriter,
    counters::{self, ConnectionCounters},
    frames::{Buffer, ReplyQueue},
    slowest::Slowest,
};
use crate::model::SlowPacket;

/// Buckets of a group: an octave of times, 1 KiB.
const GROUP_BUCKETS: usize = 128;

const GROUPS: usize = BUCKETS / GROUP_BUCKETS;

const _: () = assert!(
    BUCKETS == GROUPS * GROUP_BUCKETS && GROUPS <= 64,
    "each group has a bit"
);

/// Tries to read a copy while its writer flips: each try takes 0.1 µs, a writer needs 1 µs to flip
/// twice.
const READ_TRIES: usize = 16;

/// One connection's part of the ledger.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(crate) struct Slot {
    /// Written by the master while no worker has the slot.
    pub(crate) header: SlotHeader,
    /// Written by the one process that reads the connection.
    commits: CommitArea,
    slowest: Slowest,
    /// Lateness, transit, latency.
    histograms: [HistogramCounts; 3],
    /// The bytes of the batch that is being processed.
    pub(crate) buffer: Buffer,
    /// Frames to be sent on the connection.
    replies: ReplyQueue,
}

/// Which connection has the slot.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
pub(crate) struct SlotHeader {
    /// Counts the connections that had this slot; from 1.
    pub(crate) generation: AtomicU64,
    /// When the connection was accepted, ns.
    pub(crate) opened_ns: AtomicU64,
}

#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
struct CommitArea {
    /// Commits so far; the low bit is the index of the copy that counts.
    count: AtomicU64,
    /// When the batch in the buffer was read, ns. When it is not newer than `last_batch_ns`, the
    /// buffer holds no batch.
    read_ns: AtomicU64,
    /// For each histogram the groups of buckets that are in use, a bit each. A reader looks at no
    /// other group: reading shared memory for the first time would allocate it.
    groups: [AtomicU64; 3],
    /// A packet slower than this is one of the slowest, ns. It lies here, in a cache line that the
    /// packet path uses anyway, since every packet is compared with it.
    slow_ns: AtomicU64,
    copies: [[AtomicU64; counters::USED]; 2],
}

#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
struct HistogramCounts([AtomicU64; BUCKETS]);

impl Slot {
    /// The counters as last committed, or as committed a moment ago while the writer goes on.
    ///
    /// `None` when the writer flipped too often to be read: use what was read before.
    pub(crate) fn counters(&self) -> Option<ConnectionCounters> {
        (0..READ_TRIES).find_map(|_| self.try_counters())
    }

    fn try_counters(&self) -> Option<ConnectionCounters> {
        let commits = self.commits.count.load(Ordering::Acquire);
        let copy = &self.commits.copies[(commits & 1) as usize];
        let words = std::array::from_fn(|index| copy[index].load(Ordering::Acquire));
        // The writer touches this copy again only after it has flipped away from it.
        (self.commits.count.load(Ordering::Acquire) == commits)
            .then(|| ConnectionCounters::from_words(&words))
    }

    /// Commits the counters.
    ///
    /// The idle copy is written word by word, then the index is flipped by one store. Before that
    /// store the old copy counts, whole; after it the new one does, whole, since every store is
    /// visible before the next. There is no third state, so a death between any two stores leaves
    /// either the old or the new counters, and a reader needs no lock.
    #[inline]
    pub(crate) fn commit(&self, counters: &ConnectionCounters, writer: &impl CommitWriter) {
        let commits = self.commits.count.load(Ordering::Relaxed);
        let idle = &self.commits.copies[(!commits & 1) as usize];
        for (cell, word) in idle.iter().zip(counters.to_words()) {
            writer.store(cell, word);
        }
        writer.store(&self.commits.count, commits.wrapping_add(1));
    }

    /// When the batch in the buffer was read, ns.
    pub(crate) fn read_ns(&self) -> u64 {
        self.commits.read_ns.load(Ordering::Acquire)
    }

    /// Stores when the batch in the buffer was read.
    #[inline]
    pub(super) fn set_read_ns(&self, now_ns: u64, writer: &impl CommitWriter) {
        writer.store(&self.commits.read_ns, now_ns);
    }

    /// Adds `count` times, possibly none, to one bucket of one of the three histograms.
    #[inline]
    pub(crate) fn record(
        &self,
        histogram: usize,
        bucket: usize,
        count: u64,
        writer: &impl CommitWriter,
    ) {
        if count == 0 {
            return;
        }
        let groups = &self.commits.groups[histogram];
        let in_use = groups.load(Ordering::Relaxed);
        let group = 1 << (bucket / GROUP_BUCKETS);
        // The bit first: a count in a group without it would be overlooked by a recovery, and
        // counted again. A bit without a count is harmless.
        if in_use & group == 0 {
            writer.store(groups, in_use | group);
        }
        let cell = &self.histograms[histogram].0[bucket];
        // A single writer, so a load and a store lose nothing and cost no locked instruction.
        writer.store(cell, cell.load(Ordering::Relaxed).wrapping_add(count));
    }

    /// Keeps a packet if it is one of the slowest.
    #[inline]
    pub(super) fn keep_if_slow(&self, packet: &SlowPacket, writer: &impl CommitWriter) {
        if packet.total_ns > self.commits.slow_ns.load(Ordering::Relaxed) {
            let slow_ns = self.slowest.keep(packet, writer);
            writer.store(&self.commits.slow_ns, slow_ns);
        }
    }

    /// The slowest packets, in no order.
    pub(crate) fn slowest(&self) -> impl Iterator<Item = SlowPacket> {
        self.slowest.all()
    }

    /// The buckets in use of one of the three histograms, each with its count.
    pub(crate) fn counts(&self, histogram: usize) -> impl Iterator<Item = (usize, u64)> {
        let in_use = self.commits.groups[histogram].load(Ordering::Acquire);
        let groups = (0..GROUPS).filter(move |group| in_use & 1 << group != 0);
        let buckets = groups.flat_map(|group| group * GROUP_BUCKETS..(group + 1) * GROUP_BUCKETS);
        buckets.map(move |bucket| {
            (
                bucket,
                self.histograms[histogram].0[bucket].load(Ordering::Acquire),
            )
        })
    }

    /// Times in one of the three histograms.
    pub(crate) fn count(&self, histogram: usize) -> u64 {
        self.counts(histogram)
            .fold(0, |sum, (_, count)| sum.wrapping_add(count))
    }
}

impl Slot {
    /// Puts a frame at byte `at`, a multiple of 32, of what the connection is sent in all.
    pub(super) fn set_reply(&self, at: u64, frame: &Frame, writer: &impl CommitWriter) {
        self.replies.set(at, frame, writer);
    }

    /// The frame around byte `at` of what the connection is sent in all.
    pub(crate) fn reply(&self, at: u64) -> Frame {
        self.replies.frame(at)
    }
}

#[cfg(test)]
impl Slot {
    /// Makes each histogram hold so many times.
    pub(super) fn start_counts_at(&self, count: u64) {
        for (groups, counts) in self.commits.groups.iter().zip(&self.histograms) {
            groups.store(1, Ordering::Relaxed);
            counts.0[0].store(count, Ordering::Relaxed);
        }
    }
}
