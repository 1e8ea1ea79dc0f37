//! One connection's part of the ledger.
//!
//! All of it is atomics, so that any process may write at any time. A slot is virtual memory until
//! it is used: a connection that has sent nothing but its hello touches two pages (the first, with
//! its counters and the first replies, and the first of the buffer), a histogram touches a page per
//! four octaves of times that it has seen, and a page more has the bytes of a split frame where
//! frames have more than 32. The pages of the usual times of a client that sends often are
//! allocated before it sends (`usual_times.rs`). What is not used yet is room for what is planned:
//! it is zero and no process touches it.

use std::{
    io,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_os::memory;
use metronome_proto::{
    handshake::{Challenges, NONCE_BYTES, Nonce},
    histogram::BUCKETS,
    packet::{FRAME_BYTES, Frame},
};
use zerocopy::FromBytes;

use super::{
    clock_lines::{AgentLine, BatchLine},
    commit_writer::{CommitWriter, ReleaseStore},
    counters::{self, ConnectionCounters, HISTOGRAMS, PartialFramePlace},
    frames::{Buffer, PartialFrame, ReplyQueue},
    load_check::LoadCheck,
    load_words::{ClientLoad, LOAD_WORDS},
    slowest::Slowest,
};
use crate::model::{ClockLine, SlowPacket};

/// Buckets of a group: an octave of times, 1 KiB.
const GROUP_BUCKETS: usize = 128;

const GROUPS: usize = BUCKETS / GROUP_BUCKETS;

const _: () = assert!(
    BUCKETS == GROUPS * GROUP_BUCKETS && GROUPS <= 64,
    "each group has a bit"
);

/// Histograms that a slot has room for. Those in use are the first.
const HISTOGRAMS_MAX: usize = 8;

/// Those whose use is marked in the cache line that every batch touches.
const HOT_HISTOGRAMS: usize = 4;

/// Bytes of a page where pages are small, and of a cache line.
const PAGE_BYTES: usize = 4096;
const CACHE_LINE_BYTES: usize = 64;

const _: () = {
    let first_reply_end = offset_of!(Slot, replies) + FRAME_BYTES;
    assert!(first_reply_end <= PAGE_BYTES, "counters and first reply");
    let copies_at = offset_of!(Slot, commits) + offset_of!(CommitArea, copies);
    assert!(copies_at.is_multiple_of(CACHE_LINE_BYTES));
    assert!((counters::WORDS * size_of::<u64>()).is_multiple_of(CACHE_LINE_BYTES));
    // Those of a client on this host's clock; none has more than four.
    let hot_end = offset_of!(CommitArea, groups) + HOT_HISTOGRAMS * size_of::<u64>();
    assert!(hot_end <= CACHE_LINE_BYTES && HISTOGRAMS <= HISTOGRAMS_MAX);
    assert!(size_of::<PartialFrames>() == PAGE_BYTES, "two frames");
};

/// Tries to read a copy while its writer flips: each try takes 0.1 µs, a writer needs 1 µs to flip
/// twice.
const READ_TRIES: usize = 16;

/// One connection's part of the ledger.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(crate) struct Slot {
    /// Written by the master while no worker has the slot, but for what a client has drawn.
    pub(crate) header: SlotHeader,
    /// Written by the one process that reads the connection.
    commits: CommitArea,
    slowest: Slowest,
    /// What is asked of the client, from the admission of its hello on. It is stored before the
    /// commit that makes it a client, and a replay of that hello stores the same again.
    load: LoadArea,
    /// By which line the batch in the buffer is timed, of a client on another clock.
    line: BatchLine,
    /// Frames to be sent on the connection.
    replies: ReplyQueue,
    /// The bytes of a split frame that has more than 32.
    partial_frames: PartialFrames,
    /// Lateness, transit, latency, spread, one-way, queueing; room for two more.
    histograms: [HistogramCounts; HISTOGRAMS_MAX],
    /// The bytes of the batch that is being processed.
    pub(crate) buffer: Buffer,
}

/// Which connection has the slot.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
pub(crate) struct SlotHeader {
    /// Counts the connections that had this slot; from 1.
    pub(crate) generation: AtomicU64,
    /// When the connection was accepted, ns.
    pub(crate) opened_ns: AtomicU64,
    /// What the server challenges a client of the static run with. Drawn before any worker has the
    /// connection, so that whichever process answers, or answers again, it is the same.
    server_nonce: NonceWords,
    /// What such a client has drawn, from its first frame. It is stored before the commit that
    /// makes it count, and a replay of that frame stores the same again.
    client_nonce: NonceWords,
}

/// A nonce; zeros while there is none.
#[derive(Debug, FromBytes)]
#[repr(C)]
struct NonceWords([AtomicU64; NONCE_BYTES / size_of::<u64>()]);

impl NonceWords {
    fn set(&self, nonce: Nonce, writer: &impl CommitWriter) {
        for (word, bytes) in self.0.iter().zip(nonce.as_bytes().chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            writer.store(word, u64::from_le_bytes(value));
        }
    }

    fn get(&self) -> Option<Nonce> {
        let mut nonce = [0; NONCE_BYTES];
        for (bytes, word) in nonce.chunks_exact_mut(8).zip(&self.0) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        Nonce::from_bytes(nonce)
    }
}

impl SlotHeader {
    /// What the server challenges a client of the static run with. `None` when the system gave no
    /// random bytes.
    pub(crate) fn server_nonce(&self) -> Option<Nonce> {
        self.server_nonce.get()
    }

    /// Keeps what the server challenges the client with.
    pub(crate) fn set_server_nonce(&self, nonce: Nonce) {
        self.server_nonce.set(nonce, &ReleaseStore);
    }

    /// Keeps what the client challenges the server with.
    pub(super) fn set_client_nonce(&self, nonce: Nonce, writer: &impl CommitWriter) {
        self.client_nonce.set(nonce, writer);
    }

    /// Both, of a connection that began with them.
    pub(crate) fn challenges(&self) -> Option<Challenges> {
        let (client, server) = (self.client_nonce.get()?, self.server_nonce.get()?);
        Some(Challenges { client, server })
    }
}

#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
struct CommitArea {
    /// Commits so far; the low bit is the index of the copy that counts.
    count: AtomicU64,
    /// When the batch in the buffer was read, ns. When it is not newer than `last_batch_ns`, the
    /// buffer holds no batch.
    read_ns: AtomicU64,
    /// A packet slower than this is one of the slowest, ns. It lies here, in a cache line that the
    /// packet path uses anyway, since every packet is compared with it.
    slow_ns: AtomicU64,
    /// For each histogram the groups of buckets that are in use, a bit each. A reader looks at no
    /// other group: reading shared memory for the first time would allocate it.
    groups: [AtomicU64; HISTOGRAMS_MAX],
    /// How far a packet handler has come: see `handler/mark.rs`. 0 without one.
    handled: AtomicU64,
    copies: [CounterWords; 2],
}

/// The counters as they were committed once.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
struct CounterWords([AtomicU64; counters::WORDS]);

/// A load as words.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
struct LoadArea([AtomicU64; LOAD_WORDS]);

/// The bytes of a frame that is split, which the counters have no room for. Two, so that one is
/// written while the other counts.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
struct PartialFrames([PartialFrame; 2]);

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
        let copy = &self.commits.copies[(commits & 1) as usize].0;
        let words = std::array::from_fn(|index| copy[index].load(Ordering::Acquire));
        // The writer touches this copy again only after it has flipped away from it.
        (self.commits.count.load(Ordering::Acquire) == commits)
            .then(|| ConnectionCounters::from_words(&words))
    }

    /// Commits the counters.
    ///
    /// The idle copy is written word by word, as far as words are used, then the index is flipped
    /// by one store. Before that store the old copy counts, whole; after it the new one does,
    /// whole, since every store is visible before the next. There is no third state, so a death
    /// between any two stores leaves either the old or the new counters, and a reader needs no
    /// lock.
    #[inline]
    pub(crate) fn commit(&self, counters: &ConnectionCounters, writer: &impl CommitWriter) {
        let commits = self.commits.count.load(Ordering::Relaxed);
        let idle = &self.commits.copies[(!commits & 1) as usize].0;
        counters.put_words(|index, word| writer.store(&idle[index], word));
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

    /// Takes over the present line of the client's agent. No part of a batch of other clients.
    #[inline(never)]
    pub(super) fn update_line(&self, present: &AgentLine, writer: &impl CommitWriter) {
        self.line.update(present, writer);
    }

    /// By which line the batch in the buffer is timed. `None` where there is none.
    #[inline(never)]
    pub(super) fn line(&self) -> Option<ClockLine> {
        self.line.get()
    }

    /// How far a packet handler has come; 0 where there is none.
    #[inline]
    pub(crate) fn handled(&self) -> u64 {
        self.commits.handled.load(Ordering::Acquire)
    }

    /// Stores how far a packet handler has come.
    #[inline]
    pub(crate) fn set_handled(&self, word: u64, writer: &impl CommitWriter) {
        writer.store(&self.commits.handled, word);
    }

    /// Adds `count` times, possibly none, to one bucket of one of the histograms.
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
        let cell = &self.histograms[histogram].0[bucket];
        let groups = &self.commits.groups[histogram];
        let in_use = groups.load(Ordering::Relaxed);
        let group = 1 << (bucket / GROUP_BUCKETS);
        // The bit first: a count in a group without it would be overlooked by a recovery, and
        // counted again. A bit without a count is harmless.
        if in_use & group == 0 {
            writer.store(groups, in_use | group);
        }
        // A single writer, so a load and a store lose nothing and cost no locked instruction.
        writer.store(cell, cell.load(Ordering::Relaxed).wrapping_add(count));
    }

    /// Whether a packet that took so long is one of the slowest.
    #[inline]
    pub(super) fn is_slow(&self, total_ns: u64) -> bool {
        total_ns > self.commits.slow_ns.load(Ordering::Relaxed)
    }

    /// Keeps one of the slowest packets.
    pub(super) fn keep_slow(&self, packet: &SlowPacket, writer: &impl CommitWriter) {
        let slow_ns = self.slowest.keep(packet, writer);
        writer.store(&self.commits.slow_ns, slow_ns);
    }

    /// The slowest packets, in no order.
    pub(crate) fn slowest(&self) -> impl Iterator<Item = SlowPacket> {
        self.slowest.all()
    }

    /// The buckets in use of one of the histograms, each with its count.
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

    /// Allocates the first buckets of one of the histograms. It changes no count, and no group is
    /// in use by it.
    pub(super) fn populate(&self, histogram: usize, buckets: usize) -> io::Result<()> {
        memory::populate(&self.histograms[histogram].0[..buckets])
    }

    /// Times in one of the histograms.
    pub(crate) fn count(&self, histogram: usize) -> u64 {
        self.counts(histogram)
            .fold(0, |sum, (_, count)| sum.wrapping_add(count))
    }
}

impl Slot {
    /// Keeps what is asked of the client.
    pub(super) fn set_load(&self, load: &ClientLoad, writer: &impl CommitWriter) {
        load.put_words(|index, word| writer.store(&self.load.0[index], word));
    }

    /// What is asked of a client that has a load. `None` when no plan can have that: then the
    /// memory is damaged.
    pub(super) fn load(&self) -> Option<ClientLoad> {
        let word = |index: usize| self.load.0[index].load(Ordering::Acquire);
        ClientLoad::from_words(&std::array::from_fn(word))
    }

    /// What is asked of the client, for a process that reads a connection with these counters: at
    /// its beginning, or where another process left off.
    pub(crate) fn load_check(&self, counters: &ConnectionCounters) -> LoadCheck {
        let load = counters.has_load.then(|| self.load()).flatten();
        let Some(load) = load else {
            return LoadCheck::default();
        };
        let mut check = match &counters.pace {
            Some(pace) => LoadCheck::at(&load, counters.client, pace.next()),
            None => LoadCheck::admitted(&load, counters.client),
        };
        if let Some(start) = counters.start {
            check.start(start);
        }
        check
    }

    /// Puts the bytes of a split frame above 32, `bytes` of them in this place, at the beginning of
    /// the buffer.
    pub(super) fn put_partial_frame(
        &self,
        place: PartialFramePlace,
        bytes: usize,
        writer: &impl CommitWriter,
    ) {
        let partial = &self.partial_frames.0[place as usize];
        self.buffer.set_partial(partial, bytes, writer);
    }

    /// Keeps the bytes of a split frame above 32 in this place.
    pub(super) fn set_partial_frame(
        &self,
        place: PartialFramePlace,
        bytes: &[u8],
        writer: &impl CommitWriter,
    ) {
        self.partial_frames.0[place as usize].set(bytes, writer);
    }

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
    /// Makes the histograms hold so many times.
    pub(super) fn start_counts_at(&self, counts: &[u64]) {
        let histograms = self.commits.groups.iter().zip(&self.histograms);
        for ((groups, buckets), count) in histograms.zip(counts) {
            groups.store(1, Ordering::Relaxed);
            buckets.0[0].store(*count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::ledger::{
        ConnectionCounters, ReleaseStore,
        counters::{HISTOGRAMS, USED},
        world::{World, conversation, hello, key},
    };

    #[test]
    fn a_connection_that_has_sent_its_hello_touches_two_pages() {
        let world = World::new();
        assert_eq!(world.slot_pages(), 0, "memory that is not used is none");
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &hello().encode(&key()), 1, &ReleaseStore);
        // What the master reads of every connection allocates nothing.
        let slot = world.slot();
        assert_eq!(slot.counters(), Some(counters));
        assert_eq!((slot.slowest().count(), slot.count(0)), (0, 0));
        assert_eq!(world.slot_pages(), 2);
    }

    #[test]
    fn words_that_are_room_for_later_are_never_stored() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        for batch in conversation(20).chunks(100) {
            world.batch(&mut counters, batch, 1, &ReleaseStore);
        }
        let commits = &world.slot().commits;
        let copies = commits.copies.iter().flat_map(|copy| &copy.0[USED..]);
        let rest = copies
            .chain(&commits.groups[HISTOGRAMS..])
            .chain([&commits.handled])
            .chain(world.slot().partial_frames.0.iter().flat_map(|of| &of.0));
        assert!(
            rest.map(|word| word.load(Ordering::Acquire))
                .all(|word| word == 0)
        );
    }
}
