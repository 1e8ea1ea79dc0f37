//! Where a pacing thread stamps packets before it writes them, and what the thread has counted.
//!
//! All memory is allocated before the first packet. Each pacing thread has one send buffer, which
//! no other thread reads.

use metronome_proto::{
    histogram::{Histogram, bucket},
    limits::BATCH_MAX,
    packet::Frame,
};

/// The packets of one write, and the counters of one pacing thread.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    frames: Vec<Frame>,
    lateness_ns: Vec<u64>,
    /// Packets that were due so far.
    pub scheduled: u64,
    /// Packets written whole.
    pub sent: u64,
    /// Packets that were skipped.
    pub skipped: u64,
    /// Packets that were blocked by a full send buffer when they were due.
    pub blocked: u64,
    /// Writes that took data.
    pub writes: u64,
    /// Time from due to the write of every packet that was sent, ns.
    pub lateness: Histogram,
}

impl SendBuffer {
    /// An empty buffer with room for the largest write.
    pub(crate) fn new() -> Self {
        Self {
            frames: Vec::with_capacity(PACKETS_PER_WRITE_MAX),
            lateness_ns: Vec::with_capacity(PACKETS_PER_WRITE_MAX),
            scheduled: 0,
            sent: 0,
            skipped: 0,
            blocked: 0,
            writes: 0,
            lateness: Histogram::default(),
        }
    }

    /// Removes all packets.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.lateness_ns.clear();
    }

    /// Adds one stamped packet behind the others.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame, lateness_ns: u64) {
        self.frames.push(frame);
        self.lateness_ns.push(lateness_ns);
    }

    /// All packets in the buffer, as one write takes them.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.frames.as_flattened()
    }

    /// The first `count` packets in the buffer.
    #[inline]
    pub(super) fn frames(&self, count: usize) -> &[Frame] {
        &self.frames[..count]
    }

    /// A packet that was written in part is now written whole.
    pub(super) fn count_one(&mut self, lateness_ns: u64) {
        self.sent += 1;
        self.lateness.record(lateness_ns);
    }

    /// The first `count` packets in the buffer were written: counts them. Packets of the same
    /// lateness, for example all of one write of a flood, cost one step together.
    #[inline]
    pub(crate) fn count(&mut self, count: usize) {
        self.sent += count as u64;
        for alike in self.lateness_ns[..count].chunk_by(|one, next| one == next) {
            self.lateness
                .add_count(bucket(alike[0]), alike.len() as u64);
        }
    }

    /// The `n`th packet in the buffer and its lateness.
    #[inline]
    pub(super) fn stamped(&self, n: usize) -> (Frame, u64) {
        (self.frames[n], self.lateness_ns[n])
    }
}

/// A client that is behind catches up with this many packets per write.
const CATCH_UP: u64 = 64;

/// Most packets of one write: a whole number of batches, or one.
pub(super) const fn packets_per_write_max(batch: u32) -> u64 {
    let batch = batch as u64;
    if batch >= CATCH_UP {
        batch
    } else {
        CATCH_UP - CATCH_UP % batch
    }
}

/// Most packets of any write, whatever the batch.
const PACKETS_PER_WRITE_MAX: usize = BATCH_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_takes_whole_batches() {
        for batch in 1..=BATCH_MAX {
            let packets = packets_per_write_max(batch);
            assert_eq!(packets % u64::from(batch), 0);
            assert!(packets >= u64::from(batch) && packets <= PACKETS_PER_WRITE_MAX as u64);
        }
    }
}
