//! The feed: what publishes calls it, and never waits; what watches waits at it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metronome_proto::{
    run_id::RunId,
    v1::{self, AgentChange},
};
use prost::Message as _;
use tokio::sync::watch;

use super::{
    event::{Event, OfRun, What},
    log::{Effect, Log, Subject},
};
use crate::wall_clock;

/// The numbers of a process that takes over begin so far above those that it was given: the old one
/// may publish some more until it is gone.
const HAND_OVER_GAP: u64 = 1_000_000;

/// The feed of a server.
#[derive(Debug)]
pub(crate) struct Feed {
    log: Mutex<Log<Event>>,
    /// Wakes those who wait: the newest number, and whether it was the last one.
    newest: watch::Sender<(u64, bool)>,
}

impl Default for Feed {
    /// Its numbers begin at the present time in µs since 1970: above those of a process before it,
    /// which has published far fewer than a million events a second.
    fn default() -> Self {
        let start = wall_clock::unix_ns() / 1_000;
        Self {
            log: Mutex::new(Log::new(start)),
            newest: watch::Sender::new((start, false)),
        }
    }
}

impl Feed {
    /// A run is new, or in another state.
    pub(crate) fn run_changed(&self, id: RunId, run: &v1::Run) {
        let run = Arc::new(run.clone());
        let bytes = run.encoded_len();
        let what = What::Of(id, run, OfRun::Changed);
        self.publish(Subject::Run(id), Effect::Sets, bytes, what);
    }

    /// How a run stands now. Nothing of a run that was not published.
    pub(crate) fn snapshot(&self, id: RunId, snapshot: v1::Snapshot) {
        let of_run = OfRun::Snapshot(Box::new(snapshot));
        self.publish_of_run(id, Subject::Snapshot(id), Effect::Passes, 0, of_run);
    }

    /// An objective of a run is not held.
    pub(crate) fn threshold_failed(&self, id: RunId, failed: v1::ThresholdFailed) {
        let bytes = failed.encoded_len();
        let of_run = OfRun::ThresholdFailed(Box::new(failed));
        self.publish_of_run(id, Subject::Run(id), Effect::Happens, bytes, of_run);
    }

    /// A run is in its final state.
    pub(crate) fn run_ended(&self, id: RunId, run: v1::Run) {
        let bytes = run.encoded_len();
        let what = What::Of(id, Arc::new(run), OfRun::Ended);
        self.publish(Subject::Run(id), Effect::Ends, bytes, what);
    }

    /// An agent came, left, or is another one now.
    pub(crate) fn agent_changed(&self, changed: v1::AgentChanged) {
        let name = changed.agent.as_ref().map(|agent| agent.name.clone());
        let effect = match changed.change() {
            AgentChange::Disconnected => Effect::Ends,
            _ => Effect::Sets,
        };
        let (bytes, subject) = (
            changed.encoded_len(),
            Subject::Agent(name.unwrap_or_default()),
        );
        self.publish(subject, effect, bytes, What::Agent(changed));
    }

    /// A worker process began or ended.
    pub(crate) fn worker_changed(&self, changed: v1::WorkerChanged) {
        let number = changed.worker.map_or(0, |worker| worker.worker);
        let (bytes, subject) = (changed.encoded_len(), Subject::Worker(number));
        self.publish(subject, Effect::Sets, bytes, What::Worker(changed));
    }

    /// The number of the newest event, for a process that takes over.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().newest()
    }

    /// Goes on above the numbers of the process before this one.
    pub(crate) fn go_on_above(&self, number: u64) {
        let mut log = self.lock();
        log.skip_to(number.saturating_add(HAND_OVER_GAP));
        self.newest.send_replace((log.newest(), false));
    }

    /// Nothing is published any more: every watch ends once it has what there is.
    pub(crate) fn close(&self) {
        self.newest.send_modify(|(_, is_closed)| *is_closed = true);
    }

    /// Resolves with each new event, and with the end.
    pub(super) fn subscribe(&self) -> watch::Receiver<(u64, bool)> {
        self.newest.subscribe()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log<Event>> {
        // No code between lock and unlock can leave it half changed.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event with the run as it was last published.
    fn publish_of_run(
        &self,
        id: RunId,
        subject: Subject,
        effect: Effect,
        bytes: usize,
        of_run: OfRun,
    ) {
        let mut log = self.lock();
        let run = log.value(&Subject::Run(id)).and_then(|of| of.event.run());
        if let Some(run) = run {
            let what = What::Of(id, run, of_run);
            self.publish_in(&mut log, subject, effect, bytes, what);
        }
    }

    fn publish(&self, subject: Subject, effect: Effect, bytes: usize, what: What) {
        self.publish_in(&mut self.lock(), subject, effect, bytes, what);
    }

    fn publish_in(
        &self,
        log: &mut Log<Event>,
        subject: Subject,
        effect: Effect,
        bytes: usize,
        what: What,
    ) {
        let is_closed = self.newest.borrow().1;
        if is_closed {
            return;
        }
        let event = Event {
            at_unix_ms: wall_clock::unix_ms(),
            what,
        };
        log.publish(subject, effect, bytes, event);
        self.newest.send_replace((log.newest(), false));
    }
}
