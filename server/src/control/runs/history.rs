//! The runs that have ended: in the history, or in memory while the history cannot be written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metronome_os::clock;
use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use metronome_telemetry::rate_limited_log::RateLimit;
use tokio::task;

use crate::store::Store;

/// So many reports are kept in memory while the history cannot be written.
const UNSTORED_MAX: usize = 100;

/// A caller can ask thousands of times.
static UNREADABLE: RateLimit = RateLimit::new(10, 10_000_000_000);

/// A run that has ended and is kept in memory because the history could not be written.
#[derive(Clone, Debug)]
pub(crate) struct UnstoredRun {
    pub(crate) run: v1::Run,
    pub(crate) pages: Vec<v1::ClientRows>,
}

/// The store, and the runs that it could not take.
#[derive(Debug)]
pub(crate) struct RunHistory {
    store: Arc<Store>,
    unstored: Mutex<VecDeque<(RunId, UnstoredRun)>>,
}

impl RunHistory {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: Arc::new(store),
            unstored: Mutex::default(),
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
        query: impl FnOnce(&Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.with_store(query)
            .await?
            .map_err(|error| unreadable(&error))
    }

    /// Keeps a run that the store could not take. Of more than 100 the oldest is given up.
    pub(crate) fn keep_unstored(&self, id: RunId, run: UnstoredRun) {
        let mut unstored = self.lock();
        if unstored.len() == UNSTORED_MAX {
            unstored.pop_front();
        }
        unstored.push_back((id, run));
    }

    /// Keeps a run no longer. False when it was not kept.
    pub(crate) fn forget_unstored(&self, id: RunId) -> bool {
        let mut unstored = self.lock();
        let before = unstored.len();
        unstored.retain(|(kept, _)| *kept != id);
        unstored.len() < before
    }

    /// All that are kept, oldest first.
    pub(crate) fn unstored(&self) -> Vec<(RunId, UnstoredRun)> {
        self.lock().iter().cloned().collect()
    }

    /// The run of this id, if it is kept in memory.
    pub(crate) fn find_unstored(&self, id: RunId) -> Option<UnstoredRun> {
        let unstored = self.lock();
        let found = unstored.iter().find(|(kept, _)| *kept == id);
        found.map(|(_, run)| run.clone())
    }

    /// Whether this server's runs end with this process: not once another process has taken over.
    pub(crate) fn set_last(&self, is_last: bool) {
        self.store.set_last(is_last);
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> String {
        self.store.path().display().to_string()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(RunId, UnstoredRun)>> {
        // No code between lock and unlock can leave it half changed.
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: &rusqlite::Error) -> Failure {
    if let Some(withheld) = UNREADABLE.admit(clock::now_ns()) {
        tracing::error!(withheld, "the history cannot be read: {error}");
    }
    failed(&format!("the history cannot be read: {error}"))
}

pub(super) fn failed(sentence: &str) -> Failure {
    Failure::new(FailureCode::HistoryFailed, sentence)
}
