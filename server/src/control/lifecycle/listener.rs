//! Connections to the gRPC and the HTTP port, at most so many at once.
//!
//! Our own accept loop, since tonic's spins on a full descriptor table, and neither it nor axum's
//! knows a limit: whoever opened connections by the thousand would take the descriptors of
//! everybody else.

use std::{
    io,
    net::{self, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{self, Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::master::DESCRIPTORS_PER_WORKER;

/// To the gRPC port, when there are descriptors for them.
const GRPC_CONNECTIONS_MAX: u64 = 1024;
/// An agent and an operator come in however few descriptors there are.
const GRPC_CONNECTIONS_MIN: u64 = 16;
/// Prometheus and probes are few.
const HTTP_CONNECTIONS_MAX: u64 = 64;
/// For the history, the ledger, listeners, event loops, an upgrade and an exporter.
const DESCRIPTORS_FOR_THE_REST: u64 = 128;
/// Without descriptors or memory a connection cannot be taken; it waits in the kernel meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
const EXHAUSTED_LOG_EVERY: Duration = Duration::from_secs(5);
/// A connection that has not said by then that it speaks HTTP gives its place to others; from there
/// on the keepalive notices a peer that is gone.
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Bytes with which an HTTP/2 client opens (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// A connection to the HTTP port has one question and one answer, so that all of it is its opening.
const ONE_ANSWER: usize = usize::MAX;
/// What was sent and not acknowledged for this long means that the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// A port, and who may come in.
#[derive(Debug)]
pub(crate) struct Intake {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// What a peer says at least when it opens.
    opening_bytes: usize,
    logged_at: Option<Instant>,
}

impl Intake {
    /// The gRPC port of a server that holds up to `slots` client connections.
    pub(crate) fn grpc(
        listener: net::TcpListener,
        slots: u32,
        workers: u32,
    ) -> anyhow::Result<Self> {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new(
            listener,
            grpc_connections_max(files, slots, workers),
            PREFACE_BYTES,
        )
    }

    /// The HTTP port.
    pub(crate) fn http(listener: net::TcpListener) -> anyhow::Result<Self> {
        Self::new(listener, HTTP_CONNECTIONS_MAX, ONE_ANSWER)
    }

    fn new(
        listener: net::TcpListener,
        connections_max: u64,
        opening_bytes: usize,
    ) -> anyhow::Result<Self> {
        listener
            .set_nonblocking(true)
            .context("a listener cannot be used")?;
        let listener = TcpListener::from_std(listener).context("a listener cannot be used")?;
        let places = Arc::new(Semaphore::new(connections_max as usize));
        Ok(Self {
            listener,
            places,
            opening_bytes,
            logged_at: None,
        })
    }

    /// The next connection, as soon as there is a place for it.
    async fn next(&mut self) -> (Connection, SocketAddr) {
        loop {
            // Nobody closes the places.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    prepare(&socket);
                    return (
                        Connection::new(socket, peer, place, self.opening_bytes, OPENING_MAX),
                        peer,
                    );
                }
                Err(error) if is_exhaustion(&error) => {
                    if self
                        .logged_at
                        .is_none_or(|at| at.elapsed() >= EXHAUSTED_LOG_EVERY)
                    {
                        tracing::error!("gRPC and HTTP connections have to wait: {error}");
                        self.logged_at = Some(Instant::now());
                    }
                    time::sleep(EXHAUSTED_PAUSE).await;
                }
                // The peer was gone before it was taken.
                Err(error) => tracing::debug!("a connection was lost before it was taken: {error}"),
            }
        }
    }

    /// As tonic takes them. Accepting ends when the stream is dropped.
    pub(crate) fn stream(mut self) -> ReceiverStream<io::Result<Connection>> {
        let (sender, connections) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    (connection, _) = self.next() => if sender.send(Ok(connection)).await.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        ReceiverStream::new(connections)
    }
}

impl axum::serve::Listener for Intake {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// So many that client connections, workers and all else have descriptors when all of them come at
/// once.
fn grpc_connections_max(files: u64, slots: u32, workers: u32) -> u64 {
    let others = u64::from(slots) + u64::from(workers) * DESCRIPTORS_PER_WORKER;
    let others = others + HTTP_CONNECTIONS_MAX + DESCRIPTORS_FOR_THE_REST;
    files
        .saturating_sub(others)
        .clamp(GRPC_CONNECTIONS_MIN, GRPC_CONNECTIONS_MAX)
}

/// Neither option is needed to serve, so that failing to set one ends nothing.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    errors
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    /// `None` once the peer has said what it speaks.
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
}

/// A connection whose first words are still to come.
#[derive(Debug)]
struct Opening {
    bytes_missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(
        socket: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        opening_bytes: usize,
        opening_max: Duration,
    ) -> Self {
        let opening = Opening {
            bytes_missing: opening_bytes,
            deadline: Box::pin(time::sleep(opening_max)),
        };
        Self {
            socket,
            peer,
            opening: Some(opening),
            _place: place,
        }
    }

    /// What a wait of the socket comes to: an error once the opening has lasted too long.
    fn or_late<T>(
        &mut self,
        waited: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match (&mut self.opening, waited) {
            (Some(opening), Poll::Pending) => opening
                .deadline
                .as_mut()
                .poll(context)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            (_, waited) => waited,
        }
    }

    fn note_received(&mut self, bytes: usize) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        opening.bytes_missing = opening.bytes_missing.saturating_sub(bytes);
        if opening.bytes_missing == 0 {
            self.opening = None;
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.socket.local_addr().ok(),
            remote_addr: Some(self.peer),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(context, buffer) {
            self.note_received(buffer.filled().len() - filled_before);
            return Poll::Ready(read);
        }
        self.or_late(Poll::Pending, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.or_late(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.or_late(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn pair(opening_max: Duration) -> (Connection, TcpStream, Arc<Semaphore>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        (
            Connection::new(socket, peer, place, PREFACE_BYTES, opening_max),
            client,
            places,
        )
    }

    #[tokio::test]
    async fn a_peer_that_never_opens_loses_its_place() {
        for said in [0, 1, PREFACE_BYTES - 1] {
            let (mut connection, mut client, places) = pair(Duration::from_millis(20)).await;
            client.write_all(&vec![b'P'; said]).await.unwrap();
            let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(connection);
            assert_eq!(places.available_permits(), 1);
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_opened_may_be_silent_for_as_long_as_it_likes() {
        let (mut connection, mut client, _places) = pair(Duration::from_millis(20)).await;
        client.write_all(&[b'P'; PREFACE_BYTES]).await.unwrap();
        connection
            .read_exact(&mut [0; PREFACE_BYTES])
            .await
            .unwrap();
        let silence = time::timeout(Duration::from_millis(100), connection.read_u8()).await;
        assert!(
            silence.is_err(),
            "nothing came, and no deadline either: {silence:?}"
        );
    }

    #[test]
    fn there_are_as_many_places_as_descriptors_are_left_and_always_some() {
        assert_eq!(
            grpc_connections_max(1 << 20, 16_394, 2),
            GRPC_CONNECTIONS_MAX
        );
        assert_eq!(grpc_connections_max(1024, 504, 2), 320);
        assert_eq!(grpc_connections_max(600, 590, 256), GRPC_CONNECTIONS_MIN);
    }

    /// A connection to the HTTP port whose time is up in 20 ms, and its peer.
    async fn http_pair() -> (Connection, TcpStream, Intake) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut intake = Intake::http(listener).unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = intake.next().await;
        let opening = connection.opening.as_mut().unwrap();
        opening
            .deadline
            .as_mut()
            .reset(Instant::now() + Duration::from_millis(20));
        (connection, client, intake)
    }

    #[tokio::test]
    async fn whoever_stays_on_the_http_port_after_its_question_loses_its_place() {
        let (mut connection, mut client, intake) = http_pair().await;
        client
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        let mut said = Vec::new();
        assert_eq!(
            connection.read_to_end(&mut said).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(said.len(), 23);
        drop(connection);
        assert_eq!(
            intake.places.available_permits() as u64,
            HTTP_CONNECTIONS_MAX
        );
    }

    #[tokio::test]
    async fn whoever_does_not_read_its_answer_from_the_http_port_loses_its_place() {
        let (mut connection, _client, _intake) = http_pair().await;
        let answer = vec![b'm'; 64 << 20];
        assert_eq!(
            connection.write_all(&answer).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }

    #[tokio::test]
    async fn a_connection_beyond_the_places_waits_until_one_is_free() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut intake = Intake::new(listener, 1, 1).unwrap();
        let (_first, _second) = (
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        );
        let (taken, _) = intake.next().await;
        assert!(
            time::timeout(Duration::from_millis(50), intake.next())
                .await
                .is_err()
        );
        drop(taken);
        time::timeout(Duration::from_secs(60), intake.next())
            .await
            .unwrap();
    }
}
