//! Counters of the pacing threads that are read while the load runs, for the progress of the run.
//!
//! Each thread writes its own with plain stores; the sum over the threads may be a moment apart,
//! and packets that are due and not written yet are neither sent nor skipped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use metronome_proto::{counters::CounterList as _, limits::GROUPS_MAX, v1};

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
    /// By the places of the groups in the assignment.
    behind: [LiveBehind; GROUPS_MAX],
}

/// Packets of one group that were not written when they were due.
#[derive(Debug, Default)]
struct LiveBehind {
    skipped: AtomicU64,
    blocked: AtomicU64,
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
        if self.skipped.load(Relaxed) != send_buffer.skipped
            || self.blocked.load(Relaxed) != send_buffer.blocked
        {
            self.publish_behind(send_buffer);
        }
        self.replies_requested
            .store(send_buffer.replies_requested, Relaxed);
    }

    #[cold]
    fn publish_behind(&self, send_buffer: &SendBuffer) {
        self.skipped.store(send_buffer.skipped, Relaxed);
        self.blocked.store(send_buffer.blocked, Relaxed);
        for (live, behind) in self.behind.iter().zip(&send_buffer.behind) {
            live.skipped.store(behind.skipped, Relaxed);
            live.blocked.store(behind.blocked, Relaxed);
        }
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

/// What was not written when it was due, of each of these groups in the order of the assignment. A
/// group without any is left out, and so are all where there is one, whose figures the sums are.
fn groups_behind(threads: &[LiveCounters], groups: &[String]) -> Vec<v1::GroupBehind> {
    let of_group = |(place, group): (usize, &String)| {
        let of_thread = threads.iter().filter_map(|thread| thread.behind.get(place));
        let mut sum = v1::GroupBehind {
            group: group.clone(),
            ..v1::GroupBehind::default()
        };
        for behind in of_thread {
            sum.skipped += behind.skipped.load(Relaxed);
            sum.blocked += behind.blocked.load(Relaxed);
        }
        (sum.skipped > 0 || sum.blocked > 0).then_some(sum)
    };
    if groups.len() < 2 {
        return Vec::new();
    }
    groups.iter().enumerate().filter_map(of_group).collect()
}

/// The sum over all threads of a run, with its replies, as the API has it. `groups` are those of
/// the shares of the assignment.
pub(crate) fn progress(
    run_id: &str,
    threads: &[LiveCounters],
    groups: &[String],
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
        groups: groups_behind(threads, groups),
        run_id: run_id.into(),
        counts: Some(counts),
        obstacle: None,
        host_points: Vec::new(),
        sockets: None,
    }
}
