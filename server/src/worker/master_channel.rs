//! The worker's end of the channel to the master.

use std::{io, os::fd::OwnedFd};

use metronome_os::seq_packet::SeqPacket;

use crate::ipc::{FromWorker, MESSAGE_BYTES, ToWorker};

/// Receives the master's messages, and sends ours as the channel has room.
pub(super) struct MasterChannel {
    pub(super) channel: SeqPacket,
    /// Messages that found no room. Losing one would keep a slot from ever being used again.
    pending: Vec<FromWorker>,
}

impl MasterChannel {
    pub(super) fn new(channel: SeqPacket) -> Self {
        Self {
            channel,
            pending: Vec::new(),
        }
    }

    /// Sends a message now, or with [`MasterChannel::send_pending`].
    pub(super) fn send(&mut self, message: FromWorker) {
        if self.channel.send(&message.encode(), None).is_err() {
            self.pending.push(message);
        }
    }

    /// Tries again to send the messages that found no room.
    pub(super) fn send_pending(&mut self) {
        for message in std::mem::take(&mut self.pending) {
            self.send(message);
        }
    }

    /// Receives the next message, `None` if it is invalid, and the descriptor that came with it.
    ///
    /// An error of kind `WouldBlock` means that there is no message, one of kind `UnexpectedEof`
    /// that the master is gone.
    pub(super) fn receive(&self) -> io::Result<(Option<ToWorker>, Option<OwnedFd>)> {
        let mut message = [0; MESSAGE_BYTES];
        let descriptor = self.channel.receive(&mut message)?;
        Ok((ToWorker::decode(&message).ok(), descriptor))
    }
}
