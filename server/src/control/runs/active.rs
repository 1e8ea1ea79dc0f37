//! The runs that have not ended, and those that have but could not be written to the history.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{run_id::RunId, v1};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    upgrade::{HeldRun, SavedRun},
    verdict::StopCause,
};

/// So many reports are kept in memory while the history cannot be written.
const UNSAVED_MAX: usize = 100;

/// How a run looks from outside.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one value per run, and it nearly always is the large one"
)]
pub(crate) enum RunView {
    Running {
        run: v1::Run,
        snapshot: v1::Snapshot,
    },
    Ended(v1::Run),
}

impl RunView {
    pub(crate) fn run(&self) -> &v1::Run {
        match self {
            Self::Running { run, .. } | Self::Ended(run) => run,
        }
    }
}

/// A run that lives: what can be seen of it, and how to stop it or to hold it for an upgrade.
#[derive(Clone, Debug)]
pub(crate) struct ActiveRun {
    pub(crate) view: watch::Receiver<RunView>,
    stop: mpsc::Sender<StopCause>,
    freeze: mpsc::Sender<FreezeRequest>,
}

/// Asks a run to stand still while its server is upgraded.
#[derive(Debug)]
pub(crate) struct FreezeRequest {
    /// Gets the run as it stands. `None`: it is not RUNNING and goes on.
    pub(crate) saved: oneshot::Sender<Option<SavedRun>>,
    /// Resolves when the new process has the run. Dropped: it goes on here.
    pub(crate) handed_over: oneshot::Receiver<()>,
}

impl ActiveRun {
    pub(crate) fn new(
        view: watch::Receiver<RunView>,
        stop: mpsc::Sender<StopCause>,
        freeze: mpsc::Sender<FreezeRequest>,
    ) -> Self {
        Self { view, stop, freeze }
    }

    /// Holds the run. `None` when it is not RUNNING.
    pub(crate) async fn freeze(&self) -> Option<HeldRun> {
        let (saved, stands) = oneshot::channel();
        let (release, handed_over) = oneshot::channel();
        self.freeze
            .send(FreezeRequest { saved, handed_over })
            .await
            .ok()?;
        let saved = stands.await.ok()??;
        Some(HeldRun { saved, release })
    }

    pub(crate) fn run(&self) -> v1::Run {
        self.view.borrow().run().clone()
    }

    /// Asks for a stop. One request is enough, so a full channel is none too few.
    pub(crate) fn stop(&self, cause: StopCause) {
        let _ = self.stop.try_send(cause);
    }
}

/// A run that has ended and is kept here because the history could not take it.
#[derive(Clone, Debug)]
pub(crate) struct UnstoredRun {
    pub(crate) run: v1::Run,
    pub(crate) pages: Vec<v1::ListClientsResponse>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct ActiveRuns {
    active: Mutex<BTreeMap<RunId, ActiveRun>>,
    unsaved: Mutex<VecDeque<(RunId, UnstoredRun)>>,
    count: watch::Sender<usize>,
}

impl Default for ActiveRuns {
    fn default() -> Self {
        Self {
            active: Mutex::default(),
            unsaved: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl ActiveRuns {
    pub(crate) fn add(&self, id: RunId, run: ActiveRun) {
        let mut active = lock(&self.active);
        active.insert(id, run);
        self.count.send_replace(active.len());
    }

    pub(crate) fn remove(&self, id: RunId) {
        let mut active = lock(&self.active);
        active.remove(&id);
        self.count.send_replace(active.len());
    }

    pub(crate) fn find(&self, id: RunId) -> Option<ActiveRun> {
        lock(&self.active).get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(RunId, ActiveRun)> {
        lock(&self.active)
            .iter()
            .map(|(id, run)| (*id, run.clone()))
            .collect()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none is left.
    pub(crate) async fn all_ended(&self) {
        // It cannot close while `self` lives.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Keeps a run that the history could not take; of more than 100 the oldest is given up.
    pub(crate) fn keep_unstored(&self, id: RunId, run: UnstoredRun) {
        let mut unsaved = lock(&self.unsaved);
        if unsaved.len() == UNSAVED_MAX {
            unsaved.pop_front();
        }
        unsaved.push_back((id, run));
    }

    /// All that are kept, oldest first.
    pub(crate) fn unsaved(&self) -> Vec<(RunId, UnstoredRun)> {
        lock(&self.unsaved).iter().cloned().collect()
    }

    pub(crate) fn find_unstored(&self, id: RunId) -> Option<UnstoredRun> {
        lock(&self.unsaved)
            .iter()
            .find(|(kept, _)| *kept == id)
            .map(|(_, run)| run.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code between lock and unlock can leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
