//! A client of the master: requests whose replies can be awaited. The master runs on a plain thread
//! of its own, without tokio; when it is gone, the wait ends with nothing.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use metronome_os::seq_packet::SeqPacket;
use metronome_proto::run_id::RunId;
use tokio::{sync::oneshot, time};

use crate::{
    master::{
        Handle, Request,
        admission::{Admission, AdmitError},
        request::Reply,
    },
    model::{ClockLine, FinalCounters, LiveCounters, ServerStatus, Times, TotalCounters},
    upgrade::{EncodedMaster, MasterState, NewMaster},
};

/// The master replies within milliseconds unless something is badly wrong.
const REPLY_MAX: Duration = Duration::from_secs(3);

/// A restart takes milliseconds a worker; one that does not quit is killed after 2 s.
const RESTART_MAX: Duration = Duration::from_secs(120);

/// For the workers of a new process in an upgrade, which may start on a busy machine.
const READY_MAX: Duration = Duration::from_secs(10);

/// A reply of the master that is on its way.
pub(crate) type PendingReply<T> = oneshot::Receiver<T>;

/// The master, seen from the control plane.
#[derive(Clone)]
pub(crate) struct MasterClient(Handle);

impl MasterClient {
    pub(crate) fn new(master: Handle) -> Self {
        Self(master)
    }

    /// Lets the clients of a run in. `None` when no reply came within 3 s.
    pub(crate) async fn admit(&self, run: Admission) -> Option<Result<(), AdmitError>> {
        in_time(self.ask(|reply| Request::Admit { run, reply })).await
    }

    /// Takes times of an agent's packets by this line from now on, or not at all: once the reply is
    /// there.
    pub(crate) fn set_clock(
        &self,
        run: RunId,
        agent: u16,
        line: Option<ClockLine>,
    ) -> PendingReply<()> {
        self.ask(|reply| Request::SetLine {
            run,
            agent,
            line,
            reply,
        })
    }

    /// The server as a whole. `None` when no reply came within 3 s.
    pub(crate) async fn read_server(&self) -> Option<ServerStatus> {
        in_time(self.ask(|reply| Request::ReadServer { reply })).await
    }

    /// The totals since the server's start. `None` when no reply came within 3 s.
    pub(crate) async fn read_totals(&self) -> Option<TotalCounters> {
        in_time(self.ask(|reply| Request::ReadTotals { reply })).await
    }

    /// How many workers were restarted. `None` when that was not done within 2 minutes.
    pub(super) async fn restart_workers(&self) -> Option<u32> {
        let pending = self.ask(|reply| Request::RestartWorkers { reply });
        time::timeout(RESTART_MAX, pending).await.ok()?.ok()
    }

    /// Waits until no restart of the workers is under way.
    pub(super) async fn when_not_restarting(&self) {
        // A master that is gone restarts nothing.
        let _ = self.ask(|reply| Request::WhenNotRestarting { reply }).await;
    }

    /// Hands everything over until `deadline_ns`. An error is one sentence. Afterwards comes
    /// `take_back`, or the end.
    pub(crate) async fn hand_over(
        &self,
        socket: Arc<SeqPacket>,
        deadline_ns: u64,
    ) -> Result<EncodedMaster, String> {
        let pending = self.ask(|reply| Request::HandOver {
            socket,
            deadline_ns,
            reply,
        });
        pending
            .await
            .unwrap_or_else(|_| Err("the data plane does not answer".into()))
    }

    /// Undoes `hand_over`, however far it has come.
    pub(crate) async fn take_back(&self) {
        let _ = self.ask(|reply| Request::TakeBack { reply }).await;
    }

    /// The other server has committed the upgrade: the master reads and accepts from here on.
    pub(crate) fn begin(&self) {
        let _ = self.0.ask(Request::Begin);
    }

    /// The times of the groups of each admitted run, in the order of its plan. `None` when the
    /// master does not reply.
    pub(crate) async fn read_group_times(&self) -> Option<Vec<(RunId, Vec<Times>)>> {
        in_time(self.ask(|reply| Request::ReadGroupTimes { reply })).await
    }

    /// How a run stands. `None` in the reply: it is not admitted.
    pub(crate) fn read_run(
        &self,
        run: RunId,
        histograms: bool,
    ) -> PendingReply<Option<LiveCounters>> {
        self.ask(|reply| Request::ReadRun {
            run,
            histograms,
            reply,
        })
    }

    /// Ends a run and asks for its final counters.
    pub(super) fn close_run(&self, run: RunId) -> PendingReply<Option<FinalCounters>> {
        self.ask(|reply| Request::CloseRun { run, reply })
    }

    /// Ends the workers and the master's thread.
    pub(super) fn shut_down(&self) {
        // When it is gone already, all is well.
        let _ = self.0.ask(Request::Shutdown);
    }

    fn ask<T: Send + 'static>(&self, request: impl FnOnce(Reply<T>) -> Request) -> PendingReply<T> {
        let (sender, pending) = oneshot::channel();
        // The caller may have stopped waiting: the reply is dropped then.
        let reply: Reply<T> = Box::new(move |value| drop(sender.send(value)));
        // When the master is gone the reply is dropped with the request, which ends the wait.
        let _ = self.0.ask(request(reply));
        pending
    }
}

impl NewMaster for MasterClient {
    async fn workers_are_up(&self) -> Option<()> {
        time::timeout(READY_MAX, self.ask(|reply| Request::WhenReady { reply }))
            .await
            .ok()?
            .ok()
    }

    async fn restore(
        &self,
        state: MasterState<'static>,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let pending = self.ask(|reply| Request::Restore {
            state: Box::new(state),
            sockets,
            reply,
        });
        pending
            .await
            .unwrap_or_else(|_| Err("the data plane does not answer".into()))
    }
}

async fn in_time<T>(pending: PendingReply<T>) -> Option<T> {
    time::timeout(REPLY_MAX, pending).await.ok()?.ok()
}

/// Awaits the reply in `slot` and empties it; waits for ever when there is none. Can be dropped and
/// called again without losing the reply.
pub(super) async fn reply_in<T>(slot: &mut Option<PendingReply<T>>) -> Option<T> {
    let Some(pending) = slot else {
        return std::future::pending().await;
    };
    let reply = pending.await.ok();
    *slot = None;
    reply
}
