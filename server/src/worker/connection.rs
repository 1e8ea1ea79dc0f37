//! One connection of a worker: bytes in, counters committed, replies out.
//!
//! What the bytes mean is decided in [`crate::ledger`]. Here is only what needs the socket: when to
//! receive, what to send, and how the connection ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use metronome_os::{
    clock::{SECOND_NS, now_ns},
    socket::{has_fin, receive_into},
};
use metronome_proto::{
    handshake::Refusal, limits::RATE_MILLIHERTZ_MIN, packet::FRAME_BYTES, packet_size::PacketSize,
    run_id::RunId,
};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::packet_handler::WorkerHandler;
use crate::{
    ipc::{AdmissionKeys, ConnectionAdmission},
    ledger::{
        BATCHES_AFTER_CUT, ConnectionCounters, Ledger, LoadCheck, REPLY_QUEUE_FRAMES, ReleaseStore,
        Slot, Stage, allocate_usual_times, place_partial_frame, process_batch, receive_limit,
        refuse,
    },
    model::ClientEnd,
};

/// For the whole first frame, from the accept on; in the static run once more for the hello, from
/// the answer to the challenge on.
const HELLO_TIME_NS: u64 = 5_000_000_000;

/// For a raw client between two reads: it has no end by which one that is gone could be known, and
/// takes a place of `--max-clients`. Longer than the period of the lowest rate: one that sends at
/// that rate is never ended.
const RAW_IDLE_TIME_NS: u64 = 20 * 60 * SECOND_NS;

/// For an agent between two probes, of which it sends one a second or more: a connection that it
/// has left without a word gives its slot back.
const PROBES_IDLE_TIME_NS: u64 = 5 * SECOND_NS;

/// Seldom more replies than this are pending at a time.
const FEW_FRAMES: usize = 8;

const _: () = assert!(RAW_IDLE_TIME_NS > 1000 * SECOND_NS / RATE_MILLIHERTZ_MIN);

/// For the peer to close after its end-ack.
const CLOSE_TIME_NS: u64 = 5_000_000_000;

/// For the peer to read a refusal before the connection is closed under it.
const REFUSAL_TIME_NS: u64 = 1_000_000_000;

/// A connection that this worker reads.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// It is watched among the connections that have not authenticated, not among the clients.
    pub(super) waits_unauthenticated: bool,
    counters: ConnectionCounters,
    /// A reply could not be sent: the peer is gone, and what it has sent may still be unread. It is
    /// not in the ledger, since the kernel refuses the next worker's reply as well.
    is_peer_gone: bool,
    /// What is asked of it, as far as the counters have come.
    check: LoadCheck,
    /// When the connection is ended if nothing happens before, ns; `u64::MAX` for never.
    deadline_ns: u64,
}

/// The result of one receive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Received {
    /// The read time, ns; 0 when nothing had arrived, not even the end of the stream.
    pub(super) at_ns: u64,
    /// Bytes taken from the socket.
    pub(super) bytes: usize,
    /// All the space given was filled, so there is likely to be more.
    pub(super) is_full: bool,
    pub(super) next: Next,
}

impl Received {
    /// A receive without bytes.
    fn empty(at_ns: u64, next: Next) -> Self {
        Self {
            at_ns,
            bytes: 0,
            is_full: false,
            next,
        }
    }
}

/// What becomes of a connection after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Watch it for reading.
    Read,
    /// The socket did not take all replies: watch it for writing as well.
    ReadAndWrite,
    /// The connection has ended and its counters are closed: release it.
    Release,
}

impl Connection {
    /// Takes a connection over from the counters in the ledger: at its very beginning, or where
    /// another worker left off.
    pub(super) fn adopt(
        socket: OwnedFd,
        slot: u32,
        generation: u32,
        record: &Slot,
    ) -> Option<Self> {
        let counters = record.counters()?;
        let opened_ns = record
            .header
            .opened_ns
            .load(std::sync::atomic::Ordering::Acquire);
        let mut connection = Self {
            socket,
            slot,
            generation,
            waits_unauthenticated: false,
            is_peer_gone: false,
            check: record.load_check(&counters),
            counters,
            deadline_ns: u64::MAX,
        };
        connection.waits_unauthenticated = connection.is_unauthenticated();
        connection.deadline_ns = connection.deadline(opened_ns, now_ns());
        // Of a client that another worker has read, this process has no page mapped yet.
        allocate_usual_times(record, &connection.counters);
        Some(connection)
    }

    /// Has the packet handler, if there is one, handle what the worker before this one has left.
    /// Before this the connection must not be read.
    pub(super) fn handle_what_was_left(
        &mut self,
        ledger: &Ledger,
        handler: &mut WorkerHandler,
    ) -> Next {
        let Some(record) = ledger.slots().get(self.slot as usize) else {
            return Next::Release;
        };
        match handler.adopt(ledger, record, &self.counters) {
            Ok(()) => Next::Read,
            Err(end) => self.end(record, end),
        }
    }

    /// Receives once, processes what came and has it handled.
    pub(super) fn read(
        &mut self,
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
    ) -> Received {
        let Some(record) = ledger.slots().get(self.slot as usize) else {
            return Received::empty(0, Next::Release);
        };
        let at = place_partial_frame(record, &self.counters, &ReleaseStore);
        let space = &record.buffer.0[..receive_limit(&self.counters) / size_of::<u64>()];
        match receive_into(&self.socket, space, at) {
            Ok(0) if self.was_reset() => {
                Received::empty(now_ns(), self.end(record, ClientEnd::Broken))
            }
            Ok(0) => Received::empty(now_ns(), self.end_of_stream(record)),
            Ok(taken) => {
                // Behind the receive: answers to probes prove that it was no earlier.
                let read_ns = now_ns();
                let admission = self.admission(ledger, admission_keys);
                let stage = self.counters.stage;
                process_batch(
                    record,
                    &mut self.counters,
                    &mut self.check,
                    (taken, read_ns),
                    &admission,
                    &ReleaseStore,
                );
                if self.counters.stage != stage {
                    self.deadline_ns = self.deadline(read_ns, read_ns);
                    allocate_usual_times(record, &self.counters);
                }
                let is_full = at + taken == size_of_val(space);
                // In front of the replies: a client whose end is answered is handled to the end.
                let next = match handler.handle(ledger, record, &self.counters) {
                    Ok(()) => self.flush_replies(record),
                    Err(end) => self.end(record, end),
                };
                Received {
                    at_ns: read_ns,
                    bytes: taken,
                    is_full,
                    next,
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                    Received::empty(0, Next::Read)
                }
                _ => Received::empty(now_ns(), self.end(record, ClientEnd::Broken)),
            },
        }
    }

    /// How many bytes as many packets of 32 have as there are in `bytes` of its own.
    #[inline]
    pub(super) fn as_bytes_of_small_packets(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        if self.counters.packet_size == PacketSize::MIN {
            return bytes;
        }
        bytes * FRAME_BYTES as u64 / self.counters.packet_size.bytes() as u64
    }

    /// Sends the pending replies, as far as the socket takes them. To a peer that is gone nothing
    /// more is sent: the queue fills up and what does not fit is dropped and counted, as for one
    /// that does not read.
    #[inline]
    pub(super) fn flush_replies(&mut self, record: &Slot) -> Next {
        if self.counters.has_pending_replies() && !self.is_peer_gone {
            self.send_pending_replies(record)
        } else {
            Next::Read
        }
    }

    fn send_pending_replies(&mut self, record: &Slot) -> Next {
        let pending = self.counters.reply_bytes_queued - self.counters.reply_bytes_sent;
        // To prepare room for all that may be pending takes some hundred ns, for which every reply
        // would wait.
        if pending <= ((FEW_FRAMES - 1) * FRAME_BYTES) as u64 {
            self.send_frames::<FEW_FRAMES>(record)
        } else {
            self.send_frames::<REPLY_QUEUE_FRAMES>(record)
        }
    }

    /// Sends what is pending, `FRAMES` frames at most, of which the first may have been sent in
    /// part.
    fn send_frames<const FRAMES: usize>(&mut self, record: &Slot) -> Next {
        let (from, to) = (
            self.counters.reply_bytes_sent,
            self.counters.reply_bytes_queued,
        );
        let mut frames = [[0; FRAME_BYTES]; FRAMES];
        let first = from - from % FRAME_BYTES as u64;
        let starts = (first..to).step_by(FRAME_BYTES);
        let count = frames
            .iter_mut()
            .zip(starts)
            .map(|(frame, at)| *frame = record.reply(at))
            .count();
        let bytes = &frames[..count].as_flattened()[(from - first) as usize..];
        match send(
            &self.socket,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                self.counters.reply_bytes_sent += sent as u64;
                record.commit(&self.counters, &ReleaseStore);
                if self.counters.has_pending_replies() {
                    Next::ReadAndWrite
                } else {
                    self.replies_flushed()
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Next::ReadAndWrite,
            // The end of the connection is seen where it is read: behind what the peer had sent.
            Err(_) => {
                self.is_peer_gone = true;
                Next::Read
            }
        }
    }

    fn replies_flushed(&self) -> Next {
        if self.counters.stage == Stage::Refused {
            // The peer sees the refusal and then the end; closing now could reset it away.
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        Next::Read
    }

    /// Its hello has not arrived whole, or what comes before that in the static run.
    fn awaits_hello(&self) -> bool {
        matches!(self.counters.stage, Stage::Opening | Stage::Challenged)
    }

    /// It has not sent its hello, or was refused.
    pub(super) fn is_unauthenticated(&self) -> bool {
        self.awaits_hello() || self.counters.stage == Stage::Refused
    }

    /// It is still watched among those that have not authenticated, and has authenticated by now.
    #[inline]
    pub(super) fn has_just_authenticated(&self) -> bool {
        self.waits_unauthenticated
            && matches!(
                self.counters.stage,
                Stage::Packets | Stage::Raw | Stage::Ended | Stage::Probes
            )
    }

    /// Whether its deadline has passed.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns
    }

    /// Whether it carries an agent's probes and a newer one of that agent has taken its place.
    #[inline]
    pub(super) fn is_replaced(&self, ledger: &Ledger, admission_keys: &AdmissionKeys) -> bool {
        self.admission(ledger, admission_keys)
            .is_replaced(&self.counters)
    }

    #[inline]
    fn admission<'a>(
        &self,
        ledger: &'a Ledger,
        admission_keys: &'a AdmissionKeys,
    ) -> ConnectionAdmission<'a> {
        ConnectionAdmission {
            admission_keys,
            ledger,
            slot: self.slot,
            generation: self.generation,
        }
    }

    /// Ends it, since its deadline has passed or another one has its place.
    pub(super) fn end_overdue(
        &mut self,
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
        now_ns: u64,
    ) -> Next {
        let Some(record) = ledger.slots().get(self.slot as usize) else {
            return Next::Release;
        };
        match self.counters.stage {
            Stage::Opening | Stage::Challenged => {
                self.end_opening(record, ledger, admission_keys, handler, now_ns)
            }
            Stage::Ended if !self.counters.has_pending_replies() => {
                self.end(record, ClientEnd::Clean)
            }
            Stage::Raw | Stage::Probes => {
                self.end_idle(record, ledger, admission_keys, handler, now_ns)
            }
            _ => self.end(record, ClientEnd::Broken),
        }
    }

    /// Refuses a peer whose hello has not come in time. A hello that is there and was not read yet
    /// was in time: then this worker is late, on a busy machine or after another worker's death.
    fn end_opening(
        &mut self,
        record: &Slot,
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
        now_ns: u64,
    ) -> Next {
        let Received { next, .. } = self.read(ledger, admission_keys, handler);
        if next == Next::Release || !self.awaits_hello() || !self.is_overdue(now_ns) {
            return next;
        }
        refuse(record, &mut self.counters, Refusal::Late, &ReleaseStore);
        self.deadline_ns = self.deadline(now_ns, now_ns);
        record.commit(&self.counters, &ReleaseStore);
        self.flush_replies(record)
    }

    /// Ends a raw client or the connection of an agent's probes that has sent nothing for long, or
    /// whose place another one has. Reading moves no deadline, since that would cost each read
    /// something: what has come since is seen here.
    fn end_idle(
        &mut self,
        record: &Slot,
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
        now_ns: u64,
    ) -> Next {
        let Received { next, .. } = self.read(ledger, admission_keys, handler);
        if next == Next::Release {
            return next;
        }
        self.deadline_ns = self.deadline(now_ns, now_ns);
        if self.is_overdue(now_ns) || self.is_replaced(ledger, admission_keys) {
            return self.end(record, ClientEnd::Cut);
        }
        next
    }

    /// Reads what is there and ends it, on the master's order.
    pub(super) fn cut(
        &mut self,
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
    ) {
        for _ in 0..BATCHES_AFTER_CUT {
            match self.read(ledger, admission_keys, handler) {
                Received {
                    next: Next::Release,
                    ..
                } => return,
                Received { at_ns: 0, .. } => break,
                _ => {}
            }
        }
        if let Some(record) = ledger.slots().get(self.slot as usize) {
            self.end(record, self.counters.end_of_cut());
        }
    }

    /// Whether it is a client of a run, or of its probes.
    pub(super) fn is_of(&self, run: RunId) -> bool {
        self.counters.is_of(run)
    }

    /// The run whose client it is, once it has authenticated.
    pub(super) fn run_read(&self) -> Option<u64> {
        let is_read = self.counters.is_client() && !self.waits_unauthenticated;
        is_read.then_some(self.counters.run)
    }

    /// Shuts the connection down. Our copy of the socket closes on return; the master keeps its own
    /// until our message of the release has come.
    pub(super) fn release(self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Whether a stream that is over was reset. The kernel gives the error to the first that
    /// receives: that may have been a worker that died with it, or the master behind that.
    fn was_reset(&self) -> bool {
        has_fin(&self.socket).is_ok_and(|has_fin| !has_fin)
    }

    fn end_of_stream(&mut self, record: &Slot) -> Next {
        match self.counters.stage {
            Stage::Ended => {
                if self.flush_replies(record) == Next::ReadAndWrite {
                    return Next::ReadAndWrite;
                }
                match self.counters.has_pending_replies() {
                    true => self.end(record, ClientEnd::Broken),
                    false => self.end(record, ClientEnd::Clean),
                }
            }
            Stage::Raw | Stage::Probes => self.end(record, ClientEnd::Clean),
            _ => self.end(record, ClientEnd::Abrupt),
        }
    }

    fn end(&mut self, record: &Slot, end: ClientEnd) -> Next {
        if self.counters.stage != Stage::Closed {
            // However the peer of a refused connection takes it, the refusal has ended it.
            if self.counters.stage != Stage::Refused {
                self.counters.end = end;
            }
            self.counters.stage = Stage::Closed;
            record.commit(&self.counters, &ReleaseStore);
        }
        Next::Release
    }

    fn deadline(&self, opened_ns: u64, now_ns: u64) -> u64 {
        match self.counters.stage {
            Stage::Opening => opened_ns.saturating_add(HELLO_TIME_NS),
            Stage::Challenged => now_ns + HELLO_TIME_NS,
            Stage::Ended => now_ns + CLOSE_TIME_NS,
            Stage::Refused => now_ns + REFUSAL_TIME_NS,
            Stage::Packets => u64::MAX,
            Stage::Raw => self.counters.last_batch_ns.saturating_add(RAW_IDLE_TIME_NS),
            Stage::Probes => (self.counters.last_batch_ns).saturating_add(PROBES_IDLE_TIME_NS),
            Stage::Closed => 0,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        os::unix::net::UnixStream,
        sync::atomic::Ordering,
        time::Duration,
    };

    use metronome_proto::{
        handshake::{Hello, Key, PROBE_CLIENT},
        packet::{FLAG_ECHO, Frame, Packet, Probe, Reply},
    };
    use proptest::prelude::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use socket2::SockRef;

    use super::*;
    use crate::{
        ipc::AdmissionKey,
        ledger::{Dimensions, replay},
        model::ClockRelation,
    };

    /// A connection that was accepted when the clock began, so that its deadline has long passed,
    /// and its peer.
    fn overdue(ledger: &Ledger) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        ledger.raw_client_limit().store(1, Ordering::Release);
        let record = &ledger.slots()[0];
        record.header.opened_ns.store(1, Ordering::Release);
        (
            Connection::adopt(ours.into(), 0, 1, record).unwrap(),
            theirs,
        )
    }

    const HELLO: Hello = Hello {
        run: RunId::from_bits(1),
        agent: 0,
        client: 0,
        attempt: 1,
    };

    fn key() -> Key {
        Key::from_bytes([9; 32])
    }

    /// The keys of a run whose one client has no load, and the hello of that.
    fn one_client() -> (AdmissionKeys, Frame) {
        let mut admission_keys = AdmissionKeys::new(false);
        admission_keys.admit(AdmissionKey {
            row: 0,
            run: HELLO.run,
            agent: 0,
            key: key(),
            clients: 0..1,
            clock: ClockRelation::Same,
            load: None,
            group: 0,
            is_static: false,
        });
        (admission_keys, HELLO.encode(&key()))
    }

    fn asking(sequence: u64) -> Packet {
        Packet {
            flags: FLAG_ECHO,
            client: 0,
            sequence,
            due_ns: now_ns(),
            lateness_ns: 0,
        }
    }

    #[test]
    fn however_many_packets_come_at_once_each_that_asks_gets_its_reply() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let (admission_keys, hello) = one_client();
        let (mut connection, mut peer) = overdue(&ledger);
        let mut handler = WorkerHandler::none();
        peer.write_all(&hello).unwrap();
        let _ = connection.read(&ledger, &admission_keys, &mut handler);
        let packets: Vec<_> = (0..1_500).map(asking).collect();
        let bytes: Vec<u8> = packets.iter().flat_map(|it| it.encode(&[])).collect();
        peer.write_all(&bytes).unwrap();
        let mut receives = 0;
        while connection.counters.counts.received < 1_500 {
            let received = connection.read(&ledger, &admission_keys, &mut handler);
            assert_eq!(received.next, Next::Read);
            assert_eq!(received.is_full, received.bytes == 253 * FRAME_BYTES);
            receives += 1;
        }
        let counts = connection.counters.counts;
        assert_eq!(
            (counts.replies_wanted, counts.replies_dropped),
            (Some(1_500), Some(0))
        );
        assert_eq!(receives, 6);
        let mut sent = vec![0; 1_501 * FRAME_BYTES];
        std::io::Read::read_exact(&mut peer, &mut sent).unwrap();
        let replies: Vec<u8> = packets
            .iter()
            .flat_map(|it| Reply::to(it).encode())
            .collect();
        assert!(sent[FRAME_BYTES..] == replies);
    }

    /// What a peer sends in front of its reset, behind its packets.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Farewell {
        Nothing,
        Fin,
        EndAndFin,
    }

    impl Farewell {
        /// How the connection ends once all of it is read.
        fn end(self) -> ClientEnd {
            match self {
                Self::Fin => ClientEnd::Abrupt,
                // There is no end of the stream, or an end-ack that could not be sent.
                Self::Nothing | Self::EndAndFin => ClientEnd::Broken,
            }
        }
    }

    /// What comes in front of a read.
    #[derive(Clone, Copy, Debug)]
    enum Before {
        Nothing,
        /// The worker has ended, and this is the next one.
        Death,
        /// The worker has ended with what it had received, which the master has replayed.
        DeathAfterReceive,
    }

    /// A client on TCP whose hello is answered.
    fn welcomed(
        ledger: &Ledger,
        admission_keys: &AdmissionKeys,
        handler: &mut WorkerHandler,
    ) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // As the acceptor has it.
        SockRef::from(&listener)
            .set_recv_buffer_size(128 * 1024)
            .unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        let record = &ledger.slots()[0];
        record.header.opened_ns.store(1, Ordering::Release);
        let mut connection = Connection::adopt(ours.into(), 0, 1, record).unwrap();
        peer.write_all(&HELLO.encode(&key())).unwrap();
        while connection.counters.reply_bytes_sent == 0 {
            let _ = connection.read(ledger, admission_keys, handler);
        }
        (connection, peer)
    }

    /// The peer sends and then resets the connection. Returns when all of that has come.
    fn send_and_reset(
        connection: &Connection,
        mut peer: TcpStream,
        bytes: &[u8],
        farewell: Farewell,
    ) {
        peer.write_all(bytes).unwrap();
        while rustix::io::ioctl_fionread(&connection.socket).unwrap() < bytes.len() as u64 {
            std::thread::yield_now();
        }
        if farewell != Farewell::Nothing {
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            while !has_fin(&connection.socket).unwrap_or(false) {
                std::thread::yield_now();
            }
        }
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        let mut watched = [PollFd::new(&connection.socket, PollFlags::empty())];
        poll(&mut watched, None).unwrap();
        assert!(watched[0].revents().contains(PollFlags::HUP));
    }

    /// A worker receives and dies; the master replays.
    fn receive_and_die(connection: &Connection, ledger: &Ledger, admission_keys: &AdmissionKeys) {
        let record = &ledger.slots()[0];
        let mut counters = record.counters().unwrap();
        let at = place_partial_frame(record, &counters, &ReleaseStore);
        let space = &record.buffer.0[..receive_limit(&counters) / size_of::<u64>()];
        let taken = receive_into(&connection.socket, space, at).unwrap_or(0);
        let admission = ConnectionAdmission {
            admission_keys,
            ledger,
            slot: 0,
            generation: 1,
        };
        if taken > 0 {
            replay(
                record,
                &mut counters,
                taken,
                now_ns(),
                &admission,
                &ReleaseStore,
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn all_that_a_peer_sent_before_a_reset_is_read_though_no_reply_can_be_sent_whatever_dies(
            packets in 0..2_000_u64,
            every in 1..4_u64,
            farewell in prop::sample::select(
                &[Farewell::Nothing, Farewell::Fin, Farewell::EndAndFin][..],
            ),
            befores in prop::collection::vec(prop::sample::select(
                &[Before::Nothing, Before::Death, Before::DeathAfterReceive][..],
            ), 0..12),
        ) {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let (admission_keys, _) = one_client();
            let mut handler = WorkerHandler::none();
            let (mut connection, peer) = welcomed(&ledger, &admission_keys, &mut handler);
            let mut bytes: Vec<u8> = (0..packets)
                .map(|sequence| Packet {
                    flags: if sequence % every == 0 { FLAG_ECHO } else { 0 },
                    ..asking(sequence)
                })
                .flat_map(|packet| packet.encode(&[]))
                .collect();
            if farewell == Farewell::EndAndFin {
                bytes.extend(HELLO.end(packets, PacketSize::MIN, &key()));
            }
            send_and_reset(&connection, peer, &bytes, farewell);
            let mut befores = befores.into_iter();
            loop {
                let before = befores.next().unwrap_or(Before::Nothing);
                if let Before::DeathAfterReceive = before {
                    receive_and_die(&connection, &ledger, &admission_keys);
                }
                if !matches!(before, Before::Nothing) {
                    let record = &ledger.slots()[0];
                    connection = Connection::adopt(connection.socket, 0, 1, record).unwrap();
                }
                let received = connection.read(&ledger, &admission_keys, &mut handler);
                if received.next == Next::Release {
                    break;
                }
                prop_assert!(received.bytes > 0, "an event that changes nothing comes for ever");
            }
            let counters = ledger.slots()[0].counters().unwrap();
            prop_assert_eq!(counters.counts.received, packets);
            prop_assert_eq!((counters.stage, counters.end), (Stage::Closed, farewell.end()));
            let asked = packets.div_ceil(every);
            let counts = counters.counts;
            prop_assert_eq!(counts.replies_wanted.unwrap_or(0), asked);
            prop_assert_eq!(counts.replies_dropped.unwrap_or(0), asked.saturating_sub(254));
            let end_acks = u64::from(farewell == Farewell::EndAndFin);
            let frames = 1 + asked.min(254) + end_acks;
            prop_assert_eq!(counters.reply_bytes_queued, frames * FRAME_BYTES as u64);
            // The answer to its hello.
            prop_assert_eq!(counters.reply_bytes_sent, FRAME_BYTES as u64);
        }
    }

    #[test]
    fn a_first_packet_that_waits_to_be_read_at_the_deadline_was_in_time() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let admission_keys = AdmissionKeys::new(true);
        let mut handler = WorkerHandler::none();
        let (mut connection, mut peer) = overdue(&ledger);
        peer.write_all(&[b'x'; 70]).unwrap();
        assert!(connection.is_overdue(now_ns()) && connection.is_unauthenticated());
        assert_eq!(
            connection.end_overdue(&ledger, &admission_keys, &mut handler, now_ns()),
            Next::Read
        );
        assert_eq!(
            (
                connection.counters.stage,
                connection.counters.counts.received
            ),
            (Stage::Raw, 2)
        );
        assert!(!connection.is_overdue(now_ns()) && !connection.is_unauthenticated());
    }

    #[test]
    fn a_raw_client_that_is_idle_for_long_gives_its_place_back_and_one_that_sends_does_not() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let admission_keys = AdmissionKeys::new(true);
        let mut handler = WorkerHandler::none();
        let (mut connection, mut peer) = overdue(&ledger);
        peer.write_all(&[b'x'; 32]).unwrap();
        let began_ns = now_ns();
        let _ = connection.read(&ledger, &admission_keys, &mut handler);
        assert!(!connection.is_overdue(began_ns + RAW_IDLE_TIME_NS - 1));
        let later_ns = now_ns() + RAW_IDLE_TIME_NS;
        assert!(connection.is_overdue(later_ns));
        // It has sent since, and was read: its time begins anew.
        peer.write_all(&[b'x'; 32]).unwrap();
        let next = connection.end_overdue(&ledger, &admission_keys, &mut handler, later_ns);
        assert_eq!((next, connection.counters.stage), (Next::Read, Stage::Raw));
        assert!(!connection.is_overdue(later_ns));
        let idle_ns = now_ns() + RAW_IDLE_TIME_NS;
        let next = connection.end_overdue(&ledger, &admission_keys, &mut handler, idle_ns);
        assert_eq!(next, Next::Release);
        assert_eq!(
            (connection.counters.end, connection.counters.counts.received),
            (ClientEnd::Cut, 2)
        );
    }

    #[test]
    fn probes_that_another_connection_replaces_or_that_do_not_come_end_and_others_go_on() {
        let ledger = Ledger::create(Dimensions { slots: 2 }).unwrap();
        let (admission_keys, _) = one_client();
        let mut handler = WorkerHandler::none();
        let mut open = |slot: u32, attempt| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let record = &ledger.slots()[slot as usize];
            let mut connection = Connection::adopt(ours.into(), slot, 1, record).unwrap();
            let hello = Hello {
                run: RunId::from_bits(1),
                agent: 0,
                client: PROBE_CLIENT,
                attempt,
            };
            theirs.write_all(&hello.encode(&key())).unwrap();
            let _ = connection.read(&ledger, &admission_keys, &mut handler);
            assert_eq!(connection.counters.stage, Stage::Probes);
            (connection, theirs)
        };
        let (mut older, _older_peer) = open(0, 1);
        assert!(!older.is_replaced(&ledger, &admission_keys));
        let (mut newer, mut peer) = open(1, 2);
        assert!(older.is_replaced(&ledger, &admission_keys));
        assert!(!newer.is_replaced(&ledger, &admission_keys));
        let mut end_overdue = |of: &mut Connection, at_ns| {
            of.end_overdue(&ledger, &admission_keys, &mut handler, at_ns)
        };
        assert_eq!(end_overdue(&mut older, now_ns()), Next::Release);
        // One that has sent a probe since it was looked at goes on; one that has not ends.
        let later_ns = now_ns() + PROBES_IDLE_TIME_NS;
        assert!(newer.is_overdue(later_ns));
        peer.write_all(&Probe { sequence: 0 }.encode()).unwrap();
        assert_eq!(end_overdue(&mut newer, later_ns), Next::Read);
        let later_ns = now_ns() + PROBES_IDLE_TIME_NS;
        assert_eq!(end_overdue(&mut newer, later_ns), Next::Release);
        for connection in [older, newer] {
            assert_eq!(connection.counters.end, ClientEnd::Cut);
        }
    }

    #[test]
    fn a_peer_that_has_sent_nothing_or_half_a_hello_at_its_deadline_is_refused_late() {
        for sent in [&[][..], &metronome_proto::packet::MAGIC[..]] {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let admission_keys = AdmissionKeys::new(true);
            let mut handler = WorkerHandler::none();
            let (mut connection, mut peer) = overdue(&ledger);
            peer.write_all(sent).unwrap();
            assert_eq!(
                connection.end_overdue(&ledger, &admission_keys, &mut handler, now_ns()),
                Next::Read
            );
            assert_eq!(connection.counters.stage, Stage::Refused, "{sent:?}");
            assert!(
                !connection.is_overdue(now_ns()),
                "it has a moment to read the refusal"
            );
            assert_eq!(
                connection.counters.end,
                ClientEnd::Refused(Refusal::Late as u8)
            );
            let mut reply = [0; FRAME_BYTES];
            std::io::Read::read_exact(&mut peer, &mut reply).unwrap();
            assert_eq!(reply, Refusal::Late.encode());
        }
    }

    #[test]
    fn a_client_has_the_memory_of_its_usual_times_when_it_is_admitted_and_when_it_is_taken_over() {
        let [ledger, other] = [(); 2].map(|()| Ledger::create(Dimensions { slots: 1 }).unwrap());
        let allocated = |ledger: &Ledger| {
            let [_, slots, ..] = ledger.descriptors();
            rustix::fs::fstat(slots).unwrap().st_blocks
        };
        let (admission_keys, hello) = one_client();
        let (mut connection, mut peer) = overdue(&ledger);
        peer.write_all(&hello).unwrap();
        let mut handler = WorkerHandler::none();
        let received = connection.read(&ledger, &admission_keys, &mut handler);
        assert_eq!(received.next, Next::Read);
        // Transit and latency of a client without a load, 16 KiB each, in blocks of 512 bytes.
        assert!(allocated(&ledger) >= 64, "{} blocks", allocated(&ledger));
        let record = &other.slots()[0];
        record.commit(&connection.counters, &ReleaseStore);
        assert!(allocated(&other) < 64);
        let taken_over = Connection::adopt(connection.socket, 0, 1, record).unwrap();
        assert_eq!(taken_over.counters, connection.counters);
        assert!(allocated(&other) >= 64, "{} blocks", allocated(&other));
    }
}
