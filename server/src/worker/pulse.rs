//! The sign of life of a worker, and its priority: both are looked at once in each turn of the loop
//! and, where a packet handler takes time of its own, in front of each call.

use metronome_os::realtime::Realtime;

use crate::ledger::{CommitWriter as _, ReleaseStore, WorkerLine};

pub(super) struct Pulse {
    /// The worker's index: which line of the ledger is its own.
    pub(super) index: usize,
    /// The master serves, so that the line in the ledger is ours to write.
    has_begun: bool,
    realtime: Realtime,
}

impl Pulse {
    pub(super) fn new(index: usize, realtime: Realtime) -> Self {
        Self {
            index,
            has_begun: false,
            realtime,
        }
    }

    /// The master serves.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Stores the heartbeat, and gives the priority back where the worker sleeps too little.
    #[inline]
    pub(super) fn beat(&mut self, line: &WorkerLine, now_ns: u64) {
        // Until a new server process takes over, its workers share their lines with those of the
        // old one: a heartbeat here would hide that one of those hangs.
        if self.has_begun {
            ReleaseStore.store(&line.heartbeat_ns, now_ns);
        }
        self.realtime.review(now_ns);
    }
}
