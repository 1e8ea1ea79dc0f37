//! All connections of a worker: which of them are ready, and what becomes of each after an event.
//!
//! Clients are watched in one epoll set. Connections that have not authenticated, and those that
//! were refused, are kept in a second set, which is itself an entry of the first: however many of
//! them are ready, they are one event, and the loop serves as many of them as its budget allows.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd};

use metronome_os::clock::timespec;
use metronome_proto::run_id::RunId;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::{
    connection::{Connection, Next, Received},
    master_channel::MasterChannel,
    packet_handler::WorkerHandler,
    runs_read::RunsRead,
};
use crate::{
    ipc::{AdmissionKey, AdmissionKeys, FromWorker},
    ledger::{Ledger, WorkerLine},
    rx_batching::Turn,
};

/// Connections whose deadline is checked in one turn.
const DEADLINE_CHECKS_PER_TURN: usize = 256;

/// Most connections without authentication that are served in one turn.
pub(super) const UNAUTHENTICATED_PER_TURN_MAX: usize = 32;

/// Tokens of the first set that are no slot: the master's channel and the second set.
pub(super) const CHANNEL: u64 = u64::MAX;
pub(super) const UNAUTHENTICATED: u64 = u64::MAX - 1;

/// The connections, by slot, and the ledger that they are counted in.
pub(super) struct Connections {
    ledger: Ledger,
    admission_keys: AdmissionKeys,
    /// The clients, the master's channel and the second set.
    epoll: OwnedFd,
    unauthenticated: OwnedFd,
    by_slot: Vec<Option<Box<Connection>>>,
    /// The slot whose deadline is checked next; 0 between two rounds of checks.
    next_deadline_check: usize,
    runs: RunsRead,
    pub(super) handler: WorkerHandler,
    /// The master's channel is watched for room as well.
    watches_room: bool,
}

impl Connections {
    pub(super) fn new(
        channel: &MasterChannel,
        ledger: Ledger,
        admission_keys: AdmissionKeys,
        handler: WorkerHandler,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let unauthenticated = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &channel.channel,
            EventData::new_u64(CHANNEL),
            EventFlags::IN,
        )?;
        epoll::add(
            &epoll,
            &unauthenticated,
            EventData::new_u64(UNAUTHENTICATED),
            EventFlags::IN,
        )?;
        let by_slot = std::iter::repeat_with(|| None)
            .take(ledger.slots().len())
            .collect();
        Ok(Self {
            ledger,
            admission_keys,
            epoll,
            unauthenticated,
            by_slot,
            next_deadline_check: 0,
            runs: RunsRead::default(),
            handler,
            watches_room: false,
        })
    }

    /// Waits for events, at most as many as `events` has room for.
    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout_ns: u64) -> io::Result<()> {
        let space = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, space, Some(&timespec(timeout_ns))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches the master's channel for room exactly while messages wait for it.
    #[inline]
    pub(super) fn watch_channel(&mut self, master: &MasterChannel) {
        if self.watches_room != master.has_pending() {
            self.watches_room = master.has_pending();
            let flags = if self.watches_room {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            let token = EventData::new_u64(CHANNEL);
            // It fails only for a descriptor that is not watched.
            let _ = epoll::modify(&self.epoll, &master.channel, token, flags);
        }
    }

    /// Whether a run has got its first client here or lost its last one since this was last asked.
    #[inline]
    pub(super) fn take_change_of_runs(&mut self) -> bool {
        self.runs.take_change()
    }

    /// Whether it reads clients of a run.
    #[inline]
    pub(super) fn has_clients(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The worker's line of the ledger.
    #[inline]
    pub(super) fn line(&self) -> &WorkerLine {
        self.ledger.worker(self.handler.pulse.index)
    }

    /// The worker shows that it lives.
    #[inline]
    pub(super) fn beat(&mut self, now_ns: u64) {
        let pulse = &mut self.handler.pulse;
        pulse.beat(self.ledger.worker(pulse.index), now_ns);
    }

    /// Verifies hellos of this agent from now on.
    pub(super) fn admit(&mut self, agent: AdmissionKey) {
        self.admission_keys.admit(agent);
    }

    /// Takes over a connection that the master hands over.
    pub(super) fn adopt(
        &mut self,
        slot: u32,
        generation: u32,
        socket: OwnedFd,
        master: &mut MasterChannel,
    ) -> io::Result<()> {
        let mut adopted = self
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
        let next = adopted.handle_what_was_left(&self.ledger, &mut self.handler);
        // Replies that its last worker has left pending go out with the first wake-up.
        let flags = EventFlags::IN | EventFlags::OUT;
        let added = epoll::add(
            self.epoll_of(&adopted),
            &adopted,
            EventData::new_u64(u64::from(slot)),
            flags,
        );
        adopted
            .run_read()
            .into_iter()
            .for_each(|run| self.runs.add(run));
        self.by_slot[slot as usize] = Some(Box::new(adopted));
        if added.is_err() {
            // The system's limit of watches: this connection cannot be served, all others can.
            self.cut(slot, generation, master);
        }
        self.follow(slot as usize, next, master);
        Ok(())
    }

    /// Serves one connection that is ready. Returns when it was read, 0 for not at all.
    #[inline]
    pub(super) fn serve(
        &mut self,
        slot: usize,
        flags: EventFlags,
        turn: &mut Turn,
        master: &mut MasterChannel,
    ) -> u64 {
        let Some(connection) = self.by_slot.get_mut(slot).and_then(Option::as_mut) else {
            return 0;
        };
        // What a worker that died has left pending goes first: else the queue has no room for the
        // replies to what is read now, and drops them.
        if flags.contains(EventFlags::OUT)
            && let Some(record) = self.ledger.slots().get(slot)
        {
            let _ = connection.flush_replies(record);
        }
        let Received {
            at_ns,
            bytes,
            is_full,
            mut next,
        } = connection.read(&self.ledger, &self.admission_keys, &mut self.handler);
        turn.reads += u64::from(bytes > 0);
        turn.bytes += connection.as_bytes_of_small_packets(bytes);
        turn.has_left_over |= is_full;
        if connection.has_just_authenticated() {
            self.move_to_clients(slot, master);
        }
        let Some(connection) = self.by_slot.get_mut(slot).and_then(Option::as_mut) else {
            return at_ns;
        };
        if flags.contains(EventFlags::OUT) && next == Next::Read {
            next = connection.flush_replies(&self.ledger.slots()[slot]);
            if next == Next::Read {
                self.watch(slot, EventFlags::IN);
            }
        }
        self.follow(slot, next, master);
        at_ns
    }

    /// Serves at most `budget` of the connections that have not authenticated and are ready.
    /// Returns when the last of them was read, 0 for none.
    pub(super) fn serve_unauthenticated(
        &mut self,
        budget: usize,
        turn: &mut Turn,
        master: &mut MasterChannel,
    ) -> io::Result<u64> {
        let mut space = [const { MaybeUninit::uninit() }; UNAUTHENTICATED_PER_TURN_MAX];
        let space = &mut space[..budget];
        let (ready, _) = match epoll::wait(&self.unauthenticated, space, Some(&timespec(0))) {
            Err(rustix::io::Errno::INTR) => return Ok(0),
            waited => waited?,
        };
        let mut read_ns = 0;
        for event in ready {
            read_ns = self
                .serve(event.data.u64() as usize, event.flags, turn, master)
                .max(read_ns);
        }
        Ok(read_ns)
    }

    /// Whether a round of deadline checks has begun and is not finished.
    #[inline]
    pub(super) fn is_checking_deadlines(&self) -> bool {
        self.next_deadline_check > 0
    }

    /// Goes on with a round of deadline checks for one turn, and ends at most `budget` connections.
    pub(super) fn check_deadlines(
        &mut self,
        now_ns: u64,
        budget: usize,
        master: &mut MasterChannel,
    ) {
        let (mut checks, mut overdue) = (0, 0);
        while checks < DEADLINE_CHECKS_PER_TURN && overdue < budget {
            let Some(connection) = self.by_slot.get_mut(self.next_deadline_check) else {
                self.next_deadline_check = 0;
                return;
            };
            let slot = self.next_deadline_check;
            self.next_deadline_check += 1;
            let Some(connection) = connection else {
                continue;
            };
            checks += 1;
            let is_over = connection.is_overdue(now_ns)
                || connection.is_replaced(&self.ledger, &self.admission_keys);
            if is_over {
                overdue += 1;
                let next = connection.end_overdue(
                    &self.ledger,
                    &self.admission_keys,
                    &mut self.handler,
                    now_ns,
                );
                if connection.has_just_authenticated() {
                    self.move_to_clients(slot, master);
                }
                self.follow(slot, next, master);
            }
        }
    }

    /// A run is over: no hello of it is verified any more, and its connections end. One may be that
    /// of a client whose hello was verified while the master's message was on its way.
    pub(super) fn dismiss(&mut self, run: RunId, master: &mut MasterChannel) {
        let of_run = |connection: &Connection| {
            connection
                .is_of(run)
                .then_some((connection.slot, connection.generation))
        };
        let left: Vec<_> = self
            .by_slot
            .iter()
            .flatten()
            .filter_map(|connection| of_run(connection))
            .collect();
        left.into_iter()
            .for_each(|(slot, generation)| self.cut(slot, generation, master));
        self.admission_keys.dismiss(run);
    }

    /// Ends a connection on the master's order.
    pub(super) fn cut(&mut self, slot: u32, generation: u32, master: &mut MasterChannel) {
        let known = self.by_slot.get_mut(slot as usize).and_then(Option::as_mut);
        // Another generation: the connection ended before the master's message came.
        let Some(connection) = known.filter(|connection| connection.generation == generation)
        else {
            return;
        };
        connection.cut(&self.ledger, &self.admission_keys, &mut self.handler);
        self.release(slot as usize, master);
    }

    /// Lets go of a connection on the master's order, which has another worker go on with it from
    /// what is committed, as behind a worker that has ended.
    pub(super) fn hand_back(&mut self, slot: u32, generation: u32, master: &mut MasterChannel) {
        let known = self.by_slot.get(slot as usize).and_then(Option::as_ref);
        let is_meant = known.is_some_and(|connection| connection.generation == generation);
        if is_meant && self.take(slot as usize).is_some() {
            master.send(FromWorker::HandedBack { slot, generation });
        }
    }

    fn follow(&mut self, slot: usize, next: Next, master: &mut MasterChannel) {
        match next {
            Next::Read => {}
            Next::ReadAndWrite => self.watch(slot, EventFlags::IN | EventFlags::OUT),
            Next::Release => self.release(slot, master),
        }
    }

    fn watch(&self, slot: usize, flags: EventFlags) {
        if let Some(connection) = &self.by_slot[slot] {
            let _ = epoll::modify(
                self.epoll_of(connection),
                connection,
                EventData::new_u64(slot as u64),
                flags,
            );
        }
    }

    /// The set in which a connection is watched.
    fn epoll_of(&self, connection: &Connection) -> &OwnedFd {
        if connection.waits_unauthenticated {
            &self.unauthenticated
        } else {
            &self.epoll
        }
    }

    /// The connection has authenticated: from now on it is watched as a client.
    fn move_to_clients(&mut self, slot: usize, master: &mut MasterChannel) {
        let Some(connection) = self.by_slot[slot].as_mut() else {
            return;
        };
        let _ = epoll::delete(&self.unauthenticated, &**connection);
        connection.waits_unauthenticated = false;
        connection
            .run_read()
            .into_iter()
            .for_each(|run| self.runs.add(run));
        let added = epoll::add(
            &self.epoll,
            &**connection,
            EventData::new_u64(slot as u64),
            EventFlags::IN,
        );
        if added.is_err() {
            let generation = connection.generation;
            self.cut(slot as u32, generation, master);
        }
    }

    /// A connection that is watched no more.
    fn take(&mut self, slot: usize) -> Option<Box<Connection>> {
        let connection = self.by_slot[slot].take()?;
        let _ = epoll::delete(self.epoll_of(&connection), &*connection);
        connection
            .run_read()
            .into_iter()
            .for_each(|run| self.runs.remove(run));
        Some(connection)
    }

    /// Closes our copy of the socket and reports that to the master. The counters are closed by
    /// now.
    fn release(&mut self, slot: usize, master: &mut MasterChannel) {
        let Some(connection) = self.take(slot) else {
            return;
        };
        let released = FromWorker::Released {
            slot: connection.slot,
            generation: connection.generation,
        };
        connection.release();
        master.send(released);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream, sync::atomic::Ordering};

    use metronome_os::seq_packet::SeqPacket;
    use metronome_proto::{
        counters::CounterList as _,
        packet::{FLAG_ECHO, FRAME_BYTES, Packet},
        v1::ReceiverCounts,
    };

    use super::*;
    use crate::ledger::{ConnectionCounters, Dimensions, ReleaseStore, Stage};

    /// `count` packets from `sequence` on, each of which asks for a reply.
    fn asking(sequence: u64, count: u64) -> Vec<u8> {
        let packet = |sequence| Packet {
            flags: FLAG_ECHO,
            client: 0,
            sequence,
            due_ns: sequence,
            lateness_ns: 0,
        };
        (sequence..sequence + count)
            .flat_map(|sequence| packet(sequence).encode(&[]))
            .collect()
    }

    /// A worker has died with as many replies pending as there may be, and as many packets have
    /// come since as one receive takes.
    #[test]
    fn the_death_of_a_worker_drops_no_reply_of_a_peer_that_keeps_up() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let record = &ledger.slots()[0];
        record.header.opened_ns.store(1, Ordering::Release);
        let replies = 254 * FRAME_BYTES as u64;
        let left = ConnectionCounters {
            stage: Stage::Packets,
            attempt: 1,
            counts: ReceiverCounts {
                received: 254,
                replies_wanted: Some(254),
                replies_dropped: Some(0),
                ..ReceiverCounts::zero()
            },
            next_sequence: 254,
            bytes: replies + FRAME_BYTES as u64,
            reply_bytes_queued: replies + FRAME_BYTES as u64,
            reply_bytes_sent: FRAME_BYTES as u64,
            ..ConnectionCounters::default()
        };
        record.commit(&left, &ReleaseStore);
        let (ours, mut peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        peer.write_all(&asking(254, 253)).unwrap();
        let (channel, _master) = SeqPacket::pair().unwrap();
        let mut master = MasterChannel::new(channel);
        let handler = WorkerHandler::none();
        let keys = AdmissionKeys::new(false);
        let mut connections = Connections::new(&master, ledger, keys, handler).unwrap();
        connections.adopt(0, 1, ours.into(), &mut master).unwrap();
        let mut events = Vec::with_capacity(1);
        connections.wait(&mut events, 0).unwrap();
        let flags = events[0].flags;
        let mut turn = Turn::default();
        assert!(connections.serve(0, flags, &mut turn, &mut master) > 0);
        let counters = connections.ledger.slots()[0].counters().unwrap();
        let counts = counters.counts;
        assert_eq!(
            (
                counts.received,
                counts.replies_wanted,
                counts.replies_dropped
            ),
            (507, Some(507), Some(0))
        );
        let mut sent = vec![0; 507 * FRAME_BYTES];
        std::io::Read::read_exact(&mut peer, &mut sent).unwrap();
        assert!(!counters.has_pending_replies());
    }
}
