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
use axum::{extract::connect_info::Connected, serve::IncomingStream};
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{place_table::PlaceTable, placed_connection::PlacedConnection, places::Limits};
use crate::{
    control::{
        api::Services,
        monitor::{Lasting, STREAMS_MAX},
    },
    master::DESCRIPTORS_PER_WORKER,
};

/// To the gRPC port, when there are descriptors for them.
const GRPC_CONNECTIONS_MAX: u64 = 1024;
/// An agent and an operator come in however few descriptors there are.
const GRPC_CONNECTIONS_MIN: u64 = 16;
/// Prometheus and probes are few; streams of events are beside them, also when all of them come
/// from one address.
const HTTP_CONNECTIONS_MAX: u64 = 64 + STREAMS_MAX as u64;
/// A connection to the HTTP port has one request and one answer. It is over by then, unless the
/// answer is a stream, or is long and the peer is still taking it.
const HTTP_AGE_NS_MAX: u64 = 10_000_000_000;
/// How much of an answer waits in the kernel to be sent. A peer that takes it slowly is seen to
/// take it: with the buffers that the kernel has by itself it would look for a minute as if it did
/// not.
const HTTP_UNSENT_BYTES_MAX: u32 = 32 << 10;
/// For the history, the ledger, listeners, event loops, an upgrade and an exporter.
const DESCRIPTORS_FOR_THE_REST: u64 = 128;
/// Without descriptors or memory a connection cannot be taken; it waits in the kernel meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
const EXHAUSTED_LOG_EVERY: Duration = Duration::from_secs(5);
/// What was sent and not acknowledged for this long means that the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// A port with a limited number of connections.
#[derive(Debug)]
pub(super) struct LimitedListener {
    listener: TcpListener,
    table: Arc<PlaceTable>,
    logged_at: Option<Instant>,
}

impl LimitedListener {
    /// The gRPC port of a server that holds up to `slots` client connections.
    pub(super) fn grpc(
        listener: net::TcpListener,
        slots: u32,
        workers: u32,
        closing: CancellationToken,
    ) -> anyhow::Result<Self> {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limits = Limits::new(grpc_connections_max(files, slots, workers) as usize);
        Self::new("gRPC", listener, limits, closing)
    }

    /// The HTTP port.
    pub(super) fn http(
        listener: net::TcpListener,
        closing: CancellationToken,
    ) -> anyhow::Result<Self> {
        let limits = Limits {
            age_ns: Some(HTTP_AGE_NS_MAX),
            ..Limits::new(HTTP_CONNECTIONS_MAX as usize)
        };
        Self::new("HTTP", listener, limits, closing)
    }

    fn new(
        name: &'static str,
        listener: net::TcpListener,
        limits: Limits,
        closing: CancellationToken,
    ) -> anyhow::Result<Self> {
        listener
            .set_nonblocking(true)
            .context("a listener cannot be used")?;
        let listener = TcpListener::from_std(listener).context("a listener cannot be used")?;
        Ok(Self {
            listener,
            table: PlaceTable::new(name, limits, closing),
            logged_at: None,
        })
    }

    /// The next connection.
    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    prepare(&socket);
                    return (socket, peer);
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

    /// Serves the gRPC port until `closing`, and then the calls that are open, which are asked to
    /// end.
    pub(super) async fn serve_grpc(mut self, services: Services, closing: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let (socket, peer) = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                next = self.next() => next,
            };
            let connection = PlacedConnection::of_calls(socket, self.table.enter(peer));
            let place = connection.place();
            let (calls, going) = (Arc::clone(&place.calls), place.going.clone());
            let going = going.cancelled_owned();
            let services = services.clone();
            connections.spawn(async move { services.serve(connection, calls, going).await });
        }
        // The port is no longer bound while the last calls are answered.
        drop(self);
        connections.close();
        connections.wait().await;
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = PlacedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (PlacedConnection, SocketAddr) {
        let (socket, peer) = self.next().await;
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(HTTP_UNSENT_BYTES_MAX);
        let place = self.table.enter(peer);
        (PlacedConnection::of_one_answer(socket, place), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, LimitedListener>> for Lasting {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        stream.io().place().lasting.clone()
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
    use super::*;

    #[test]
    fn there_are_as_many_places_as_descriptors_are_left_and_always_some() {
        assert_eq!(
            grpc_connections_max(1 << 20, 16_394, 2),
            GRPC_CONNECTIONS_MAX
        );
        assert_eq!(grpc_connections_max(1024, 504, 2), 256);
        assert_eq!(grpc_connections_max(600, 590, 256), GRPC_CONNECTIONS_MIN);
    }
}
