//! One worker across its processes: when the next one starts, and what outlives each of them.

use std::sync::atomic::Ordering;

use metronome_os::realtime::Granted;
use rustix::process::Pid;

use super::{deaths::Deaths, message_channel::MessageChannel, process::Process};
use crate::{
    ipc::FromWorker,
    ledger::{Ledger, WorkerLine},
    upgrade::SavedWorker,
};

/// One worker: its process when there is one, and what outlives it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) index: usize,
    pub(super) process: Option<Process>,
    /// When to start the next process; of use while there is none.
    pub(super) restart_at_ns: u64,
    /// Processes after the first.
    pub(super) restarts: u32,
    /// Packets attributed to this worker since the server's start.
    pub(super) packets: u64,
    /// CPU of the processes that are gone.
    cpu_gone_ns: u64,
    pub(super) deaths: Deaths,
    /// It was in a crash loop when that was last looked at.
    was_in_crash_loop: bool,
}

/// A worker process that has ended.
#[derive(Debug)]
pub(crate) struct EndedProcess {
    /// Where its last messages may lie.
    messages: MessageChannel,
    /// In words.
    pub(crate) how: String,
    pub(crate) started_ns: u64,
    /// It ended without a request to quit.
    pub(crate) is_death: bool,
}

impl EndedProcess {
    /// The next message that it had sent before its end.
    pub(crate) fn receive(&self) -> Option<FromWorker> {
        self.messages.receive()
    }
}

impl Worker {
    /// A worker without a process, which is to start at once.
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            process: None,
            restart_at_ns: 0,
            restarts: 0,
            packets: 0,
            cpu_gone_ns: 0,
            deaths: Deaths::default(),
            was_in_crash_loop: false,
        }
    }

    /// Takes a process that is this worker from now on.
    pub(super) fn take_process(
        &mut self,
        mut process: Process,
        ledger: &Ledger,
        now_ns: u64,
    ) -> &mut Process {
        let beat_ns = self.line(ledger).heartbeat_ns.load(Ordering::Acquire);
        process.serve_as(self.index, beat_ns, now_ns);
        self.process.insert(process)
    }

    /// Whether it has no process and has waited long enough for one.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.process.is_none() && now_ns >= self.restart_at_ns
    }

    /// CPU time of all its processes, ns.
    pub(super) fn cpu_ns(&self) -> u64 {
        let running = self.process.as_ref().map_or(0, Process::cpu_ns);
        self.cpu_gone_ns.saturating_add(running)
    }

    /// What the scheduler grants to its process now. `None` without one.
    pub(super) fn granted(&self) -> Option<Granted> {
        self.process.as_ref()?.granted()
    }

    /// Whether its heartbeat stands still.
    pub(super) fn hangs(&mut self, ledger: &Ledger, now_ns: u64) -> bool {
        let beat_ns = self.line(ledger).heartbeat_ns.load(Ordering::Acquire);
        self.process
            .as_mut()
            .is_some_and(|process| process.hangs(beat_ns, now_ns))
    }

    /// For how long its processes were away so far, ns, with the time for which the present one has
    /// been by now: it counts that only when it comes round again.
    pub(super) fn away_ns(&self, ledger: &Ledger, now_ns: u64) -> u64 {
        /// Twice as long as a worker waits for anything and more, so that it counts more itself.
        const IN_TIME_NS_MAX: u64 = 500_000_000;
        let line = self.line(ledger);
        let counted_ns = line.away_ns.load(Ordering::Acquire);
        let beat_ns = line.heartbeat_ns.load(Ordering::Acquire);
        let silent_ns = now_ns.saturating_sub(beat_ns);
        let silent_ns = if self.is_ready() { silent_ns } else { 0 };
        counted_ns.saturating_add(silent_ns.saturating_sub(IN_TIME_NS_MAX))
    }

    /// It takes connections.
    pub(super) fn serves(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !process.is_quitting)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.is_ready)
    }

    /// Whether it would read a connection soon enough that it was given now. One that starts would
    /// not if its packets wait already, and one in a crash loop would soon leave it behind again.
    pub(super) fn reads_soon(&self, packets_wait: bool, now_ns: u64) -> bool {
        (self.is_ready() || !packets_wait) && !self.is_in_crash_loop(now_ns)
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            process.kill();
        }
    }

    /// Reaps a process that has ended. `None` while it runs.
    pub(super) fn reap(&mut self, now_ns: u64) -> Option<EndedProcess> {
        let process = self.process.as_mut()?;
        // Before it is reaped: afterwards its clock is gone.
        let cpu_ns = process.cpu_ns();
        let status = process.try_reap()?;
        let process = self.process.take()?;
        self.cpu_gone_ns = self.cpu_gone_ns.saturating_add(cpu_ns);
        let is_death = !process.is_quitting;
        self.restart_at_ns = if is_death {
            self.deaths.note(process.started_ns, now_ns)
        } else {
            self.deaths.note_quit(process.started_ns, now_ns);
            now_ns
        };
        self.restarts = self.restarts.saturating_add(1);
        let how = format!(
            "worker {} (pid {}) ended: {status}",
            self.index, process.pid
        );
        Some(EndedProcess {
            messages: process.messages,
            how,
            started_ns: process.started_ns,
            is_death,
        })
    }

    /// How many of its processes ended without being asked to.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths.total
    }

    /// Dies again and again.
    pub(crate) fn is_in_crash_loop(&self, now_ns: u64) -> bool {
        let started_ns = self.process.as_ref().map(|process| process.started_ns);
        self.deaths.is_crash_loop(started_ns, now_ns)
    }

    /// Whether a crash loop is over since the last call.
    pub(super) fn take_end_of_crash_loop(&mut self, now_ns: u64) -> bool {
        let is_in_crash_loop = self.is_in_crash_loop(now_ns);
        std::mem::replace(&mut self.was_in_crash_loop, is_in_crash_loop) && !is_in_crash_loop
    }

    /// The line of the ledger that its process writes.
    pub(super) fn line<'a>(&self, ledger: &'a Ledger) -> &'a WorkerLine {
        ledger.worker(self.index)
    }

    /// What outlives its process, for a new server process.
    pub(crate) fn saved(&self) -> SavedWorker {
        SavedWorker {
            restarts: self.restarts,
            packets: self.packets,
            cpu_gone_ns: self.cpu_ns(),
            deaths: self.deaths.total,
            deaths_ns: self.deaths.recent_ns.clone(),
        }
    }

    /// Goes on counting where the worker of this index of another server left off.
    pub(crate) fn restore(&mut self, saved: SavedWorker) {
        // The end of the old server's worker is counted already.
        self.restarts = self.restarts.saturating_add(saved.restarts);
        self.packets = saved.packets;
        self.cpu_gone_ns = self.cpu_gone_ns.saturating_add(saved.cpu_gone_ns);
        self.deaths.total = self.deaths.total.saturating_add(saved.deaths);
        self.deaths.recent_ns = saved.deaths_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_in_a_crash_loop_reads_none_soon_until_the_loop_is_over() {
        const SECOND_NS: u64 = 1_000_000_000;
        let mut worker = Worker::new(0);
        let reads_soon = |worker: &mut Worker, now_ns| {
            let ended = worker.take_end_of_crash_loop(now_ns);
            let soon = [false, true].map(|packets_wait| worker.reads_soon(packets_wait, now_ns));
            (soon, ended)
        };
        assert_eq!(reads_soon(&mut worker, 1), ([true, false], false));
        for death_ns in 1..=5 {
            worker.deaths.note(0, death_ns);
        }
        let mut process = Process::idle(10);
        process.set_ready(10);
        worker.process = Some(process);
        for now_ns in [10, 5 * SECOND_NS] {
            assert_eq!(reads_soon(&mut worker, now_ns), ([false, false], false));
        }
        let over_ns = 11 * SECOND_NS;
        assert_eq!(reads_soon(&mut worker, over_ns), ([true, true], true));
        assert_eq!(reads_soon(&mut worker, over_ns), ([true, true], false));
        worker.process.take().unwrap().abandon();
    }

    #[test]
    fn a_restored_worker_goes_on_counting_where_the_other_left_off() {
        let mut old = Worker::new(0);
        (old.restarts, old.packets) = (3, 40);
        old.deaths.note(0, 10);
        let mut new = Worker::new(0);
        new.restarts = 1;
        new.restore(old.saved());
        assert_eq!((new.restarts, new.packets, new.deaths.total), (4, 40, 1));
        assert_eq!(new.deaths.recent_ns, old.deaths.recent_ns);
        let mut third = Worker::new(0);
        third.restore(SavedWorker {
            restarts: u32::MAX,
            ..new.saved()
        });
        third.restore(new.saved());
        assert_eq!(third.restarts, u32::MAX, "whatever it is given");
    }
}
