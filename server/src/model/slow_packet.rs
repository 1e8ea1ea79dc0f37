//! One of the slowest packets: of a connection, and of a run.

use serde::{Deserialize, Serialize};

/// A packet as its connection's record tells it, ns.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SlowPacket {
    pub(crate) sequence: u64,
    pub(crate) due_ns: u64,
    pub(crate) lateness_ns: u64,
    pub(crate) read_ns: u64,
    /// What it is ranked by: due to read, or due to write where the clocks differ.
    pub(crate) total_ns: u64,
}

/// One of the slowest packets of a run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct SlowestPacket {
    pub(crate) client: u32,
    /// The worker that read the client last.
    pub(crate) worker: u32,
    pub(crate) packet: SlowPacket,
}
