//! What a peer answers that broke the first call of a connection without TLS: the alert of one with
//! TLS, something else, or nothing.
//!
//! The libraries report the three alike. The first bytes differ: a record of TLS begins with its
//! type and version (RFC 8446, 5.1).

use std::time::Duration;

use metronome_proto::v1::FailureCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::address::Address;

/// A peer answers what it does not understand at once.
const TIME_MAX: Duration = Duration::from_secs(2);
/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough for the head of any frame or record.
const HEAD_BYTES: usize = 5;

/// Asks the peer at `address` once more, and makes a failure of what it answers.
pub(super) async fn code_of(address: &Address) -> FailureCode {
    match timeout(TIME_MAX, first_bytes(address)).await {
        Ok(Ok(head)) => judge(&head),
        Ok(Err(_)) | Err(_) => FailureCode::ServerLost,
    }
}

async fn first_bytes(address: &Address) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address.authority()).await?;
    stream.write_all(PREFACE).await?;
    let mut head = Vec::new();
    stream
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .await?;
    Ok(head)
}

fn judge(head: &[u8]) -> FailureCode {
    match *head {
        [] => FailureCode::ServerLost,
        // An alert of any version of TLS.
        [21, 3, ..] => FailureCode::ServerNotTrusted,
        // A frame SETTINGS: HTTP/2 after all.
        [_, _, _, 4, _] => FailureCode::ServerLost,
        _ => FailureCode::ServerIncompatible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_another_protocol_and_silence_differ_in_the_first_bytes() {
        for (head, code) in [
            (&[21, 3, 3, 0, 2][..], FailureCode::ServerNotTrusted),
            (b"HTTP/", FailureCode::ServerIncompatible),
            (b"hi", FailureCode::ServerIncompatible),
            (&[0, 0, 18, 4, 0], FailureCode::ServerLost),
            (&[], FailureCode::ServerLost),
        ] {
            assert_eq!(judge(head), code, "{head:?}");
        }
    }
}
