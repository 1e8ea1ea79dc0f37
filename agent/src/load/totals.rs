//! The running totals of the pacing threads, for the progress of the run.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use metronome_proto::v1;

use crate::load::{assignment::Assignment, send_buffer::SendBuffer};

/// The running totals of one pacing thread, in cache lines of their own. One writer, so a store
/// loses nothing and costs no locked instruction.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Totals {
    sent: AtomicU64,
    skipped: AtomicU64,
    broken: AtomicU32,
}

/// Totals for every pacing thread of `assignment`.
pub(crate) fn of_threads(assignment: &Assignment) -> Arc<[Totals]> {
    assignment
        .clients_by_thread()
        .iter()
        .map(|_| Totals::default())
        .collect()
}

impl Totals {
    #[inline]
    pub(crate) fn publish(&self, send_buffer: &SendBuffer) {
        self.sent.store(send_buffer.sent, Relaxed);
        self.skipped.store(send_buffer.skipped, Relaxed);
        self.broken.store(send_buffer.broken, Relaxed);
    }
}

/// The sum over all threads of a run, as the API tells it.
pub(crate) fn progress(run_id: &str, totals: &[Totals]) -> v1::Progress {
    v1::Progress {
        run_id: run_id.into(),
        sent: totals.iter().map(|totals| totals.sent.load(Relaxed)).sum(),
        skipped: totals
            .iter()
            .map(|totals| totals.skipped.load(Relaxed))
            .sum(),
        clients_broken: totals
            .iter()
            .map(|totals| totals.broken.load(Relaxed))
            .sum(),
    }
}
