//! A packet of which the kernel has taken only the first bytes.
//!
//! A write on a non-blocking socket may take any number of bytes, so it can end in the middle of a
//! packet. The bytes that were taken are on their way to the receiver and cannot be changed. Three
//! rules follow:
//!
//! - The rest goes first, before any other byte of the connection, or the receiver would lose the
//!   bounds of all frames after it.
//! - The packet keeps the stamp of its first write, its lateness too. Packets behind it in the same
//!   write, of which nothing was taken, are dropped and stamped anew when they are tried again.
//! - It counts as sent when its last byte was taken. Until then it is part of the backlog; when
//!   that never happens it counts as skipped.

use std::io;

use metronome_proto::packet::{FRAME_BYTES, Frame};

use crate::net::connection::Connection;

/// The packet, and how much of it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartialWrite {
    frame: Frame,
    /// 1 to 31 bytes.
    written: usize,
    lateness_ns: u64,
}

impl PartialWrite {
    /// The kernel has taken the first `written` bytes of `frame`.
    pub(crate) fn new(frame: Frame, written: usize, lateness_ns: u64) -> Self {
        Self {
            frame,
            written,
            lateness_ns,
        }
    }

    /// Writes more of the packet, as far as the kernel takes it. Returns whether it is whole now.
    pub(super) fn write_rest(&mut self, connection: &Connection) -> io::Result<bool> {
        self.written += connection.send(&self.frame[self.written..])?;
        Ok(self.written == FRAME_BYTES)
    }

    /// All 32 bytes of the packet.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// From due to the first write, ns.
    pub(super) fn lateness_ns(&self) -> u64 {
        self.lateness_ns
    }
}
