//! The slowest packets of a connection and of a run, kept one by one so that a tail can be
//! looked at.

use serde::{Deserialize, Serialize};

/// One of the slowest packets of a connection. Times in ns.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SlowPacket {
    pub(crate) sequence: u64,
    pub(crate) due_ns: u64,
    pub(crate) lateness_ns: u64,
    pub(crate) read_ns: u64,
    /// What packets are ranked by: due to read, or due to write where the clocks differ.
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
