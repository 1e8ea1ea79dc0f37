//! The data port: how many connections there may be, and what each inherits from its listener.

use std::{net::TcpListener, time::Duration};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};

use crate::ledger::{Dimensions, Ledger};

/// Connections that have not yet said a verified hello, beside the clients. A crowd of them must
/// not take the clients' places.
const PENDING_MAX: u64 = 16_384;

/// Descriptors for everything but connections: the control port must answer whatever happens.
const DESCRIPTORS_RESERVED: u64 = 512;

/// Of each worker as well: its process, its channel, what it says.
pub(crate) const DESCRIPTORS_PER_WORKER: u64 = 4;

/// A peer that has vanished is noticed within a minute, also when nothing is sent to it.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Buffers of each connection, from the seed.
const SOCKET_BUFFER_BYTES: usize = 128 * 1024;

/// Raises the limit of open files as far as it goes.
pub(super) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// A ledger for as many connections as fit. A new process asks for none in an upgrade: the
/// old one's fits.
pub(super) fn make_ledger(max_clients: u32, workers: u32) -> anyhow::Result<Ledger> {
    let slots = slots(max_clients, workers)?;
    Ledger::create(Dimensions { slots }).context("no shared memory for the ledger")
}

/// How many connections fit.
fn slots(max_clients: u32, workers: u32) -> anyhow::Result<u32> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = u64::from(max_clients) + PENDING_MAX;
    let reserved = DESCRIPTORS_RESERVED + u64::from(workers) * DESCRIPTORS_PER_WORKER;
    let possible = files.saturating_sub(reserved);
    anyhow::ensure!(
        possible > u64::from(max_clients),
        "--max-clients: {max_clients} clients need more open files than the limit of {files} allows beside the \
         {reserved} that are kept for other things; raise it (ulimit -n) or ask for fewer clients"
    );
    Ok(wanted.min(possible) as u32)
}

/// What accepted connections inherit, as the seed sets it on each.
pub(super) fn tune(listener: &TcpListener) {
    let socket = SockRef::from(listener);
    // A system that refuses one of these serves all the same.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&KEEPALIVE);
    // An urgent byte would be outside of the stream, and of what the kernel says was read of it.
    let _ = socket.set_out_of_band_inline(true);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}
