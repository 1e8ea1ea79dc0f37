//! How the runs of this server have ended, summed since its start.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every verdict that a run may have.
pub(crate) const VERDICTS: [&str; 3] = ["valid", "partial", "invalid"];

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(crate) struct VerdictCounters(Mutex<VerdictSums>);

/// The sums as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct VerdictSums {
    /// Runs ended, in the order of [`VERDICTS`].
    pub(crate) runs_ended: [u64; 3],
    /// Packets lost in all of them.
    pub(crate) lost: u64,
}

impl VerdictCounters {
    /// A run has ended.
    pub(super) fn run_ended(&self, verdict: &'static str, lost: u64) {
        let mut sums = self.lock();
        if let Some(place) = VERDICTS.iter().position(|known| *known == verdict) {
            sums.runs_ended[place] += 1;
        }
        sums.lost = sums.lost.saturating_add(lost);
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> VerdictSums {
        *self.lock()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: VerdictSums) {
        *self.lock() = sums;
    }

    fn lock(&self) -> MutexGuard<'_, VerdictSums> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
