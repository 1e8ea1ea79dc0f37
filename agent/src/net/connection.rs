//! One TCP connection to a target: opened, written and read without ever blocking for longer than
//! asked.
//!
//! The socket is set up for small packets: no Nagle, keepalive, buffers of 128 KiB. Bytes have no
//! meaning here.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Weak},
    time::Duration,
};

use metronome_os::{clock, tcp_info::TcpInfo};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::socket_error::SocketError;
use crate::stop_signal::StopSignal;

/// Size of the kernel's buffer in each direction, bytes: two of the largest writes, and about half
/// a second of one client with packets of 32 bytes at 10 kHz.
const BUFFER_BYTES: usize = 128 * 1024;
/// A peer that acknowledges nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Arc<Socket>,
    address: SocketAddr,
    /// Most bytes that the kernel takes of the next write, as if its buffer were full then.
    #[cfg(test)]
    pub(crate) room: std::sync::atomic::AtomicUsize,
}

impl Connection {
    /// Connects to `address` until `deadline_ns`, or until a stop is requested.
    pub(crate) fn open(
        address: SocketAddr,
        deadline_ns: u64,
        stop_signal: &StopSignal,
    ) -> Result<Self, SocketError> {
        let connection = Self::unconnected(address)?;
        if let Err(error) = connection.socket.connect(&address.into()) {
            match Errno::from_io_error(&error) {
                Some(Errno::INPROGRESS) => {
                    connection.wait(PollFlags::OUT, deadline_ns, stop_signal)?;
                    connection.socket.take_error()?.map_or(Ok(()), Err)?;
                }
                Some(Errno::ADDRNOTAVAIL) if !has_source(address) => {
                    return Err(SocketError::NoSource);
                }
                _ => return Err(error.into()),
            }
        }
        connection.check_not_to_itself()?;
        Ok(connection)
    }

    fn unconnected(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE_MAX))?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
        Ok(Self {
            socket: Arc::new(socket),
            address,
            #[cfg(test)]
            room: usize::MAX.into(),
        })
    }

    /// The address that it was opened to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives bytes to the kernel and returns how many it took: 0 when it has no room now.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        let bytes = {
            let room = self
                .room
                .swap(usize::MAX, std::sync::atomic::Ordering::Relaxed);
            &bytes[..room.min(bytes.len())]
        };
        match send(
            &*self.socket,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(taken) => Ok(taken),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has come, as far as it fits. `None`: nothing there now. `Some(0)`: the peer has
    /// closed its side.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        receive(&self.socket, buffer)
    }

    /// The direction of it in which bytes come, for a thread that reads while another one writes.
    /// The connection is closed when both are gone.
    pub(crate) fn incoming(&self) -> Incoming {
        Incoming(self.socket.clone())
    }

    /// The socket for one who only looks at it: it keeps no connection open.
    pub(crate) fn to_look_at(&self) -> Weak<Socket> {
        Arc::downgrade(&self.socket)
    }

    /// Waits until the socket is ready for `events`.
    pub(crate) fn wait(
        &self,
        events: PollFlags,
        deadline_ns: u64,
        stop_signal: &StopSignal,
    ) -> Result<(), SocketError> {
        loop {
            let now_ns = clock::now_ns();
            if !stop_signal.allows_load(now_ns) {
                return Err(SocketError::Stopped);
            }
            if now_ns >= deadline_ns {
                return Err(SocketError::TimedOut);
            }
            let nap_ns = crate::stop_signal::CHECK_EVERY_NS.min(deadline_ns - now_ns);
            match poll(
                &mut [PollFd::new(&*self.socket, events)],
                Some(&clock::timespec(nap_ns)),
            ) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Closes the writing side: the peer reads the end of the stream.
    pub(crate) fn close_write(&self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    /// Makes its close a reset: the kernel sends nothing more of what it still holds. Else it would
    /// go on for up to [`SILENCE_MAX`] with load that is not wanted any more.
    pub(crate) fn give_up(&self) {
        // A kernel that refuses this ends the connection as any other.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// The error that has come since the last one was taken, for a socket that is at its end: there
    /// [`Self::receive`] gives that end, not the error.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// What the kernel has of the connection. `None` where it does not report that.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        TcpInfo::read(&self.socket).ok()
    }

    /// A port of this host without a listener can, by chance, be the one that the kernel gives to
    /// the connection itself; TCP then connects it to itself.
    fn check_not_to_itself(&self) -> io::Result<()> {
        let own = self.socket.local_addr()?;
        if own.as_socket() == self.socket.peer_addr()?.as_socket() {
            return Err(Errno::CONNREFUSED.into());
        }
        Ok(())
    }
}

/// What comes on a [`Connection`].
#[derive(Debug)]
pub(crate) struct Incoming(Arc<Socket>);

impl Incoming {
    /// Takes what has come, like [`Connection::receive`].
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        receive(&self.0, buffer)
    }
}

#[cfg(test)]
impl Incoming {
    /// Whether no other part of the process has the connection.
    pub(crate) fn is_the_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[inline]
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((taken, _)) => Ok(Some(taken)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether this host has an address from which to reach `address`. The kernel reports the same
/// error when it has none and when no TCP port is left; a datagram socket takes no TCP port.
fn has_source(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any)
        .and_then(|socket| socket.connect(address))
        .is_ok()
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use metronome_proto::v1::FailureCode;

    use super::*;
    use crate::stop_signal::StopMode;

    fn pair() -> (Connection, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline_ns = clock::now_ns() + 5 * clock::SECOND_NS;
        let connection = Connection::open(
            listener.local_addr().unwrap(),
            deadline_ns,
            &StopSignal::without_lease(),
        )
        .unwrap();
        (connection, listener.accept().unwrap().0)
    }

    fn answer_of(connection: &Connection) -> io::Result<Option<usize>> {
        let deadline_ns = clock::now_ns() + 5 * clock::SECOND_NS;
        connection
            .wait(PollFlags::IN, deadline_ns, &StopSignal::without_lease())
            .unwrap();
        connection.receive(&mut [0; 64])
    }

    #[test]
    fn the_kernel_reports_how_much_the_peer_has_acknowledged() {
        let (connection, mut peer) = pair();
        let before = connection.tcp_info().unwrap().bytes_acked;
        assert_eq!(connection.send(&[7; 96]).unwrap(), 96);
        peer.read_exact(&mut [0; 96]).unwrap();
        // The answer carries the acknowledgement, so there is no need to wait for one.
        peer.write_all(&[1]).unwrap();
        assert_eq!(answer_of(&connection).unwrap(), Some(1));
        assert_eq!(connection.tcp_info().unwrap().bytes_acked - before, 96);
    }

    #[test]
    fn the_kernel_reports_it_even_after_a_reset() {
        let (connection, mut peer) = pair();
        let before = connection.tcp_info().unwrap().bytes_acked;
        assert_eq!(connection.send(&[7; 96]).unwrap(), 96);
        peer.read_exact(&mut [0; 64]).unwrap();
        // Closing with 32 bytes unread resets the connection.
        drop(peer);
        assert_eq!(
            answer_of(&connection).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert_eq!(connection.tcp_info().unwrap().bytes_acked - before, 96);
    }

    /// Sends until the kernel takes nothing more, lets `end` have the connection, which is closed
    /// then, and returns how many bytes were sent and came to a peer that reads only now.
    fn sent_and_read(end: fn(&Connection)) -> (usize, Vec<u8>, io::Result<usize>) {
        let (connection, mut peer) = pair();
        let mut sent = 0;
        loop {
            match connection.send(&[7; 1 << 16]).unwrap() {
                0 => break,
                taken => sent += taken,
            }
        }
        end(&connection);
        drop(connection);
        let mut read = Vec::new();
        let result = peer.read_to_end(&mut read);
        (sent, read, result)
    }

    #[test]
    fn what_the_kernel_holds_of_a_connection_that_is_given_up_is_not_sent() {
        let (sent, read, result) = sent_and_read(|_| ());
        assert_eq!((read.len(), result.unwrap()), (sent, sent));
        let (sent, read, result) = sent_and_read(Connection::give_up);
        assert!(read.len() < sent, "{} of {sent} bytes came", read.len());
        let error = result.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// The code with which a connection to `address` fails within `wait_ns`.
    fn code_of(address: SocketAddr, wait_ns: u64, stop_signal: &StopSignal) -> FailureCode {
        Connection::open(address, clock::now_ns() + wait_ns, stop_signal)
            .unwrap_err()
            .code()
    }

    #[test]
    fn a_port_without_a_listener_is_refused() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let code = code_of(address, 5 * clock::SECOND_NS, &StopSignal::without_lease());
        assert_eq!(code, FailureCode::ConnectionRefused);
    }

    #[test]
    fn an_address_without_a_route_is_unreachable() {
        // The kernel has no route for TCP to the broadcast address, whatever the network.
        let address = SocketAddr::from(([255, 255, 255, 255], 9));
        let code = code_of(address, clock::SECOND_NS, &StopSignal::without_lease());
        assert_eq!(code, FailureCode::NoRoute);
    }

    #[test]
    fn a_listener_whose_queue_is_full_times_out() {
        // The kernel drops the SYN of a connection for which the queue has no room.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _first = std::net::TcpStream::connect(address).unwrap();
        let code = code_of(address, clock::SECOND_NS / 5, &StopSignal::without_lease());
        assert_eq!(code, FailureCode::ConnectionTimedOut);
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_connection() {
        let stop_signal = StopSignal::without_lease();
        stop_signal.request(StopMode::Drain);
        let (connection, _peer) = pair();
        let waited = connection.wait(PollFlags::IN, u64::MAX, &stop_signal);
        assert_eq!(waited.unwrap_err().code(), FailureCode::Stopped);
    }

    #[test]
    fn only_an_address_that_has_a_route_has_a_source() {
        assert!(has_source(([127, 0, 0, 1], 9).into()));
        assert!(!has_source(([255, 255, 255, 255], 9).into()));
    }

    #[test]
    fn a_full_connection_takes_nothing_and_does_not_block() {
        let (connection, _peer) = pair();
        while connection.send(&[7; 65536]).unwrap() > 0 {}
        assert_eq!(connection.send(&[7; 32]).unwrap(), 0);
    }
}
