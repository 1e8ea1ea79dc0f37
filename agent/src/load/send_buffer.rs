//! Where a pacing thread stamps packets before it writes them, and what the thread has counted.
//!
//! All memory is allocated before the first packet. Each pacing thread has one send buffer, which
//! no other thread reads. The packets in it are all of one size, that of the client whose turn it
//! is.

use metronome_proto::{
    histogram::{Histogram, bucket},
    limits::{BATCH_MAX, GROUPS_MAX, WRITE_BYTES_MAX},
    packet::{FRAME_BYTES, Frame},
    packet_size::PacketSize,
};

/// Packets of one group that were not written when they were due.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Behind {
    /// Packets that were skipped.
    pub skipped: u64,
    /// Packets that were blocked by a full send buffer when they were due.
    pub blocked: u64,
}

/// The packets of one write, and the counters of one pacing thread.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    /// Packet behind packet, as they go onto the wire, and how many bytes these are.
    bytes: Box<[u8]>,
    filled: usize,
    /// How late they are, ns, and how many one behind the other are as late.
    lateness_ns: Vec<(u64, usize)>,
    packets: usize,
    /// Packets that were due so far.
    pub scheduled: u64,
    /// Packets written whole.
    pub sent: u64,
    /// Packets that were skipped.
    pub skipped: u64,
    /// Packets that were blocked by a full send buffer when they were due.
    pub blocked: u64,
    /// The skipped and the blocked ones of each group, by its place in the assignment.
    pub behind: [Behind; GROUPS_MAX],
    /// Packets written whole that asked for a reply.
    pub replies_requested: u64,
    /// Writes that took data.
    pub writes: u64,
    /// Time from due to the write of every packet that was sent, ns.
    pub lateness: Histogram,
    /// A payload source has failed: the run cannot go on.
    pub has_failed_source: bool,
}

impl SendBuffer {
    /// An empty buffer with room for the largest write.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; WRITE_BYTES_MAX as usize].into(),
            filled: 0,
            lateness_ns: Vec::with_capacity(PACKETS_PER_WRITE_MAX),
            packets: 0,
            scheduled: 0,
            sent: 0,
            skipped: 0,
            blocked: 0,
            behind: [Behind::default(); GROUPS_MAX],
            replies_requested: 0,
            writes: 0,
            lateness: Histogram::default(),
            has_failed_source: false,
        }
    }

    /// Counts packets of the group at this place that were skipped.
    pub(super) fn count_skipped(&mut self, group: usize, packets: u64) {
        self.skipped += packets;
        if let Some(behind) = self.behind.get_mut(group) {
            behind.skipped += packets;
        }
    }

    /// Counts packets of the group at this place that were blocked when they were due.
    pub(super) fn count_blocked(&mut self, group: usize, packets: u64) {
        self.blocked += packets;
        if let Some(behind) = self.behind.get_mut(group) {
            behind.blocked += packets;
        }
    }

    /// Removes all packets.
    #[inline]
    pub(crate) fn clear(&mut self) {
        (self.filled, self.packets) = (0, 0);
        self.lateness_ns.clear();
    }

    /// Adds room for packets of this size behind the others, with whatever lies there.
    #[inline]
    fn add(&mut self, packets: usize, size: PacketSize, lateness_ns: u64) -> &mut [u8] {
        match self.lateness_ns.last_mut() {
            Some((last_ns, alike)) if *last_ns == lateness_ns => *alike += packets,
            _ => self.lateness_ns.push((lateness_ns, packets)),
        }
        self.packets += packets;
        let begins = self.filled;
        self.filled += packets * size.bytes();
        &mut self.bytes[begins..self.filled]
    }

    /// Adds one stamped packet of 32 bytes behind the others.
    #[inline]
    pub(crate) fn push(&mut self, frame: &Frame, lateness_ns: u64) {
        self.add(1, PacketSize::MIN, lateness_ns)
            .copy_from_slice(frame);
    }

    /// Adds room for packets of 32 bytes behind the others, which are all to be stamped.
    #[inline]
    pub(super) fn push_unstamped(&mut self, packets: usize, lateness_ns: u64) -> &mut [Frame] {
        self.add(packets, PacketSize::MIN, lateness_ns)
            .as_chunks_mut()
            .0
    }

    /// Adds room for one packet behind the others, all zeros: its header and its payload.
    #[inline]
    pub(super) fn push_blank(
        &mut self,
        size: PacketSize,
        lateness_ns: u64,
    ) -> (&mut Frame, &mut [u8]) {
        let packet = self.add(1, size, lateness_ns);
        packet.fill(0);
        packet
            .split_first_chunk_mut()
            .expect("a packet is no shorter than its header")
    }

    /// Holds one frame that is no packet and nothing else: its header, then zeros up to the size.
    pub(super) fn hold_frame(&mut self, header: &Frame, size: PacketSize) {
        self.clear();
        self.filled = size.bytes();
        let (to, zeros) = self.bytes[..size.bytes()].split_at_mut(FRAME_BYTES);
        to.copy_from_slice(header);
        zeros.fill(0);
    }

    /// All that is in the buffer, as one write takes it.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// How many packets are in the buffer.
    #[inline]
    pub(super) fn packets(&self) -> usize {
        self.packets
    }

    /// The first `count` packets in the buffer, which have 32 bytes each.
    #[inline]
    pub(super) fn frames(&self, count: usize) -> &[Frame] {
        &self.bytes().as_chunks().0[..count]
    }

    /// The headers of the first `count` packets in the buffer, which have this size.
    #[inline]
    pub(super) fn headers(
        &self,
        count: usize,
        size: PacketSize,
    ) -> impl Iterator<Item = &Frame> + Clone {
        let header = move |n: usize| self.bytes.get(n * size.bytes()..)?.first_chunk();
        (0..count).filter_map(header)
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
        let mut left = count;
        for (lateness_ns, alike) in &self.lateness_ns {
            if left == 0 {
                return;
            }
            let counted = left.min(*alike);
            self.lateness
                .add_count(bucket(*lateness_ns), counted as u64);
            left -= counted;
        }
    }

    /// The bytes of the `n`th packet in the buffer, which has this size, and its lateness.
    pub(super) fn stamped(&self, n: usize, size: PacketSize) -> (&[u8], u64) {
        let begins = n * size.bytes();
        let bytes = &self.bytes()[begins..begins + size.bytes()];
        let mut up_to = 0;
        let lateness_ns = self.lateness_ns.iter().find(|(_, alike)| {
            up_to += alike;
            n < up_to
        });
        (
            bytes,
            lateness_ns.map_or(0, |(lateness_ns, _)| *lateness_ns),
        )
    }
}

/// A client that is behind catches up with this many packets per write, if they fit.
const CATCH_UP: u32 = 64;

/// Most packets of one write: a whole number of batches, or one, and at most [`WRITE_BYTES_MAX`].
pub(super) const fn packets_per_write_max(batch: u32, size: PacketSize) -> u64 {
    let fitting = WRITE_BYTES_MAX / size.bytes() as u32;
    let most = if fitting < CATCH_UP {
        fitting
    } else {
        CATCH_UP
    };
    let packets = if batch >= most {
        batch
    } else {
        most - most % batch
    };
    packets as u64
}

/// Most packets of any write, whatever the batch.
const PACKETS_PER_WRITE_MAX: usize = BATCH_MAX as usize;

const _: () = assert!(PACKETS_PER_WRITE_MAX * FRAME_BYTES <= WRITE_BYTES_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_takes_whole_batches_and_never_more_than_the_buffer() {
        for bytes in 32..=1472 {
            let size = PacketSize::new(bytes).unwrap();
            for batch in 1..=BATCH_MAX.min(WRITE_BYTES_MAX / bytes) {
                let packets = packets_per_write_max(batch, size);
                assert_eq!(packets % u64::from(batch), 0);
                assert!(packets >= u64::from(batch) && packets <= PACKETS_PER_WRITE_MAX as u64);
                assert!(
                    packets * u64::from(bytes) <= WRITE_BYTES_MAX.into(),
                    "{bytes}"
                );
            }
        }
        assert_eq!(packets_per_write_max(1, PacketSize::MIN), 64);
        assert_eq!(packets_per_write_max(1, PacketSize::MAX), 44);
    }
}
