//! The runs that have ended: in the database, or in memory until they can be stored there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metronome_os::clock;
use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::{
    sync::{Mutex, watch},
    task, time,
};

use super::unstored::{UnstoredRun, UnstoredRuns};
use crate::store::Store;

/// A run is not started while so many results wait to be stored.
const UNSTORED_MAX: usize = 100;

/// Between two tries to store a result, at first; doubled after each that fails.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A caller can ask thousands of times.
static UNUSABLE: RateLimit = RateLimit::new(10, 10_000_000_000);

/// The store, and the results that it could not take yet.
#[derive(Debug)]
pub(crate) struct RunHistory {
    store: Arc<Store>,
    unstored: UnstoredRuns,
    /// Held while a result that waits is stored or deleted, so that none is stored once it is
    /// deleted.
    trying: Mutex<()>,
}

impl RunHistory {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: Arc::new(store),
            unstored: UnstoredRuns::default(),
            trying: Mutex::default(),
        }
    }

    /// Uses the store on a thread that may block.
    pub(super) async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let store = Arc::clone(&self.store);
        task::spawn_blocking(move || work(&store))
            .await
            .map_err(|_| failed("the history could not be asked"))
    }

    /// Reads from the store on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.with_store(query).await?.map_err(logged)
    }

    /// Changes the store on a thread that may block.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.with_store(change).await?.map_err(logged)
    }

    /// An error when it has turned out since `asked_at` that another process has locked the
    /// history: a caller that has waited for its turn meanwhile does not wait once more.
    pub(super) fn refuse_if_locked_since(&self, asked_at: Instant) -> Result<(), Failure> {
        self.store.refuse_if_locked_since(asked_at)
    }

    /// Stores a run in its final state. One that cannot be stored is kept, and tried again by
    /// [`Self::store_what_waits`]. Returns the run as it is to be shown.
    pub(super) async fn store_end(&self, id: RunId, end: UnstoredRun) -> v1::Run {
        let end = Arc::new(end);
        let Err(error) = self.try_to_store(&end).await else {
            return end.run.clone();
        };
        tracing::error!("the result is not stored, and tried again: {error}");
        let kept = self
            .unstored
            .keep(id, Arc::unwrap_or_clone(end), Some(error));
        kept.run.clone()
    }

    /// Keeps the run of another process that could not store it. It is tried again.
    pub(crate) fn keep_unstored(&self, id: RunId, run: UnstoredRun) {
        self.unstored.keep(id, run, None);
    }

    /// Tries again and again to store what is kept, for as long as this process is the server.
    pub(crate) async fn store_what_waits(&self) {
        let mut count = self.unstored.count();
        let mut pause = PAUSE_MIN;
        // The count cannot end while `self` lives.
        while count.wait_for(|count| *count > 0).await.is_ok() {
            time::sleep(pause).await;
            if !self.store.may_write() {
                return;
            }
            let is_stored = self.store_first().await;
            pause = if is_stored {
                Duration::ZERO
            } else {
                pause.saturating_mul(2).clamp(PAUSE_MIN, PAUSE_MAX)
            };
        }
    }

    /// Stores the result that is the next to be tried. False when that failed.
    async fn store_first(&self) -> bool {
        let _trying = self.trying.lock().await;
        let Some((id, end)) = self.unstored.first() else {
            return true;
        };
        match self.try_to_store(&end).await {
            Ok(()) => {
                self.unstored.forget(id);
                tracing::info!(run_id = %id, "the result is stored now");
                true
            }
            Err(error) => {
                self.unstored.first_failed(error);
                false
            }
        }
    }

    async fn try_to_store(&self, end: &Arc<UnstoredRun>) -> Result<(), String> {
        let end = Arc::clone(end);
        let work = move |store: &Store| {
            let run = v1::Run {
                unstored: false,
                ..end.run.clone()
            };
            store.finish(&run, &end.pages, &end.series)
        };
        let stored = self.with_store(work).await.flatten();
        stored.map_err(|failure| failure.sentence)
    }

    /// Deletes a run that is kept, and what the database has of it. False when it is not kept.
    pub(crate) async fn delete_unstored(&self, id: RunId) -> Result<bool, Failure> {
        let _trying = self.trying.lock().await;
        if self.unstored.find(id).is_none() {
            return Ok(false);
        }
        self.change(move |store| store.delete_unstored(id)).await?;
        Ok(self.unstored.forget(id))
    }

    /// All that are kept.
    pub(crate) fn all_unstored(&self) -> Vec<(RunId, Arc<UnstoredRun>)> {
        self.unstored.all()
    }

    /// The run of this id, if it is kept in memory.
    pub(crate) fn find_unstored(&self, id: RunId) -> Option<Arc<UnstoredRun>> {
        self.unstored.find(id)
    }

    /// How many results wait to be stored, now and whenever that changes.
    pub(crate) fn unstored(&self) -> watch::Receiver<usize> {
        self.unstored.count()
    }

    /// Why the newest try to store one failed.
    pub(crate) fn why_unstored(&self) -> String {
        self.unstored.why()
    }

    /// An error when so many results wait that no run is to add another one.
    pub(super) fn has_room(&self) -> Result<(), Failure> {
        let waiting = *self.unstored.count().borrow();
        if waiting < UNSTORED_MAX {
            return Ok(());
        }
        let why = self.unstored.why();
        Err(failed(&format!(
            "{waiting} results wait to be stored, since the history cannot be written: {why}"
        )))
    }

    /// Whether this server's runs end with this process: not once another process has taken over.
    pub(crate) fn set_last(&self, is_last: bool) {
        self.store.set_last(is_last);
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> String {
        self.store.path().display().to_string()
    }
}

/// A failure of the store, which is in the log now.
pub(super) fn logged(failure: Failure) -> Failure {
    if let Some(withheld) = UNUSABLE.admit(clock::now_ns()) {
        tracing::error!(withheld, "{}", failure.sentence);
    }
    failure
}

fn failed(sentence: &str) -> Failure {
    Failure::new(FailureCode::HistoryFailed, sentence)
}
