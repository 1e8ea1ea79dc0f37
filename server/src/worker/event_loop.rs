//! The worker's one loop: waits, reads what is ready, obeys the master.
//!
//! Level-triggered, one receive a turn for each ready connection, so that a busy client delays the
//! others by at most one buffer. Connections that have not said who they are, and those that were
//! refused, wait in a lobby: it is one more thing that is ready, and few of them are served in a
//! turn, so that a crowd of strangers delays a client by no more than that. Between two turns the
//! loop may pause ([`crate::coalescing`]).

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_os::realtime::{CpuBudget, Realtime};
use metronome_os::{channel::Channel, clock};
use metronome_proto::run_id::RunId;
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use super::connection::{Connection, Next, Reading};
use crate::{
    coalescing::{Coalescing, RxCoalesce, Turn},
    ledger::{FromWorker, Gates, Ink, Ledger, MESSAGE_BYTES, Pen as _, ToWorker, WorkerLine},
};

/// The longest wait: how often deadlines are looked at and the heartbeat shows at least.
const WAIT_MAX_NS: u64 = 250_000_000;

/// Events taken with one wait.
const EVENTS_MAX: usize = 256;

/// Chores of one turn: messages obeyed, strangers served, connections ended since their time is up.
/// Each takes some 10 µs, for which clients wait …
const CHORES_PER_TURN: usize = 2;

/// … and where clients are read in rounds, which come seldom, and have waited for longer than that.
const CHORES_PER_ROUND: usize = 16;

/// A turn that serves many has more chores too, one for so many: it takes hardly longer, and a busy
/// worker keeps up with those who come.
const SERVED_PER_CHORE: usize = 8;

const CHORES_MAX: usize = EVENTS_MAX / SERVED_PER_CHORE;

/// Connections whose deadline is looked at in one turn.
const LOOKS_PER_TURN: usize = 256;

/// The channel's token and the lobby's; every other is a slot.
const CHANNEL: u64 = u64::MAX;
const LOBBY: u64 = u64::MAX - 1;

pub(super) struct EventLoop {
    index: usize,
    channel: Channel,
    ledger: Ledger,
    gates: Gates,
    epoll: OwnedFd,
    lobby: OwnedFd,
    /// By slot.
    connections: Vec<Option<Box<Connection>>>,
    /// Slots whose deadline was looked at in this round; 0 between two rounds.
    looked_at: usize,
    /// Said when the channel has room.
    unsaid: Vec<FromWorker>,
    /// The master serves, so that the line in the ledger is ours to write.
    has_begun: bool,
    coalescing: Coalescing,
    realtime: Realtime,
    /// Of this turn.
    chores: usize,
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
        gates: Gates,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let lobby = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &channel,
            EventData::new_u64(CHANNEL),
            EventFlags::IN,
        )?;
        epoll::add(&epoll, &lobby, EventData::new_u64(LOBBY), EventFlags::IN)?;
        let connections = std::iter::repeat_with(|| None)
            .take(ledger.slots().len())
            .collect();
        Ok(Self {
            index,
            channel,
            ledger,
            gates,
            epoll,
            lobby,
            connections,
            looked_at: 0,
            unsaid: Vec::new(),
            has_begun: false,
            coalescing: Coalescing::new(RxCoalesce::Us(0)),
            realtime: Realtime::none(),
            chores: CHORES_PER_TURN,
        })
    }

    /// Runs until the master says quit or is gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut look_again_ns = 0;
        loop {
            events.clear();
            // A round of looks that is not done goes on whether or not something happens.
            let timeout_ns = if self.looked_at > 0 { 0 } else { WAIT_MAX_NS };
            wait(&self.epoll, &mut events, timeout_ns)?;
            let least = if self.coalescing.is_in_rounds() {
                CHORES_PER_ROUND
            } else {
                CHORES_PER_TURN
            };
            self.chores = least.max(events.len() / SERVED_PER_CHORE);
            let mut now_ns = 0;
            let mut turn = Turn {
                has_left_over: events.len() == EVENTS_MAX,
                ..Turn::default()
            };
            // Apart: what a stranger sends does not decide how clients are read.
            let mut of_strangers = Turn::default();
            let mut has_served = false;
            for event in &events {
                match event.data.u64() {
                    CHANNEL => match self.obey()? {
                        Flow::On => {}
                        Flow::OnAtOnce => turn.has_left_over = true,
                        Flow::Exit => return Ok(()),
                    },
                    LOBBY => {
                        now_ns = self.serve_lobby(&mut of_strangers)?.max(now_ns);
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
                Ink.put(&line.heartbeat_ns, now_ns);
            }
            // For the same reason not even a 0 is added by a worker without connections.
            if has_served {
                add(&line.wakeups, 1);
                add(&line.reads, turn.reads + of_strangers.reads);
            }
            self.realtime.review(now_ns);
            if now_ns >= look_again_ns {
                self.check_deadlines(now_ns);
                if self.looked_at == 0 {
                    look_again_ns = now_ns + WAIT_MAX_NS;
                    self.say_unsaid();
                }
            }
            if has_served {
                self.let_packets_gather(now_ns, turn, of_strangers);
            }
        }
    }

    fn let_packets_gather(&mut self, now_ns: u64, turn: Turn, of_strangers: Turn) {
        let pause_ns = self
            .coalescing
            .pause_ns(now_ns, turn, of_strangers, clock::thread_cpu_ns);
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
    fn serve_lobby(&mut self, turn: &mut Turn) -> io::Result<u64> {
        let mut space = [const { MaybeUninit::uninit() }; CHORES_MAX];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (strangers, _) =
            match epoll::wait(&self.lobby, &mut space[..self.chores], Some(&at_once)) {
                Err(rustix::io::Errno::INTR) => return Ok(0),
                waited => waited?,
            };
        let mut read_ns = 0;
        for stranger in strangers {
            read_ns = self
                .serve(stranger.data.u64() as usize, stranger.flags, turn)
                .max(read_ns);
        }
        Ok(read_ns)
    }

    /// Serves one connection that is ready. Returns when it was read, 0 for not at all.
    fn serve(&mut self, slot: usize, flags: EventFlags, turn: &mut Turn) -> u64 {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return 0;
        };
        let Reading {
            at_ns,
            bytes,
            is_full,
            mut next,
        } = connection.read(&self.ledger, &self.gates);
        turn.reads += u64::from(bytes > 0);
        turn.bytes += bytes as u64;
        turn.has_left_over |= is_full;
        if connection.is_to_be_let_in() {
            self.let_in(slot);
        }
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return at_ns;
        };
        if flags.contains(EventFlags::OUT) && next == Next::Read {
            next = connection.pay(&self.ledger.slots()[slot]);
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
            Next::LetGo => self.let_go(slot),
        }
    }

    fn watch(&self, slot: usize, flags: EventFlags) {
        if let Some(connection) = &self.connections[slot] {
            let _ = epoll::modify(
                self.place_of(connection),
                connection,
                EventData::new_u64(slot as u64),
                flags,
            );
        }
    }

    /// Where a connection waits.
    fn place_of(&self, connection: &Connection) -> &OwnedFd {
        if connection.is_in_lobby {
            &self.lobby
        } else {
            &self.epoll
        }
    }

    /// It is a client from now on.
    fn let_in(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let _ = epoll::delete(&self.lobby, &**connection);
        connection.is_in_lobby = false;
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

    fn let_go(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].take() else {
            return;
        };
        let _ = epoll::delete(self.place_of(&connection), &*connection);
        let released = FromWorker::Released {
            slot: connection.slot,
            generation: connection.generation,
        };
        connection.let_go();
        self.say(released);
    }

    fn say(&mut self, message: FromWorker) {
        if self.channel.send(&message.encode(), None).is_err() {
            self.unsaid.push(message);
        }
    }

    fn say_unsaid(&mut self) {
        for message in std::mem::take(&mut self.unsaid) {
            self.say(message);
        }
    }

    /// Takes the master's messages, a turn's worth of them, so that cutting thousands of
    /// connections does not look like a hang: the rest makes the next wait return at once.
    fn obey(&mut self) -> io::Result<Flow> {
        for _ in 0..self.chores {
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
                (Ok(ToWorker::Admit(agent)), None) => self.gates.admit(agent),
                (Ok(ToWorker::Dismiss { run }), None) => self.dismiss(run),
                (Ok(ToWorker::Cut { slot, generation }), None) => self.cut(slot, generation),
                (Ok(ToWorker::Begin), None) => self.has_begun = true,
                (Ok(ToWorker::Coalesce(asked)), None) => self.coalescing = Coalescing::new(asked),
                (Ok(ToWorker::Realtime { cores, workers }), None) => {
                    self.realtime =
                        Realtime::take(CpuBudget::reader(cores as usize, workers as usize));
                }
                (Ok(ToWorker::Quit), None) => return Ok(Flow::Exit),
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the master sent nonsense",
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
            self.place_of(&adopted),
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
        let of_run = |connection: &Connection| {
            connection
                .is_of(run)
                .then_some((connection.slot, connection.generation))
        };
        let left: Vec<_> = self
            .connections
            .iter()
            .flatten()
            .filter_map(|connection| of_run(connection))
            .collect();
        left.into_iter()
            .for_each(|(slot, generation)| self.cut(slot, generation));
        self.gates.dismiss(run);
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
        connection.cut(&self.ledger, &self.gates);
        self.let_go(slot as usize);
    }

    /// Goes on with a round of looks at the deadlines, for one turn.
    fn check_deadlines(&mut self, now_ns: u64) {
        let (mut looks, mut overdue) = (0, 0);
        while looks < LOOKS_PER_TURN && overdue < self.chores {
            let Some(connection) = self.connections.get_mut(self.looked_at) else {
                self.looked_at = 0;
                return;
            };
            let slot = self.looked_at;
            self.looked_at += 1;
            let Some(connection) = connection else {
                continue;
            };
            looks += 1;
            if connection.is_overdue(now_ns) {
                overdue += 1;
                let next = connection.end_overdue(&self.ledger, &self.gates, now_ns);
                if connection.is_to_be_let_in() {
                    self.let_in(slot);
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
    Ink.put(
        counter,
        counter.load(Ordering::Relaxed).wrapping_add(amount),
    );
}
