//! What the workers have counted of one run, and of all runs together: while packets still come,
//! and when the last worker has let go.
//!
//! Times are ns of this host's CLOCK_MONOTONIC unless a field says otherwise. Absent on purpose: how
//! the figures are counted (`ledger`) and summed (`master`), and what they mean (`verdict`).

use serde::{Deserialize, Serialize};

use super::{incident::Incident, slow_packet::SlowestPacket, times::Times};

/// How a run stands now. Counters only rise.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveCounters {
    /// Clients whose hello was verified and that have not ended.
    pub(crate) connected: u32,
    /// Clients that have ended, cleanly or not.
    pub(crate) ended: u32,
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
    /// Summed over clients; only when asked for.
    pub(crate) times: Option<Times>,
}

/// What the ledger says of an ended run. Final: the last worker has let go.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinalCounters {
    /// Those that said a verified hello, by rising index; each once.
    pub(crate) clients: Vec<ClientCounters>,
    pub(crate) workers: Vec<WorkerCounters>,
    pub(crate) times: Times,
    /// Packets that the master worked off for workers that had died.
    pub(crate) recovered_packets: u64,
    /// Worker deaths and the like in the time of the run.
    pub(crate) incidents: Vec<Incident>,
    /// The slowest packets, slowest first, at most ten.
    pub(crate) slowest: Vec<SlowestPacket>,
}

/// One client as the workers counted it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientCounters {
    pub(crate) client: u32,
    /// The worker that read it last.
    pub(crate) worker: u32,
    pub(crate) received: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    /// As `metronome_proto::packet::digest_with`, over the packets received.
    pub(crate) digest: u64,
    /// What the client's verified end told it had sent.
    pub(crate) told_sent: Option<u64>,
    /// ns of CLOCK_MONOTONIC; 0 without a packet.
    pub(crate) first_read_ns: u64,
    pub(crate) last_read_ns: u64,
    /// Due times of the first and the last packet counted, ns on the sender's clock; 0 without one.
    pub(crate) first_due_ns: u64,
    pub(crate) last_due_ns: u64,
    /// Packets read before they say they were written, by a client that shares our clock.
    pub(crate) acausal: u64,
    /// The sequence number that would have come next.
    pub(crate) next_sequence: u64,
    /// Bytes of every kind of frame that were worked off …
    pub(crate) bytes: u64,
    /// … and that were taken off the socket, as the kernel says. `None` when it did not.
    pub(crate) bytes_taken: Option<u64>,
    /// Counts of its three histograms.
    pub(crate) histogram_counts: [u64; 3],
    pub(crate) lateness_p99_ns: u64,
    pub(crate) lateness_p99_9_ns: u64,
    pub(crate) transit_p99_ns: u64,
    pub(crate) latency_p99_ns: u64,
    pub(crate) latency_max_ns: u64,
    /// Bytes of a packet that never became whole.
    pub(crate) rest_bytes: u32,
    /// Why it did not end with end and end-ack. `None` when it did.
    pub(crate) error: Option<String>,
}

/// One worker in the time of a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct WorkerCounters {
    pub(crate) worker: u32,
    pub(crate) pid: u32,
    /// Packets of the run that it committed.
    pub(crate) packets: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) reads: u64,
    pub(crate) wakeups: u64,
    /// Pauses in which packets gathered, and how long they were together.
    pub(crate) pauses: u64,
    pub(crate) paused_ns: u64,
    pub(crate) restarts: u32,
}

/// What the verified clients of all runs have sent, since the server's start. Counters only rise.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct TotalCounters {
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
    pub(crate) times: Times,
}
