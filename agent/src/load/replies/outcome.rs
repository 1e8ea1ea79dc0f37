//! What the record of a client has of its replies.

use metronome_proto::handshake::Refused;

/// The replies of one client at the end of its run. Times are ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientReplies {
    /// Replies to packets that had asked for one and had none yet.
    pub read: u64,
    /// Frames in the place of a reply that are none of those.
    pub unexpected: u64,
    /// Every packet that was answered has a lower sequence.
    pub answered_below: u64,
    /// Replies to packets behind the warm-up, each in the distributions of the group.
    pub round_trips: u64,
    /// `None` where so few replies do not give it.
    pub from_due_p99_ns: Option<u64>,
    /// `None` where `from_due_p99_ns` is.
    pub from_write_p99_ns: Option<u64>,
    /// Why the server ended the connection, where that was its last frame.
    pub refused: Option<Refused>,
}

impl ClientReplies {
    /// What is unexpected of a client that has sent so many packets: also the last reply, when it
    /// is to a packet that was never sent.
    pub(crate) fn unexpected(&self, sent: u64) -> u64 {
        self.unexpected + u64::from(self.answered_below > sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_to_a_packet_that_was_never_sent_is_unexpected() {
        let replies = ClientReplies {
            answered_below: 8,
            ..ClientReplies::default()
        };
        assert_eq!([7, 8, 9].map(|sent| replies.unexpected(sent)), [1, 0, 0]);
    }
}
