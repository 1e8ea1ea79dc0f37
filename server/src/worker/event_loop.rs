//! The worker's one loop: waits for events, reads the connections that are ready, handles the
//! master's messages.
//!
//! Level-triggered, with one receive a turn for each ready connection, so that a busy client delays
//! the others by at most one buffer. Everything that is not reading clients has a budget, a few
//! actions a turn: a crowd of connections that never authenticate, or a run that is closed, delays
//! a client by no more than that. Between two turns the loop may pause ([`crate::rx_batching`]).

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_os::{clock, seq_packet::SeqPacket};

use rustix::event::epoll::{Event, EventFlags};

use super::{
    connections::{CHANNEL, Connections, UNAUTHENTICATED, UNAUTHENTICATED_PER_TURN_MAX},
    master_channel::MasterChannel,
    packet_handler::WorkerHandler,
};
use crate::{
    ipc::{AdmissionKeys, ToWorker},
    ledger::{CommitWriter as _, Ledger, ReleaseStore, WorkerLine},
    model::{Absence, WAIT_WITH_CLIENTS_MAX_NS},
    rx_batching::{BatchedReads, RxBatching, Turn},
};

/// The longest wait: how often deadlines are checked and the heartbeat is stored at least.
const WAIT_MAX_NS: u64 = 250_000_000;

/// Events taken with one wait.
const EVENTS_MAX: usize = 256;

/// The control budget: how much work that is not reading clients is done in one turn, in each of
/// its three kinds: messages handled, connections without authentication served, overdue
/// connections ended. Each action takes some 10 µs, during which clients wait.
const CONTROL_BUDGET_EXACT: usize = 2;

/// The budget while reads are batched: turns come seldom then, and clients wait longer than that
/// anyway.
const CONTROL_BUDGET_BATCHING: usize = 16;

/// A turn that serves many events has a larger budget, one action for so many events. That makes it
/// hardly longer, and a busy worker keeps up with the connections that arrive.
const EVENTS_PER_CONTROL_ACTION: usize = 8;

const _: () = assert!(
    EVENTS_MAX / EVENTS_PER_CONTROL_ACTION <= UNAUTHENTICATED_PER_TURN_MAX
        && CONTROL_BUDGET_BATCHING <= UNAUTHENTICATED_PER_TURN_MAX,
    "the largest budget"
);

pub(super) struct EventLoop {
    master: MasterChannel,
    connections: Connections,
    batched_reads: BatchedReads,
    absence: Absence,
    /// Actions of each kind in this turn.
    control_budget: usize,
}

/// What the connections that were served in one turn have brought.
#[derive(Default)]
struct Served {
    turn: Turn,
    /// Counted apart: what arrives without authentication does not decide how clients are read.
    unauthenticated: Turn,
    /// When the last of them was read, ns; 0 for none.
    read_ns: u64,
    /// At least one was served.
    any: bool,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Flow {
    On,
    /// More messages may be waiting.
    OnAtOnce,
    Exit,
}

impl EventLoop {
    pub(super) fn new(
        channel: SeqPacket,
        ledger: Ledger,
        admission_keys: AdmissionKeys,
        handler: WorkerHandler,
    ) -> io::Result<Self> {
        let master = MasterChannel::new(channel);
        Ok(Self {
            connections: Connections::new(&master, ledger, admission_keys, handler)?,
            master,
            batched_reads: BatchedReads::new(RxBatching::Us(0)),
            absence: Absence::new(clock::now_ns()),
            control_budget: CONTROL_BUDGET_EXACT,
        })
    }

    /// Runs until the master orders it to quit or is gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut check_again_ns = 0;
        loop {
            events.clear();
            // A round of checks that is not finished goes on whether or not something happens.
            let timeout_ns = if self.connections.is_checking_deadlines() {
                0
            } else if self.connections.has_clients() {
                WAIT_WITH_CLIENTS_MAX_NS
            } else {
                WAIT_MAX_NS
            };
            self.absence.may_wait(timeout_ns);
            self.connections.wait(&mut events, timeout_ns)?;
            let mut served = Served::default();
            if self.serve_events(&events, &mut served)? == Flow::Exit {
                return Ok(());
            }
            let now_ns = if served.read_ns == 0 {
                clock::now_ns()
            } else {
                served.read_ns
            };
            self.update_line(now_ns, &served);
            if now_ns >= check_again_ns {
                self.connections
                    .check_deadlines(now_ns, self.control_budget, &mut self.master);
                if !self.connections.is_checking_deadlines() {
                    check_again_ns = now_ns + WAIT_MAX_NS;
                }
            }
            self.connections.watch_channel(&self.master);
            if self.connections.take_change_of_runs() {
                self.batched_reads.begin_again();
            }
            if served.any {
                self.let_packets_gather(now_ns, &served);
            }
        }
    }

    /// Serves the events of one turn, in the order in which the kernel reports them.
    #[inline]
    fn serve_events(&mut self, events: &[Event], served: &mut Served) -> io::Result<Flow> {
        let least = if self.batched_reads.is_batching() {
            CONTROL_BUDGET_BATCHING
        } else {
            CONTROL_BUDGET_EXACT
        };
        self.control_budget = least.max(events.len() / EVENTS_PER_CONTROL_ACTION);
        served.turn.has_left_over = events.len() == EVENTS_MAX;
        for event in events {
            let read_ns = match event.data.u64() {
                CHANNEL => {
                    let flags = event.flags;
                    if flags.contains(EventFlags::OUT) {
                        self.master.send_pending();
                        served.turn.has_left_over |= self.master.has_pending();
                    }
                    match self.handle_messages()? {
                        Flow::On => {}
                        Flow::OnAtOnce => served.turn.has_left_over = true,
                        Flow::Exit => return Ok(Flow::Exit),
                    }
                    continue;
                }
                UNAUTHENTICATED => self.connections.serve_unauthenticated(
                    self.control_budget,
                    &mut served.unauthenticated,
                    &mut self.master,
                )?,
                slot => self.connections.serve(
                    slot as usize,
                    event.flags,
                    &mut served.turn,
                    &mut self.master,
                ),
            };
            served.read_ns = read_ns.max(served.read_ns);
            served.any = true;
        }
        Ok(Flow::On)
    }

    /// Stores the heartbeat and, after a turn that served connections, how many reads it made.
    #[inline]
    fn update_line(&mut self, now_ns: u64, served: &Served) {
        self.connections.beat(now_ns);
        self.note_absence(now_ns);
        // Until a new server process takes over, its workers share their lines with those of the
        // old one: so a worker without connections adds not even a 0.
        if served.any {
            let line = self.line();
            add(&line.wakeups, 1);
            add(
                &line.reads,
                served.turn.reads + served.unauthenticated.reads,
            );
        }
    }

    fn let_packets_gather(&mut self, now_ns: u64, served: &Served) {
        let pause_ns = self.batched_reads.pause_ns(
            now_ns,
            served.turn,
            served.unauthenticated,
            clock::thread_cpu_ns,
        );
        if pause_ns > 0 {
            self.absence.may_wait(pause_ns);
            clock::sleep_until(now_ns.saturating_add(pause_ns));
            let woken_ns = clock::now_ns();
            self.note_absence(woken_ns);
            add(&self.line().pauses, 1);
            add(&self.line().paused_ns, woken_ns.saturating_sub(now_ns));
        }
    }

    #[inline]
    fn note_absence(&mut self, now_ns: u64) {
        let away_ns = self.absence.here(now_ns);
        if let Some(away_ns) = away_ns.filter(|_| self.connections.has_clients()) {
            // The master adds to it as well, what the worker before this one was away at its end.
            self.line().away_ns.fetch_add(away_ns, Ordering::AcqRel);
        }
    }

    /// Handles the master's messages, a turn's budget of them, so that cutting thousands of
    /// connections does not look like a hang: if more are waiting, the next wait returns at once.
    fn handle_messages(&mut self) -> io::Result<Flow> {
        for _ in 0..self.control_budget {
            let (message, socket) = match self.master.receive() {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::On),
                // The master is gone.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Flow::Exit);
                }
                Err(error) => return Err(error),
            };
            if self.handle(message, socket)? == Flow::Exit {
                return Ok(Flow::Exit);
            }
        }
        Ok(Flow::OnAtOnce)
    }

    fn handle(&mut self, message: Option<ToWorker>, socket: Option<OwnedFd>) -> io::Result<Flow> {
        match (message, socket) {
            (Some(ToWorker::Adopt { slot, generation }), Some(socket)) => {
                self.connections
                    .adopt(slot, generation, socket, &mut self.master)?;
            }
            (Some(ToWorker::Admit(agent)), None) => self.connections.admit(*agent),
            (Some(ToWorker::Dismiss { run }), None) => {
                self.connections.dismiss(run, &mut self.master);
            }
            (Some(ToWorker::Cut { slot, generation }), None) => {
                self.connections.cut(slot, generation, &mut self.master);
            }
            (Some(ToWorker::HandBack { slot, generation }), None) => {
                self.connections
                    .hand_back(slot, generation, &mut self.master);
            }
            (Some(ToWorker::Begin), None) => self.connections.handler.pulse.begin(),
            (Some(ToWorker::SetRxBatching(asked)), None) => {
                self.batched_reads = BatchedReads::new(asked);
            }
            (Some(ToWorker::Quit), None) => return Ok(Flow::Exit),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "invalid message from the master",
                ));
            }
        }
        Ok(Flow::On)
    }

    fn line(&self) -> &WorkerLine {
        self.connections.line()
    }
}

/// A single writer, so a load and a store lose nothing and cost no locked instruction.
fn add(counter: &AtomicU64, amount: u64) {
    ReleaseStore.store(
        counter,
        counter.load(Ordering::Relaxed).wrapping_add(amount),
    );
}
