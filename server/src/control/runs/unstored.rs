//! The results that the database could not take yet, kept in memory until it does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{run_id::RunId, v1};
use tokio::sync::watch;

/// A run in its final state that is not in the database.
#[derive(Clone, Debug)]
pub(crate) struct UnstoredRun {
    /// With `unstored` set.
    pub(crate) run: v1::Run,
    /// The rows of its clients.
    pub(crate) pages: Vec<v1::ClientRows>,
    /// The pages of its series.
    pub(crate) series: Vec<v1::Series>,
}

/// All of them, in the order in which they are tried again.
#[derive(Debug)]
pub(super) struct UnstoredRuns {
    waiting: Mutex<Waiting>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Waiting {
    runs: VecDeque<(RunId, Arc<UnstoredRun>)>,
    /// Why the newest try failed. Empty before there was one here.
    why: String,
}

impl Default for UnstoredRuns {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl UnstoredRuns {
    /// Keeps a run, and returns it as it is kept: another task may store and forget it at once.
    /// `why`: what came of the try to store it; `None` when another process tried.
    pub(super) fn keep(
        &self,
        id: RunId,
        mut unstored: UnstoredRun,
        why: Option<String>,
    ) -> Arc<UnstoredRun> {
        unstored.run.unstored = true;
        let kept = Arc::new(unstored);
        let mut waiting = self.lock();
        waiting.runs.push_back((id, Arc::clone(&kept)));
        waiting.why = why.unwrap_or_default();
        self.count.send_replace(waiting.runs.len());
        kept
    }

    /// Keeps a run no longer. False when it was not kept.
    pub(super) fn forget(&self, id: RunId) -> bool {
        let mut waiting = self.lock();
        let before = waiting.runs.len();
        waiting.runs.retain(|(kept, _)| *kept != id);
        self.count.send_replace(waiting.runs.len());
        waiting.runs.len() < before
    }

    /// The run that is tried next.
    pub(super) fn first(&self) -> Option<(RunId, Arc<UnstoredRun>)> {
        self.lock().runs.front().cloned()
    }

    /// Notes that the first could not be stored; the others are tried before it is again, in case
    /// the cause lies in this one.
    pub(super) fn first_failed(&self, why: String) {
        let mut waiting = self.lock();
        if !waiting.runs.is_empty() {
            waiting.runs.rotate_left(1);
        }
        waiting.why = why;
    }

    /// The run of this id, if it is kept.
    pub(super) fn find(&self, id: RunId) -> Option<Arc<UnstoredRun>> {
        let waiting = self.lock();
        let mut runs = waiting.runs.iter();
        runs.find_map(|(kept, run)| (*kept == id).then(|| Arc::clone(run)))
    }

    /// All that are kept.
    pub(super) fn all(&self) -> Vec<(RunId, Arc<UnstoredRun>)> {
        self.lock().runs.iter().cloned().collect()
    }

    /// How many are kept, now and whenever that changes.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Why the newest try failed.
    pub(super) fn why(&self) -> String {
        match self.lock().why.as_str() {
            "" => "it was not tried again yet".into(),
            why => why.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code between lock and unlock can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_turn_though_one_always_fails() {
        let unstored = UnstoredRuns::default();
        for number in 1..=3 {
            let run = UnstoredRun {
                run: v1::Run::default(),
                pages: Vec::new(),
                series: Vec::new(),
            };
            let kept = unstored.keep(RunId::from_bits(number), run, Some("disk full".into()));
            assert!(kept.run.unstored);
        }
        assert_eq!(*unstored.count().borrow(), 3);
        let mut stored = Vec::new();
        while *unstored.count().borrow() > 1 {
            let (id, run) = unstored.first().unwrap();
            assert!(run.run.unstored);
            if id == RunId::from_bits(1) {
                unstored.first_failed("it is damaged".into());
            } else {
                assert!(unstored.forget(id) && !unstored.forget(id));
                stored.push(id.bits());
            }
        }
        assert_eq!(stored, [2, 3]);
        assert_eq!(unstored.why(), "it is damaged");
        assert!(unstored.find(RunId::from_bits(1)).is_some());
    }
}
