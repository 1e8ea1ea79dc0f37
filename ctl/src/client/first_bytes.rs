//! What a peer is that is no server with plain HTTP/2 of ours, by the first bytes that it answers.
//!
//! The libraries report them alike. The first bytes differ: a record of TLS begins with its type
//! and version (RFC 8446, 5.1), an answer of HTTP/1 with its name, HTTP/2 with SETTINGS (RFC 9113,
//! 3.4).

use std::time::Duration;

use metronome_proto::v1::FailureCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::address::Address;

/// A peer answers what it does not understand at once.
const TIME_MAX: Duration = Duration::from_millis(1_500);
/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough for the head of any frame or record.
const HEAD_BYTES: usize = 5;

/// What a peer answers to the beginning of HTTP/2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Nothing, for as long as it was waited for.
    Nothing,
    /// It closed the connection, or there is none.
    Closed,
    Tls,
    Http1,
    Http2,
    /// Something else.
    Other,
}

impl Answer {
    /// What the peer does that no server with plain HTTP/2 does, after "the program there". `None`
    /// where it may be one: a server that is stopped answers nothing, and one whose connections are
    /// all taken closes further ones.
    pub(super) fn foreign(self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::Closed | Self::Http2 => None,
            Self::Tls => Some("answers with TLS"),
            Self::Http1 => Some("answers with HTTP/1"),
            Self::Other => Some("answers with another protocol"),
        }
    }

    /// The failure of a call that it breaks.
    pub(super) fn code(self) -> FailureCode {
        match self {
            Self::Nothing | Self::Closed | Self::Http2 => FailureCode::ServerLost,
            Self::Tls => FailureCode::ServerNotTrusted,
            Self::Http1 | Self::Other => FailureCode::ServerIncompatible,
        }
    }
}

/// Asks the peer at `address` once more.
pub(super) async fn answer(address: &Address) -> Answer {
    let mut head = Vec::new();
    match timeout(TIME_MAX, read_head(address, &mut head)).await {
        Err(_) if head.is_empty() => Answer::Nothing,
        _ => judge(&head),
    }
}

/// Reads until it has a head, or nothing more comes.
async fn read_head(address: &Address, head: &mut Vec<u8>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address.authority()).await?;
    stream.write_all(PREFACE).await?;
    let mut stream = stream.take(HEAD_BYTES as u64);
    while stream.read_buf(head).await? > 0 {}
    Ok(())
}

fn judge(head: &[u8]) -> Answer {
    match *head {
        [] => Answer::Closed,
        // An alert, or a handshake, of any version of TLS.
        [21 | 22, 3, ..] => Answer::Tls,
        [b'H', b'T', b'T', b'P', b'/'] => Answer::Http1,
        // A frame SETTINGS.
        [_, _, _, 4, _] => Answer::Http2,
        _ => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_another_protocol_and_silence_differ_in_the_first_bytes() {
        for (head, answer) in [
            (&[21, 3, 3, 0, 2][..], Answer::Tls),
            (b"HTTP/", Answer::Http1),
            (b"hi", Answer::Other),
            (&[0, 0, 18, 4, 0], Answer::Http2),
            (&[], Answer::Closed),
        ] {
            assert_eq!(judge(head), answer, "{head:?}");
        }
    }
}
