//! A connection to the gRPC or the HTTP port: its opening has a deadline, so that a peer that stays
//! silent does not keep its place.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{self, Sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection that gives its place back when it ends, and ends when its opening takes too long.
#[derive(Debug)]
pub(super) struct OpeningConnection {
    socket: TcpStream,
    peer: SocketAddr,
    /// `None` once the peer has opened.
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
}

/// The part of the opening that is still to come.
#[derive(Debug)]
struct Opening {
    bytes_missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl OpeningConnection {
    pub(super) fn new(
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

    /// Shortens the opening to `opening_max` from now on.
    #[cfg(test)]
    pub(super) fn opens_within(&mut self, opening_max: Duration) {
        let opening = self.opening.as_mut().expect("not opened yet");
        opening
            .deadline
            .as_mut()
            .reset(time::Instant::now() + opening_max);
    }

    /// The result of a wait for the socket: an error once the opening has lasted too long.
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

impl Connected for OpeningConnection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.socket.local_addr().ok(),
            remote_addr: Some(self.peer),
        }
    }
}

impl AsyncRead for OpeningConnection {
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

impl AsyncWrite for OpeningConnection {
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
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::Semaphore,
    };

    use super::*;

    /// Bytes with which an HTTP/2 client opens.
    const PREFACE_BYTES: usize = 24;

    async fn pair(opening_max: Duration) -> (OpeningConnection, TcpStream, Arc<Semaphore>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        (
            OpeningConnection::new(socket, peer, place, PREFACE_BYTES, opening_max),
            client,
            places,
        )
    }

    #[tokio::test]
    async fn a_peer_that_never_opens_loses_its_place() {
        for sent in [0, 1, PREFACE_BYTES - 1] {
            let (mut connection, mut client, places) = pair(Duration::from_millis(20)).await;
            client.write_all(&vec![b'P'; sent]).await.unwrap();
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
}
