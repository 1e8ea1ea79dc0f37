//! When this process did not run: noted by a task that reads the clock ten times a second, and by
//! every task that is about to judge a silence, since after a pause any of them may come first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metronome_os::clock;
use tokio::time::{self, MissedTickBehavior};

use crate::model::{PAUSE_READ_EVERY_NS, Pauses};

/// The pauses of this process.
#[derive(Debug)]
pub(crate) struct OwnPauses(Mutex<Pauses>);

impl Default for OwnPauses {
    fn default() -> Self {
        Self(Mutex::new(Pauses::new(clock::now_ns())))
    }
}

impl OwnPauses {
    /// Reads the clock for as long as the process lives.
    pub(crate) async fn watch(&self) {
        let mut ticks = time::interval(Duration::from_nanos(PAUSE_READ_EVERY_NS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            drop(self.read());
        }
    }

    /// For how long this process has not run since `from_ns`, and up to when that is known, ns.
    /// What comes after that instant belongs to the next answer: of an own reading of the clock it
    /// would be in neither.
    pub(crate) fn since(&self, from_ns: u64) -> (u64, u64) {
        let pauses = self.read();
        (pauses.paused_since(from_ns), pauses.last_read_ns())
    }

    /// The longest pause of this process since `from_ns`, ns.
    pub(crate) fn longest_since(&self, from_ns: u64) -> Option<u64> {
        self.read().longest_within(from_ns, u64::MAX)
    }

    fn read(&self) -> MutexGuard<'_, Pauses> {
        // No code between lock and unlock can leave it half changed.
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pause_ns) = pauses.read(clock::now_ns()) {
            let seconds = pause_ns as f64 / 1e9;
            tracing::warn!(pause_ns, "this process did not run for {seconds:.1} s");
        }
        pauses
    }
}
