//! What the control plane may ask of the master, and what the master answers.
//!
//! The master is one plain thread that owns the listener, the workers and the ledger. Control asks
//! through a [`Handle`]; an answer comes through a callback that the master's thread runs, so the
//! callback must do no more than pass it on. No async here: control wraps a oneshot sender in it.

use std::{
    borrow::Cow,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
};

use metronome_os::{conduit::Conduit, wake::Waker};
use metronome_proto::{handshake::Key, histogram::Histogram, run_id::RunId};
use serde::{Deserialize, Serialize};

use crate::ledger::SlowPacket;

/// Where an answer goes. Runs on the master's thread.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// One question or command.
pub(crate) enum Request {
    /// Let the clients of a run in: from now on their hellos are verified. Answered once every
    /// worker has been told, so a client that connects afterwards is never refused for being early.
    Admit {
        run: Admission,
        reply: Reply<Result<(), AdmitError>>,
    },
    /// How a run stands. `None` for a run that is not admitted.
    ReadRun {
        run: RunId,
        histograms: bool,
        reply: Reply<Option<RunReading>>,
    },
    /// End a run: its connections that are still open are cut, no hello of it is taken any more.
    /// Answered when the last worker has let go of the last of them, at most 3 s later.
    CloseRun {
        run: RunId,
        reply: Reply<Option<RunRecord>>,
    },
    /// Restart the workers one by one, under load. Answered with how many, when the last is ready.
    RestartWorkers { reply: Reply<u32> },
    /// Answered when no restart of the workers is under way.
    WhenRested { reply: Reply<()> },
    /// The server as a whole.
    ReadServer { reply: Reply<ServerReading> },
    /// What verified clients sent since the server's start, with every histogram. Costs a look at
    /// all of them: ask once a second at the most.
    ReadTotals { reply: Reply<Totals> },
    /// Answered when every worker serves.
    WhenReady { reply: Reply<()> },
    /// Let go of everything: the workers quit, nothing is accepted, the connections go through
    /// `conduit`. Answered with the rest once all is out. Whatever the answer,
    /// [`Request::TakeBack`] undoes it.
    HandOver {
        conduit: Arc<Conduit>,
        deadline_ns: u64,
        reply: Reply<Result<HandedOver, String>>,
    },
    /// The hand-over has failed: go on.
    TakeBack { reply: Reply<()> },
    /// Take what another server has handed over, its bytes and the connections that they tell of,
    /// and touch nothing. An error is one sentence.
    Inherit {
        bytes: Vec<u8>,
        sockets: Vec<OwnedFd>,
        reply: Reply<Result<(), String>>,
    },
    /// The other server has let go: read and accept.
    Begin,
    /// Stop accepting, end the workers, end the thread.
    Shutdown,
}

/// What a successor needs besides the ledger and the connections.
#[derive(Debug)]
pub(crate) struct HandedOver {
    /// As [`Request::Inherit`] takes them.
    pub(crate) bytes: Vec<u8>,
    /// How many connections went through the conduit.
    pub(crate) sockets: usize,
}

/// A run whose clients may connect.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) run: RunId,
    /// Clients of all agents: indices 0 to `clients` − 1.
    pub(crate) clients: u32,
    /// One per agent, in the order of the agents' indices.
    pub(crate) agents: Vec<AdmittedAgent>,
}

/// An agent's share of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmittedAgent {
    pub(crate) key: Key,
    /// It may bring the clients `first_client` to `first_client + clients` − 1.
    pub(crate) first_client: u32,
    pub(crate) clients: u32,
    /// Reads the same CLOCK_MONOTONIC as this host, so that transit and latency mean something.
    pub(crate) shares_clock: bool,
}

/// Why a run cannot be let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AdmitError {
    /// The caller refuses the run with this sentence.
    #[error(
        "{asked} clients are asked for and {free} of --max-clients {max} are free; stop a run, ask for fewer or start the server with more"
    )]
    Full { asked: u32, free: u32, max: u32 },
    /// As above.
    #[error("{max} runs are going on, which is the most; stop one or wait")]
    TooManyRuns { max: u32 },
}

/// How a run stands now. Counters only rise.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunReading {
    /// Clients whose hello was verified and that have not ended.
    pub(crate) connected: u32,
    /// Clients that have ended, cleanly or not.
    pub(crate) ended: u32,
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
    /// Summed over clients; only when asked for.
    pub(crate) times: Option<Times>,
}

/// The three distributions, ns.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Times {
    /// Due to write.
    pub(crate) lateness: Histogram,
    /// Write to read. Empty for agents that do not share the clock.
    pub(crate) transit: Histogram,
    /// Due to read. Empty as transit.
    pub(crate) latency: Histogram,
}

/// What the ledger says of an ended run. Final: the last worker has let go.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunRecord {
    /// Those that said a verified hello, by rising index; each once.
    pub(crate) clients: Vec<ClientCount>,
    pub(crate) workers: Vec<WorkerCount>,
    pub(crate) times: Times,
    /// Packets that the master worked off for workers that had died.
    pub(crate) recovered_packets: u64,
    /// Worker deaths and the like in the time of the run.
    pub(crate) incidents: Vec<Incident>,
    /// The slowest packets, slowest first, at most ten.
    pub(crate) slowest: Vec<SlowOfRun>,
}

/// Something that went wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Incident {
    /// ns of CLOCK_MONOTONIC.
    pub(crate) at_ns: u64,
    /// What, in a few words that stay the same: "worker died".
    pub(crate) what: Cow<'static, str>,
    /// One sentence.
    pub(crate) text: String,
}

/// One of the slowest packets of a run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct SlowOfRun {
    pub(crate) client: u32,
    /// The worker that read the client last.
    pub(crate) worker: u32,
    pub(crate) packet: SlowPacket,
}

/// One client as the workers counted it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientCount {
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
pub(crate) struct WorkerCount {
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

/// The server as a whole, since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerReading {
    pub(crate) workers: Vec<WorkerReading>,
    pub(crate) accepted: u64,
    pub(crate) pending: u32,
    pub(crate) admitted: u32,
    pub(crate) refused_full: u64,
    pub(crate) refused_hello: u64,
    pub(crate) refused_late: u64,
    pub(crate) refused_raw: u64,
    pub(crate) raw: RawReading,
    pub(crate) recoveries: Recoveries,
}

/// What the verified clients of all runs have sent, since the server's start. Counters only rise.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Totals {
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
    pub(crate) times: Times,
}

/// Deaths of workers since the server's start, and what they cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recoveries {
    /// Processes that ended without being asked to.
    pub(crate) deaths: u64,
    /// Packets that the master worked off for them.
    pub(crate) packets: u64,
    /// Connections that could not go on.
    pub(crate) connections_lost: u64,
    /// From a worker's last sign of life to the next read of each of its connections, ns.
    pub(crate) pauses: Histogram,
    /// Workers that die again and again.
    pub(crate) crash_loops: Vec<u32>,
}

/// One worker since the server's start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerReading {
    /// `packets` of every kind, `cpu_ns` of all its processes.
    pub(crate) count: WorkerCount,
    pub(crate) connections: u32,
    pub(crate) is_real_time: bool,
}

/// Raw clients since the server's start.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RawReading {
    pub(crate) connections: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Connected now, then those that ended last.
    pub(crate) clients: Vec<RawClientReading>,
}

/// One raw client.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RawClientReading {
    pub(crate) peer: SocketAddr,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) worker: u32,
    pub(crate) connected: bool,
}

/// Asks the master. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
    waker: Arc<Waker>,
}

impl Handle {
    pub(crate) fn new(requests: mpsc::Sender<Request>, waker: Arc<Waker>) -> Self {
        Self { requests, waker }
    }

    /// Hands a request over. False when the master is gone; the reply is then dropped unused.
    pub(crate) fn ask(&self, request: Request) -> bool {
        self.requests.send(request).is_ok() && self.waker.wake().is_ok()
    }
}
