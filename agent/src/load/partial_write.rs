//! A packet of which the kernel has taken only the first bytes.
//!
//! A write on a non-blocking socket may take any number of bytes, so it can end in the middle of a
//! packet. The bytes that were taken are on their way to the receiver and cannot be changed. Three
//! rules follow:
//!
//! - The rest goes first, before any other byte of the connection, or the receiver would lose the
//!   bounds of all frames after it.
//! - The packet keeps the stamp of its first write, its lateness and its payload too. Packets
//!   behind it in the same write, of which nothing was taken, are dropped and stamped anew when
//!   they are tried again.
//! - It counts as sent when its last byte was taken. Until then it is part of the backlog; when
//!   that never happens it counts as skipped.

use std::io;

use metronome_proto::{
    packet::{FRAME_BYTES, Frame},
    packet_size::PacketSize,
};

use crate::net::connection::Connection;

/// The packet, and how much of it was written. Its memory is allocated once for a client.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Empty: no packet was written in part.
    packet: Vec<u8>,
    written: usize,
    lateness_ns: u64,
}

impl PartialWrite {
    /// No packet was written in part yet; those that will be have this size.
    pub(crate) fn none(size: PacketSize) -> Self {
        Self {
            packet: Vec::with_capacity(size.bytes()),
            written: 0,
            lateness_ns: 0,
        }
    }

    /// The kernel has taken the first `written` bytes of `packet`, not all.
    pub(super) fn begin(&mut self, packet: &[u8], written: usize, lateness_ns: u64) {
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        self.written = written;
        self.lateness_ns = lateness_ns;
    }

    /// Whether there is such a packet.
    #[inline]
    pub(super) fn is_some(&self) -> bool {
        !self.packet.is_empty()
    }

    /// Writes more of the packet, as far as the kernel takes it. Returns whether it is whole now,
    /// or there is none.
    pub(super) fn write_rest(&mut self, connection: &Connection) -> io::Result<bool> {
        if self.is_some() {
            self.written += connection.send(&self.packet[self.written..])?;
        }
        Ok(self.written == self.packet.len())
    }

    /// Gives up the packet, or what was one: its header and how late it was, from due to the first
    /// write, ns. `None` where there is none.
    pub(super) fn take(&mut self) -> Option<(Frame, u64)> {
        let header = self.packet.first_chunk::<FRAME_BYTES>().copied();
        self.packet.clear();
        self.written = 0;
        Some((header?, self.lateness_ns))
    }
}
