//! Counters of the pacing threads that are read while the load runs, for the progress of the run.
//!
//! Each thread writes its own with plain stores; the sum over the threads may be a moment apart,
//! and packets that are due and not written yet are neither sent nor skipped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metronome_proto::{counters::CounterList as _, v1};

use crate::load::{
    assignment::Assignment, replies::live_replies::LiveReplies, send_buffer::SendBuffer,
};

/// The counters of one pacing thread, in cache lines of their own. There is one writer, so a store
/// loses nothing and costs no locked instruction.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LiveCounters {
    scheduled: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
    blocked: AtomicU64,
    replies_requested: AtomicU64,
}

/// Counters for every pacing thread of `assignment`.
pub(crate) fn of_threads(assignment: &Assignment) -> Arc<[LiveCounters]> {
    (0..assignment.thread_count())
        .map(|_| LiveCounters::default())
        .collect()
}

impl LiveCounters {
    /// Makes the counters of the thread visible to others.
    #[inline]
    pub(super) fn publish(&self, send_buffer: &SendBuffer) {
        self.scheduled.store(send_buffer.scheduled, Relaxed);
        self.sent.store(send_buffer.sent, Relaxed);
        self.skipped.store(send_buffer.skipped, Relaxed);
        self.blocked.store(send_buffer.blocked, Relaxed);
        self.replies_requested
            .store(send_buffer.replies_requested, Relaxed);
    }

    fn counts(&self) -> v1::GeneratorCounts {
        v1::GeneratorCounts {
            replies_read: Some(0),
            replies_requested: Some(self.replies_requested.load(Relaxed)),
            replies_unexpected: Some(0),
            scheduled: self.scheduled.load(Relaxed),
            sent: self.sent.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
        }
    }
}

/// The sum over all threads of a run, with its replies, as the API has it.
pub(crate) fn progress(
    run_id: &str,
    threads: &[LiveCounters],
    replies: &LiveReplies,
) -> v1::Progress {
    let mut counts = threads
        .iter()
        .map(LiveCounters::counts)
        .fold(v1::GeneratorCounts::zero(), |sum, counts| sum.plus(&counts));
    let (read, unexpected) = replies.counts();
    counts.replies_read = Some(read);
    counts.replies_unexpected = Some(unexpected);
    v1::Progress {
        round_trips: replies.round_trips(),
        run_id: run_id.into(),
        counts: Some(counts),
        obstacle: None,
        host_points: Vec::new(),
        sockets: None,
    }
}
