//! A connection to the gRPC or the HTTP port: it has a place for as long as it is open, and ends
//! when it is cut off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::place_table::Place;
use crate::control::api::{OpenCall, UnreadPart};

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub(super) struct PlacedConnection {
    socket: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    answer: Answer,
    place: Place,
}

/// What shows that a call of the connection is open.
#[derive(Debug)]
enum Answer {
    /// The services count their calls.
    Counted,
    /// The answer, from its first byte on: there is only one.
    Silent,
    Begun {
        _open: OpenCall,
        /// Some of it waits to be read.
        unread: Option<UnreadPart>,
    },
}

impl PlacedConnection {
    /// A connection whose calls are counted by those who answer them.
    pub(super) fn of_calls(socket: TcpStream, place: Place) -> Self {
        Self::new(socket, place, Answer::Counted)
    }

    /// A connection of one request and one answer. It is silent until the answer begins.
    pub(super) fn of_one_answer(socket: TcpStream, place: Place) -> Self {
        Self::new(socket, place, Answer::Silent)
    }

    fn new(socket: TcpStream, place: Place, answer: Answer) -> Self {
        Self {
            socket,
            cut: Box::pin(place.cut.clone().cancelled_owned()),
            answer,
            place,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// An error once the connection is cut off.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn note_writing(&mut self) {
        if matches!(self.answer, Answer::Silent) {
            self.answer = Answer::Begun {
                _open: self.place.calls.begin(),
                unread: None,
            };
        }
    }

    /// A peer that does not read its answer is noticed by what cannot be written.
    fn note_written(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.place.progress.note(*bytes);
        }
        if let Answer::Begun { unread, .. } = &mut self.answer {
            match written.is_pending() {
                true if unread.is_none() => *unread = Some(self.place.calls.wait_to_be_read()),
                true => {}
                false => *unread = None,
            }
        }
    }
}

impl Connected for PlacedConnection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.socket.local_addr().ok(),
            remote_addr: self.socket.peer_addr().ok(),
        }
    }
}

impl AsyncRead for PlacedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for PlacedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        self.note_writing();
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        self.note_writing();
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.note_written(&written);
        written
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
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::control::{
        api::Activity,
        lifecycle::{place_table::PlaceTable, places::Limits},
    };

    async fn pair() -> (PlacedConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let table = PlaceTable::new("test", Limits::new(2), CancellationToken::new());
        let place = table.enter(peer);
        (PlacedConnection::of_one_answer(socket, place), client)
    }

    fn cut_soon(connection: &PlacedConnection) {
        let cut = connection.place.cut.clone();
        tokio::spawn(async move {
            time::sleep(Duration::from_millis(20)).await;
            cut.cancel();
        });
    }

    #[tokio::test]
    async fn a_silent_peer_that_is_cut_off_ends() {
        let (mut connection, _client) = pair().await;
        cut_soon(&connection);
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_and_is_cut_off_ends() {
        let (mut connection, _client) = pair().await;
        cut_soon(&connection);
        let answer = vec![b'm'; 64 << 20];
        let error = connection.write_all(&answer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_answer_that_the_peer_does_not_read_is_noticed_until_it_does() {
        let (mut connection, mut client) = pair().await;
        let calls = std::sync::Arc::clone(&connection.place.calls);
        assert_eq!(calls.unread_since(), None);
        let part = vec![b'm'; 1 << 20];
        let write = async { while connection.write(&part).await.is_ok() {} };
        assert!(
            time::timeout(Duration::from_millis(100), write)
                .await
                .is_err()
        );
        assert!(calls.unread_since().is_some() && calls.are_all_unread());
        let mut read = vec![0; 1 << 20];
        let reading = async { while client.read_exact(&mut read).await.is_ok() {} };
        tokio::select! {
            written = connection.write(b"m") => assert_eq!(written.unwrap(), 1),
            () = reading => panic!("the connection is open"),
        }
        assert_eq!(calls.unread_since(), None);
    }

    #[tokio::test]
    async fn a_call_is_open_from_the_first_byte_of_the_only_answer_on() {
        let (mut connection, _client) = pair().await;
        let calls = std::sync::Arc::clone(&connection.place.calls);
        assert_eq!(calls.activity(), Activity::NoCallYet);
        connection.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        assert_eq!(calls.activity(), Activity::Calling);
        drop(connection);
        assert_ne!(calls.activity(), Activity::Calling);
    }
}
