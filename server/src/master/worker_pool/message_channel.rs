//! Messages to a worker and from it, over the channel that they share.
//!
//! The master never waits for a worker: what a full channel has no room for is kept here, in order,
//! until the channel has room again. Sockets of connections are not kept with it but looked up when
//! their turn comes, since a connection may have ended by then.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
};

use metronome_os::seq_packet::SeqPacket;

use crate::ipc::{FromWorker, MESSAGE_BYTES, ToWorker};

/// The master's end of a worker's channel.
#[derive(Debug)]
pub(super) struct MessageChannel {
    channel: SeqPacket,
    /// Messages that the channel had no room for, in order.
    unsent: VecDeque<Outgoing>,
}

/// A message and the connection whose socket goes with it.
#[derive(Debug)]
struct Outgoing {
    message: ToWorker,
    slot: Option<u32>,
}

impl MessageChannel {
    pub(super) fn new(channel: SeqPacket) -> Self {
        Self {
            channel,
            unsent: VecDeque::new(),
        }
    }

    /// Sends a message, now or as soon as there is room. False when it has to wait.
    pub(super) fn send(&mut self, message: ToWorker) -> bool {
        self.send_or_keep(
            Outgoing {
                message,
                slot: None,
            },
            None,
        )
    }

    /// Sends a message with the socket of the connection of `slot`. False when it has to wait.
    pub(super) fn send_socket(
        &mut self,
        message: ToWorker,
        slot: u32,
        socket: BorrowedFd<'_>,
    ) -> bool {
        let slot = Some(slot);
        self.send_or_keep(Outgoing { message, slot }, Some(socket))
    }

    fn send_or_keep(&mut self, outgoing: Outgoing, socket: Option<BorrowedFd<'_>>) -> bool {
        // Behind what waits already, so that messages arrive in the order in which they were sent.
        // An error is a full channel, or a dead worker, whose death has an event of its own.
        let is_sent = self.unsent.is_empty()
            && self
                .channel
                .send(&outgoing.message.encode(), socket)
                .is_ok();
        if !is_sent {
            self.unsent.push_back(outgoing);
        }
        is_sent
    }

    /// Sends what waits, as far as there is room; `socket` finds the socket of a slot. True when
    /// nothing waits any more.
    pub(super) fn flush<'a>(&mut self, socket: impl Fn(u32) -> Option<BorrowedFd<'a>>) -> bool {
        while let Some(next) = self.unsent.front() {
            let descriptor = next.slot.map(&socket);
            // A message without its socket means nothing: the connection has ended meanwhile.
            let has_ended = matches!(descriptor, Some(None));
            if !has_ended
                && self
                    .channel
                    .send(&next.message.encode(), descriptor.flatten())
                    .is_err()
            {
                return false;
            }
            self.unsent.pop_front();
        }
        true
    }

    /// The next message from the worker. `None` when there is none.
    pub(super) fn receive(&self) -> Option<FromWorker> {
        let mut message = [0; MESSAGE_BYTES];
        // A descriptor that came along closes here: no message from a worker has one.
        self.channel.receive(&mut message).ok()?;
        // What cannot be read is taken for the message that changes least: from a worker that has
        // reported that it serves, nothing.
        Some(FromWorker::decode(&message).unwrap_or(FromWorker::Ready))
    }
}

impl AsFd for MessageChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(theirs: &SeqPacket) -> Option<(ToWorker, bool)> {
        let mut message = [0; MESSAGE_BYTES];
        let descriptor = theirs.receive(&mut message).ok()?;
        Some((ToWorker::decode(&message).unwrap(), descriptor.is_some()))
    }

    fn adopt(slot: u32) -> ToWorker {
        let generation = 1;
        ToWorker::Adopt { slot, generation }
    }

    #[test]
    fn what_a_full_channel_has_no_room_for_follows_in_order_without_connections_that_have_ended() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let theirs = SeqPacket::from(theirs);
        let stdin = std::io::stdin();
        let mut channel = MessageChannel::new(ours);
        let mut slot = 0;
        while channel.send_socket(adopt(slot), slot, stdin.as_fd()) {
            slot += 1;
        }
        assert!(!channel.send(ToWorker::Quit), "it waits behind the others");
        assert!(!channel.send_socket(adopt(slot + 1), slot + 1, stdin.as_fd()));
        let has_ended = slot;
        let socket = |slot| (slot != has_ended).then(|| stdin.as_fd());
        assert!(!channel.flush(|_| Some(stdin.as_fd())), "it is full still");
        for expected in 0..slot {
            let (message, has_socket) = receive(&theirs).unwrap();
            assert!(matches!(message, ToWorker::Adopt { slot, .. } if slot == expected));
            assert!(has_socket);
        }
        assert!(receive(&theirs).is_none());
        assert!(channel.flush(socket));
        let (message, has_socket) = receive(&theirs).unwrap();
        assert!(matches!(message, ToWorker::Quit) && !has_socket);
        let (message, has_socket) = receive(&theirs).unwrap();
        assert!(matches!(message, ToWorker::Adopt { slot, .. } if slot == has_ended + 1));
        assert!(has_socket && receive(&theirs).is_none());
    }

    #[test]
    fn a_message_that_cannot_be_read_lets_go_of_nothing() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let theirs = SeqPacket::from(theirs);
        let channel = MessageChannel::new(ours);
        assert_eq!(channel.receive(), None);
        theirs.send(&[0xff; MESSAGE_BYTES], None).unwrap();
        assert_eq!(channel.receive(), Some(FromWorker::Ready));
    }
}
