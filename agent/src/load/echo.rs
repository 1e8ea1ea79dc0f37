//! Which packets of a client ask for a reply, which thread reads what comes on its connection, and
//! what was read. Pure.

use std::num::NonZeroU32;

use metronome_proto::{handshake::Refused, packet::FLAG_ECHO};

use super::replies::outcome::ClientReplies;

/// The replies of one client, from what it asks for to what it got.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// Packets whose sequence is a multiple of this ask for a reply. Set before the first packet.
    pub(crate) every: Option<NonZeroU32>,
    /// Whether the reader of replies alone takes what comes on the connection.
    pub(crate) is_read_elsewhere: bool,
    /// What that has read, once it is over.
    replies: Option<Box<ClientReplies>>,
}

impl Echo {
    /// The flags of a packet.
    #[inline]
    pub(super) fn flags(every: Option<NonZeroU32>, sequence: u64) -> u8 {
        let asks = every.is_some_and(|every| sequence.is_multiple_of(every.get().into()));
        if asks { FLAG_ECHO } else { 0 }
    }

    /// Packets that have asked for a reply, of so many that were sent.
    pub(super) fn requested(&self, sent: u64) -> u64 {
        let every = self.every.map(NonZeroU32::get);
        every.map_or(0, |every| sent.div_ceil(every.into()))
    }

    /// Sets what was read; returns why the server ended the connection, where it gave that.
    pub(super) fn set_replies(&mut self, replies: ClientReplies) -> Option<Refused> {
        self.replies.insert(Box::new(replies)).refused
    }

    /// What was read; nothing before the end.
    pub(super) fn replies(&self) -> ClientReplies {
        self.replies.as_deref().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_packets_ask_as_have_the_flag(every in 0..20_u32, sent in 0..200_u64) {
            let every = NonZeroU32::new(every);
            let asked = (0..sent).filter(|sequence| Echo::flags(every, *sequence) == FLAG_ECHO);
            let echo = Echo { every, ..Echo::default() };
            prop_assert_eq!(echo.requested(sent), asked.count() as u64);
        }
    }
}
