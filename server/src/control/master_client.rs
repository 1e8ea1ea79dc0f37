//! Questions to the master, with an answer to await. The master runs on a thread of its own and
//! knows nothing of tokio; when it is gone, the wait ends with nothing.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use metronome_os::conduit::Conduit;
use metronome_proto::run_id::RunId;
use tokio::{sync::oneshot, time};

use crate::{
    master::{
        Handle, Request,
        admission::{Admission, AdmitError},
        request::Reply,
    },
    model::{FinalCounters, LiveCounters, ServerStatus, TotalCounters},
    upgrade::{MasterState, NewMaster},
};

/// It answers within milliseconds unless something is badly wrong.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A restart takes milliseconds a worker; one that does not quit is killed after 2 s.
const RESTART_MAX: Duration = Duration::from_secs(120);

/// For the workers of a new process in an upgrade, which may start on a busy machine.
const READY_MAX: Duration = Duration::from_secs(10);

/// An answer of the master that is on its way.
pub(crate) type Answer<T> = oneshot::Receiver<T>;

/// The master, seen from the control plane.
#[derive(Clone)]
pub(crate) struct MasterClient(Handle);

impl MasterClient {
    pub(crate) fn new(master: Handle) -> Self {
        Self(master)
    }

    /// `None` when no answer came within 3 s.
    pub(crate) async fn admit(&self, run: Admission) -> Option<Result<(), AdmitError>> {
        in_time(self.ask(|reply| Request::Admit { run, reply })).await
    }

    /// `None` when no answer came within 3 s.
    pub(crate) async fn read_server(&self) -> Option<ServerStatus> {
        in_time(self.ask(|reply| Request::ReadServer { reply })).await
    }

    /// `None` when no answer came within 3 s.
    pub(crate) async fn read_totals(&self) -> Option<TotalCounters> {
        in_time(self.ask(|reply| Request::ReadTotals { reply })).await
    }

    /// How many workers were restarted. `None` when that was not done within 2 minutes.
    pub(crate) async fn restart_workers(&self) -> Option<u32> {
        let answer = self.ask(|reply| Request::RestartWorkers { reply });
        time::timeout(RESTART_MAX, answer).await.ok()?.ok()
    }

    /// Waits until no restart of the workers is under way.
    pub(crate) async fn rested(&self) {
        // A master that is gone restarts nothing.
        let _ = self.ask(|reply| Request::WhenRested { reply }).await;
    }

    /// Lets go of everything until `deadline_ns`, or says why not. Afterwards `take_back`, or the
    /// end.
    pub(crate) async fn hand_over(
        &self,
        conduit: Arc<Conduit>,
        deadline_ns: u64,
    ) -> Result<MasterState, String> {
        let answer = self.ask(|reply| Request::HandOver {
            conduit,
            deadline_ns,
            reply,
        });
        answer
            .await
            .unwrap_or_else(|_| Err("the data plane does not answer".into()))
    }

    pub(crate) async fn take_back(&self) {
        let _ = self.ask(|reply| Request::TakeBack { reply }).await;
    }

    /// The other server has let go.
    pub(crate) fn begin(&self) {
        let _ = self.0.ask(Request::Begin);
    }

    pub(crate) fn read_run(&self, run: RunId, histograms: bool) -> Answer<Option<LiveCounters>> {
        self.ask(|reply| Request::ReadRun {
            run,
            histograms,
            reply,
        })
    }

    pub(crate) fn close_run(&self, run: RunId) -> Answer<Option<FinalCounters>> {
        self.ask(|reply| Request::CloseRun { run, reply })
    }

    pub(crate) fn shut_down(&self) {
        // When it is gone already, all is well.
        let _ = self.0.ask(Request::Shutdown);
    }

    fn ask<T: Send + 'static>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        let (sender, answer) = oneshot::channel();
        // Whoever asked may have stopped waiting: the answer is dropped then.
        let reply: Reply<T> = Box::new(move |value| drop(sender.send(value)));
        // When the master is gone the reply is dropped with the request, which ends the wait.
        let _ = self.0.ask(request(reply));
        answer
    }
}

impl NewMaster for MasterClient {
    async fn workers_are_up(&self) -> Option<()> {
        time::timeout(READY_MAX, self.ask(|reply| Request::WhenReady { reply }))
            .await
            .ok()?
            .ok()
    }

    async fn restore(&self, state: MasterState, sockets: Vec<OwnedFd>) -> Result<(), String> {
        let answer = self.ask(|reply| Request::Restore {
            state: Box::new(state),
            sockets,
            reply,
        });
        answer
            .await
            .unwrap_or_else(|_| Err("the data plane does not answer".into()))
    }
}

async fn in_time<T>(answer: Answer<T>) -> Option<T> {
    time::timeout(ANSWER_MAX, answer).await.ok()?.ok()
}

/// Awaits the answer in `slot` and empties it; for ever when there is none. Can be dropped and
/// called again without losing the answer.
pub(crate) async fn answer_in<T>(slot: &mut Option<Answer<T>>) -> Option<T> {
    let Some(waiting) = slot else {
        return std::future::pending().await;
    };
    let answer = waiting.await.ok();
    *slot = None;
    answer
}
