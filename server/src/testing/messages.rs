//! The messages between master and worker, and the channel that carries them.

use std::{io, os::fd::OwnedFd};

use metronome_os::seq_packet::SeqPacket;

use crate::ipc::{FromWorker, MESSAGE_BYTES, ToWorker};

/// Bytes of a message between master and worker.
pub const HAND_OVER_BYTES: usize = MESSAGE_BYTES;

/// Reads a message as a worker and as the master; a valid one has the same meaning when it is
/// encoded again.
pub fn read_hand_over(message: &[u8; HAND_OVER_BYTES]) {
    if let Ok(message) = ToWorker::decode(message) {
        let again = ToWorker::decode(&message.encode());
        assert_eq!(format!("{again:?}"), format!("Ok({message:?})"));
    }
    if let Ok(message) = FromWorker::decode(message) {
        assert_eq!(FromWorker::decode(&message.encode()), Ok(message));
    }
}

/// One end of a channel, and the socket of the other, into which anything may be written.
#[derive(Debug)]
pub struct HandOver(SeqPacket);

impl HandOver {
    /// A channel.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        SeqPacket::pair().map(|(ours, theirs)| (Self(ours), theirs))
    }

    /// Receives as master and worker do.
    pub fn receive(&self) -> io::Result<([u8; HAND_OVER_BYTES], Option<OwnedFd>)> {
        let mut message = [0; HAND_OVER_BYTES];
        self.0
            .receive(&mut message)
            .map(|descriptor| (message, descriptor))
    }
}
