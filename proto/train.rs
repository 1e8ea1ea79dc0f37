//! A train: packets of 32 bytes, one behind the other, that differ in their sequence alone, which
//! rises by one: as a rule those of one write.
//!
//! CRC32C is linear: how the checksums of two frames of one length differ depends on nothing but
//! how the frames differ. So the checksum is computed once for all packets of a train whose
//! sequences are the same but for the lowest byte, and that of each one follows from a table with
//! the difference that this byte makes. A train is stamped, and one that was received is checked,
//! without a further checksum: its next packet can have but one form, and is compared with that to
//! the last bit.

use crate::packet::{FRAME_BYTES, Frame, Packet, checksum, digest_with};

/// Words of a frame.
pub const FRAME_WORDS: usize = FRAME_BYTES / size_of::<u64>();

/// A frame as words, whose bytes in memory are those on the wire.
pub type FrameWords = [u64; FRAME_WORDS];

/// Bytes from that which counts sequences to the end of what the checksum covers.
const BYTES_BEHIND: usize = 28 - 8;

/// CRC32C's polynomial, its lowest coefficient in the highest bit.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// By what a lowest byte of the sequence changes the checksum, against one of 0.
const DIFFERENCES: [u32; 256] = {
    let mut differences = [0; 256];
    let mut low = 0;
    while low < 256 {
        let (mut sum, mut bit) = (low as u32, 0);
        while bit < 8 * BYTES_BEHIND {
            sum = (sum >> 1) ^ (POLYNOMIAL * (sum & 1));
            bit += 1;
        }
        differences[low] = sum;
        low += 1;
    }
    differences
};

/// What the packets of a train have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Train {
    packet: Packet,
    /// Magic, version and kind, flags, client: the first word of each.
    head: u64,
}

/// How many of some frames go on with a train.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Alike {
    /// Frames up to the first one that does not, or to the last one.
    pub packets: u64,
    /// What they add to the digest of their connection.
    pub digest: u64,
}

impl Train {
    /// Packets that have everything of this one but its sequence.
    #[inline]
    #[must_use]
    pub fn of(packet: &Packet) -> Self {
        Self {
            packet: *packet,
            head: packet.head(),
        }
    }

    /// Stamps packets from `sequence` on, as [`Packet::encode`] does each of them. Sequences that
    /// would be 2^64 or more go on from 0.
    pub fn stamp(&self, mut sequence: u64, mut frames: &mut [Frame]) {
        while !frames.is_empty() {
            let block = Block::of(self, sequence);
            let (here, behind) = frames.split_at_mut(frames.len().min(block.differences.len()));
            for (frame, words) in here.iter_mut().zip(block.frames()) {
                for (bytes, word) in frame.as_chunks_mut().0.iter_mut().zip(words) {
                    *bytes = word.to_ne_bytes();
                }
            }
            sequence = block.high.wrapping_add(256);
            frames = behind;
        }
    }

    /// Whether this frame is the packet of the train with this sequence, as far as can be seen
    /// without its checksum: a quick answer where most frames begin a train of their own.
    #[inline]
    #[must_use]
    pub fn may_go_on(&self, sequence: u64, frame: &FrameWords) -> bool {
        let [head, own, due, last] = frame.map(u64::from_le);
        let is_of_train = head == self.head && due == self.packet.due_ns;
        is_of_train && own == sequence && last as u32 == self.packet.lateness_ns
    }

    /// How many of the frames are, to the last bit, the packets of the train from `sequence` on;
    /// none of sequence 2^64 − 1.
    #[inline]
    pub fn alike(&self, mut sequence: u64, mut frames: impl Iterator<Item = FrameWords>) -> Alike {
        let mut alike = Alike::default();
        loop {
            let block = Block::of(self, sequence);
            for expected in block.frames() {
                let sequence = u64::from_le(expected[1]);
                if sequence == u64::MAX || frames.next() != Some(expected) {
                    return alike;
                }
                let sum = (u64::from_le(expected[3]) >> 32) as u32;
                alike.packets += 1;
                alike.digest = digest_with(alike.digest, sequence, sum);
            }
            sequence = block.high.wrapping_add(256);
        }
    }
}

/// Packets of a train whose sequences are the same but for the lowest byte.
struct Block {
    head: u64,
    /// The sequence with a lowest byte of 0.
    high: u64,
    /// The lowest byte of the first.
    low: u64,
    due_ns: u64,
    lateness_ns: u32,
    /// The checksum of that with a lowest byte of 0.
    sum: u32,
    /// By what that of each one differs from it.
    differences: &'static [u32],
}

impl Block {
    /// From `sequence` on.
    #[inline]
    fn of(train: &Train, sequence: u64) -> Self {
        let (high, low) = (sequence & !0xFF, sequence & 0xFF);
        let zeroth = Packet {
            sequence: high,
            ..train.packet
        };
        Self {
            head: train.head,
            high,
            low,
            due_ns: train.packet.due_ns,
            lateness_ns: train.packet.lateness_ns,
            sum: checksum(&zeroth.encode(&[])),
            differences: &DIFFERENCES[low as usize..],
        }
    }

    #[inline]
    fn frames(&self) -> impl Iterator<Item = FrameWords> {
        let differences = (self.low..).zip(self.differences);
        differences.map(|(low, difference)| {
            let last = u64::from(self.lateness_ns) | u64::from(self.sum ^ difference) << 32;
            [self.head, self.high | low, self.due_ns, last].map(u64::to_le)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets() -> impl Strategy<Value = Packet> {
        // Sequences around those at which the lowest bytes begin anew, and any others.
        let around = (0..64_u32, -600..600_i64)
            .prop_map(|(bit, more)| (1_u64 << bit).wrapping_add_signed(more));
        let sequences = prop_oneof![0..600_u64, around, any::<u64>()];
        let rest = (any::<u8>(), any::<u32>(), any::<u64>(), any::<u32>());
        (sequences, rest).prop_map(|(sequence, (flags, client, due_ns, lateness_ns))| Packet {
            flags,
            client,
            sequence,
            due_ns,
            lateness_ns,
        })
    }

    /// What packets from `sequence` on add to the digest of their connection.
    fn digest_of(frames: &[Frame], sequence: u64) -> u64 {
        let sequences = (0..).map(|n| sequence.wrapping_add(n));
        (frames.iter().zip(sequences)).fold(0, |digest, (frame, sequence)| {
            digest_with(digest, sequence, checksum(frame))
        })
    }

    /// Each stamped for itself.
    fn one_by_one(packet: &Packet, count: u64) -> Vec<Frame> {
        let encode = |n| {
            let sequence = packet.sequence.wrapping_add(n);
            Packet {
                sequence,
                ..*packet
            }
            .encode(&[])
        };
        (0..count).map(encode).collect()
    }

    fn words(frames: &[Frame]) -> impl Iterator<Item = FrameWords> {
        let word =
            |frame: &Frame, n: usize| u64::from_ne_bytes(*frame[8 * n..].first_chunk().unwrap());
        frames
            .iter()
            .map(move |frame| std::array::from_fn(|n| word(frame, n)))
    }

    proptest! {
        #[test]
        fn a_train_is_stamped_as_each_of_its_packets_would_be(
            packet in packets(), count in 0..1_200_u64,
        ) {
            let mut frames = vec![[7; FRAME_BYTES]; count as usize];
            Train::of(&packet).stamp(packet.sequence, &mut frames);
            prop_assert_eq!(&frames, &one_by_one(&packet, count));
        }

        #[test]
        fn frames_are_alike_up_to_the_first_that_differs_in_one_bit(
            packet in packets(), count in 1..1_200_u64,
            at in any::<prop::sample::Index>(), bit in 0..256_usize,
        ) {
            let count = count.min(u64::MAX - packet.sequence);
            prop_assume!(count > 0);
            let mut frames = one_by_one(&packet, count);
            let train = Train::of(&packet);
            let alike = |frames: &[Frame]| train.alike(packet.sequence, words(frames));
            let all = Alike {
                packets: count,
                digest: digest_of(&frames, packet.sequence),
            };
            prop_assert_eq!(alike(&frames), all);
            let at = at.index(frames.len());
            frames[at][bit / 8] ^= 1 << (bit % 8);
            let before = Alike {
                packets: at as u64,
                digest: digest_of(&frames[..at], packet.sequence),
            };
            prop_assert_eq!(alike(&frames), before);
        }

        #[test]
        fn what_may_go_on_with_a_train_is_all_that_is_alike_and_nothing_of_another_packet(
            packet in packets(), other in packets(), bit in 0..224_usize,
        ) {
            let train = Train::of(&packet);
            let may_go_on = |frame: &Frame| {
                train.may_go_on(packet.sequence, &words(&[*frame]).next().unwrap())
            };
            let mut frame = packet.encode(&[]);
            prop_assert!(may_go_on(&frame));
            prop_assert_eq!(may_go_on(&other.encode(&[])), other == packet);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!may_go_on(&frame));
        }

        #[test]
        fn any_frames_are_alike_only_where_each_is_the_packet_of_its_sequence(
            packet in packets(), frames in prop::collection::vec(any::<Frame>(), 0..4),
        ) {
            let expected = one_by_one(&packet, frames.len() as u64);
            let same = frames.iter().zip(&expected).take_while(|(one, other)| one == other);
            let alike = Train::of(&packet).alike(packet.sequence, words(&frames));
            prop_assert_eq!(alike.packets, same.count() as u64);
        }
    }

    #[test]
    fn no_packet_is_alike_that_has_no_next_one() {
        let packet = Packet {
            flags: 0,
            client: 7,
            sequence: u64::MAX - 2,
            due_ns: 8,
            lateness_ns: 9,
        };
        let frames = one_by_one(&packet, 5);
        let alike = Train::of(&packet).alike(packet.sequence, words(&frames));
        assert_eq!(alike.packets, 2);
        assert_eq!(alike.digest, digest_of(&frames[..2], packet.sequence));
    }
}
