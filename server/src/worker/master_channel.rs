//! The worker's end of the channel to the master.

use std::{collections::VecDeque, io, os::fd::OwnedFd};

use metronome_os::seq_packet::SeqPacket;

use crate::ipc::{FromWorker, MESSAGE_BYTES, ToWorker};

/// Messages that are sent in one turn once they had to wait: a channel that is empty again has room
/// for some hundreds, and sending them all at once would delay clients.
const SENT_PER_TURN_MAX: usize = 32;

/// Receives the master's messages, and sends ours as the channel has room.
pub(super) struct MasterChannel {
    pub(super) channel: SeqPacket,
    /// Messages that found no room, in order. Losing one would keep a slot from ever being used
    /// again.
    pending: VecDeque<FromWorker>,
}

impl MasterChannel {
    pub(super) fn new(channel: SeqPacket) -> Self {
        Self {
            channel,
            pending: VecDeque::new(),
        }
    }

    /// Sends a message now, or with [`MasterChannel::send_pending`].
    pub(super) fn send(&mut self, message: FromWorker) {
        // Behind what waits already, which a channel with room for one would be taken from.
        if self.has_pending() || self.channel.send(&message.encode(), None).is_err() {
            self.pending.push_back(message);
        }
    }

    /// Whether messages wait for room in the channel.
    #[inline]
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends messages that wait for room, as far as there is some, and a turn's share at most.
    pub(super) fn send_pending(&mut self) {
        for _ in 0..SENT_PER_TURN_MAX {
            let Some(message) = self.pending.front() else {
                return;
            };
            // A master that is gone is noticed by receiving.
            if self.channel.send(&message.encode(), None).is_err() {
                return;
            }
            self.pending.pop_front();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn released(slot: u32) -> FromWorker {
        let generation = 1;
        FromWorker::Released { slot, generation }
    }

    #[test]
    fn messages_that_found_no_room_follow_all_of_them_and_in_order() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let theirs = SeqPacket::from(theirs);
        let receive = || {
            let mut message = [0; MESSAGE_BYTES];
            theirs.receive(&mut message).ok()?;
            FromWorker::decode(&message).ok()
        };
        let mut channel = MasterChannel::new(ours);
        (0..2_000).for_each(|slot| channel.send(released(slot)));
        assert!(channel.has_pending(), "2000 messages fit no channel");
        let mut next = 0;
        while next < 2_000 {
            let message = receive().or_else(|| {
                channel.send_pending();
                receive()
            });
            assert_eq!(message, Some(released(next)));
            next += 1;
        }
        assert!(!channel.has_pending() && receive().is_none());
    }
}
