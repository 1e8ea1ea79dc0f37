//! The server as a whole, since its start: connections, workers, recoveries and raw clients.

use std::net::SocketAddr;

use metronome_proto::{histogram::Histogram, v1};
use serde::{Deserialize, Serialize};

use super::counters::WorkerTotals;

/// The server as a whole, since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerStatus {
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) accepted: u64,
    /// Connections that have not authenticated, now.
    pub(crate) pending: u32,
    /// Clients of runs and raw clients, now.
    pub(crate) admitted: u32,
    pub(crate) refused_full: u64,
    pub(crate) refused_hello: u64,
    pub(crate) refused_late: u64,
    pub(crate) refused_raw: u64,
    pub(crate) raw: RawCounters,
    pub(crate) recoveries: RecoveryCounters,
}

/// One worker slot since the server's start, whichever processes have filled it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerStatus {
    /// Packets of every kind, CPU time of all its processes.
    pub(crate) count: WorkerTotals,
    pub(crate) connections: u32,
    pub(crate) is_real_time: bool,
    /// How many of its processes have ended without an order to.
    pub(crate) deaths: u64,
}

impl WorkerStatus {
    /// The message of the API.
    pub(crate) fn to_proto(self) -> v1::Worker {
        let count = self.count;
        v1::Worker {
            worker: count.worker,
            pid: count.pid,
            connections: self.connections,
            packets: count.packets,
            cpu_ns: i64::try_from(count.cpu_ns).unwrap_or(i64::MAX),
            reads: count.reads,
            wakeups: count.wakeups,
            restarts: count.restarts,
            real_time: self.is_real_time,
        }
    }
}

/// Deaths of workers since the server's start, and what they cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveryCounters {
    /// Worker processes that ended without an order to.
    pub(crate) deaths: u64,
    /// Packets that the master replayed for them.
    pub(crate) packets: u64,
    /// Connections that could not go on.
    pub(crate) connections_lost: u64,
    /// From a worker's last sign of life, or from the moment at which it handed a connection over,
    /// to the next read of each of its connections, ns.
    pub(crate) pauses: Histogram,
    /// Workers in a crash loop.
    pub(crate) crash_loops: Vec<u32>,
}

/// Counters of raw clients since the server's start.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RawCounters {
    pub(crate) connections: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// First those connected now, then those that ended last.
    pub(crate) clients: Vec<RawClientCounters>,
}

/// Counters of one raw client: a connection that does not speak the protocol and is counted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RawClientCounters {
    pub(crate) peer: SocketAddr,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) worker: u32,
    pub(crate) connected: bool,
}
