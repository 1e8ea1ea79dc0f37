//! Requests of the control plane to the master, and the replies.
//!
//! The master is one plain thread that owns the listener, the workers and the ledger. Control sends
//! requests through a [`Handle`]; a reply comes through a callback that the master's thread runs,
//! so the callback must do no more than pass it on. No async here: control wraps a oneshot sender
//! in it.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
};

use metronome_os::{seq_packet::SeqPacket, wake::Waker};
use metronome_proto::run_id::RunId;

use super::admission::{Admission, AdmitError};
use crate::{
    model::{ClockLine, FinalCounters, LiveCounters, ServerStatus, Times, TotalCounters},
    upgrade::{EncodedMaster, MasterState},
};

/// Where a reply goes. Runs on the master's thread.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// One request.
pub(crate) enum Request {
    /// Let the clients of a run in: from now on their hellos are verified. The reply comes once
    /// every worker has been sent the keys, so a client that connects afterwards is never refused
    /// for being early.
    Admit {
        run: Admission,
        reply: Reply<Result<(), AdmitError>>,
    },
    /// How a run stands. `None` for a run that is not admitted.
    ReadRun {
        run: RunId,
        histograms: bool,
        reply: Reply<Option<LiveCounters>>,
    },
    /// End a run: its connections that are still open are cut, no hello of it is taken any more.
    /// The reply comes when the last worker has released the last of them, at most 3 s later.
    CloseRun {
        run: RunId,
        reply: Reply<Option<FinalCounters>>,
    },
    /// Restart the workers one by one, under load. The reply is how many, when the last is ready.
    RestartWorkers { reply: Reply<u32> },
    /// The reply comes when no restart of the workers is under way.
    WhenNotRestarting { reply: Reply<()> },
    /// The server as a whole.
    ReadServer { reply: Reply<ServerStatus> },
    /// What verified clients sent since the server's start, with every histogram. Costs a look at
    /// all of them: ask once a second at the most.
    ReadTotals { reply: Reply<TotalCounters> },
    /// The times of the groups of each run that is admitted, in the order of its plan. Costs as
    /// much as the totals.
    ReadGroupTimes {
        reply: Reply<Vec<(RunId, Vec<Times>)>>,
    },
    /// From the reply on, times between the clock of an agent of a run and ours are taken by this
    /// line, or not at all.
    SetLine {
        run: RunId,
        agent: u16,
        line: Option<ClockLine>,
        reply: Reply<()>,
    },
    /// The reply comes when every worker serves.
    WhenReady { reply: Reply<()> },
    /// Release everything: the workers quit, nothing is accepted, the connections go through
    /// `socket`. The reply is the rest, once all is out. Whatever the reply,
    /// [`Request::TakeBack`] undoes it.
    HandOver {
        socket: Arc<SeqPacket>,
        deadline_ns: u64,
        reply: Reply<Result<EncodedMaster, String>>,
    },
    /// The hand-over has failed: go on.
    TakeBack { reply: Reply<()> },
    /// Take what another server has handed over, its state and the sockets of the connections in
    /// it, and touch nothing. An error is one sentence.
    Restore {
        state: Box<MasterState<'static>>,
        sockets: Vec<OwnedFd>,
        reply: Reply<Result<(), String>>,
    },
    /// The other server has committed the upgrade: read and accept.
    Begin,
    /// Stop accepting, end the workers, end the thread.
    Shutdown,
}

/// Sends requests to the master. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
    waker: Arc<Waker>,
}

impl Handle {
    /// A handle to the master that receives from `requests` and is woken by `waker`.
    pub(crate) fn new(requests: mpsc::Sender<Request>, waker: Arc<Waker>) -> Self {
        Self { requests, waker }
    }

    /// Hands a request over. False when the master is gone; the reply is then dropped unused.
    pub(crate) fn ask(&self, request: Request) -> bool {
        self.requests.send(request).is_ok() && self.waker.wake().is_ok()
    }
}
