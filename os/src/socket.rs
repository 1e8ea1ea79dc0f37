//! What the kernel counts of a TCP connection and rustix does not ask for: bytes ever taken off it,
//! bytes ever put on it; and receiving into memory that other processes see.
//!
//! The two counts are what makes a connection outlive its reader: see docs/architecture.md.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
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

/// After a reset, or after both ends' FIN: bytes_received may count a FIN or not.
const CLOSED: u8 = 7;

/// From linux/tcp.h, of the option and of what comes with a recv; libc has no name for it here.
const TCP_INQ: libc::c_int = 36;

/// A socket reports an error once. There may be more than one kind.
const ERRORS_MAX: usize = 3;

/// Linux reads both ends again when they change under it; a peer cannot make this loop for ever.
const READ_TRIES: usize = 1000;

/// Receives into `buffer` from byte `at` on, without waiting. Returns the number of bytes; 0 is the
/// end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing has arrived, `InvalidInput` when `at` lies behind the buffer, and what
/// has broken the connection. The latter comes behind all bytes that had arrived, and once; where
/// another call was given it, or a FIN had come, there is 0 instead.
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

/// Bytes that were ever taken off a socket by reading it, in whichever process.
///
/// # Errors
/// Whatever the kernel reports; `TimedOut` when the connection does not stand still.
pub fn bytes_taken(socket: impl AsFd) -> io::Result<u64> {
    for _ in 0..READ_TRIES {
        let before = TcpInfo::read(&socket)?;
        let unread = ioctl_fionread(&socket)?;
        let after = TcpInfo::read(&socket)?;
        // What is measured of the path may move: it takes no part.
        if still_counts(&before) == still_counts(&after) {
            let has_fin = match after.state {
                // It stays that for good, so it may be asked for the FIN afterwards.
                CLOSED => has_fin(&socket)?,
                state => STATES_WITH_FIN.contains(&state),
            };
            return Ok(after
                .bytes_received
                .saturating_sub(u64::from(has_fin))
                .saturating_sub(unread));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the connection does not stand still",
    ))
}

/// Whether the peer's FIN has come, whatever has happened to the connection since and whichever
/// process has read what of it. A connection that was reset without one has none: recv reports its
/// error to the first that asks and then 0, as if there had been a FIN.
///
/// TCP_INQ gives with each recv how much is left to read, and 1 instead of 0 when that is the end
/// behind a FIN. So what it gives is above the unread bytes exactly when there is a FIN. It takes
/// the error of a connection that was reset: recv returns 0 after this call.
///
/// # Errors
/// `WouldBlock`: the connection is open and there is nothing to read, so no FIN. Whatever else the
/// kernel reports, of a socket that is none of TCP for example.
pub fn has_fin(socket: impl AsFd) -> io::Result<bool> {
    let socket = socket.as_fd();
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int through the pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_INQ,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut left = peek_left(socket);
    for _ in 0..ERRORS_MAX {
        match &left {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => left = peek_left(socket),
            _ => break,
        }
    }
    Ok(left? > ioctl_fionread(socket)?)
}

/// How much is left to read, as TCP_INQ has it, without reading it.
fn peek_left(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = [0_u64; 8];
    // SAFETY: all zeros is a message without a name, parts and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: the message points to one byte and to `control`, with their sizes.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has set the size of the control data; CMSG_FIRSTHDR checks that it holds a
    // header, and the one of TCP_INQ is followed by an int.
    let left = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message).as_ref();
        let is_left = |header: &&libc::cmsghdr| {
            header.cmsg_level == libc::IPPROTO_TCP && header.cmsg_type == TCP_INQ
        };
        let header = header.filter(is_left);
        header.map(|header| {
            libc::CMSG_DATA(header)
                .cast::<libc::c_int>()
                .read_unaligned()
        })
    };
    left.and_then(|left| u64::try_from(left).ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "TCP_INQ needs Linux 4.18 or later",
            )
        })
}

/// What stands still where nothing comes and nothing is acknowledged.
fn still_counts(info: &TcpInfo) -> (u8, u64, u64) {
    (info.state, info.bytes_acked, info.bytes_received)
}

/// Bytes that were ever put on a socket by writing it, in whichever process.
///
/// # Errors
/// The kernel does not count them, or they never stand still.
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

/// What waits in a socket, bytes. `None` where the kernel does not report that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Queues {
    /// Received, and not read by the process (SIOCINQ).
    pub unread: Option<u64>,
    /// Written by the process, and not acknowledged by the peer's kernel (SIOCOUTQ).
    pub unacknowledged: Option<u64>,
}

impl Queues {
    /// Asks the kernel.
    #[must_use]
    pub fn of(socket: impl AsFd) -> Self {
        Self {
            unread: ioctl_fionread(&socket).ok(),
            unacknowledged: bytes_unacknowledged(&socket).ok(),
        }
    }
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
        time::Duration,
    };

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn what_nobody_has_read_waits_in_the_socket_and_a_file_has_no_queues() {
        let (mut client, server) = pair();
        client.write_all(&[1; 96]).unwrap();
        while Queues::of(&server).unread != Some(96)
            || Queues::of(&client).unacknowledged != Some(0)
        {
            std::thread::yield_now();
        }
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Queues::of(&file).unacknowledged, None);
    }

    #[test]
    fn the_kernel_counts_what_was_taken_whether_or_not_the_peer_has_ended() {
        let (mut client, mut server) = pair();
        assert_eq!(bytes_taken(&server).unwrap(), 0);
        client.write_all(&[7; 100]).unwrap();
        server.read_exact(&mut [0; 60]).unwrap();
        assert_eq!(bytes_taken(&server).unwrap(), 60);
        client.shutdown(Shutdown::Write).unwrap();
        server.read_exact(&mut [0; 39]).unwrap();
        assert_eq!(bytes_taken(&server).unwrap(), 99);
        server.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(bytes_taken(&server).unwrap(), 100);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(bytes_taken(&server).unwrap(), 100);
    }

    /// What a peer does after its last byte, and what we do with our end.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum End {
        Fin,
        /// A reset alone.
        Reset,
        /// A FIN, and a reset behind it since something that was sent there is not read.
        FinAndReset,
        /// A FIN after we have shut our end down.
        FinAfterOurs,
    }

    impl End {
        /// Ends the connection in this way and waits until our kernel has noticed.
        fn perform(self, client: TcpStream, mut server: &TcpStream) {
            match self {
                Self::Fin => drop(client),
                Self::Reset => {
                    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
                    drop(client);
                }
                Self::FinAndReset => {
                    client.shutdown(Shutdown::Write).unwrap();
                    server.write_all(&[1]).unwrap();
                    client.peek(&mut [0; 1]).unwrap();
                    drop(client);
                }
                Self::FinAfterOurs => {
                    server.shutdown(Shutdown::Both).unwrap();
                    drop(client);
                }
            }
            let is_over = |state| match self {
                Self::Fin => STATES_WITH_FIN.contains(&state),
                _ => state == CLOSED,
            };
            while !is_over(TcpInfo::read(server).unwrap().state) {
                std::thread::yield_now();
            }
        }

        fn has_fin(self) -> bool {
            self != Self::Reset
        }
    }

    fn ends() -> impl Strategy<Value = End> {
        prop_oneof![
            Just(End::Fin),
            Just(End::Reset),
            Just(End::FinAndReset),
            Just(End::FinAfterOurs),
        ]
    }

    proptest! {
        #[test]
        fn what_was_taken_is_known_to_the_byte_however_and_wherever_the_peer_ends(
            sent in 0..200_usize,
            read_before in 0..200_usize,
            read_after in 0..200_usize,
            end in ends(),
            reads_to_the_end: bool,
            shuts_down: bool,
        ) {
            let (mut client, mut server) = pair();
            client.write_all(&vec![7; sent]).unwrap();
            let mut taken = read_before.min(sent);
            server.read_exact(&mut vec![0; taken]).unwrap();
            prop_assert_eq!(bytes_taken(&server).unwrap(), taken as u64);
            while ioctl_fionread(&server).unwrap() < (sent - taken) as u64 {
                std::thread::yield_now();
            }
            end.perform(client, &server);
            let more = read_after.min(sent - taken);
            server.read_exact(&mut vec![0; more]).unwrap();
            taken += more;
            if reads_to_the_end {
                let mut rest = Vec::new();
                // The error of a reset, or what a reader makes of the end of the stream.
                let _ = server.read_to_end(&mut rest);
                taken += rest.len();
            }
            if shuts_down {
                let _ = server.shutdown(Shutdown::Both);
            }
            // In whichever process and however often it is asked.
            for _ in 0..3 {
                prop_assert_eq!(bytes_taken(&server).unwrap(), taken as u64, "{:?}", end);
                prop_assert_eq!(has_fin(&server).unwrap(), end.has_fin());
            }
        }
    }

    proptest! {
        #[test]
        fn all_that_came_before_a_reset_is_received_and_nothing_can_be_sent_whoever_takes_the_error(
            sent in 0..9_000_usize,
            read_before in 0..9_000_usize,
            end in prop_oneof![Just(End::Reset), Just(End::FinAndReset)],
            sends: bool,
            asks_for_the_error: bool,
        ) {
            let (mut client, mut server) = pair();
            client.write_all(&vec![7; sent]).unwrap();
            server.read_exact(&mut vec![0; read_before.min(sent)]).unwrap();
            let mut left = sent.saturating_sub(read_before);
            while ioctl_fionread(&server).unwrap() < left as u64 {
                std::thread::yield_now();
            }
            end.perform(client, &server);
            let is_taken = sends || asks_for_the_error || end.has_fin();
            if asks_for_the_error {
                prop_assert!(server.take_error().unwrap().is_some());
            }
            if sends {
                prop_assert!(server.write(&[1; 32]).is_err());
            }
            let words: [AtomicU64; 16] = std::array::from_fn(|_| AtomicU64::new(0));
            while left > 0 {
                left -= receive_into(&server, &words, 0).unwrap();
            }
            let received = receive_into(&server, &words, 0);
            prop_assert_eq!(received.is_err(), !is_taken, "{:?}", received);
            for _ in 0..3 {
                prop_assert_eq!(receive_into(&server, &words, 0).unwrap(), 0);
                prop_assert!(server.write(&[1; 32]).is_err());
            }
        }
    }

    #[test]
    fn an_open_connection_has_no_fin_and_other_sockets_have_no_answer() {
        let (mut client, server) = pair();
        server.set_nonblocking(true).unwrap();
        let error = has_fin(&server).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        client.write_all(&[1, 2]).unwrap();
        while ioctl_fionread(&server).unwrap() < 2 {
            std::thread::yield_now();
        }
        assert!(!has_fin(&server).unwrap());
        let (local, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(has_fin(&local).is_err());
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
