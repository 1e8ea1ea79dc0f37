//! Connections to the gRPC port, at most so many at once.
//!
//! Our own accept loop, since tonic's spins on a full descriptor table and knows no limit.

use std::{
    io,
    net::{self, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{self, Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

const CONNECTIONS_MAX: usize = 1024;
/// Without descriptors or memory a connection cannot be taken; it waits in the kernel meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
const EXHAUSTED_LOG_EVERY: Duration = Duration::from_secs(5);
/// A connection that has not said by then that it speaks HTTP/2 gives its place to others; from
/// there on the keepalive notices a peer that is gone.
const OPENING_MAX: Duration = Duration::from_secs(10);
/// Bytes with which an HTTP/2 client opens (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// What was sent and not acknowledged for this long means that the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// Starts to accept. The loop ends when the stream is dropped.
pub(super) fn connections(listener: net::TcpListener) -> anyhow::Result<ReceiverStream<io::Result<Connection>>> {
    listener.set_nonblocking(true).context("the gRPC listener cannot be used")?;
    let listener = TcpListener::from_std(listener).context("the gRPC listener cannot be used")?;
    let (sender, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(&listener, &sender) => {}
            () = sender.closed() => {}
        }
    });
    Ok(ReceiverStream::new(connections))
}

async fn accept(listener: &TcpListener, connections: &mpsc::Sender<io::Result<Connection>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut logged_at: Option<Instant> = None;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                prepare(&socket);
                if connections.send(Ok(Connection::new(socket, peer, place, OPENING_MAX))).await.is_err() {
                    return;
                }
            }
            Err(error) if is_exhaustion(&error) => {
                if logged_at.is_none_or(|at| at.elapsed() >= EXHAUSTED_LOG_EVERY) {
                    tracing::error!("gRPC connections have to wait: {error}");
                    logged_at = Some(Instant::now());
                }
                time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The peer was gone before it was taken.
            Err(error) => tracing::debug!("a gRPC connection was lost before it was taken: {error}"),
        }
    }
}

/// Neither option is needed to serve, so that failing to set one ends nothing.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    /// `None` once the preface has come.
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
}

/// A connection whose preface is still to come.
#[derive(Debug)]
struct Opening {
    bytes_missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(socket: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit, opening_max: Duration) -> Self {
        let opening = Opening { bytes_missing: PREFACE_BYTES, deadline: Box::pin(time::sleep(opening_max)) };
        Self { socket, peer, opening: Some(opening), _place: place }
    }

    fn note_received(&mut self, bytes: usize) {
        let Some(opening) = &mut self.opening else { return };
        opening.bytes_missing = opening.bytes_missing.saturating_sub(bytes);
        if opening.bytes_missing == 0 {
            self.opening = None;
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.socket.local_addr().ok(), remote_addr: Some(self.peer) }
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
        match &mut self.opening {
            Some(opening) => opening.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
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
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        (Connection::new(socket, peer, place, opening_max), client, places)
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
        connection.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let silence = time::timeout(Duration::from_millis(100), connection.read_u8()).await;
        assert!(silence.is_err(), "nothing came, and no deadline either: {silence:?}");
    }
}
