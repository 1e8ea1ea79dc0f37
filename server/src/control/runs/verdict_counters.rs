//! How the runs of this server have ended, summed since its start.

use std::sync::{Mutex, MutexGuard, PoisonError};

use metronome_proto::v1::VerdictStatus;

/// Every verdict that a run may have.
pub(crate) const VERDICTS: [VerdictStatus; 3] = [
    VerdictStatus::Valid,
    VerdictStatus::Partial,
    VerdictStatus::Invalid,
];

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(crate) struct VerdictCounters(Mutex<VerdictSums>);

/// The sums as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct VerdictSums {
    /// Runs ended, in the order of [`VERDICTS`].
    pub(crate) runs_ended: [u64; 3],
    /// Runs that were over before their first packet was due.
    pub(crate) runs_failed: u64,
    /// Packets lost in all of them, as far as that is known.
    pub(crate) lost: u64,
}

impl VerdictCounters {
    /// A run has ended. `lost`: of the clients of which it is known, within their shares.
    pub(super) fn run_ended(&self, verdict: VerdictStatus, lost: u64) {
        let mut sums = self.lock();
        if let Some(place) = VERDICTS.iter().position(|known| *known == verdict) {
            sums.runs_ended[place] += 1;
        }
        sums.lost = sums.lost.saturating_add(lost);
    }

    /// A run has failed.
    pub(super) fn run_failed(&self) {
        self.lock().runs_failed += 1;
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
