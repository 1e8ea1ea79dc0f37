//! Which thread reads what comes on the connection of a client, and what replies that has read.
//! Pure.

use metronome_proto::handshake::Refused;

use super::replies::outcome::ClientReplies;

/// The replies of one client.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// Whether the reader of replies alone takes what comes on the connection.
    pub(crate) is_read_elsewhere: bool,
    /// What that has read, once it is over.
    replies: Option<Box<ClientReplies>>,
}

impl Echo {
    /// Sets what was read; returns why the server ended the connection, where it gave that.
    pub(super) fn set_replies(&mut self, replies: ClientReplies) -> Option<Refused> {
        self.replies.insert(Box::new(replies)).refused
    }

    /// What was read; nothing before the end.
    pub(super) fn replies(&self) -> ClientReplies {
        self.replies.as_deref().cloned().unwrap_or_default()
    }
}
