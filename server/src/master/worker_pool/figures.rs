//! What the workers are and have done, as the control plane reads it.

use std::sync::atomic::Ordering;

use metronome_os::realtime::Granted;

use super::{pool::WorkerPool, worker::Worker};
use crate::{
    ledger::Ledger,
    model::{WorkerPresence, WorkerPriority, WorkerStatus, WorkerTotals},
};

impl WorkerPool {
    /// Every worker with its counters since the server's start.
    pub(crate) fn counts(&self, ledger: &Ledger) -> Vec<WorkerTotals> {
        let count = |worker: &Worker| {
            let line = worker.line(ledger);
            let pid = worker.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
            WorkerTotals {
                worker: worker.index as u32,
                pid: pid as u32,
                packets: worker.packets,
                cpu_ns: worker.cpu_ns(),
                reads: line.reads.load(Ordering::Acquire),
                wakeups: line.wakeups.load(Ordering::Acquire),
                pauses: line.pauses.load(Ordering::Acquire),
                paused_ns: line.paused_ns.load(Ordering::Acquire),
                restarts: worker.restarts,
            }
        };
        self.workers.iter().map(count).collect()
    }

    /// Every worker as it is now; `connections` is how many each reads.
    pub(crate) fn statuses(
        &self,
        ledger: &Ledger,
        connections: impl Fn(usize) -> u32,
    ) -> Vec<WorkerStatus> {
        let status = |(count, worker): (WorkerTotals, &Worker)| WorkerStatus {
            count,
            connections: connections(worker.index),
            is_real_time: worker.granted() == Some(Granted::RealTime),
            deaths: worker.deaths(),
        };
        let counts = self.counts(ledger).into_iter();
        counts.zip(&self.workers).map(status).collect()
    }

    /// The process of every worker, and for how long it was away until now.
    pub(crate) fn presences(&self, ledger: &Ledger, now_ns: u64) -> Vec<WorkerPresence> {
        let presence = |worker: &Worker| {
            let pid = worker.pid();
            WorkerPresence {
                worker: worker.index as u32,
                pid: pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
                away_ns: worker.away_ns(ledger, now_ns),
            }
        };
        self.workers.iter().map(presence).collect()
    }

    /// What the scheduler grants now to each worker that has a process.
    pub(crate) fn priorities(&self) -> Vec<WorkerPriority> {
        let granted = self.workers.iter().filter_map(Worker::granted);
        let priorities = granted.map(|granted| match granted {
            Granted::Ordinary => WorkerPriority::Ordinary,
            Granted::RaisedNice => WorkerPriority::RaisedNice,
            Granted::RealTime => WorkerPriority::RealTime,
        });
        priorities.collect()
    }

    /// Processes that ended without a request to quit, of all workers.
    pub(crate) fn deaths(&self) -> u64 {
        self.workers.iter().map(|worker| worker.deaths.total).sum()
    }

    /// Workers that die again and again.
    pub(crate) fn crash_loops(&self, now_ns: u64) -> Vec<u32> {
        self.workers
            .iter()
            .filter(|worker| worker.is_in_crash_loop(now_ns))
            .map(|worker| worker.index as u32)
            .collect()
    }
}
