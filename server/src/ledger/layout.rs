//! How the ledger lies in memory. All of it is atomics, so that any process may write at any time.
//!
//! A slot is virtual memory until it is used: a connection that has sent nothing but its hello
//! touches two pages, a histogram touches a page per four octaves of times that it has seen.

use std::sync::atomic::{AtomicU64, Ordering};

use metronome_proto::{
    histogram::BUCKETS,
    packet::{FRAME_BYTES, Frame},
    plan::CLIENTS_MAX,
};
use zerocopy::FromBytes;

use super::{
    WORKERS_MAX,
    commit_writer::CommitWriter,
    counters::{self, ConnectionCounters},
    slowest::Slowest,
};
use crate::model::SlowPacket;

/// Most bytes of one receive, with the bytes of a split packet in front: 2,048 frames.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Frames that may wait to be sent on a connection.
pub(crate) const REPLY_QUEUE_FRAMES: usize = 256;

/// How a ledger lies in memory, as one process tells another that may be of another version. The
/// first number is raised when the meaning changes and no size does.
pub(crate) const LAYOUT: [u64; 7] = [
    1,
    size_of::<Slot>() as u64,
    size_of::<Workers>() as u64,
    size_of::<ClientTable>() as u64,
    counters::WORDS as u64,
    BUCKETS as u64,
    BUFFER_BYTES as u64,
];

const WORD_BYTES: usize = size_of::<u64>();
const FRAME_WORDS: usize = FRAME_BYTES / WORD_BYTES;

/// Buckets of a group: an octave of times, 1 KiB.
const GROUP_BUCKETS: usize = 128;
const GROUPS: usize = BUCKETS / GROUP_BUCKETS;

/// Tries to read a copy while its writer flips: each try takes 0.1 µs, a writer needs 1 µs to flip
/// twice.
const READ_TRIES: usize = 16;

/// One connection's record.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(crate) struct Slot {
    /// Written by the master while no worker has the slot.
    pub(crate) header: SlotHeader,
    /// Written by the one process that reads the connection.
    books: Books,
    slowest: Slowest,
    /// Lateness, transit, latency.
    histograms: [Counts; 3],
    /// Where the connection is received into.
    pub(crate) buffer: Buffer,
    /// What is to be sent on it.
    replies: ReplyQueue,
}

/// What the master says of a slot's connection.
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
struct Books {
    /// Commits so far; its low bit is the copy that counts.
    commits: AtomicU64,
    /// When the batch in the buffer was read, ns. Older than the counters's last: no batch.
    read_ns: AtomicU64,
    /// Of each histogram, the groups of buckets that are in use, a bit each. A reader looks at no
    /// other: reading shared memory for the first time would allocate it.
    groups: [AtomicU64; 3],
    /// A packet slower than this is one of the slowest, ns. Here, since every packet is compared
    /// with it.
    slow_ns: AtomicU64,
    copies: [[AtomicU64; counters::WORDS]; 2],
}

#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
struct Counts([AtomicU64; BUCKETS]);

/// Frames to be sent, as a ring: the frame at byte n of what this connection is sent in all lies at
/// n modulo the ring. So a process that takes over knows what is left to send from two numbers.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
struct ReplyQueue([AtomicU64; REPLY_QUEUE_FRAMES * FRAME_WORDS]);

/// Received bytes; frames begin at every 32nd.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(crate) struct Buffer(pub(crate) [AtomicU64; BUFFER_BYTES / WORD_BYTES]);

impl Slot {
    /// The counters as last committed. While its writer is at work, one of its last few.
    ///
    /// `None` when it flipped too often to be read: take what was read before.
    pub(crate) fn counters(&self) -> Option<ConnectionCounters> {
        (0..READ_TRIES).find_map(|_| self.try_counters())
    }

    fn try_counters(&self) -> Option<ConnectionCounters> {
        let commits = self.books.commits.load(Ordering::Acquire);
        let copy = &self.books.copies[(commits & 1) as usize];
        let words = std::array::from_fn(|index| copy[index].load(Ordering::Acquire));
        // The writer touches this copy again only after it has flipped away from it.
        (self.books.commits.load(Ordering::Acquire) == commits)
            .then(|| ConnectionCounters::from_words(&words))
    }

    /// Makes `counters` the one that counts: the idle copy first, then one flip.
    #[inline]
    pub(crate) fn commit(&self, counters: &ConnectionCounters, writer: &impl CommitWriter) {
        let commits = self.books.commits.load(Ordering::Relaxed);
        let idle = &self.books.copies[(!commits & 1) as usize];
        for (cell, word) in idle.iter().zip(counters.to_words()) {
            writer.store(cell, word);
        }
        writer.store(&self.books.commits, commits.wrapping_add(1));
    }

    /// When the batch in the buffer was read, ns.
    pub(crate) fn read_ns(&self) -> u64 {
        self.books.read_ns.load(Ordering::Acquire)
    }

    /// Notes when the batch in the buffer was read.
    #[inline]
    pub(crate) fn set_read_ns(&self, now_ns: u64, writer: &impl CommitWriter) {
        writer.store(&self.books.read_ns, now_ns);
    }

    /// Counts so many times of one bucket, or none, in one of the three histograms.
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
        let groups = &self.books.groups[histogram];
        let in_use = groups.load(Ordering::Relaxed);
        let group = 1 << (bucket / GROUP_BUCKETS);
        if in_use & group == 0 {
            writer.store(groups, in_use | group);
        }
        let cell = &self.histograms[histogram].0[bucket];
        // Single writer, so load and store lose nothing and cost no locked instruction.
        writer.store(cell, cell.load(Ordering::Relaxed).wrapping_add(count));
    }

    /// Keeps a packet if it is one of the slowest.
    #[inline]
    pub(crate) fn keep_if_slow(&self, packet: &SlowPacket, writer: &impl CommitWriter) {
        if packet.total_ns > self.books.slow_ns.load(Ordering::Relaxed) {
            let slow_ns = self.slowest.keep(packet, writer);
            writer.store(&self.books.slow_ns, slow_ns);
        }
    }

    /// The slowest packets, in no order.
    pub(crate) fn slowest(&self) -> impl Iterator<Item = SlowPacket> {
        self.slowest.all()
    }

    /// The buckets in use of one of the three histograms, each with its count.
    pub(crate) fn counts(&self, histogram: usize) -> impl Iterator<Item = (usize, u64)> {
        let in_use = self.books.groups[histogram].load(Ordering::Acquire);
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

#[cfg(test)]
impl Slot {
    /// As if so many times had been recorded in each histogram.
    pub(super) fn start_counts_at(&self, count: u64) {
        for (groups, counts) in self.books.groups.iter().zip(&self.histograms) {
            groups.store(1, Ordering::Relaxed);
            counts.0[0].store(count, Ordering::Relaxed);
        }
    }
}

const _: () = assert!(
    BUCKETS == GROUPS * GROUP_BUCKETS && GROUPS <= 64,
    "a bit for every group"
);

impl Slot {
    /// Puts a frame at byte `at`, a multiple of 32, of what the connection is sent in all.
    pub(super) fn set_reply(&self, at: u64, frame: &Frame, writer: &impl CommitWriter) {
        set_frame(&self.replies.0, reply_position(at), frame, writer);
    }

    /// The frame around byte `at` of what the connection is sent in all.
    pub(crate) fn reply(&self, at: u64) -> Frame {
        frame_at(&self.replies.0, reply_position(at))
    }
}

fn reply_position(at: u64) -> usize {
    (at / FRAME_BYTES as u64 % REPLY_QUEUE_FRAMES as u64) as usize
}

#[inline]
fn frame_at(words: &[AtomicU64], position: usize) -> Frame {
    let mut frame = [0; FRAME_BYTES];
    let words = &words[position * FRAME_WORDS..][..FRAME_WORDS];
    for (bytes, word) in frame.chunks_exact_mut(WORD_BYTES).zip(words) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    frame
}

fn set_frame(words: &[AtomicU64], position: usize, frame: &Frame, writer: &impl CommitWriter) {
    let words = &words[position * FRAME_WORDS..][..FRAME_WORDS];
    for (bytes, word) in frame.chunks_exact(WORD_BYTES).zip(words) {
        let mut value = [0; WORD_BYTES];
        value.copy_from_slice(bytes);
        writer.store(word, u64::from_ne_bytes(value));
    }
}

impl Buffer {
    /// The frame at a position of 0 to 2,047.
    #[inline]
    pub(crate) fn frame(&self, position: usize) -> Frame {
        frame_at(&self.0, position)
    }

    /// Writes a frame to a position.
    pub(crate) fn set_frame(&self, position: usize, frame: &Frame, writer: &impl CommitWriter) {
        set_frame(&self.0, position, frame, writer);
    }
}

/// Every worker's line, and what all of them read.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(super) struct Workers {
    pub(super) lines: [WorkerLine; WORKERS_MAX],
    pub(super) raw_client_limit: AtomicU64,
}

/// What a worker says of itself: its own cache lines, so that no other's stores slow it.
#[derive(Debug, FromBytes)]
#[repr(C, align(128))]
pub(crate) struct WorkerLine {
    /// When its loop last came round, ns.
    pub(crate) heartbeat_ns: AtomicU64,
    /// Reads that returned data, by all processes that had this line.
    pub(crate) reads: AtomicU64,
    /// Returns from the wait with at least one readable connection.
    pub(crate) wakeups: AtomicU64,
    /// Pauses in which packets gathered, and how long they were together, ns.
    pub(crate) pauses: AtomicU64,
    pub(crate) paused_ns: AtomicU64,
}

/// The seats of one run: a cell per client.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(super) struct ClientTable {
    pub(super) places: [AtomicU64; CLIENTS_MAX as usize],
}
