//! All workers: starting them, sending to them, watching over them.
//!
//! Invariant: every process is watched by the poller, its channel and its end; for room in its
//! channel exactly while messages wait for it.

use std::{io, os::fd::BorrowedFd, rc::Rc, sync::Arc};

use metronome_os::{clock::now_ns, process::Executable, realtime};
use rustix::{event::epoll::EventFlags, process::Pid};
use tracing::{info, warn};

use super::{
    placement::{self, Candidate},
    process::{Process, ProcessSettings, Start},
    rolling::{Rolling, Seen, Step},
    spare::Spare,
    worker::{EndedProcess, Worker},
};
use crate::{
    ipc::{FromWorker, ToWorker},
    ledger::Ledger,
    master::{
        events::{Poller, Token},
        request::Reply,
    },
    rx_batching::RxBatching,
    upgrade::SavedWorker,
};

/// For the workers to finish their batches and exit when the server stops.
const STOP_TIME_NS: u64 = 1_000_000_000;

/// What the worker processes are started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSettings {
    /// Worker processes, 1 to 256.
    pub(crate) workers: u32,
    pub(crate) accept_raw: bool,
    /// Give the workers the highest priority that the system grants.
    pub(crate) high_priority: bool,
    /// Pin worker i to the i-th core of those allowed.
    pub(crate) pin_workers: bool,
    /// How the workers read.
    pub(crate) rx_batching: RxBatching,
    /// They have a packet handler: its program's environment, and less time before they hang.
    pub(crate) has_handler: bool,
}

impl PoolSettings {
    /// What each process is started as.
    fn process(&self) -> ProcessSettings {
        let cores = realtime::cores() as u32;
        let priority = ToWorker::Realtime {
            cores,
            workers: self.workers,
        };
        ProcessSettings {
            accept_raw: self.accept_raw,
            has_handler: self.has_handler,
            priority: self.high_priority.then_some(priority),
        }
    }
}

/// The workers, by index.
pub(crate) struct WorkerPool {
    settings: PoolSettings,
    executable: Arc<Executable>,
    poller: Rc<Poller>,
    pub(super) workers: Vec<Worker>,
    spare: Spare,
    rolling: Option<Rolling>,
    when_ready: Vec<Reply<()>>,
}

impl WorkerPool {
    /// The workers, none of which has a process yet.
    pub(crate) fn new(settings: PoolSettings, executable: Executable, poller: Rc<Poller>) -> Self {
        let executable = Arc::new(executable);
        let spare = Spare::new(
            settings.process(),
            Arc::clone(&executable),
            Rc::clone(&poller),
        );
        Self {
            settings,
            executable,
            poller,
            spare,
            workers: (0..settings.workers as usize).map(Worker::new).collect(),
            rolling: None,
            when_ready: Vec::new(),
        }
    }

    /// The workers have a packet handler, which no other process calls.
    pub(crate) fn has_handler(&self) -> bool {
        self.settings.has_handler
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Starts a process for a worker that has none, and waits for that; `first` are the messages
    /// that it gets before any other.
    pub(crate) fn start(
        &mut self,
        index: usize,
        ledger: &Ledger,
        first: impl IntoIterator<Item = ToWorker>,
    ) -> io::Result<()> {
        let start = Start::new(ledger, &self.settings.process())?;
        let process = start.spawn(&self.executable)?;
        let watched = self
            .poller
            .add(&process.messages, Token::Channel(index), EventFlags::IN)
            .and_then(|()| {
                self.poller
                    .add(&process.pidfd, Token::Process(index), EventFlags::IN)
            });
        if let Err(error) = watched {
            // A process whose end would go unseen is worse than none.
            process.abandon();
            return Err(error);
        }
        self.employ(index, process, ledger, first);
        Ok(())
    }

    /// Makes a process that is watched one of the workers.
    fn employ(
        &mut self,
        index: usize,
        process: Process,
        ledger: &Ledger,
        first: impl IntoIterator<Item = ToWorker>,
    ) {
        let process = self.workers[index].take_process(process, ledger, now_ns());
        info!("worker {index} is process {}", process.pid);
        if self.settings.pin_workers {
            process.pin(index);
        }
        self.send(index, ToWorker::SetRxBatching(self.settings.rx_batching));
        first
            .into_iter()
            .for_each(|message| self.send(index, message));
    }

    /// Whether a worker has no process and has waited long enough for one.
    pub(crate) fn is_due(&self, index: usize, now_ns: u64) -> bool {
        self.workers[index].is_due(now_ns)
    }

    /// Makes the spare the process of a worker that has none and has waited long enough. False when
    /// there is none: then it will be as soon as there is one.
    pub(crate) fn replace_if_due(
        &mut self,
        index: usize,
        ledger: &Ledger,
        first: impl IntoIterator<Item = ToWorker>,
        now_ns: u64,
    ) -> bool {
        if !self.workers[index].is_due(now_ns) {
            return false;
        }
        let Some(process) = self.spare.take() else {
            return false;
        };
        self.poller
            .modify(&process.messages, Token::Channel(index), EventFlags::IN);
        self.poller
            .modify(&process.pidfd, Token::Process(index), EventFlags::IN);
        self.employ(index, process, ledger, first);
        if self.workers[index].is_ready() {
            self.reply_when_ready();
        }
        true
    }

    /// Has the next spare started where there is none and it is time.
    pub(crate) fn start_spare_if_due(&mut self, ledger: &Ledger, now_ns: u64) {
        self.spare.kill_if_late(now_ns);
        let is_needed = self.workers.iter().any(|worker| worker.is_due(now_ns));
        self.spare.start_if_due(ledger, is_needed, now_ns);
    }

    /// Takes over the process that was started as a spare. One that is not wanted any more is
    /// ended.
    pub(crate) fn take_started(&mut self, is_wanted: bool, now_ns: u64) {
        self.spare.take_started(is_wanted, now_ns);
    }

    /// Takes the spare's messages. True when it is prepared by them.
    pub(crate) fn drain_spare(&mut self, has_hung_up: bool) -> bool {
        self.spare.drain_messages(has_hung_up)
    }

    /// Reaps the spare when it has ended. Where a worker waits for it, and it never got so far as
    /// to be one, that is a death of this worker.
    pub(crate) fn reap_spare(&mut self, now_ns: u64) {
        if self.spare.reap(now_ns)
            && let Some(worker) = self.workers.iter_mut().find(|it| it.is_due(now_ns))
        {
            worker.restart_at_ns = worker.deaths.note(now_ns, now_ns);
        }
    }

    /// The other end of a worker's channel is closed: it ends, or can be sent nothing any more and
    /// has to. The event may be of the process before the one that there is now.
    pub(crate) fn hang_up(&self, index: usize) {
        let process = self.workers[index].process.as_ref();
        if let Some(process) = process.filter(|process| process.has_hung_up()) {
            process.kill();
            self.poller.remove(&process.messages);
        }
    }

    /// Sends a message to a worker that has a process, now or as soon as its channel has room.
    pub(crate) fn send(&mut self, index: usize, message: ToWorker) {
        if let Some(process) = &mut self.workers[index].process
            && !process.messages.send(message)
        {
            watch_channel(&self.poller, index, process, true);
        }
    }

    /// Sends a message to every worker that has a process.
    pub(crate) fn send_to_all(&mut self, message: &ToWorker) {
        (0..self.len()).for_each(|index| self.send(index, message.clone()));
    }

    /// Sends a message with the socket of the connection of `slot`.
    pub(crate) fn send_socket(
        &mut self,
        index: usize,
        message: ToWorker,
        slot: u32,
        socket: BorrowedFd<'_>,
    ) {
        if let Some(process) = &mut self.workers[index].process
            && !process.messages.send_socket(message, slot, socket)
        {
            watch_channel(&self.poller, index, process, true);
        }
    }

    /// Sends what waits for room in a worker's channel; `socket` finds the socket of a slot.
    pub(crate) fn flush<'a>(
        &mut self,
        index: usize,
        socket: impl Fn(u32) -> Option<BorrowedFd<'a>>,
    ) {
        if let Some(process) = &mut self.workers[index].process
            && process.messages.flush(socket)
        {
            watch_channel(&self.poller, index, process, false);
        }
    }

    /// The next message from a worker. `None` when there is none.
    pub(crate) fn receive(&self, index: usize) -> Option<FromWorker> {
        self.workers[index].process.as_ref()?.messages.receive()
    }

    /// The worker that gets a connection; `connections` is how many each reads. A connection whose
    /// packets wait already goes to a worker that reads at once, if there is one.
    pub(crate) fn choose(
        &self,
        packets_wait: bool,
        now_ns: u64,
        connections: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        placement::choose(self.workers.iter().map(|worker| Candidate {
            serves: worker.serves(),
            is_ready: worker.reads_soon(packets_wait, now_ns),
            connections: connections(worker.index),
        }))
    }

    /// How many connections each worker reads beyond its share.
    pub(crate) fn surplus(&self, now_ns: u64, connections: impl Fn(usize) -> u32) -> Vec<u32> {
        placement::surplus(self.workers.iter().map(|worker| Candidate {
            serves: worker.serves(),
            is_ready: worker.reads_soon(true, now_ns),
            connections: connections(worker.index),
        }))
    }

    /// Attributes packets to a worker.
    pub(crate) fn credit(&mut self, index: usize, packets: u64) {
        let sum = &mut self.workers[index].packets;
        *sum = sum.saturating_add(packets);
    }

    /// A worker has reported that it serves. False when it had before: then nothing changes.
    pub(crate) fn set_ready(&mut self, index: usize, now_ns: u64) -> bool {
        let process = self.workers[index].process.as_mut();
        let is_new = process.is_some_and(|process| process.set_ready(now_ns));
        if is_new {
            self.reply_when_ready();
            self.roll(now_ns);
        }
        is_new
    }

    /// `reply` is called when every worker serves.
    pub(crate) fn when_ready(&mut self, reply: Reply<()>) {
        self.when_ready.push(reply);
        self.reply_when_ready();
    }

    fn reply_when_ready(&mut self) {
        if self.workers.iter().all(Worker::is_ready) {
            self.when_ready.drain(..).for_each(|reply| reply(()));
        }
    }

    /// The master was late itself: no worker's silence until now counts.
    pub(crate) fn forgive_silence(&mut self, now_ns: u64) {
        self.workers
            .iter_mut()
            .filter_map(|worker| worker.process.as_mut())
            .for_each(|process| process.forgive_silence(now_ns));
    }

    /// Kills a worker whose heartbeat stands still. False when it beats or has no process.
    pub(crate) fn kill_if_hanging(&mut self, index: usize, ledger: &Ledger, now_ns: u64) -> bool {
        let hangs = self.workers[index].hangs(ledger, now_ns);
        if hangs {
            self.workers[index].kill();
        }
        hangs
    }

    /// Reaps a worker's process that has ended. `None` while it runs.
    pub(crate) fn reap(&mut self, index: usize, now_ns: u64) -> Option<EndedProcess> {
        self.workers[index].reap(now_ns)
    }

    /// Whether a worker's process, alive or not yet reaped, has this id.
    pub(crate) fn has_process(&self, pid: Pid) -> bool {
        let workers = self.workers.iter().map(Worker::pid);
        workers.chain([self.spare.pid()]).any(|id| id == Some(pid))
    }

    /// Whether there may be a process whose id is not here yet.
    pub(crate) fn starts_a_process(&self) -> bool {
        self.spare.is_being_started()
    }

    /// Whether any worker or the spare has a process, alive or not yet reaped.
    pub(crate) fn has_processes(&self) -> bool {
        self.workers.iter().any(|worker| worker.process.is_some()) || self.spare.has_process()
    }

    /// The worker dies again and again.
    pub(crate) fn is_in_crash_loop(&self, index: usize, now_ns: u64) -> bool {
        self.workers[index].is_in_crash_loop(now_ns)
    }

    /// Whether the crash loop of a worker is over since the last call.
    pub(crate) fn take_end_of_crash_loop(&mut self, now_ns: u64) -> bool {
        // Each is looked at, also behind the first one.
        self.workers.iter_mut().fold(false, |ended, worker| {
            worker.take_end_of_crash_loop(now_ns) | ended
        })
    }

    /// Restarts every worker, one by one; `reply` gets how many. Asked again meanwhile, both wait
    /// for the same restart.
    pub(crate) fn restart_all(&mut self, reply: Reply<u32>, now_ns: u64) {
        self.rolling
            .get_or_insert_with(|| Rolling::new(self.workers.len()))
            .reply_at_end(reply);
        self.roll(now_ns);
    }

    /// `reply` is called at the end of the restart that is under way, at once when there is none.
    pub(crate) fn when_not_restarting(&mut self, reply: Reply<()>) {
        match &mut self.rolling {
            Some(rolling) => rolling.reply_at_end(Box::new(move |_restarted| reply(()))),
            None => reply(()),
        }
    }

    pub(crate) fn is_restarting(&self) -> bool {
        self.rolling.is_some()
    }

    /// Goes on with the restart as far as it can.
    pub(crate) fn roll(&mut self, now_ns: u64) {
        while let Some(rolling) = &mut self.rolling {
            let seen = |worker: usize| Seen {
                pid: self.workers[worker].pid(),
                is_ready: self.workers[worker].is_ready(),
            };
            match rolling.step(seen, now_ns) {
                Step::Wait => return,
                Step::Kill(worker) => {
                    warn!("worker {worker} does not quit and is killed");
                    return self.workers[worker].kill();
                }
                Step::Quit(worker) => self.quit(worker),
                Step::End => {
                    let (restarted, replies) =
                        self.rolling.take().map(Rolling::end).unwrap_or_default();
                    replies.into_iter().for_each(|reply| reply(restarted));
                    info!("{restarted} workers were restarted");
                }
            }
        }
    }

    fn quit(&mut self, index: usize) {
        if let Some(process) = &mut self.workers[index].process {
            process.is_quitting = true;
        }
        self.send(index, ToWorker::Quit);
    }

    /// Asks every worker to quit; none gets a connection any more.
    pub(crate) fn quit_all(&mut self) {
        (0..self.len()).for_each(|index| self.quit(index));
        self.spare.kill();
    }

    pub(crate) fn kill_all(&mut self) {
        self.workers.iter().for_each(Worker::kill);
        self.spare.kill();
    }

    /// Ends the processes: asks them to quit, and kills those that have not within a second.
    /// `socket` finds the socket of a slot, for messages that wait before that.
    pub(crate) fn stop<'a>(&mut self, socket: impl Fn(u32) -> Option<BorrowedFd<'a>>) {
        for index in 0..self.len() {
            self.send(index, ToWorker::Quit);
            self.flush(index, &socket);
        }
        self.spare.stop();
        let deadline_ns = now_ns() + STOP_TIME_NS;
        for worker in &mut self.workers {
            if let Some(process) = &worker.process {
                process.wait(deadline_ns.saturating_sub(now_ns()));
                process.kill();
                let _ = worker.reap(now_ns());
            }
        }
    }

    /// Whether the user asks for the workers' pauses between reads. Else they pause by themselves
    /// while they cannot keep up otherwise.
    pub(crate) fn pauses_are_asked_for(&self) -> bool {
        self.settings.rx_batching != RxBatching::Auto
    }

    /// What outlives the processes, for a new server process.
    pub(crate) fn saved(&self) -> Vec<SavedWorker> {
        self.workers.iter().map(Worker::saved).collect()
    }

    /// Goes on counting where the workers of another server left off.
    pub(crate) fn restore(&mut self, saved: Vec<SavedWorker>) {
        for (worker, saved) in self.workers.iter_mut().zip(saved) {
            worker.restore(saved);
        }
    }
}

/// Watches a worker's channel for messages, and for room as well while messages wait.
fn watch_channel(poller: &Poller, index: usize, process: &Process, for_room: bool) {
    let flags = if for_room {
        EventFlags::IN | EventFlags::OUT
    } else {
        EventFlags::IN
    };
    poller.modify(&process.messages, Token::Channel(index), flags);
}
