//! The runs that have not ended: what is to be seen of each, and how to stop or hold it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{
    counters::CounterList as _,
    run_id::RunId,
    v1::{self, StopCause},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    metrics::GroupFigures,
    model::Times,
    upgrade::{HeldRun, SavedRun},
};

/// How a run looks from outside.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    pub(crate) run: v1::Run,
    /// `None` once the run is in a final state.
    pub(crate) snapshot: Option<v1::Snapshot>,
}

/// A run that has not ended: what is to be seen of it, and how to stop it or to hold it for an
/// upgrade.
#[derive(Clone, Debug)]
pub(crate) struct ActiveRun {
    pub(crate) view: watch::Receiver<RunView>,
    stop: mpsc::Sender<StopCause>,
    freeze: mpsc::Sender<FreezeRequest>,
}

/// The other ends of an [`ActiveRun`]; its driver has them.
#[derive(Debug)]
pub(super) struct DriverEnds {
    pub(super) view: watch::Sender<RunView>,
    pub(super) stops: mpsc::Receiver<StopCause>,
    pub(super) freezes: mpsc::Receiver<FreezeRequest>,
}

/// Asks a run to stand still during an upgrade of its server.
#[derive(Debug)]
pub(super) struct FreezeRequest {
    /// Gets the state of the run. `None`: it is not RUNNING and goes on.
    pub(super) saved: oneshot::Sender<Option<SavedRun>>,
    /// Resolves when the new process has the run. Dropped: it goes on here.
    pub(super) handed_over: oneshot::Receiver<()>,
}

impl ActiveRun {
    /// A run that looks like `view` at first.
    pub(super) fn new(view: RunView) -> (Self, DriverEnds) {
        let (view, seen) = watch::channel(view);
        let (stop, stops) = mpsc::channel(1);
        let (freeze, freezes) = mpsc::channel(1);
        let active = Self {
            view: seen,
            stop,
            freeze,
        };
        let ends = DriverEnds {
            view,
            stops,
            freezes,
        };
        (active, ends)
    }

    /// Holds the run. `None` when it is not RUNNING.
    pub(crate) async fn freeze(&self) -> Option<HeldRun> {
        let (saved, state) = oneshot::channel();
        let (release, handed_over) = oneshot::channel();
        let request = FreezeRequest { saved, handed_over };
        self.freeze.send(request).await.ok()?;
        let saved = state.await.ok()??;
        Some(HeldRun { saved, release })
    }

    /// The run without its snapshot.
    pub(crate) fn run(&self) -> v1::Run {
        self.view.borrow().run.clone()
    }

    /// Asks for a stop. One request is enough, so a full channel holds it already.
    pub(crate) fn stop(&self, cause: StopCause) {
        let _ = self.stop.try_send(cause);
    }
}

/// The runs that have not ended, by id.
#[derive(Debug)]
pub(crate) struct ActiveRuns {
    active: Mutex<BTreeMap<RunId, ActiveRun>>,
    count: watch::Sender<usize>,
}

impl Default for ActiveRuns {
    fn default() -> Self {
        Self {
            active: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl ActiveRuns {
    /// Lists a run.
    pub(super) fn add(&self, id: RunId, run: ActiveRun) {
        let mut active = self.lock();
        active.insert(id, run);
        self.count.send_replace(active.len());
    }

    /// Takes a run off the list.
    pub(super) fn remove(&self, id: RunId) {
        let mut active = self.lock();
        active.remove(&id);
        self.count.send_replace(active.len());
    }

    /// The run of this id.
    pub(crate) fn find(&self, id: RunId) -> Option<ActiveRun> {
        self.lock().get(&id).cloned()
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<(RunId, ActiveRun)> {
        self.lock()
            .iter()
            .map(|(id, run)| (*id, run.clone()))
            .collect()
    }

    /// What the workers have counted of the groups of all of them, by name, with the times that
    /// each run has by group.
    pub(crate) fn groups(&self, times: Vec<(RunId, Vec<Times>)>) -> BTreeMap<String, GroupFigures> {
        let mut groups: BTreeMap<String, GroupFigures> = BTreeMap::new();
        let mut times: BTreeMap<RunId, Vec<Times>> = times.into_iter().collect();
        for (id, run) in self.lock().iter() {
            let view = run.view.borrow();
            let mut of_run = times.remove(id).unwrap_or_default().into_iter();
            let shown = view.snapshot.iter().flat_map(|snapshot| &snapshot.groups);
            for group in shown {
                let figures = groups.entry(group.name.clone()).or_default();
                let receiver = group.receiver.unwrap_or_default();
                figures.counts = figures.counts.plus(&receiver);
                if let Some(times) = of_run.next() {
                    let shown = view.snapshot.as_ref();
                    figures.add_times(times, shown.and_then(|of| of.times.as_ref()));
                }
            }
        }
        groups
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until a run is no longer on the list.
    pub(crate) async fn left(&self, id: RunId) {
        let mut count = self.count.subscribe();
        while self.find(id).is_some() {
            // It cannot close while `self` lives.
            let _ = count.changed().await;
        }
    }

    /// Waits until none is left.
    pub(crate) async fn all_ended(&self) {
        // It cannot close while `self` lives.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, ActiveRun>> {
        // No code between lock and unlock can leave it half changed.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
