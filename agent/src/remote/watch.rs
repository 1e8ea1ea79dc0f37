//! The witness of one run: from before its start until its ends are exchanged.

use std::sync::{Mutex, PoisonError};

use metronome_proto::v1;
use metronome_witness::Witness;

/// The witness while it watches, and the start of the run, ns of CLOCK_MONOTONIC. Both the run's
/// thread and the session take what it has seen.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<(Witness, u64)>>);

impl Watch {
    /// Begins to watch. A run whose host gives no thread for it is one without its points.
    pub(super) fn begin(&self, start_ns: u64) {
        match Witness::begin(Vec::new()) {
            Ok(witness) => *self.lock() = Some((witness, start_ns)),
            Err(error) => tracing::warn!(%error, "the agent cannot watch its host"),
        }
    }

    /// The points since this was asked last.
    pub(super) fn take(&self) -> Vec<v1::HostPoint> {
        let watching = self.lock();
        let points = watching.as_ref();
        points.map_or_else(Vec::new, |(witness, start_ns)| witness.take(*start_ns))
    }

    /// Ends the watch: the points that were not taken yet.
    pub(super) fn finish(&self) -> Vec<v1::HostPoint> {
        let watching = self.lock().take();
        watching.map_or_else(Vec::new, |(witness, start_ns)| witness.finish(start_ns))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Witness, u64)>> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
