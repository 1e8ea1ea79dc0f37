//! When bytes of a socket came in, as the kernel noted it (SO_TIMESTAMPNS): a reader that wakes up
//! late does not make it later.
//!
//! The kernel notes it by CLOCK_REALTIME before the bytes can be read. Here it is an instant of
//! CLOCK_MONOTONIC, and **never an earlier one**: how far the one clock is ahead of the other is
//! read before the bytes can have been sent and once more after they were read, CLOCK_REALTIME
//! first each time, and the reading counts that makes the instant later. What slews the wall clock
//! slews both; where it was stepped between, the instant is at most later than it was. Assumed: it
//! is not stepped back and forth again between the two, the time of one probe; then the instant may
//! be as much earlier, but never before the first of them.
//!
//! From the first socket that asks for it on, the kernel reads its clock for every packet that
//! this host receives, some 25 ns each. Absent: who needs it.
#![allow(unsafe_code)]

use std::{
    io,
    mem::zeroed,
    os::fd::{AsFd, AsRawFd as _},
};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::{now_ns, signed_nanos};

/// CLOCK_MONOTONIC, and how far CLOCK_REALTIME was ahead of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clocks {
    /// CLOCK_MONOTONIC, ns.
    pub now_ns: u64,
    /// CLOCK_REALTIME was ahead of it by no less than this just before, ns.
    wall_ahead_ns_min: i64,
}

/// What one receive has brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Bytes; 0 where the peer has closed its side.
    pub bytes: usize,
    /// By CLOCK_REALTIME, ns. `None` where the kernel has not noted it.
    noted_ns: Option<i64>,
}

impl Clocks {
    /// Reads both.
    #[must_use]
    pub fn read() -> Self {
        let wall_ns = signed_nanos(clock_gettime(ClockId::Realtime));
        Self::of(wall_ns, now_ns())
    }

    fn of(wall_ns: i64, now_ns: u64) -> Self {
        Self {
            now_ns,
            wall_ahead_ns_min: wall_ns.saturating_sub_unsigned(now_ns),
        }
    }
}

impl Received {
    /// Whether the kernel has noted when they came in.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.noted_ns.is_some()
    }

    /// When its last bytes had come in, on CLOCK_MONOTONIC, ns: no earlier than that, and no later
    /// than `after`, which was read behind the receive. `before` was read before they were sent.
    /// `None` where the kernel has not noted it.
    #[must_use]
    pub fn arrived_ns(&self, before: Clocks, after: Clocks) -> Option<u64> {
        let ahead_ns = before.wall_ahead_ns_min.min(after.wall_ahead_ns_min);
        let arrived_ns = i128::from(self.noted_ns?) - i128::from(ahead_ns);
        // Beyond these it is no time at which that can have been.
        let arrived_ns = u64::try_from(arrived_ns).unwrap_or(after.now_ns);
        let is_possible = (before.now_ns..=after.now_ns).contains(&arrived_ns);
        Some(if is_possible {
            arrived_ns
        } else {
            after.now_ns
        })
    }
}

/// Lets the kernel note when the bytes of a socket come in.
///
/// # Errors
/// Whatever setsockopt(2) reports.
pub fn note(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int through the pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes what has come on a stream, as far as it fits, without waiting for it.
///
/// # Errors
/// Whatever recvmsg(2) reports: `WouldBlock` where nothing is there.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = [0_u64; 8];
    // SAFETY: all zeros is a message without a name, parts and control data.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the message points to `buffer` and to `control`, with their sizes.
    let taken = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(bytes) = usize::try_from(taken) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has set the size of the control data; CMSG_FIRSTHDR checks that it holds a
    // header, and the one of SO_TIMESTAMPNS is followed by a timespec.
    let noted = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message).as_ref();
        let is_stamp = |header: &&libc::cmsghdr| {
            header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_TIMESTAMPNS
        };
        let header = header.filter(is_stamp);
        header.map(|header| {
            libc::CMSG_DATA(header)
                .cast::<libc::timespec>()
                .read_unaligned()
        })
    };
    let noted_ns = noted.map(|noted| {
        let seconds_ns = noted.tv_sec.saturating_mul(1_000_000_000);
        seconds_ns.saturating_add(noted.tv_nsec)
    });
    Ok(Received { bytes, noted_ns })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        thread::sleep,
        time::Duration,
    };

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (stream, listener.accept().unwrap().0)
    }

    /// Waits until something has come.
    fn await_bytes(stream: &TcpStream) {
        stream.peek(&mut [0]).unwrap();
    }

    #[test]
    fn bytes_that_are_read_late_have_the_time_at_which_they_came() {
        let (stream, mut peer) = pair();
        note(&stream).unwrap();
        let mut buffer = [0; 32];
        let error = receive(&stream, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // The kernel begins with it some time after it was asked.
        for _ in 0..10_000 {
            let before = Clocks::read();
            peer.write_all(&[7; 32]).unwrap();
            await_bytes(&stream);
            let there_ns = now_ns();
            sleep(Duration::from_millis(1));
            let received = receive(&stream, &mut buffer).unwrap();
            let after = Clocks::read();
            assert_eq!((received.bytes, buffer), (32, [7; 32]));
            let Some(arrived_ns) = received.arrived_ns(before, after) else {
                continue;
            };
            assert!(before.now_ns <= arrived_ns && arrived_ns <= after.now_ns);
            // How far the clocks are apart was read with what passed between two readings.
            if arrived_ns <= there_ns {
                return;
            }
        }
        panic!("the kernel notes no time before that of the reading");
    }

    #[test]
    fn a_socket_that_was_not_asked_has_no_time_and_the_end_of_a_stream_is_no_bytes() {
        let (stream, mut peer) = pair();
        let clocks = Clocks::read();
        peer.write_all(&[7; 32]).unwrap();
        await_bytes(&stream);
        let received = receive(&stream, &mut [0; 32]).unwrap();
        assert_eq!(
            (received.bytes, received.arrived_ns(clocks, clocks)),
            (32, None)
        );
        drop(peer);
        await_end(&stream);
        assert_eq!(receive(&stream, &mut [0; 32]).unwrap().bytes, 0);
    }

    fn await_end(stream: &TcpStream) {
        assert_eq!(stream.peek(&mut [0]).unwrap(), 0);
    }

    proptest! {
        /// Whenever the wall clock is stepped, and however long a reading of the clocks takes.
        #[test]
        fn no_time_is_before_the_arrival_and_none_after_the_reading(
            ahead_ns in -1_000_000_000_000_000_000..1_000_000_000_000_000_000_i64,
            step_ns in prop_oneof![Just(0), -2_000_000..2_000_000_i64],
            spans in prop::collection::vec(0..500_000_u64, 4),
            stepped_at_ns in 0..2_000_000_u64,
        ) {
            let begin_ns = 1_u64 << 50;
            let wall_ns = |at_ns: u64| {
                let stepped = if at_ns - begin_ns >= stepped_at_ns { step_ns } else { 0 };
                (at_ns as i64) + ahead_ns + stepped
            };
            let mut at_ns = begin_ns;
            let times = spans.into_iter().map(|span_ns| {
                at_ns += span_ns;
                at_ns
            });
            let times: Vec<u64> = times.collect();
            let [wall_before, before_ns, arrived_ns, wall_after] = times[..] else { panic!() };
            let before = Clocks::of(wall_ns(wall_before), before_ns);
            let after = Clocks::of(wall_ns(wall_after), wall_after + 70);
            let received = Received { bytes: 32, noted_ns: Some(wall_ns(arrived_ns)) };
            let shown_ns = received.arrived_ns(before, after).unwrap();
            prop_assert!(arrived_ns <= shown_ns && shown_ns <= after.now_ns);
            if step_ns == 0 {
                let longest_ns = (before_ns - wall_before).max(70);
                prop_assert!(shown_ns <= arrived_ns + longest_ns);
            }
        }

        #[test]
        fn numbers_that_may_be_anything_are_no_panic(
            noted_ns: i64, walls: (i64, i64), nows: (u64, u64),
        ) {
            let (before, after) = (Clocks::of(walls.0, nows.0), Clocks::of(walls.1, nows.1));
            let received = Received { bytes: 0, noted_ns: Some(noted_ns) };
            let arrived_ns = received.arrived_ns(before, after).unwrap();
            prop_assert!(arrived_ns <= after.now_ns);
        }
    }
}
