//! The worker processes: starting, messages, heartbeats, and how long to wait before the next
//! start.
//!
//! What becomes of a dead worker's connections is decided in `recover`.

use std::{
    collections::VecDeque,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::Child,
    sync::atomic::Ordering,
};

use metronome_os::{
    channel::Channel,
    process::{Executable, cpu_ns},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::worker_log;
use crate::{
    ipc::ToWorker,
    ledger::{Ledger, WorkerLine},
};

/// A worker whose heartbeat stands still for this long is killed. It beats every 0.25 s at least.
const HANG_NS: u64 = 1_500_000_000;

/// For a process to say that it serves: many may start at once on few cores.
const START_NS: u64 = 10_000_000_000;

/// Deaths in this time count as a crash loop …
const CRASH_LOOP_NS: u64 = 10_000_000_000;

/// … and this many of them make the server degraded.
pub(super) const CRASH_LOOP_DEATHS: usize = 5;

/// A process that lived this long was able to: the next one starts at once.
const SHORT_LIFE_NS: u64 = 1_000_000_000;

const RESTART_WAIT_FIRST_NS: u64 = 100_000_000;
const RESTART_WAIT_MAX_NS: u64 = 5_000_000_000;

/// One worker: its process when there is one, and what outlives it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) process: Option<Process>,
    /// When to start the next process; set while there is none.
    pub(super) restart_at_ns: u64,
    /// Processes after the first.
    pub(super) restarts: u32,
    /// Packets put down to this worker since the server's start.
    pub(super) packets: u64,
    /// Connections that it reads.
    pub(super) connections: u32,
    /// CPU of the processes that are gone.
    cpu_gone_ns: u64,
    deaths_ns: VecDeque<u64>,
    /// Processes that ended without being asked to.
    pub(super) deaths: u64,
    /// Processes in a row that did not live long.
    short_lives: u32,
}

/// A running worker process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) channel: Channel,
    /// Messages that the channel had no room for, in order.
    queue: VecDeque<Outgoing>,
    started_ns: u64,
    /// It has said that it serves.
    is_ready: bool,
    /// It was asked to quit: it gets no more connections, and its end is no death.
    is_quitting: bool,
    /// The heartbeat last seen, and when it was first seen.
    beat: (u64, u64),
    cpu_seen_ns: u64,
}

/// A worker process that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Where its last messages may lie.
    pub(super) channel: Channel,
    /// In words.
    pub(super) how: String,
    pub(super) started_ns: u64,
}

/// What the worker of a number has been, across its processes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Legacy {
    restarts: u32,
    packets: u64,
    cpu_gone_ns: u64,
    deaths: u64,
    deaths_ns: VecDeque<u64>,
}

/// A message and the connection whose socket goes with it.
#[derive(Debug)]
struct Outgoing {
    message: ToWorker,
    slot: Option<u32>,
}

impl Worker {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            process: None,
            restart_at_ns: 0,
            restarts: 0,
            packets: 0,
            connections: 0,
            cpu_gone_ns: 0,
            deaths_ns: VecDeque::new(),
            deaths: 0,
            short_lives: 0,
        }
    }

    /// Starts a process and hands it the ledger.
    pub(super) fn start(
        &mut self,
        executable: &Executable,
        ledger: &Ledger,
        accept_raw: bool,
        now_ns: u64,
    ) -> io::Result<()> {
        let (channel, theirs) = Channel::pair()?;
        for memory in ledger.descriptors() {
            let slots = ledger.slots().len() as u32;
            let message = ToWorker::Memory {
                worker: self.index as u32,
                slots,
                accept_raw,
            };
            channel.send(&message.encode(), Some(memory))?;
        }
        let mut child = executable.start_worker(theirs)?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        if let Some(stderr) = child.stderr.take() {
            // Without a thread to read it nobody hears what it says, which is no reason not to
            // serve.
            let _ = worker_log::follow(self.index, pid, stderr);
        }
        // What a dead process left there is no sign of life of the new one.
        let beat = (
            self.line(ledger).heartbeat_ns.load(Ordering::Acquire),
            now_ns,
        );
        self.process = Some(Process {
            child,
            pid,
            pidfd,
            channel,
            queue: VecDeque::new(),
            started_ns: now_ns,
            is_ready: false,
            is_quitting: false,
            beat,
            cpu_seen_ns: 0,
        });
        Ok(())
    }

    /// Says something; `socket` finds the socket of a slot when it goes with the message.
    pub(super) fn say<'a>(
        &mut self,
        message: ToWorker,
        slot: Option<u32>,
        socket: impl Fn(u32) -> Option<BorrowedFd<'a>>,
    ) {
        let Some(process) = &mut self.process else {
            return;
        };
        process.queue.push_back(Outgoing { message, slot });
        process.flush(socket);
    }

    /// Ends a process that cannot be watched.
    pub(super) fn abandon(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }

    /// What outlives its process, for a successor.
    pub(super) fn legacy(&self) -> Legacy {
        Legacy {
            restarts: self.restarts,
            packets: self.packets,
            cpu_gone_ns: self.cpu_ns(),
            deaths: self.deaths,
            deaths_ns: self.deaths_ns.clone(),
        }
    }

    /// Goes on counting where the worker of this number of another server left off.
    pub(super) fn inherit(&mut self, legacy: Legacy) {
        // The end of the old server's worker is counted already.
        self.restarts = self.restarts.saturating_add(legacy.restarts);
        self.packets = legacy.packets;
        self.cpu_gone_ns = self.cpu_gone_ns.saturating_add(legacy.cpu_gone_ns);
        self.deaths = self.deaths.saturating_add(legacy.deaths);
        self.deaths_ns = legacy.deaths_ns;
    }

    /// CPU time of all its processes, ns.
    pub(super) fn cpu_ns(&self) -> u64 {
        let running = self
            .process
            .as_ref()
            .and_then(|process| cpu_ns(process.pid));
        self.cpu_gone_ns.saturating_add(running.unwrap_or(0))
    }

    /// Whether its heart stands still. Also keeps its CPU time for the case that it dies.
    pub(super) fn hangs(&mut self, ledger: &Ledger, now_ns: u64) -> bool {
        let beat_ns = self.line(ledger).heartbeat_ns.load(Ordering::Acquire);
        let Some(process) = &mut self.process else {
            return false;
        };
        process.cpu_seen_ns = cpu_ns(process.pid).unwrap_or(process.cpu_seen_ns);
        if process.beat.0 != beat_ns {
            process.beat = (beat_ns, now_ns);
        }
        let silence_ns_max = if process.is_ready { HANG_NS } else { START_NS };
        now_ns.saturating_sub(process.beat.1) > silence_ns_max
    }

    /// The master was late itself: nobody's silence counts.
    pub(super) fn forgive_silence(&mut self, now_ns: u64) {
        if let Some(process) = &mut self.process {
            process.beat.1 = now_ns;
        }
    }

    /// It takes connections.
    pub(super) fn serves(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !process.is_quitting)
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.is_ready)
    }

    /// It serves: from here on a heartbeat is due, however long its start took.
    pub(super) fn set_ready(&mut self, now_ns: u64) {
        // Once: a worker gone wrong that says so again and again is no worker that beats.
        if let Some(process) = self.process.as_mut().filter(|process| !process.is_ready) {
            process.is_ready = true;
            process.beat.1 = now_ns;
        }
    }

    pub(super) fn set_quitting(&mut self) {
        if let Some(process) = &mut self.process {
            process.is_quitting = true;
        }
    }

    /// Whether this worker's process, alive or not yet reaped, has this id.
    pub(super) fn has_process(&self, pid: Pid) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.pid == pid)
    }

    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
        }
    }

    /// Reaps a process that has ended and says how. `None` while it runs.
    pub(super) fn reap(&mut self, now_ns: u64) -> Option<Ended> {
        let process = self.process.as_mut()?;
        let cpu_ns = cpu_ns(process.pid).unwrap_or(process.cpu_seen_ns);
        let status = match process.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let process = self.process.take()?;
        self.cpu_gone_ns = self
            .cpu_gone_ns
            .saturating_add(cpu_ns.max(process.cpu_seen_ns));
        if process.is_quitting {
            self.restart_at_ns = now_ns;
        } else {
            self.note_death(process.started_ns, now_ns);
        }
        self.restarts = self.restarts.saturating_add(1);
        let how = format!(
            "worker {} (pid {}) ended: {status}",
            self.index, process.pid
        );
        Some(Ended {
            channel: process.channel,
            how,
            started_ns: process.started_ns,
        })
    }

    fn note_death(&mut self, started_ns: u64, now_ns: u64) {
        let was_short = now_ns.saturating_sub(started_ns) < SHORT_LIFE_NS;
        self.short_lives = if was_short {
            self.short_lives.saturating_add(1)
        } else {
            0
        };
        self.restart_at_ns = now_ns + restart_wait_ns(self.short_lives);
        self.deaths_ns
            .retain(|death_ns| now_ns.saturating_sub(*death_ns) < CRASH_LOOP_NS);
        self.deaths_ns.push_back(now_ns);
        self.deaths = self.deaths.saturating_add(1);
    }

    /// Dies again and again.
    pub(super) fn is_in_crash_loop(&self, now_ns: u64) -> bool {
        let recent = self
            .deaths_ns
            .iter()
            .filter(|death_ns| now_ns.saturating_sub(**death_ns) < CRASH_LOOP_NS);
        recent.count() >= CRASH_LOOP_DEATHS
    }

    pub(super) fn line<'a>(&self, ledger: &'a Ledger) -> &'a WorkerLine {
        ledger.worker(self.index)
    }
}

impl Process {
    /// Sends what waits, as far as there is room. True when nothing waits any more.
    pub(super) fn flush<'a>(&mut self, socket: impl Fn(u32) -> Option<BorrowedFd<'a>>) -> bool {
        while let Some(next) = self.queue.front() {
            let descriptor = match next.slot {
                Some(slot) => match socket(slot) {
                    Some(descriptor) => Some(descriptor),
                    // The connection has ended in the meantime.
                    None => {
                        self.queue.pop_front();
                        continue;
                    }
                },
                None => None,
            };
            if self
                .channel
                .send(&next.message.encode(), descriptor)
                .is_err()
            {
                // Full, or the worker is dead; its death has an event of its own.
                return false;
            }
            self.queue.pop_front();
        }
        true
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// How long to wait before a start, after so many short lives in a row: 0, then 0.1 s doubling to
/// 5 s, so that a worker that cannot live never becomes a fork storm.
fn restart_wait_ns(short_lives: u32) -> u64 {
    let Some(doublings) = short_lives.checked_sub(1) else {
        return 0;
    };
    let factor = 2_u64.saturating_pow(doublings);
    RESTART_WAIT_FIRST_NS
        .saturating_mul(factor)
        .min(RESTART_WAIT_MAX_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_before_a_start_grows_from_nothing_to_five_seconds() {
        let waits: Vec<u64> = (0..9)
            .map(|deaths| restart_wait_ns(deaths) / 1_000_000)
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(restart_wait_ns(u32::MAX), RESTART_WAIT_MAX_NS);
        assert_eq!(restart_wait_ns(64), RESTART_WAIT_MAX_NS);
    }

    #[test]
    fn five_deaths_in_ten_seconds_are_a_crash_loop_and_are_forgotten() {
        let mut worker = Worker::new(0);
        let second = 1_000_000_000;
        for death in 0..5 {
            assert!(!worker.is_in_crash_loop(death * second));
            worker.note_death(0, death * second + 1);
        }
        assert!(worker.is_in_crash_loop(5 * second));
        assert!(!worker.is_in_crash_loop(11 * second));
        assert_eq!(worker.deaths, 5);
    }

    #[test]
    fn a_worker_that_lived_is_started_again_at_once_and_one_that_did_not_waits() {
        let mut worker = Worker::new(0);
        let second = 1_000_000_000;
        worker.note_death(0, 2 * second);
        assert_eq!(worker.restart_at_ns, 2 * second);
        worker.note_death(2 * second, 2 * second + 5);
        assert_eq!(worker.restart_at_ns, 2 * second + 5 + RESTART_WAIT_FIRST_NS);
        worker.note_death(3 * second, 9 * second);
        assert_eq!(worker.restart_at_ns, 9 * second);
    }
}
