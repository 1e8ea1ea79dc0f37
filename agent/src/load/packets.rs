//! What the packets of a client are made of: their size, the bytes behind the header, and which of
//! them ask for a reply. Stamps them into the send buffer, without an allocation.
//!
//! The payload is written where it is sent from, right before its write, and only then is the
//! header stamped, whose checksum covers both. Packets of 32 bytes have no payload and cost nothing
//! for it.

use std::{num::NonZeroU32, sync::Arc};

use metronome_proto::{
    packet::{FLAG_ECHO, FRAME_BYTES, Frame, LATENESS_NS_MAX, Packet},
    packet_size::PacketSize,
    share::Share,
    train::Train,
    v1::Failure,
};

use super::send_buffer::SendBuffer;
use crate::payload::GroupSource;

/// What raw clients send, as the Python client that Metronome replaces did.
pub(super) const RAW: Frame = [b'X'; FRAME_BYTES];

/// What all packets of the clients of a group have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packets {
    size: PacketSize,
    echo_every: Option<NonZeroU32>,
    /// `None`: zeros.
    source: Option<Arc<GroupSource>>,
}

impl Packets {
    /// Packets of this size, of which those whose sequence is a multiple of `echo_every` ask for a
    /// reply, with the payload that `source` gives; zeros without one.
    pub(crate) fn new(
        size: PacketSize,
        echo_every: Option<NonZeroU32>,
        source: Option<Arc<GroupSource>>,
    ) -> Self {
        Self {
            size,
            echo_every,
            source,
        }
    }

    /// The packets of a share.
    pub(crate) fn of_share(share: &Share, source: Option<Arc<GroupSource>>) -> Self {
        Self::new(share.packet_size, share.echo_every, source)
    }

    /// Bytes of each on the wire.
    #[inline]
    pub(crate) fn size(&self) -> PacketSize {
        self.size
    }

    /// Whether some of them ask for a reply.
    #[inline]
    pub(crate) fn ask_for_replies(&self) -> bool {
        self.echo_every.is_some()
    }

    /// Stamps for the packets from `sequence` on. `client` is what they name it; without one they
    /// are raw and carry no meaning.
    #[inline]
    pub(super) fn stamps(&self, client: Option<u32>, sequence: u64) -> Stamps<'_> {
        // One division for all packets of a write.
        let echo_at = (self.echo_every)
            .and_then(|every| sequence.checked_next_multiple_of(every.get().into()));
        Stamps {
            packets: self,
            client,
            sequence,
            echo_at: echo_at.unwrap_or(u64::MAX),
        }
    }
}

/// Stamps packets in their order.
pub(super) struct Stamps<'a> {
    packets: &'a Packets,
    client: Option<u32>,
    /// That of the next packet.
    sequence: u64,
    /// The next one that asks for a reply.
    echo_at: u64,
}

impl Stamps<'_> {
    /// Puts the next packets, which are due at one time, into the send buffer, behind the others.
    ///
    /// # Errors
    ///
    /// The payload source has failed; the packets in the send buffer are not to be written.
    #[inline]
    pub(super) fn push(
        &mut self,
        packets: u64,
        due_ns: u64,
        lateness_ns: u64,
        send_buffer: &mut SendBuffer,
    ) -> Result<(), Box<Failure>> {
        let Some(client) = self.client else {
            (0..packets).for_each(|_| send_buffer.push(&RAW, lateness_ns));
            return Ok(());
        };
        let mut next = Packet {
            flags: 0,
            client,
            sequence: self.sequence,
            due_ns,
            lateness_ns: lateness_ns.min(LATENESS_NS_MAX) as u32,
        };
        if packets > 1 && self.packets.size == PacketSize::MIN {
            self.push_trains(next, packets, lateness_ns, send_buffer);
            return Ok(());
        }
        for _ in 0..packets {
            (next.sequence, next.flags) = (self.sequence, self.flags(self.sequence));
            self.sequence += 1;
            self.push_one(&next, lateness_ns, send_buffer)?;
        }
        Ok(())
    }

    #[inline]
    fn push_one(
        &self,
        packet: &Packet,
        lateness_ns: u64,
        send_buffer: &mut SendBuffer,
    ) -> Result<(), Box<Failure>> {
        if self.packets.size == PacketSize::MIN {
            send_buffer.push(&packet.encode(&[]), lateness_ns);
            return Ok(());
        }
        let (header, payload) = send_buffer.push_blank(self.packets.size, lateness_ns);
        if let Some(source) = &self.packets.source {
            source.fill(packet.client, packet.sequence, payload)?;
        }
        *header = packet.encode(payload);
        Ok(())
    }

    /// The same of packets of 32 bytes: those between two that ask for a reply are stamped
    /// together.
    fn push_trains(
        &mut self,
        mut next: Packet,
        packets: u64,
        lateness_ns: u64,
        send_buffer: &mut SendBuffer,
    ) {
        let end = self.sequence + packets;
        while self.sequence < end {
            let until = self.echo_at.min(end);
            if self.sequence < until {
                let alike = (until - self.sequence) as usize;
                let frames = send_buffer.push_unstamped(alike, lateness_ns);
                Train::of(&next).stamp(self.sequence, frames);
                self.sequence = until;
                continue;
            }
            (next.sequence, next.flags) = (self.sequence, self.flags(self.sequence));
            self.sequence += 1;
            send_buffer.push(&next.encode(&[]), lateness_ns);
            next.flags = 0;
        }
    }

    #[inline]
    fn flags(&mut self, sequence: u64) -> u8 {
        if sequence != self.echo_at {
            return 0;
        }
        let every = self.packets.echo_every.map_or(0, NonZeroU32::get);
        self.echo_at = sequence.saturating_add(every.into());
        FLAG_ECHO
    }
}
