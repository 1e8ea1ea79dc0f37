//! Counters of a run as the workers keep them: live, while packets still come, and final, after the
//! last worker has released the last connection. Also the sums over all runs.
//!
//! Times are ns of this host's CLOCK_MONOTONIC unless a field's comment names another clock. Absent
//! on purpose: how the figures are counted (`ledger`) and summed (`master`), and what they mean
//! (`verdict`).

use metronome_proto::v1;
use serde::{Deserialize, Serialize};

use super::{
    client_end::ClientEnd,
    counter_list,
    environment::WorkerPriority,
    incident::Incident,
    slow_packet::SlowestPacket,
    tcp_figures::TcpFigures,
    times::{PerTime, Times},
};

/// Counters of a run that is going on. They only rise, but for the priorities.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveCounters {
    /// Clients whose hello was verified and that have not ended.
    pub(crate) connected: u32,
    /// Clients that have ended, cleanly or not.
    pub(crate) ended: u32,
    /// Connections that their workers have not released yet.
    pub(crate) unreleased: u32,
    pub(crate) counts: v1::ReceiverCounts,
    /// Sums over all clients. `None` when the request did not ask for them.
    pub(crate) times: Option<Times>,
    /// Sums over the clients of each group, in the order of the plan.
    pub(crate) counts_of_groups: Vec<v1::ReceiverCounts>,
    /// The same of the times, where these were asked for.
    pub(crate) times_of_groups: Vec<Times>,
    /// What each client's packets needed since the times were asked for before. `None` where that
    /// is not known.
    pub(crate) client_times: Option<v1::ClientTimes>,
    /// What its sockets looked like, where the times were asked for. `None` where there is none.
    pub(crate) sockets: Option<v1::SocketSample>,
    /// The clients whose connection has ended otherwise than it should, and that have no other one.
    pub(crate) broken: Vec<u32>,
    /// What the scheduler grants now to each worker of which that is known.
    pub(crate) priorities: Vec<WorkerPriority>,
    pub(crate) presences: Vec<WorkerPresence>,
}

/// The process of a worker, and for how long it was away since the server's start, over all its
/// processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WorkerPresence {
    pub(crate) worker: u32,
    /// `None` while it has no process.
    pub(crate) pid: Option<u32>,
    pub(crate) away_ns: u64,
}

/// Counters of a run that has ended, as they stand in the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinalCounters {
    /// The clients whose hello was verified, by rising index; each once.
    pub(crate) clients: Vec<ClientCounters>,
    /// Connections of a client that had sent packets on another one before. Their figures are in
    /// the sums and, added up, in that of the client.
    pub(crate) second_records: u64,
    pub(crate) workers: Vec<WorkerCounters>,
    /// The pauses of the workers are asked for by the user; else they make them by themselves, when
    /// they cannot keep up otherwise.
    pub(crate) pauses_are_asked_for: bool,
    pub(crate) times: Times,
    /// Those of the clients of each group, in the order of the plan: their sum is `times`.
    pub(crate) times_of_groups: Vec<Times>,
    /// What each client's packets needed since the run was read last.
    pub(crate) client_times: Option<v1::ClientTimes>,
    /// Packets that the master replayed for workers that had died.
    pub(crate) recovered_packets: u64,
    /// Worker deaths and other faults while the run was going on.
    pub(crate) incidents: Vec<Incident>,
    /// The slowest packets, slowest first, at most ten.
    pub(crate) slowest: Vec<SlowestPacket>,
    /// How the workers stood at the end.
    pub(crate) presences: Vec<WorkerPresence>,
}

/// Counters of one client.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientCounters {
    pub(crate) client: u32,
    /// The worker that read it last.
    pub(crate) worker: u32,
    #[serde(with = "counter_list")]
    pub(crate) counts: v1::ReceiverCounts,
    /// `metronome_proto::packet::digest_with` over the packets received.
    pub(crate) digest: u64,
    /// Packets sent, from the client's verified end frame.
    pub(crate) reported_sent: Option<u64>,
    /// 0 without a packet.
    pub(crate) first_read_ns: u64,
    pub(crate) last_read_ns: u64,
    /// Due times of the first and the last packet counted, ns on the sender's clock; 0 without one.
    pub(crate) first_due_ns: u64,
    pub(crate) last_due_ns: u64,
    /// From where its schedule counts. `None` when it has not sent that.
    pub(crate) start: Option<ClientStart>,
    /// The sequence number that would have come next.
    pub(crate) next_sequence: u64,
    /// Bytes of every kind of frame that were counted …
    pub(crate) bytes: u64,
    /// … and bytes taken off the socket, by the kernel's count. `None` when that could not be read.
    pub(crate) bytes_taken: Option<u64>,
    /// The least (read - due) of all packets less that of the first one, ns: 0 or less, and small
    /// whatever the zero of the sender's clock is. Without a packet of a schedule there is none.
    pub(crate) least_ns: Option<i64>,
    /// How many times each of its histograms must hold: counted with the packets …
    pub(crate) timed: PerTime<u64>,
    /// … and how many they hold.
    pub(crate) histogram_counts: PerTime<u64>,
    pub(crate) lateness_p99_ns: u64,
    pub(crate) lateness_p99_9_ns: u64,
    pub(crate) transit_p99_ns: u64,
    pub(crate) latency_p99_ns: u64,
    pub(crate) latency_max_ns: u64,
    pub(crate) spread_p99_ns: u64,
    pub(crate) one_way_p99_ns: u64,
    pub(crate) queueing_p99_ns: u64,
    /// Bytes of a packet that never became whole.
    pub(crate) partial_frame_bytes: u32,
    /// What this host's kernel has seen of its last connection. `None` when it could not be read.
    pub(crate) tcp: Option<TcpFigures>,
    /// How the connection ended.
    pub(crate) end: ClientEnd,
}

/// From where the schedule of a client counts, as the client reports it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ClientStart {
    /// ns on the sender's clock; the first packet of a constant rate is due then.
    pub(crate) start_ns: u64,
    /// How much later than the run that is, ns.
    pub(crate) offset_ns: u64,
}

/// Counters of one worker while a run was going on. What a worker has only for all that it reads is
/// `None` when other runs or raw clients had connections in that time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) worker: u32,
    pub(crate) pid: u32,
    /// Packets of the run that it committed.
    pub(crate) packets: u64,
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) reads: Option<u64>,
    pub(crate) wakeups: Option<u64>,
    /// Pauses between batched reads, and their sum.
    pub(crate) pauses: Option<u64>,
    pub(crate) paused_ns: Option<u64>,
    /// Processes that were started for another in that time.
    pub(crate) restarts: u32,
}

/// Counters of one worker since the server's start, over all its processes. They only rise.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct WorkerTotals {
    pub(crate) worker: u32,
    pub(crate) pid: u32,
    /// Packets of every kind that it committed.
    pub(crate) packets: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) reads: u64,
    pub(crate) wakeups: u64,
    /// Pauses between batched reads, and their sum.
    pub(crate) pauses: u64,
    pub(crate) paused_ns: u64,
    /// Processes after the first.
    pub(crate) restarts: u32,
}

/// Sums over the verified clients of all runs since the server's start. They only rise.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct TotalCounters {
    #[serde(with = "counter_list")]
    pub(crate) counts: v1::ReceiverCounts,
    pub(crate) times: Times,
}
