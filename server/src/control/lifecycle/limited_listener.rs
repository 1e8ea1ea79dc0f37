//! The accept loop of the gRPC and of the HTTP port, with at most so many connections at once.
//!
//! It is our own since tonic's spins on a full descriptor table, and neither it nor axum's has a
//! limit: a peer that opened thousands of connections would take the descriptors of all others.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{self, Instant},
};
use tokio_stream::wrappers::ReceiverStream;

use super::opening_connection::OpeningConnection;
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
/// A connection that has not opened by then gives its place to others; after the opening, the
/// keepalive notices a peer that is gone.
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Bytes with which an HTTP/2 client opens (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// A connection to the HTTP port has one request and one answer, so all of it is its opening.
const ONE_ANSWER: usize = usize::MAX;
/// What was sent and not acknowledged for this long means that the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// A port with a limited number of connections.
#[derive(Debug)]
pub(super) struct LimitedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// What a peer sends at least when it opens.
    opening_bytes: usize,
    logged_at: Option<Instant>,
}

impl LimitedListener {
    /// The gRPC port of a server that holds up to `slots` client connections.
    pub(super) fn grpc(
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
    pub(super) fn http(listener: net::TcpListener) -> anyhow::Result<Self> {
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
    async fn next(&mut self) -> (OpeningConnection, SocketAddr) {
        loop {
            // The places are never closed.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    prepare(&socket);
                    return (
                        OpeningConnection::new(
                            socket,
                            peer,
                            place,
                            self.opening_bytes,
                            OPENING_MAX,
                        ),
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

    /// The connections in tonic's form. Accepting ends when the stream is dropped.
    pub(super) fn stream(mut self) -> ReceiverStream<io::Result<OpeningConnection>> {
        let (sender, connections) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    (connection, _) = self.next() => {
                        if sender.send(Ok(connection)).await.is_err() {
                            return;
                        }
                    }
                    () = sender.closed() => return,
                }
            }
        });
        ReceiverStream::new(connections)
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = OpeningConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (OpeningConnection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// So many that client connections, workers and all else have descriptors when all of them are in
/// use at once.
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

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
    async fn http_pair() -> (OpeningConnection, TcpStream, LimitedListener) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = LimitedListener::http(listener).unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.next().await;
        connection.opens_within(Duration::from_millis(20));
        (connection, client, listener)
    }

    #[tokio::test]
    async fn a_client_that_stays_on_the_http_port_after_its_request_loses_its_place() {
        let (mut connection, mut client, listener) = http_pair().await;
        client
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        let mut received = Vec::new();
        assert_eq!(
            connection
                .read_to_end(&mut received)
                .await
                .unwrap_err()
                .kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(received.len(), 23);
        drop(connection);
        assert_eq!(
            listener.places.available_permits() as u64,
            HTTP_CONNECTIONS_MAX
        );
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_from_the_http_port_loses_its_place() {
        let (mut connection, _client, _listener) = http_pair().await;
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
        let mut listener = LimitedListener::new(listener, 1, 1).unwrap();
        let (_first, _second) = (
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        );
        let (taken, _) = listener.next().await;
        assert!(
            time::timeout(Duration::from_millis(50), listener.next())
                .await
                .is_err()
        );
        drop(taken);
        time::timeout(Duration::from_secs(60), listener.next())
            .await
            .unwrap();
    }
}
