//! Data-plane frame: the 32 bytes that both ends of a TCP connection exchange, and what may follow
//! them.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 2 | magic | `B1 4D` |
//! | 2 | 1 | version, kind | version in the high half, [`Kind`] in the low half |
//! | 3 | 1 | flags | bit 0: the client asks for a [`Reply`] |
//! | 4 | 4 | client | index within the run |
//! | 8 | 8 | sequence | from 0, +1 each |
//! | 16 | 8 | due | ns on the *sender's* CLOCK_MONOTONIC at which the schedule wanted it sent |
//! | 24 | 4 | lateness | ns between due and the write, saturating at 4.29 s |
//! | 28 | 4 | checksum | CRC32C of bytes 0..28 and of what follows byte 32 |
//!
//! Little-endian. After its hello every frame of a client has the size of its packets
//! ([`PacketSize`]), whatever its kind, so framing is arithmetic: behind these 32 bytes is the
//! payload of a packet, and zeros where the frame is none. Frames of the server, and hellos and
//! challenges of a client, have 32 bytes. A [`Start`] and a [`Reply`] have the same checksum and
//! fields of their own; the kinds that carry a tag instead of the last 16 bytes are in
//! [`crate::handshake`].

pub use crate::packet_size::FRAME_BYTES;
use crate::packet_size::PacketSize;

/// One frame as it lies on the wire, or the header of one.
pub type Frame = [u8; FRAME_BYTES];

/// First two bytes of every frame. The first is not ASCII, so no text protocol opens with it.
pub const MAGIC: [u8; 2] = [0xB1, 0x4D];

/// Version of the wire in the high half of byte 2.
pub const VERSION: u8 = 1;

/// Flag: the client asks for a reply.
pub const FLAG_ECHO: u8 = 1;

const CHECKSUM_AT: usize = 28;

/// What a frame is for: the low half of byte 2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A measured packet.
    Packet = 0,
    /// First frame of a connection: who it is, with a tag.
    Hello = 1,
    /// The server's proof that it has the run's key.
    HelloAck = 2,
    /// How many packets were sent, with a tag.
    End = 3,
    /// How many packets were received, with a tag.
    EndAck = 4,
    /// Why the server ends this connection.
    Refusal = 5,
    /// Random bytes that the other side's tags must depend on: the static run's first frames.
    Challenge = 6,
    /// From where the due times of a client of a run count.
    Start = 7,
    /// The answer to a packet that asked for one.
    Reply = 8,
    /// Asks for a reading of the server's clock.
    Probe = 9,
    /// That reading.
    ProbeReply = 10,
}

/// The kind of a frame, or `None` when magic, version or kind is not ours.
#[inline]
#[must_use]
pub fn kind(frame: &Frame) -> Option<Kind> {
    if frame[..2] != MAGIC || frame[2] >> 4 != VERSION {
        return None;
    }
    match frame[2] & 0x0F {
        0 => Some(Kind::Packet),
        1 => Some(Kind::Hello),
        2 => Some(Kind::HelloAck),
        3 => Some(Kind::End),
        4 => Some(Kind::EndAck),
        5 => Some(Kind::Refusal),
        6 => Some(Kind::Challenge),
        7 => Some(Kind::Start),
        8 => Some(Kind::Reply),
        9 => Some(Kind::Probe),
        10 => Some(Kind::ProbeReply),
        _ => None,
    }
}

/// A frame of `kind` with everything else zero.
pub(crate) fn blank(kind: Kind) -> Frame {
    let mut frame = [0; FRAME_BYTES];
    frame[..2].copy_from_slice(&MAGIC);
    frame[2] = VERSION << 4 | kind as u8;
    frame
}

/// A measured packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// [`FLAG_ECHO`] or 0.
    pub flags: u8,
    /// Index of the client within the run.
    pub client: u32,
    /// Position among the packets this client has sent, from 0.
    pub sequence: u64,
    /// When the schedule wanted it sent, ns on the sender's clock.
    pub due_ns: u64,
    /// From due to the write, ns.
    pub lateness_ns: u32,
}

/// What a client of a run sends once, after the answer to its hello and before its first packet:
/// from where its due times count. So the place of each packet in the schedule follows from its due
/// time, whatever was skipped before it.
///
/// | offset | bytes | field | meaning |
/// |---|---|---|---|
/// | 0 | 4 | magic, version and kind, flags | those of every frame; no flag is set |
/// | 4 | 4 | client | index within the run |
/// | 8 | 8 | offset | ns by which this client starts later than the run: its phase |
/// | 16 | 8 | start | ns on the sender's CLOCK_MONOTONIC from which its schedule counts |
/// | 24 | 4 | unused | 0 |
/// | 28 | 4 | checksum | CRC32C of bytes 0..28 and of the zeros that fill the frame |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Start {
    /// Index of the client within the run.
    pub client: u32,
    /// How much later than the run it starts, ns: its phase; 0 in a flood and for random arrivals.
    pub offset_ns: u64,
    /// From where its due times count, ns on the sender's clock. The run starts `offset_ns`
    /// earlier.
    pub start_ns: u64,
}

impl Start {
    /// The header of the start of a client with packets of this size, checksum included;
    /// [`PacketSize::zeros`] follow it on the wire.
    #[must_use]
    pub fn encode(&self, size: PacketSize) -> Frame {
        let mut frame = blank(Kind::Start);
        frame[4..8].copy_from_slice(&self.client.to_le_bytes());
        frame[8..16].copy_from_slice(&self.offset_ns.to_le_bytes());
        frame[16..24].copy_from_slice(&self.start_ns.to_le_bytes());
        let sum = sum_of(&frame, size.zeros());
        frame[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        frame
    }

    /// Reads a start and checks it, with the bytes that follow its header: those of the client's
    /// size.
    ///
    /// # Errors
    ///
    /// Magic, version, kind or checksum is wrong, or an unused byte is not 0.
    pub fn decode(frame: &Frame, size: PacketSize, rest: &[u8]) -> Result<Self, Corrupt> {
        let start = Self {
            client: u32_at(frame, 4),
            offset_ns: u64_at(frame, 8),
            start_ns: u64_at(frame, 16),
        };
        if start.encode(size) == *frame && rest == size.zeros() {
            Ok(start)
        } else {
            Err(Corrupt)
        }
    }
}

/// What the server sends for a packet that asked for it: 32 bytes, whatever the packet's size.
///
/// | offset | bytes | field | meaning |
/// |---|---|---|---|
/// | 0 | 4 | magic, version and kind, flags | those of every frame; no flag is set |
/// | 4 | 4 | client | that of the packet |
/// | 8 | 8 | sequence | that of the packet |
/// | 16 | 8 | due | that of the packet, ns on the clock of the packet's sender |
/// | 24 | 4 | lateness | that of the packet, ns |
/// | 28 | 4 | checksum | CRC32C of bytes 0..28 |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Index of the client within the run.
    pub client: u32,
    /// Which of its packets is answered.
    pub sequence: u64,
    /// When the schedule wanted that packet sent, ns on the clock of its sender.
    pub due_ns: u64,
    /// From due to the write of that packet, ns; [`LATENESS_NS_MAX`] stands for a longer one.
    pub lateness_ns: u32,
}

impl Reply {
    /// The reply to a packet.
    #[must_use]
    pub fn to(packet: &Packet) -> Self {
        Self {
            client: packet.client,
            sequence: packet.sequence,
            due_ns: packet.due_ns,
            lateness_ns: packet.lateness_ns,
        }
    }

    /// The reply as it goes onto the wire, checksum included.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut frame = blank(Kind::Reply);
        frame[4..8].copy_from_slice(&self.client.to_le_bytes());
        frame[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        frame[16..24].copy_from_slice(&self.due_ns.to_le_bytes());
        frame[24..28].copy_from_slice(&self.lateness_ns.to_le_bytes());
        let sum = sum_of(&frame, &[]);
        frame[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        frame
    }

    /// Reads a reply and checks it.
    ///
    /// # Errors
    ///
    /// Magic, version, kind or checksum is wrong, or a flag is set.
    pub fn decode(frame: &Frame) -> Result<Self, Corrupt> {
        let reply = Self {
            client: u32_at(frame, 4),
            sequence: u64_at(frame, 8),
            due_ns: u64_at(frame, 16),
            lateness_ns: u32_at(frame, 24),
        };
        (reply.encode() == *frame).then_some(reply).ok_or(Corrupt)
    }
}

/// What the connection of an agent's probes sends: it asks for a reading of the server's clock.
///
/// | offset | bytes | field | meaning |
/// |---|---|---|---|
/// | 0 | 4 | magic, version and kind, flags | those of every frame; no flag is set |
/// | 4 | 4 | unused | 0 |
/// | 8 | 8 | sequence | from 0, +1 each |
/// | 16 | 8 | unused | 0; in a reply what the server's CLOCK_MONOTONIC read, ns |
/// | 24 | 4 | unused | 0 |
/// | 28 | 4 | checksum | CRC32C of bytes 0..28 |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Position among the probes of this connection, from 0.
    pub sequence: u64,
}

/// The answer to a [`Probe`]. The server's reading lies between the sending of the probe and the
/// arrival of this.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProbeReply {
    /// That of the probe.
    pub sequence: u64,
    /// CLOCK_MONOTONIC of the server after the probe had been read, ns.
    pub server_ns: u64,
}

impl Probe {
    /// The probe as it goes onto the wire, checksum included.
    #[must_use]
    pub fn encode(&self) -> Frame {
        probing(Kind::Probe, self.sequence, 0)
    }

    /// Reads a probe and checks it.
    ///
    /// # Errors
    ///
    /// Magic, version, kind or checksum is wrong, or an unused byte is not 0.
    pub fn decode(frame: &Frame) -> Result<Self, Corrupt> {
        let sequence = u64_at(frame, 8);
        let probe = Self { sequence };
        (probe.encode() == *frame).then_some(probe).ok_or(Corrupt)
    }
}

impl ProbeReply {
    /// The answer as it goes onto the wire, checksum included.
    #[must_use]
    pub fn encode(&self) -> Frame {
        probing(Kind::ProbeReply, self.sequence, self.server_ns)
    }

    /// Reads an answer and checks it.
    ///
    /// # Errors
    ///
    /// Magic, version, kind or checksum is wrong, or an unused byte is not 0.
    pub fn decode(frame: &Frame) -> Result<Self, Corrupt> {
        let (sequence, server_ns) = (u64_at(frame, 8), u64_at(frame, 16));
        let reply = Self {
            sequence,
            server_ns,
        };
        (reply.encode() == *frame).then_some(reply).ok_or(Corrupt)
    }
}

fn probing(kind: Kind, sequence: u64, server_ns: u64) -> Frame {
    let mut frame = blank(kind);
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame[16..24].copy_from_slice(&server_ns.to_le_bytes());
    let sum = sum_of(&frame, &[]);
    frame[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
    frame
}

/// The checksum of a frame: of its header, and of what follows that.
#[inline]
fn sum_of(header: &Frame, rest: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&header[..CHECKSUM_AT]);
    if rest.is_empty() {
        sum
    } else {
        crc32c::crc32c_append(sum, rest)
    }
}

/// The longest lateness that a packet carries, ns: 4.29 s. A longer one is sent as this.
pub const LATENESS_NS_MAX: u64 = u32::MAX as u64;

/// These 32 bytes are not a packet: magic, version, kind or checksum is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a packet: magic, version, kind or checksum is wrong")]
pub struct Corrupt;

impl Packet {
    /// The header of the packet as it goes onto the wire, its checksum included; `payload` follows
    /// it.
    #[inline]
    #[must_use]
    pub fn encode(&self, payload: &[u8]) -> Frame {
        let mut frame = [0; FRAME_BYTES];
        // Whole words: the checksum reads words, and waits for narrower stores to be put together.
        frame[..8].copy_from_slice(&self.head().to_le_bytes());
        frame[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        frame[16..24].copy_from_slice(&self.due_ns.to_le_bytes());
        frame[24..28].copy_from_slice(&self.lateness_ns.to_le_bytes());
        let sum = sum_of(&frame, payload);
        frame[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        frame
    }

    /// Its first eight bytes: magic, version and kind, flags, client.
    #[inline]
    pub(crate) fn head(&self) -> u64 {
        let head = u32::from_le_bytes([
            MAGIC[0],
            MAGIC[1],
            VERSION << 4 | Kind::Packet as u8,
            self.flags,
        ]);
        u64::from(head) | u64::from(self.client) << 32
    }

    /// Reads a packet from its header and the payload behind it, and checks both.
    ///
    /// # Errors
    ///
    /// Magic, version, kind or checksum is wrong.
    #[inline]
    pub fn decode(frame: &Frame, payload: &[u8]) -> Result<Self, Corrupt> {
        if kind(frame) != Some(Kind::Packet) || sum_of(frame, payload) != checksum(frame) {
            return Err(Corrupt);
        }
        Ok(Self {
            flags: frame[3],
            client: u32_at(frame, 4),
            sequence: u64_at(frame, 8),
            due_ns: u64_at(frame, 16),
            lateness_ns: u32_at(frame, 24),
        })
    }
}

/// The checksum that a frame carries, whether or not it is right.
#[inline]
#[must_use]
pub fn checksum(frame: &Frame) -> u32 {
    u32_at(frame, CHECKSUM_AT)
}

/// Adds one packet to a digest that both ends keep: the sum of checksum × (2 × sequence + 1).
///
/// Equal digests on both ends mean that the same packets were sent and counted, in any order.
#[inline]
#[must_use]
pub fn digest_with(digest: u64, sequence: u64, checksum: u32) -> u64 {
    let weight = sequence.wrapping_mul(2).wrapping_add(1);
    digest.wrapping_add(u64::from(checksum).wrapping_mul(weight))
}

#[inline]
pub(crate) fn u64_at(frame: &Frame, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&frame[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[inline]
pub(crate) fn u32_at(frame: &Frame, at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[at..at + 4]);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_packet_survives_the_wire(
            flags: u8,
            client: u32,
            sequence: u64,
            due_ns: u64,
            lateness_ns: u32,
        ) {
            let packet = Packet { flags, client, sequence, due_ns, lateness_ns };
            prop_assert_eq!(Packet::decode(&packet.encode(&[]), &[]), Ok(packet));
        }

        #[test]
        fn one_flipped_bit_of_a_payload_never_passes(
            mut payload in prop::collection::vec(any::<u8>(), 1..1441), sequence: u64,
            at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let packet = Packet { flags: 0, client: 7, sequence, due_ns: 8, lateness_ns: 9 };
            let frame = packet.encode(&payload);
            prop_assert_eq!(Packet::decode(&frame, &payload), Ok(packet));
            let at = at.index(payload.len());
            payload[at] ^= 1 << bit;
            prop_assert_eq!(Packet::decode(&frame, &payload), Err(Corrupt));
            prop_assert_eq!(Packet::decode(&frame, &payload[1..]), Err(Corrupt));
        }

        #[test]
        fn a_reply_survives_the_wire_and_one_flipped_bit_of_it_never_passes(
            client: u32, sequence: u64, due_ns: u64, lateness_ns: u32, bit in 0..256_usize,
        ) {
            let packet = Packet { flags: FLAG_ECHO, client, sequence, due_ns, lateness_ns };
            let mut frame = Reply::to(&packet).encode();
            prop_assert_eq!(Reply::decode(&frame), Ok(Reply::to(&packet)));
            prop_assert_eq!(Packet::decode(&frame, &[]), Err(Corrupt));
            prop_assert_eq!(Reply::decode(&packet.encode(&[])), Err(Corrupt));
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Reply::decode(&frame), Err(Corrupt));
        }

        #[test]
        fn a_probe_and_its_reply_survive_the_wire_and_one_flipped_bit_never_passes(
            sequence: u64, server_ns: u64, bit in 0..256_usize,
        ) {
            let (probe, reply) = (Probe { sequence }, ProbeReply { sequence, server_ns });
            let (mut asks, mut answers) = (probe.encode(), reply.encode());
            prop_assert_eq!(Probe::decode(&asks), Ok(probe));
            prop_assert_eq!(ProbeReply::decode(&answers), Ok(reply));
            prop_assert_eq!(Probe::decode(&answers), Err(Corrupt));
            prop_assert_eq!(ProbeReply::decode(&asks), Err(Corrupt));
            asks[bit / 8] ^= 1 << (bit % 8);
            answers[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Probe::decode(&asks), Err(Corrupt));
            prop_assert_eq!(ProbeReply::decode(&answers), Err(Corrupt));
        }

        #[test]
        fn one_flipped_bit_never_passes(sequence: u64, due_ns: u64, bit in 0..256_usize) {
            let packet = Packet { flags: 0, client: 7, sequence, due_ns, lateness_ns: 9 };
            let mut frame = packet.encode(&[]);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Packet::decode(&frame, &[]), Err(Corrupt));
        }

        #[test]
        fn a_start_survives_the_wire(client: u32, offset_ns: u64, start_ns: u64) {
            let start = Start { client, offset_ns, start_ns };
            let frame = start.encode(PacketSize::MIN);
            prop_assert_eq!(Start::decode(&frame, PacketSize::MIN, &[]), Ok(start));
        }

        #[test]
        fn one_flipped_bit_of_a_start_never_passes(
            offset_ns: u64, start_ns: u64, bit in 0..256_usize,
        ) {
            let mut frame = Start { client: 7, offset_ns, start_ns }.encode(PacketSize::MIN);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Start::decode(&frame, PacketSize::MIN, &[]), Err(Corrupt));
        }

        #[test]
        fn any_32_bytes_are_a_start_or_corrupt_and_never_panic(frame: [u8; 32]) {
            if let Ok(start) = Start::decode(&frame, PacketSize::MIN, &[]) {
                prop_assert_eq!(start.encode(PacketSize::MIN), frame);
            }
        }

        #[test]
        fn any_32_bytes_decode_or_are_corrupt_and_never_panic(frame: [u8; 32]) {
            if let Ok(packet) = Packet::decode(&frame, &[]) {
                prop_assert_eq!(packet.encode(&[]), frame);
            }
        }

        #[test]
        fn a_digest_distinguishes_a_lost_packet_from_a_swapped_one(a: u32, b: u32) {
            let both = digest_with(digest_with(0, 0, a), 1, b);
            prop_assert_eq!(both, digest_with(digest_with(0, 1, b), 0, a));
            if a != b {
                prop_assert_ne!(both, digest_with(digest_with(0, 0, b), 1, a));
            }
        }
    }

    #[test]
    fn a_frame_has_its_kind_by_magic_version_and_number_and_no_other() {
        let kinds = [
            Kind::Packet,
            Kind::Hello,
            Kind::HelloAck,
            Kind::End,
            Kind::EndAck,
            Kind::Refusal,
            Kind::Challenge,
            Kind::Start,
            Kind::Reply,
            Kind::Probe,
            Kind::ProbeReply,
        ];
        for (number, of) in kinds.into_iter().enumerate() {
            let frame = blank(of);
            assert_eq!(frame[2] & 0x0F, number as u8);
            assert_eq!(kind(&frame), Some(of));
            for bit in 0..16 {
                let mut strange = frame;
                strange[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(kind(&strange), None, "magic");
            }
            for bit in 4..8 {
                let mut strange = frame;
                strange[2] ^= 1 << bit;
                assert_eq!(kind(&strange), None, "version");
            }
        }
        let mut later = blank(Kind::Packet);
        for number in 11..16 {
            later[2] = VERSION << 4 | number;
            assert_eq!(kind(&later), None, "{number}");
        }
    }

    #[test]
    fn a_byte_that_a_start_does_not_use_is_0_and_a_packet_is_no_start() {
        let start = Start {
            client: 7,
            offset_ns: 8,
            start_ns: 9,
        };
        for at in [3, 24, 25, 26, 27] {
            let mut frame = start.encode(PacketSize::MIN);
            frame[at] = 1;
            let sum = crc32c::crc32c(&frame[..CHECKSUM_AT]);
            frame[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(
                Start::decode(&frame, PacketSize::MIN, &[]),
                Err(Corrupt),
                "byte {at}"
            );
        }
        let packet = Packet {
            flags: 0,
            client: 7,
            sequence: 8,
            due_ns: 9,
            lateness_ns: 0,
        };
        assert_eq!(
            Start::decode(&packet.encode(&[]), PacketSize::MIN, &[]),
            Err(Corrupt)
        );
        assert_eq!(
            Packet::decode(&start.encode(PacketSize::MIN), &[]),
            Err(Corrupt)
        );
    }

    #[test]
    fn a_start_is_laid_out_as_the_table_above_it_gives() {
        let start = Start {
            client: 0x0403_0201,
            offset_ns: 0x0807_0605_0403_0201,
            start_ns: 0x1817_1615_1413_1211,
        };
        let frame = start.encode(PacketSize::MIN);
        assert_eq!(frame[..4], [0xB1, 0x4D, 0x17, 0]);
        assert_eq!(frame[4..8], [1, 2, 3, 4]);
        assert_eq!(frame[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            frame[16..24],
            [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
        assert_eq!(frame[24..28], [0; 4]);
    }

    #[test]
    fn the_layout_is_the_one_that_the_table_above_gives() {
        let packet = Packet {
            flags: FLAG_ECHO,
            client: 0x0403_0201,
            sequence: 0x0807_0605_0403_0201,
            due_ns: 0x1817_1615_1413_1211,
            lateness_ns: 0x2423_2221,
        };
        let frame = packet.encode(&[]);
        assert_eq!(frame[..4], [0xB1, 0x4D, 0x10, 1]);
        assert_eq!(frame[4..8], [1, 2, 3, 4]);
        assert_eq!(frame[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            frame[16..24],
            [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
        assert_eq!(frame[24..28], [0x21, 0x22, 0x23, 0x24]);
    }
}
