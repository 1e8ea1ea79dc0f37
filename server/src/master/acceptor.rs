//! The data port: new connections are taken from the listener, or left there for a while.
//!
//! When descriptors run out the listener is left alone for 100 ms, since it would stay readable
//! and the loop would spin. The last few are never taken for clients: the control port has to
//! answer. Absent on purpose: slots and workers; what becomes of a connection is the caller's.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd},
    rc::Rc,
    time::Duration,
};

use metronome_proto::handshake::Refusal;
use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{SendFlags, SocketFlags, acceptfrom_with, send},
    process::{Resource, getrlimit},
};
use socket2::{SockRef, TcpKeepalive};
use tracing::warn;

use super::events::{Poller, Token};

/// Tries to accept a connection in one turn, so that a storm of them delays nothing else for long.
pub(super) const ACCEPTS_PER_TURN: usize = 64;

const PAUSE_NS: u64 = 100_000_000;

/// Descriptors that are left to the control port, however the limit was lowered since the start.
const DESCRIPTORS_LEFT: u64 = 16;

/// A peer can make us run out of descriptors again and again: one log line in this time.
const WARNING_EVERY_NS: u64 = 5_000_000_000;

/// A peer that has vanished is noticed within a minute, also when nothing is sent to it.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Buffers of each connection.
const SOCKET_BUFFER_BYTES: usize = 128 * 1024;

/// The listener of the data port, watched by the poller exactly while it is open and not paused.
pub(super) struct Acceptor {
    listener: TcpListener,
    poller: Rc<Poller>,
    state: State,
    warn_again_ns: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Connections are left in the listener's queue, for this process later or for another.
    Closed,
    Open,
    /// Open, but descriptors had run out.
    Paused {
        until_ns: u64,
    },
}

/// What one try to accept a connection has brought.
#[derive(Debug)]
pub(super) enum Attempt {
    Accepted(Accepted),
    /// The connection was gone before it was accepted; others may wait.
    Gone,
    /// None waits, or the acceptor is not open.
    Nothing,
}

/// A new connection.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: OwnedFd,
    pub(super) peer: SocketAddr,
    /// So few descriptors are left that it has to be refused.
    pub(super) is_too_many: bool,
}

impl Acceptor {
    /// An acceptor that is closed.
    pub(super) fn new(listener: TcpListener, poller: Rc<Poller>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        tune(&listener);
        poller.add(&listener, Token::Listener, EventFlags::empty())?;
        Ok(Self {
            listener,
            poller,
            state: State::Closed,
            warn_again_ns: 0,
        })
    }

    /// Accepts from now on.
    pub(super) fn open(&mut self) {
        self.set_state(State::Open);
    }

    /// Accepts nothing from now on. What waits in the listener's queue goes on waiting.
    pub(super) fn close(&mut self) {
        self.set_state(State::Closed);
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        let flags = if state == State::Open {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        self.poller.modify(&self.listener, Token::Listener, flags);
    }

    /// Tries once to accept the next connection that waits.
    pub(super) fn accept(&mut self, now_ns: u64) -> Attempt {
        if self.state != State::Open {
            return Attempt::Nothing;
        }
        match acceptfrom_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((socket, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let is_too_many = is_one_of_the_last(socket.as_raw_fd());
                if is_too_many {
                    self.pause(Errno::MFILE, now_ns);
                }
                Attempt::Accepted(Accepted {
                    socket,
                    peer: peer.unwrap_or(([0, 0, 0, 0], 0).into()),
                    is_too_many,
                })
            }
            Err(Errno::AGAIN) => Attempt::Nothing,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                self.pause(error, now_ns);
                Attempt::Nothing
            }
            // The peer was gone again before we came to it, or its network was: accept(2) hands
            // such errors on.
            Err(_) => Attempt::Gone,
        }
    }

    fn pause(&mut self, error: Errno, now_ns: u64) {
        if now_ns >= self.warn_again_ns {
            self.warn_again_ns = now_ns + WARNING_EVERY_NS;
            warn!(
                "cannot accept connections: {error}; trying again every 0.1 s \
                 (raise the limit of open files)"
            );
        }
        let until_ns = now_ns + PAUSE_NS;
        self.set_state(State::Paused { until_ns });
    }

    /// Goes on accepting when a pause is over.
    pub(super) fn end_pause(&mut self, now_ns: u64) {
        if let State::Paused { until_ns } = self.state
            && now_ns >= until_ns
        {
            self.open();
        }
    }
}

/// Sends the reason for which a connection has no place here. It closes with its socket.
pub(super) fn refuse_full(socket: impl AsFd) {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = send(socket, &Refusal::Full.encode(), flags);
}

/// Sets what accepted connections inherit, so that none is set on each.
fn tune(listener: &TcpListener) {
    let socket = SockRef::from(listener);
    // A system that refuses one of these serves all the same.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&KEEPALIVE);
    // An urgent byte would be outside of the stream, and of the kernel's count of what was read.
    let _ = socket.set_out_of_band_inline(true);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}

/// Whether so few descriptors are left that this one is not for a client. The system gives the
/// lowest number that is free, so that a high one means that the table is full up to there.
fn is_one_of_the_last(descriptor: RawFd) -> bool {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(descriptor).is_ok_and(|number| number >= files.saturating_sub(DESCRIPTORS_LEFT))
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpStream};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn acceptor() -> (Acceptor, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let poller = Rc::new(Poller::new().unwrap());
        (Acceptor::new(listener, poller).unwrap(), address)
    }

    /// A client whose connection is in the listener's queue: on a busy host that may be some ms
    /// later than the client has it.
    fn connect(acceptor: &Acceptor, address: SocketAddr) -> TcpStream {
        let client = TcpStream::connect(address).unwrap();
        let mut polled = [PollFd::new(&acceptor.listener, PollFlags::IN)];
        poll(&mut polled, None).unwrap();
        client
    }

    #[track_caller]
    fn accept(acceptor: &mut Acceptor) -> Accepted {
        match acceptor.accept(0) {
            Attempt::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    fn has_event(acceptor: &Acceptor) -> bool {
        let mut events = Vec::with_capacity(1);
        acceptor.poller.wait(&mut events, 1_000_000).unwrap();
        !events.is_empty()
    }

    #[test]
    fn connections_wait_in_the_queue_until_it_is_open() {
        let (mut acceptor, address) = acceptor();
        let client = connect(&acceptor, address);
        assert!(!has_event(&acceptor));
        acceptor.open();
        assert!(has_event(&acceptor));
        let accepted = accept(&mut acceptor);
        assert_eq!(accepted.peer, client.local_addr().unwrap());
        assert!(matches!(acceptor.accept(0), Attempt::Nothing));
        let _second = connect(&acceptor, address);
        acceptor.close();
        assert!(!has_event(&acceptor));
        assert!(
            matches!(acceptor.accept(0), Attempt::Nothing),
            "the second waits"
        );
    }

    #[test]
    fn a_pause_ends_by_itself_and_a_closed_one_does_not_open_again() {
        let (mut acceptor, address) = acceptor();
        let _client = connect(&acceptor, address);
        acceptor.open();
        acceptor.pause(Errno::MFILE, 5);
        acceptor.end_pause(4 + PAUSE_NS);
        assert!(!has_event(&acceptor));
        acceptor.end_pause(5 + PAUSE_NS);
        assert!(has_event(&acceptor));
        acceptor.pause(Errno::MFILE, 10);
        acceptor.close();
        acceptor.end_pause(u64::MAX);
        assert!(!has_event(&acceptor));
    }

    #[test]
    fn one_without_a_place_gets_the_reason_before_its_end() {
        let (mut acceptor, address) = acceptor();
        let mut client = connect(&acceptor, address);
        acceptor.open();
        assert!(has_event(&acceptor));
        refuse_full(accept(&mut acceptor).socket);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, Refusal::Full.encode());
    }

    #[test]
    fn the_last_descriptors_of_the_table_are_not_for_clients() {
        let files = getrlimit(Resource::Nofile)
            .current
            .unwrap_or(i32::MAX as u64) as RawFd;
        for (descriptor, is_last) in [
            (3, false),
            (files - 17, false),
            (files - 16, true),
            (files - 1, true),
        ] {
            assert_eq!(
                is_one_of_the_last(descriptor),
                is_last,
                "{descriptor} of {files}"
            );
        }
    }
}
