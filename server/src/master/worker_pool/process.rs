//! One worker process: started with the ledger, made one of the workers, watched by its heartbeat,
//! ended by a signal.

use std::{
    io,
    os::fd::OwnedFd,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use metronome_os::{
    clock::{now_ns, timespec},
    process::{Executable, cpu_ns},
    realtime::Granted,
    seq_packet::SeqPacket,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::{log, message_channel::MessageChannel};
use crate::{ipc::ToWorker, ledger::Ledger};

/// A worker whose heartbeat stands still for this long is killed. It beats every 0.25 s at least.
const HANG_NS: u64 = 1_500_000_000;

/// The same where there is a packet handler: a worker beats before each call, and one that takes so
/// long has failed.
const HANG_IN_HANDLER_NS: u64 = 1_000_000_000;

/// For a process to report that it serves: many may start at once on few cores.
const START_NS: u64 = 10_000_000_000;

/// What a worker process is started as.
#[derive(Clone, Debug)]
pub(super) struct ProcessSettings {
    /// Connections without a hello are counted too.
    pub(super) accept_raw: bool,
    /// Its program has a packet handler.
    pub(super) has_handler: bool,
    /// It takes the priority that it is granted as one of so many workers on so many cores.
    pub(super) priority: Option<ToWorker>,
}

/// A running worker process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) messages: MessageChannel,
    /// Which worker it is, for the log of what it writes.
    index: Arc<AtomicU32>,
    /// When it became the worker that it is, before that when it was started.
    pub(super) started_ns: u64,
    /// It has reported that it waits for the order to be one of the workers.
    pub(super) is_prepared: bool,
    /// It serves: it has reported that, or was prepared so far that it will at once.
    pub(super) is_ready: bool,
    /// It was asked to quit: it gets no more connections, and its end is no death.
    pub(super) is_quitting: bool,
    /// Its last sign of life.
    heartbeat: Heartbeat,
    cpu_seen_ns: u64,
    has_handler: bool,
}

/// The heartbeat in the ledger as it was last seen.
#[derive(Clone, Copy, Debug)]
struct Heartbeat {
    beat_ns: u64,
    /// When this beat was first seen.
    seen_ns: u64,
}

/// A process that is to be started: its channel, with the ledger in it.
#[derive(Debug)]
pub(super) struct Start {
    channel: SeqPacket,
    theirs: OwnedFd,
    has_handler: bool,
}

impl Start {
    /// All that the process gets before it is one of the workers.
    pub(super) fn new(ledger: &Ledger, settings: &ProcessSettings) -> io::Result<Self> {
        let (channel, theirs) = SeqPacket::pair()?;
        for memory in ledger.descriptors() {
            let message = ToWorker::Memory {
                slots: ledger.slots().len() as u32,
                accept_raw: settings.accept_raw,
            };
            channel.send(&message.encode(), Some(memory))?;
        }
        if let Some(priority) = &settings.priority {
            channel.send(&priority.encode(), None)?;
        }
        Ok(Self {
            channel,
            theirs,
            has_handler: settings.has_handler,
        })
    }

    /// Starts the process, which belongs to the calling thread: it ends with that. Some ms pass.
    pub(super) fn spawn(self, executable: &Executable) -> io::Result<Process> {
        let mut child = executable.start_worker(self.theirs, self.has_handler)?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let index = Arc::new(AtomicU32::new(log::SPARE));
        if let Some(stderr) = child.stderr.take() {
            // Without a thread to read it its lines are lost, which is no reason not to serve.
            let _ = log::follow(Arc::clone(&index), pid, stderr);
        }
        let started_ns = now_ns();
        Ok(Process {
            child,
            pid,
            pidfd,
            messages: MessageChannel::new(self.channel),
            index,
            started_ns,
            is_prepared: false,
            is_ready: false,
            is_quitting: false,
            heartbeat: Heartbeat {
                beat_ns: 0,
                seen_ns: started_ns,
            },
            cpu_seen_ns: 0,
            has_handler: self.has_handler,
        })
    }
}

impl Process {
    /// It is worker `index` from now on. `beat_ns` is the heartbeat that stands in the ledger: what
    /// a dead process left there is no sign of life of this one.
    pub(super) fn serve_as(&mut self, index: usize, beat_ns: u64, now_ns: u64) {
        self.index.store(index as u32, Ordering::Relaxed);
        self.started_ns = now_ns;
        self.heartbeat = Heartbeat {
            beat_ns,
            seen_ns: now_ns,
        };
        // It reads the order first, and the connections that follow as soon as it runs.
        self.is_ready = self.is_prepared && !self.has_handler;
        self.messages.send(ToWorker::Serve {
            worker: index as u32,
        });
    }

    /// Whether it has taken too long to be prepared.
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        !self.is_prepared && now_ns.saturating_sub(self.started_ns) > START_NS
    }

    /// It serves: from here on a heartbeat is due, however long its start took. False when it had
    /// reported that before.
    pub(super) fn set_ready(&mut self, now_ns: u64) -> bool {
        // Once: a broken worker that reports it again and again is no worker that beats.
        let is_new = !std::mem::replace(&mut self.is_ready, true);
        if is_new {
            self.heartbeat.seen_ns = now_ns;
        }
        is_new
    }

    /// The master was late itself: the silence until now does not count.
    pub(super) fn forgive_silence(&mut self, now_ns: u64) {
        self.heartbeat.seen_ns = now_ns;
    }

    /// Whether its heartbeat stands still. Also notes its CPU time for the case that it dies.
    pub(super) fn hangs(&mut self, beat_ns: u64, now_ns: u64) -> bool {
        self.cpu_seen_ns = cpu_ns(self.pid).unwrap_or(self.cpu_seen_ns);
        if self.heartbeat.beat_ns != beat_ns {
            self.heartbeat = Heartbeat {
                beat_ns,
                seen_ns: now_ns,
            };
        }
        let silence_ns_max = match (self.is_ready, self.has_handler) {
            (false, _) => START_NS,
            (true, false) => HANG_NS,
            (true, true) => HANG_IN_HANDLER_NS,
        };
        now_ns.saturating_sub(self.heartbeat.seen_ns) > silence_ns_max
    }

    /// CPU time that it has used, ns: now, or when it was last seen.
    pub(super) fn cpu_ns(&self) -> u64 {
        cpu_ns(self.pid)
            .unwrap_or(self.cpu_seen_ns)
            .max(self.cpu_seen_ns)
    }

    /// What the scheduler grants to it now. `None` when it is gone.
    pub(super) fn granted(&self) -> Option<Granted> {
        Granted::of(Some(self.pid))
    }

    /// Keeps it on the core of this index, where the system grants it.
    pub(super) fn pin(&self, index: usize) {
        let Ok(allowed) = sched_getaffinity(None) else {
            return;
        };
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .collect();
        let mut own = CpuSet::new();
        own.set(cores[index % cores.len()]);
        let _ = sched_setaffinity(Some(self.pid), &own);
    }

    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Whether it has ended, also before it is reaped.
    pub(super) fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut polled, Some(&timespec(0))).is_ok_and(|ready| ready > 0)
    }

    /// Whether the other end of its channel is closed.
    pub(super) fn has_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&self.messages, PollFlags::empty())];
        let _ = poll(&mut polled, Some(&timespec(0)));
        polled[0].revents().contains(PollFlags::HUP)
    }

    /// Waits for its end, for so long.
    pub(super) fn wait(&self, at_most_ns: u64) {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let _ = poll(&mut polled, Some(&timespec(at_most_ns)));
    }

    /// Ends it at once and reaps it.
    pub(super) fn abandon(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, in words. `None` while it runs.
    pub(super) fn try_reap(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }
}

#[cfg(test)]
impl Process {
    /// A process that does nothing until it is ended.
    pub(super) fn idle(started_ns: u64) -> Self {
        let (channel, _) = SeqPacket::pair().unwrap();
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let child = child.unwrap();
        let pid = Pid::from_child(&child);
        Self {
            child,
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            messages: MessageChannel::new(channel),
            index: Arc::default(),
            started_ns,
            is_prepared: false,
            is_ready: false,
            is_quitting: false,
            heartbeat: Heartbeat {
                beat_ns: 0,
                seen_ns: started_ns,
            },
            cpu_seen_ns: 0,
            has_handler: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_report_that_it_serves_changes_anything() {
        let mut process = Process::idle(1);
        assert!(process.set_ready(5));
        assert!(process.is_ready && process.heartbeat.seen_ns == 5);
        assert!(!process.set_ready(9), "a message that cannot be read");
        assert!(process.is_ready && process.heartbeat.seen_ns == 5);
        process.abandon();
    }
}
