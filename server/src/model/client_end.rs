//! How a client's connection ended. The verdict finds the words.

use serde::{Deserialize, Serialize};

/// How a connection ended, as its worker or the master has seen it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ClientEnd {
    /// It has not ended.
    #[default]
    NotYet,
    /// End and end-ack, then the peer's FIN; or a raw client's FIN.
    Clean,
    /// The peer's FIN before the client's end.
    Abrupt,
    /// Reset, timed out or unreachable.
    Broken,
    /// Cut by the server: the run was over.
    Cut,
    /// Refused by the server, with the code of a `metronome_proto::handshake::Refusal`.
    Refused(u8),
    /// What its worker left behind does not fit the kernel's count.
    Unrecoverable,
    /// The packet handler failed three times in a row on the same packets.
    HandlerFailed,
}

impl ClientEnd {
    /// Whether the connection has ended before its client was done, and not since the run was
    /// over.
    pub(crate) fn is_broken(self) -> bool {
        match self {
            Self::NotYet | Self::Clean | Self::Cut => false,
            Self::Abrupt
            | Self::Broken
            | Self::Refused(_)
            | Self::Unrecoverable
            | Self::HandlerFailed => true,
        }
    }
}
