//! What the master needs to start.

use std::net::TcpListener;

use metronome_proto::handshake::Key;

use super::worker_pool::PoolSettings;
use crate::{ledger::Ledger, rx_batching::RxBatching};

/// The flags of the master, its listener, and the ledger of the server that it takes over from.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Bound and listening.
    pub(crate) listener: TcpListener,
    /// Worker processes, 1 to 256.
    pub(crate) workers: u32,
    /// Verified and raw clients together, 1 to 10000.
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// Key of the static run: clients of `metronome-agent run --key-file` are taken with it.
    pub(crate) static_key: Option<Key>,
    /// Give the workers the highest priority that the system grants.
    pub(crate) high_priority: bool,
    /// Pin worker i to the i-th core of those allowed.
    pub(crate) pin_workers: bool,
    /// How the workers read.
    pub(crate) rx_batching: RxBatching,
    /// The workers have a packet handler.
    pub(crate) has_handler: bool,
    /// The ledger of the server that this one is to take over from; the workers start, and all else
    /// waits.
    pub(crate) ledger: Option<Ledger>,
}

impl Settings {
    /// What the workers are started with.
    pub(super) fn pool(&self) -> PoolSettings {
        PoolSettings {
            workers: self.workers,
            accept_raw: self.accept_raw,
            high_priority: self.high_priority,
            pin_workers: self.pin_workers,
            rx_batching: self.rx_batching,
            has_handler: self.has_handler,
        }
    }
}
