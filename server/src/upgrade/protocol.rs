//! The messages between an old server process and the new one: kinds, limits, and how what is too
//! large for one message is split.
//!
//! A message is one byte, its [`Kind`], and what belongs to it. The peer may be of another version,
//! so nothing is taken for granted. Absent on purpose: what the offer has (`offer`), what the state
//! is (`state`), and who sends what when (`new_process`, `old_process`).

use std::{io, os::fd::BorrowedFd};

use metronome_os::seq_packet::{BYTES_MAX, DESCRIPTORS_MAX, SeqPacket};

/// Most bytes of a state: a hundred reports of ten thousand clients each that could not be stored.
pub(super) const STATE_BYTES_MAX: usize = 512 << 20;

/// Most bytes of the sentence of a refusal.
pub(super) const REFUSAL_BYTES_MAX: usize = 1000;

/// What a message begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An offer, with its descriptors.
    Offer = 1,
    Healthy = 2,
    /// The new process cannot go on here. One sentence.
    Refused = 3,
    /// Sockets of connections, in order.
    Connections = 4,
    /// The next bytes of the state.
    Part = 5,
    /// How many bytes and connections there were.
    End = 6,
    Taken = 7,
    Go = 8,
    /// The new process does not read what the old one has. One sentence.
    Incompatible = 9,
}

impl Kind {
    /// The kind of a message, and the rest of it. `None`: an unknown kind.
    pub(super) fn of(message: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = message.split_first()?;
        let kinds = [
            Self::Offer,
            Self::Healthy,
            Self::Refused,
            Self::Connections,
            Self::Part,
            Self::End,
            Self::Taken,
            Self::Go,
            Self::Incompatible,
        ];
        kinds
            .into_iter()
            .find(|kind| *kind as u8 == *first)
            .map(|kind| (kind, rest))
    }

    pub(super) fn message(self, rest: &[u8]) -> Vec<u8> {
        [&[self as u8], rest].concat()
    }
}

/// Sends connections, as many a message as the kernel takes. Until `deadline_ns`.
pub(crate) fn send_connections<'a>(
    socket: &SeqPacket,
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    deadline_ns: u64,
) -> io::Result<()> {
    let sockets: Vec<_> = sockets.collect();
    sockets
        .chunks(DESCRIPTORS_MAX)
        .try_for_each(|some| socket.send_until(&Kind::Connections.message(&[]), some, deadline_ns))
}

/// Sends the bytes of the state, and then that all has been sent. Until `deadline_ns`.
pub(super) fn send_state(
    socket: &SeqPacket,
    bytes: &[u8],
    connections: usize,
    deadline_ns: u64,
) -> io::Result<()> {
    for part in bytes.chunks(BYTES_MAX - 1) {
        socket.send_until(&Kind::Part.message(part), &[], deadline_ns)?;
    }
    let end = Kind::End.message(&sums(bytes.len(), connections));
    socket.send_until(&end, &[], deadline_ns)
}

/// How many bytes and connections there were, as [`Kind::End`] has them.
pub(super) fn sums(bytes: usize, connections: usize) -> [u8; 16] {
    let mut sums = [0; 16];
    sums[..8].copy_from_slice(&(bytes as u64).to_le_bytes());
    sums[8..].copy_from_slice(&(connections as u64).to_le_bytes());
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message_has_a_known_kind_or_none(message: Vec<u8>) {
            if let Some((kind, rest)) = Kind::of(&message) {
                prop_assert_eq!(kind.message(rest), message);
            }
        }
    }
}
