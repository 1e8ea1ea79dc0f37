//! The worker's one loop: waits, reads what is ready, obeys the master.
//!
//! Level-triggered, one receive a turn for each ready connection, so that a busy client delays the
//! others by at most one buffer. Connections that have not said who they are, and those that were
//! refused, wait in a lobby: it is one more thing that is ready, and few of them are served in a
//! turn, so that a crowd of strangers delays a client by no more than that. Between two turns the
//! loop may pause ([`crate::rx_batching`]).

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_os::precedence::{Precedence, Terms};
use metronome_os::{channel::Channel, clock};
use metronome_proto::run_id::RunId;
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use super::connection::{Connection, Next, Received};
use crate::{
    ipc::{AdmissionKeys, FromWorker, MESSAGE_BYTES, ToWorker},
    ledger::{CommitWriter as _, Ledger, ReleaseStore, WorkerLine},
    rx_batching::{BatchedReads, RxBatching, Turn},
};

/// The longest wait: how often deadlines are looked at and the heartbeat shows at least.
const WAIT_MAX_NS: u64 = 250_000_000;

/// Events taken with one wait.
const EVENTS_MAX: usize = 256;

/// Chores of one turn: messages obeyed, strangers served, connections ended since their time is up.
/// Each takes some 10 µs, for which clients wait …
const CONTROL_BUDGET_EXACT: usize = 2;

/// … and where clients are read in rounds, which come seldom, and have waited for longer than that.
const CONTROL_BUDGET_BATCHING: usize = 16;

/// A turn that serves many has more chores too, one for so many: it takes hardly longer, and a busy
/// worker keeps up with those who come.
const EVENTS_PER_CONTROL_ACTION: usize = 8;

const CONTROL_BUDGET_MAX: usize = EVENTS_MAX / EVENTS_PER_CONTROL_ACTION;

/// Connections whose deadline is looked at in one turn.
const DEADLINE_CHECKS_PER_TURN: usize = 256;

/// The channel's token and the lobby's; every other is a slot.
const CHANNEL: u64 = u64::MAX;
const UNAUTHENTICATED: u64 = u64::MAX - 1;

pub(super) struct EventLoop {
    index: usize,
    channel: Channel,
    ledger: Ledger,
    admission_keys: AdmissionKeys,
    epoll: OwnedFd,
    unauthenticated: OwnedFd,
    /// By slot.
    connections: Vec<Option<Box<Connection>>>,
    /// Slots whose deadline was looked at in this round; 0 between two rounds.
    next_deadline_check: usize,
    /// Said when the channel has room.
    pending_messages: Vec<FromWorker>,
    /// The master serves, so that the line in the ledger is ours to write.
    has_begun: bool,
    batched_reads: BatchedReads,
    precedence: Precedence,
    /// Of this turn.
    control_budget: usize,
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
        index: usize,
        channel: Channel,
        ledger: Ledger,
        admission_keys: AdmissionKeys,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let unauthenticated = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &channel,
            EventData::new_u64(CHANNEL),
            EventFlags::IN,
        )?;
        epoll::add(
            &epoll,
            &unauthenticated,
            EventData::new_u64(UNAUTHENTICATED),
            EventFlags::IN,
        )?;
        let connections = std::iter::repeat_with(|| None)
            .take(ledger.slots().len())
            .collect();
        Ok(Self {
            index,
            channel,
            ledger,
            admission_keys,
            epoll,
            unauthenticated,
            connections,
            next_deadline_check: 0,
            pending_messages: Vec::new(),
            has_begun: false,
            batched_reads: BatchedReads::new(RxBatching::Us(0)),
            precedence: Precedence::none(),
            control_budget: CONTROL_BUDGET_EXACT,
        })
    }

    /// Runs until the master says quit or is gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut check_again_ns = 0;
        loop {
            events.clear();
            // A round of looks that is not done goes on whether or not something happens.
            let timeout_ns = if self.next_deadline_check > 0 {
                0
            } else {
                WAIT_MAX_NS
            };
            wait(&self.epoll, &mut events, timeout_ns)?;
            let least = if self.batched_reads.is_batching() {
                CONTROL_BUDGET_BATCHING
            } else {
                CONTROL_BUDGET_EXACT
            };
            self.control_budget = least.max(events.len() / EVENTS_PER_CONTROL_ACTION);
            let mut now_ns = 0;
            let mut turn = Turn {
                has_left_over: events.len() == EVENTS_MAX,
                ..Turn::default()
            };
            // Apart: what a stranger sends does not decide how clients are read.
            let mut unauthenticated = Turn::default();
            let mut has_served = false;
            for event in &events {
                match event.data.u64() {
                    CHANNEL => match self.handle_messages()? {
                        Flow::On => {}
                        Flow::OnAtOnce => turn.has_left_over = true,
                        Flow::Exit => return Ok(()),
                    },
                    UNAUTHENTICATED => {
                        now_ns = self
                            .serve_unauthenticated(&mut unauthenticated)?
                            .max(now_ns);
                        has_served = true;
                    }
                    slot => {
                        now_ns = self
                            .serve(slot as usize, event.flags, &mut turn)
                            .max(now_ns);
                        has_served = true;
                    }
                }
            }
            let now_ns = if now_ns == 0 { clock::now_ns() } else { now_ns };
            let line = self.line();
            // Until a successor takes over, its workers share their lines with those of the old
            // server: a heartbeat here would hide that one of those hangs.
            if self.has_begun {
                ReleaseStore.store(&line.heartbeat_ns, now_ns);
            }
            // For the same reason not even a 0 is added by a worker without connections.
            if has_served {
                add(&line.wakeups, 1);
                add(&line.reads, turn.reads + unauthenticated.reads);
            }
            self.precedence.review(now_ns);
            if now_ns >= check_again_ns {
                self.check_deadlines(now_ns);
                if self.next_deadline_check == 0 {
                    check_again_ns = now_ns + WAIT_MAX_NS;
                    self.send_pending();
                }
            }
            if has_served {
                self.let_packets_gather(now_ns, turn, unauthenticated);
            }
        }
    }

    fn let_packets_gather(&mut self, now_ns: u64, turn: Turn, unauthenticated: Turn) {
        let pause_ns =
            self.batched_reads
                .pause_ns(now_ns, turn, unauthenticated, clock::thread_cpu_ns);
        if pause_ns > 0 {
            clock::sleep_until(now_ns.saturating_add(pause_ns));
            add(&self.line().pauses, 1);
            add(
                &self.line().paused_ns,
                clock::now_ns().saturating_sub(now_ns),
            );
        }
    }

    /// Serves some of the connections of the lobby that are ready. Returns when the last was read,
    /// 0 for none.
    fn serve_unauthenticated(&mut self, turn: &mut Turn) -> io::Result<u64> {
        let mut space = [const { MaybeUninit::uninit() }; CONTROL_BUDGET_MAX];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (ready, _) = match epoll::wait(
            &self.unauthenticated,
            &mut space[..self.control_budget],
            Some(&at_once),
        ) {
            Err(rustix::io::Errno::INTR) => return Ok(0),
            waited => waited?,
        };
        let mut read_ns = 0;
        for event in ready {
            read_ns = self
                .serve(event.data.u64() as usize, event.flags, turn)
                .max(read_ns);
        }
        Ok(read_ns)
    }

    /// Serves one connection that is ready. Returns when it was read, 0 for not at all.
    fn serve(&mut self, slot: usize, flags: EventFlags, turn: &mut Turn) -> u64 {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return 0;
        };
        let Received {
            at_ns,
            bytes,
            is_full,
            mut next,
        } = connection.read(&self.ledger, &self.admission_keys);
        turn.reads += u64::from(bytes > 0);
        turn.bytes += bytes as u64;
        turn.has_left_over |= is_full;
        if connection.has_just_authenticated() {
            self.move_to_clients(slot);
        }
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return at_ns;
        };
        if flags.contains(EventFlags::OUT) && next == Next::Read {
            next = connection.flush_replies(&self.ledger.slots()[slot]);
            if next == Next::Read {
                self.watch(slot, EventFlags::IN);
            }
        }
        self.follow(slot, next);
        at_ns
    }

    fn follow(&mut self, slot: usize, next: Next) {
        match next {
            Next::Read => {}
            Next::ReadAndWrite => self.watch(slot, EventFlags::IN | EventFlags::OUT),
            Next::Release => self.release(slot),
        }
    }

    fn watch(&self, slot: usize, flags: EventFlags) {
        if let Some(connection) = &self.connections[slot] {
            let _ = epoll::modify(
                self.epoll_of(connection),
                connection,
                EventData::new_u64(slot as u64),
                flags,
            );
        }
    }

    /// Where a connection waits.
    fn epoll_of(&self, connection: &Connection) -> &OwnedFd {
        if connection.waits_unauthenticated {
            &self.unauthenticated
        } else {
            &self.epoll
        }
    }

    /// It is a client from now on.
    fn move_to_clients(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let _ = epoll::delete(&self.unauthenticated, &**connection);
        connection.waits_unauthenticated = false;
        let added = epoll::add(
            &self.epoll,
            &**connection,
            EventData::new_u64(slot as u64),
            EventFlags::IN,
        );
        if added.is_err() {
            let generation = connection.generation;
            self.cut(slot as u32, generation);
        }
    }

    fn release(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].take() else {
            return;
        };
        let _ = epoll::delete(self.epoll_of(&connection), &*connection);
        let released = FromWorker::Released {
            slot: connection.slot,
            generation: connection.generation,
        };
        connection.release();
        self.send(released);
    }

    fn send(&mut self, message: FromWorker) {
        if self.channel.send(&message.encode(), None).is_err() {
            self.pending_messages.push(message);
        }
    }

    fn send_pending(&mut self) {
        for message in std::mem::take(&mut self.pending_messages) {
            self.send(message);
        }
    }

    /// Takes the master's messages, a turn's worth of them, so that cutting thousands of
    /// connections does not look like a hang: the rest makes the next wait return at once.
    fn handle_messages(&mut self) -> io::Result<Flow> {
        for _ in 0..self.control_budget {
            let mut message = [0; MESSAGE_BYTES];
            let socket = match self.channel.receive(&mut message) {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::On),
                // The master is gone.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Flow::Exit);
                }
                Err(error) => return Err(error),
            };
            match (ToWorker::decode(&message), socket) {
                (Ok(ToWorker::Adopt { slot, generation }), Some(socket)) => {
                    self.adopt(slot, generation, socket)?
                }
                (Ok(ToWorker::Admit(agent)), None) => self.admission_keys.admit(agent),
                (Ok(ToWorker::Dismiss { run }), None) => self.dismiss(run),
                (Ok(ToWorker::Cut { slot, generation }), None) => self.cut(slot, generation),
                (Ok(ToWorker::Begin), None) => self.has_begun = true,
                (Ok(ToWorker::SetRxBatching(asked)), None) => {
                    self.batched_reads = BatchedReads::new(asked)
                }
                (Ok(ToWorker::Precede { cores, workers }), None) => {
                    self.precedence =
                        Precedence::take(Terms::of_reader(cores as usize, workers as usize));
                }
                (Ok(ToWorker::Quit), None) => return Ok(Flow::Exit),
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "invalid message from the master",
                    ));
                }
            }
        }
        Ok(Flow::OnAtOnce)
    }

    fn adopt(&mut self, slot: u32, generation: u32, socket: OwnedFd) -> io::Result<()> {
        let adopted = self
            .ledger
            .slots()
            .get(slot as usize)
            .and_then(|record| Connection::adopt(socket, slot, generation, record))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the master sent an impossible slot",
                )
            })?;
        // Replies that its last worker still owed go out with the first wake-up.
        let flags = EventFlags::IN | EventFlags::OUT;
        let added = epoll::add(
            self.epoll_of(&adopted),
            &adopted,
            EventData::new_u64(u64::from(slot)),
            flags,
        );
        self.connections[slot as usize] = Some(Box::new(adopted));
        if added.is_err() {
            // The system's limit of watches: this one cannot be served, all others can.
            self.cut(slot, generation);
        }
        Ok(())
    }

    /// A run is over: no hello of it is taken, and what is still connected ends. That may be a
    /// client whose hello we took while the master's word was on its way.
    fn dismiss(&mut self, run: RunId) {
        let token_of = |connection: &Connection| {
            connection
                .is_of(run)
                .then_some((connection.slot, connection.generation))
        };
        let left: Vec<_> = self
            .connections
            .iter()
            .flatten()
            .filter_map(|connection| token_of(connection))
            .collect();
        left.into_iter()
            .for_each(|(slot, generation)| self.cut(slot, generation));
        self.admission_keys.dismiss(run);
    }

    fn cut(&mut self, slot: u32, generation: u32) {
        let known = self
            .connections
            .get_mut(slot as usize)
            .and_then(Option::as_mut);
        // Another generation: it ended before the master's word came.
        let Some(connection) = known.filter(|connection| connection.generation == generation)
        else {
            return;
        };
        connection.cut(&self.ledger, &self.admission_keys);
        self.release(slot as usize);
    }

    /// Goes on with a round of looks at the deadlines, for one turn.
    fn check_deadlines(&mut self, now_ns: u64) {
        let (mut checks, mut overdue) = (0, 0);
        while checks < DEADLINE_CHECKS_PER_TURN && overdue < self.control_budget {
            let Some(connection) = self.connections.get_mut(self.next_deadline_check) else {
                self.next_deadline_check = 0;
                return;
            };
            let slot = self.next_deadline_check;
            self.next_deadline_check += 1;
            let Some(connection) = connection else {
                continue;
            };
            checks += 1;
            if connection.is_overdue(now_ns) {
                overdue += 1;
                let next = connection.end_overdue(&self.ledger, &self.admission_keys, now_ns);
                if connection.has_just_authenticated() {
                    self.move_to_clients(slot);
                }
                self.follow(slot, next);
            }
        }
    }

    fn line(&self) -> &WorkerLine {
        self.ledger.worker(self.index)
    }
}

fn wait(epoll: &OwnedFd, events: &mut Vec<Event>, timeout_ns: u64) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: timeout_ns as _,
    };
    match epoll::wait(
        epoll,
        rustix::buffer::spare_capacity(events),
        Some(&timeout),
    ) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Single writer, so load and store lose nothing and cost no locked instruction.
fn add(counter: &AtomicU64, amount: u64) {
    ReleaseStore.store(
        counter,
        counter.load(Ordering::Relaxed).wrapping_add(amount),
    );
}
