//! What the kernel counts of a TCP connection and rustix does not ask for: bytes ever taken off it,
//! bytes ever put on it; and receiving into memory that other processes see.
//!
//! The two counts are what makes a connection outlive its reader: see docs/architecture.md.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    sync::atomic::AtomicU64,
};

use rustix::io::ioctl_fionread;

use crate::tcp_info::TcpInfo;

// From net/tcp_states.h: the peer's FIN is in, and bytes_received counts it as one byte.
const STATES_WITH_FIN: [u8; 3] = [
    8,  /* CLOSE_WAIT */
    9,  /* LAST_ACK */
    11, /* CLOSING */
];

/// After a reset, or after both ends' FIN.
const CLOSED: u8 = 7;

/// Linux reads both ends again when they change under it; a peer cannot make this loop for ever.
const READ_TRIES: usize = 1000;

/// Receives into `buffer` from byte `at` on, without waiting. 0 is the end of the stream.
pub fn receive_into(socket: impl AsFd, buffer: &[AtomicU64], at: usize) -> io::Result<usize> {
    let room = size_of_val(buffer)
        .checked_sub(at)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: `at + room` is the end of `buffer`. The kernel writes into atomics, which may change
    // at any time, and no reference to their contents exists.
    let received = unsafe {
        let start = buffer.as_ptr().cast::<u8>().cast_mut().add(at);
        libc::recv(
            socket.as_fd().as_raw_fd(),
            start.cast(),
            room,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Bytes that were ever taken off a socket by reading it, in whichever process. The peer sends
/// frames of `frame_bytes` bytes.
///
/// After a reset the kernel no longer reports whether its count includes the peer's FIN. In a
/// stream of whole frames one byte too many is the FIN. (Of a stream that was cut off one byte into
/// a frame, that byte is then not counted as taken: it is part of no packet.)
pub fn bytes_taken(socket: impl AsFd, frame_bytes: usize) -> io::Result<u64> {
    for _ in 0..READ_TRIES {
        let before = TcpInfo::read(&socket)?;
        let unread = ioctl_fionread(&socket)?;
        let after = TcpInfo::read(&socket)?;
        if before == after {
            let fin = match after.state {
                CLOSED => {
                    let beyond = after.bytes_received.checked_rem(frame_bytes as u64);
                    u64::from(beyond == Some(1))
                }
                state => u64::from(STATES_WITH_FIN.contains(&state)),
            };
            return Ok(after
                .bytes_received
                .saturating_sub(fin)
                .saturating_sub(unread));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the connection does not stand still",
    ))
}

/// Bytes that were ever put on a socket by writing it, in whichever process.
pub fn bytes_put(socket: impl AsFd) -> io::Result<u64> {
    for _ in 0..READ_TRIES {
        let before = TcpInfo::read(&socket)?;
        let unacknowledged = bytes_unacknowledged(&socket)?;
        let after = TcpInfo::read(&socket)?;
        if before.bytes_acked == after.bytes_acked {
            return Ok(after.bytes_acked + unacknowledged);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the connection does not stand still",
    ))
}

fn bytes_unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ on a socket) writes one int through the pointer.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpListener, TcpStream},
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn the_kernel_counts_what_was_taken_whether_or_not_the_peer_has_ended() {
        let (mut client, mut server) = pair();
        assert_eq!(bytes_taken(&server, 32).unwrap(), 0);
        client.write_all(&[7; 100]).unwrap();
        server.read_exact(&mut [0; 60]).unwrap();
        assert_eq!(bytes_taken(&server, 32).unwrap(), 60);
        client.shutdown(Shutdown::Write).unwrap();
        server.read_exact(&mut [0; 39]).unwrap();
        assert_eq!(bytes_taken(&server, 32).unwrap(), 99);
        server.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(bytes_taken(&server, 32).unwrap(), 100);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(bytes_taken(&server, 32).unwrap(), 100);
    }

    #[test]
    fn a_fin_and_then_a_reset_are_no_byte_that_was_taken() {
        for unread in [0, 64] {
            let (mut client, mut server) = pair();
            client.write_all(&vec![7; 64 + unread]).unwrap();
            server.read_exact(&mut [0; 64]).unwrap();
            // Closing with unread bytes makes the client's kernel send a reset behind its FIN.
            client.shutdown(Shutdown::Write).unwrap();
            server.write_all(&[1]).unwrap();
            client.peek(&mut [0; 1]).unwrap();
            drop(client);
            while TcpInfo::read(&server).unwrap().state != CLOSED {
                std::thread::yield_now();
            }
            assert_eq!(
                bytes_taken(&server, 32).unwrap(),
                64,
                "{unread} bytes unread"
            );
        }
    }

    #[test]
    fn the_kernel_counts_what_was_put() {
        let (mut client, mut server) = pair();
        let start = bytes_put(&server).unwrap();
        server.write_all(&[7; 32]).unwrap();
        assert_eq!(bytes_put(&server).unwrap() - start, 32);
        client.read_exact(&mut [0; 32]).unwrap();
        server.write_all(&[7; 11]).unwrap();
        assert_eq!(bytes_put(&server).unwrap() - start, 43);
    }

    #[test]
    fn receiving_fills_shared_words_from_any_byte_on() {
        let (mut client, server) = pair();
        let words: [AtomicU64; 4] = std::array::from_fn(|_| AtomicU64::new(0));
        let would_block = receive_into(&server, &words, 5).unwrap_err();
        assert_eq!(would_block.kind(), io::ErrorKind::WouldBlock);
        client.write_all(&[1, 2, 3]).unwrap();
        let mut received = 0;
        while received < 3 {
            received += receive_into(&server, &words, 5 + received).unwrap_or(0);
        }
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| {
                word.load(std::sync::atomic::Ordering::Relaxed)
                    .to_ne_bytes()
            })
            .collect();
        assert_eq!(bytes[..10], [0, 0, 0, 0, 0, 1, 2, 3, 0, 0]);
        assert!(receive_into(&server, &words, 33).is_err());
    }
}
