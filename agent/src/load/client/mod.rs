//! One simulated device: its connection and what it writes to it.
//!
//! A packet is stamped right before its own write ([`super::packets`]). What the kernel does not
//! take stays in the backlog, which follows from the due times ([`super::due_times`]) and the
//! counters ([`super::client_counters`]); only a packet that was cut in the middle is kept as it
//! is ([`super::partial_write`]).
//!
//! A client whose payload source has failed sends no more packets: what is due from then on is
//! skipped. Its connection is whole, so its end is exchanged like any other.

mod record;

use std::{io, sync::Arc};

use metronome_os::tcp_info::TcpPath;
use metronome_proto::{
    handshake::{Hello, Key, Refused},
    packet::{self, FRAME_BYTES, Frame},
    packet_size::PacketSize,
    schedule::Schedule,
    v1::{Failure, FailureCode},
};

use super::{
    client_counters::{BACKLOG_NS_MAX, ClientCounters},
    due_times::{DueTimes, Mark},
    echo::Echo,
    kernel_acknowledged::KernelAcknowledged,
    packets::Packets,
    partial_write::PartialWrite,
    replies::outcome::ClientReplies,
    send_buffer::SendBuffer,
};
use crate::net::{connection::Connection, error_text::within_sentence};

/// While a client has a backlog, its connection is tried again at least this often, ns.
pub(super) const RETRY_NS: u64 = 1_000_000;

/// What a client proves itself with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials {
    /// The run, agent, client and attempt that it has named.
    pub hello: Hello,
    /// Authenticates its frames.
    pub key: Key,
}

/// One connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
    /// `None`: raw, packets carry no meaning.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) echo: Echo,
    /// The place of its group in the assignment.
    pub(super) group: usize,
    index: u32,
    attempts: u32,
    packets: Packets,
    /// `None` in a flood, whose packets are due when they are written.
    due_times: Option<DueTimes>,
    counters: ClientCounters,
    partial_write: PartialWrite,
    /// The count of the server's end-ack.
    acknowledged: Option<u64>,
    kernel_acknowledged: KernelAcknowledged,
    /// What the kernel had seen of the path when it was asked last.
    tcp: Option<TcpPath>,
    /// Why its connection ended before its time.
    failure: Option<Box<Failure>>,
    /// Why its packets have no payload any more.
    source_failure: Option<Box<Failure>>,
}

/// The result of one write of a flood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FloodSend {
    /// The kernel took everything.
    All,
    /// The connection has no more room, or is broken.
    Full,
}

impl Client {
    /// A client whose connection is ready for these packets.
    pub(crate) fn new(
        connection: Connection,
        index: u32,
        credentials: Option<Credentials>,
        attempts: u32,
        packets: Packets,
    ) -> Self {
        let kernel_acknowledged =
            KernelAcknowledged::new(connection.tcp_info().map(|info| info.bytes_acked));
        Self {
            connection,
            credentials,
            echo: Echo::default(),
            group: 0,
            index,
            attempts,
            due_times: None,
            counters: ClientCounters::default(),
            partial_write: PartialWrite::none(packets.size()),
            packets,
            acknowledged: None,
            kernel_acknowledged,
            tcp: None,
            failure: None,
            source_failure: None,
        }
    }

    /// Index within the run.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Tries that it took to connect.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Bytes of every frame that it sends after its hello.
    pub(crate) fn packet_size(&self) -> PacketSize {
        self.packets.size()
    }

    /// Packets written whole that asked for a reply.
    pub(crate) fn replies_requested(&self) -> u64 {
        self.counters.replies_requested()
    }

    /// Whether some of its packets ask for a reply.
    pub(crate) fn asks_for_replies(&self) -> bool {
        self.packets.ask_for_replies()
    }

    /// Packets written whole.
    pub(crate) fn sent(&self) -> u64 {
        self.counters.sent()
    }

    /// What was read of the connection while it was another thread's to read. A server that ended
    /// it on purpose gave the reason in its last frame, which stands for the error of a write.
    pub(crate) fn set_replies(&mut self, replies: ClientReplies) {
        let is_broken = |failure: &Failure| failure.code() == FailureCode::ConnectionBroken;
        if let Some(refused) = self.echo.set_replies(replies)
            && self.failure.as_deref().is_some_and(is_broken)
        {
            let failure = self.failure_of(refused.code(), &ended_on_purpose(refused));
            self.failure = Some(Box::new(failure));
        }
    }

    /// Sets the schedule, and how much later than that the client sends, ns. Before the first
    /// packet only, and never in a flood.
    pub(crate) fn set_schedule(&mut self, schedule: Arc<Schedule>, offset_ns: u64) {
        self.due_times = Some(DueTimes::new(schedule, offset_ns, self.packets.size()));
    }

    /// Whether every packet of its schedule was due. False of a client without one.
    pub(crate) fn is_over(&self) -> bool {
        let due_times = self.due_times.as_ref();
        due_times.is_some_and(|due_times| due_times.has_only(self.counters.scheduled()))
    }

    /// Sends from where its due times count in a run that starts at `start_ns`. Before the first
    /// packet only, and once. A part of it alone would be no frame: then the connection is broken.
    pub(crate) fn send_start(&mut self, start_ns: u64, send_buffer: &mut SendBuffer) {
        let due_times = self.due_times.as_ref();
        let own_ns = due_times.map_or(start_ns, DueTimes::start_ns);
        let frame = packet::Start {
            client: self.index,
            offset_ns: own_ns - start_ns,
            start_ns: own_ns,
        };
        let size = self.packets.size();
        send_buffer.hold_frame(&frame.encode(size), size);
        match self.connection.send(send_buffer.bytes()) {
            Ok(taken) if taken == size.bytes() => self.kernel_acknowledged.add_opening(taken),
            Ok(taken) => {
                let sentence = format!(
                    "the connection broke: the kernel took {taken} of the {} bytes of its start",
                    size.bytes()
                );
                self.fail(FailureCode::ConnectionBroken, &sentence, send_buffer);
            }
            Err(error) => self.fail_with(&error, send_buffer),
        }
    }

    /// Whether packets are due that could not be written yet.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.failure.is_none() && (self.counters.has_backlog() || self.partial_write.is_some())
    }

    /// Whether its connection has ended before its time.
    pub(crate) fn is_broken(&self) -> bool {
        self.failure.is_some()
    }

    /// Why its packets have no payload any more; `None` while they have.
    pub(crate) fn source_failure(&self) -> Option<&Failure> {
        self.source_failure.as_deref()
    }

    /// Whether it sends no more packets.
    #[inline]
    fn has_given_up(&self) -> bool {
        self.failure.is_some() || self.source_failure.is_some()
    }

    /// The first `packets` of the schedule are due: writes those that are not settled, in at most
    /// two writes. What the kernel does not take stays in the backlog.
    #[inline]
    pub(crate) fn send_due(&mut self, packets: u64, now_ns: u64, send_buffer: &mut SendBuffer) {
        send_buffer.scheduled += self.counters.schedule(packets);
        self.write_backlog(now_ns, send_buffer);
    }

    /// Like [`Client::send_due`], with all that is due by `now_ns`: in a flood no packet that was
    /// not written in part.
    pub(super) fn send_due_by(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        let due = self
            .due_times
            .as_ref()
            .map(|due_times| due_times.due_by(now_ns));
        self.send_due(due.unwrap_or(0), now_ns, send_buffer);
    }

    /// Writes `packets` packets that are due at this very moment, behind the rest of a partly
    /// written one. What the kernel does not take was never due.
    pub(super) fn flood_send(
        &mut self,
        packets: u64,
        now_ns: u64,
        send_buffer: &mut SendBuffer,
    ) -> FloodSend {
        let result = if self.has_given_up() {
            Ok(FloodSend::Full)
        } else {
            self.try_flood_send(packets, now_ns, send_buffer)
        };
        result.unwrap_or_else(|error| {
            self.fail_with(&error, send_buffer);
            FloodSend::Full
        })
    }

    /// Tries again to write the backlog.
    pub(crate) fn write_backlog(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        if self.has_given_up() {
            return self.skip_to(self.counters.scheduled(), send_buffer);
        }
        if let Err(error) = self.try_write_backlog(now_ns, send_buffer) {
            self.fail_with(&error, send_buffer);
        }
    }

    /// Skips the backlog. A partly written packet stays: the receiver has its first bytes.
    pub(crate) fn skip_backlog(&mut self, send_buffer: &mut SendBuffer) {
        self.skip_to(self.counters.scheduled() - self.unfinished(), send_buffer);
    }

    /// Writes the rest of a partly written packet, if there is one. Returns whether that is done.
    pub(crate) fn finish_partial(&mut self, send_buffer: &mut SendBuffer) -> io::Result<bool> {
        if !self.partial_write.write_rest(&self.connection)? {
            return Ok(false);
        }
        if let Some((header, lateness_ns)) = self.partial_write.take() {
            let asks = self.packets.ask_for_replies();
            send_buffer.replies_requested += self.counters.count_sent([header].iter(), asks);
            send_buffer.count_one(lateness_ns);
            send_buffer.writes += 1;
        }
        Ok(true)
    }

    /// The connection is of no more use: all that is due, now and later, is skipped, and what the
    /// kernel holds is not sent any more. The first failure stays.
    pub(crate) fn fail(&mut self, code: FailureCode, sentence: &str, send_buffer: &mut SendBuffer) {
        if self.is_broken() {
            return;
        }
        // A server that ends a connection on purpose sends the reason in its last frame.
        let failure = match self.receive_refusal() {
            Some(refused) => self.failure_of(refused.code(), &ended_on_purpose(refused)),
            None => self.failure_of(code, sentence),
        };
        self.failure = Some(Box::new(failure));
        self.read_kernel_acknowledged();
        self.connection.give_up();
        self.partial_write.take();
        self.skip_to(self.counters.scheduled(), send_buffer);
    }

    /// Its end is sent and nothing more is waited for. A peer without the protocol need not close
    /// its side, so that is no failure; what its kernel has not acknowledged is not sent any more.
    pub(crate) fn leave(&mut self) {
        if !self.has_arrived() {
            self.connection.give_up();
        }
    }

    fn failure_of(&self, code: FailureCode, sentence: &str) -> Failure {
        Failure::new(code, sentence)
            .with("address", self.connection.address().to_string())
            .with("client", self.index)
            .with("tries", self.attempts)
    }

    /// The authenticated count of the server came. Whether it is the right one is for the server to
    /// judge, from the figures of both ends.
    pub(crate) fn acknowledge(&mut self, received: u64) {
        self.acknowledged = Some(received);
    }

    /// The kernel took this many bytes behind the packets, a FIN counted as one.
    pub(crate) fn note_closing(&mut self, bytes: usize) {
        self.kernel_acknowledged.add_closing(bytes);
    }

    fn fail_with(&mut self, error: &io::Error, send_buffer: &mut SendBuffer) {
        let sentence = format!("the connection broke: {}", within_sentence(error));
        self.fail(FailureCode::ConnectionBroken, &sentence, send_buffer);
    }

    fn try_flood_send(
        &mut self,
        packets: u64,
        now_ns: u64,
        send_buffer: &mut SendBuffer,
    ) -> io::Result<FloodSend> {
        if !self.finish_partial(send_buffer)? {
            return Ok(FloodSend::Full);
        }
        send_buffer.clear();
        let mut stamps = self.packets.stamps(self.name(), self.counters.sent());
        if let Err(failure) = stamps.push(packets, now_ns, 0, send_buffer) {
            self.give_up(failure, send_buffer);
            return Ok(FloodSend::Full);
        }
        let is_whole = self.write(send_buffer)?;
        send_buffer.scheduled += self.counters.schedule_what_was_written(self.unfinished());
        Ok(if is_whole {
            FloodSend::All
        } else {
            FloodSend::Full
        })
    }

    #[inline]
    fn try_write_backlog(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) -> io::Result<()> {
        if self.partial_write.is_some() && !self.finish_partial(send_buffer)? {
            self.count_blocked(send_buffer);
            return Ok(());
        }
        if !self.counters.has_backlog() {
            return Ok(());
        }
        self.skip_stale(now_ns, send_buffer);
        let mark = self.due_times.as_ref().map(DueTimes::mark);
        if let Err(failure) = self.stamp_due(now_ns, send_buffer) {
            self.give_up(failure, send_buffer);
            return Ok(());
        }
        let is_whole = self.write(send_buffer);
        if !matches!(is_whole, Ok(true)) {
            self.back_to(mark);
        }
        if !is_whole? {
            self.count_blocked(send_buffer);
        }
        Ok(())
    }

    /// Skips what has been due for longer than the backlog may be.
    #[inline]
    fn skip_stale(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        let Some(due_times) = &mut self.due_times else {
            return;
        };
        let oldest_ns = due_times.go_to(self.counters.settled());
        if now_ns.saturating_sub(oldest_ns) > BACKLOG_NS_MAX {
            let stale = due_times.due_by(now_ns - BACKLOG_NS_MAX);
            self.skip_to(stale.min(self.counters.scheduled()), send_buffer);
        }
    }

    /// The payload source has failed: no packet is written any more, of those that were stamped
    /// neither, and all that is due is skipped.
    #[cold]
    fn give_up(&mut self, failure: Box<Failure>, send_buffer: &mut SendBuffer) {
        send_buffer.clear();
        send_buffer.has_failed_source = true;
        self.source_failure = Some(failure);
        self.skip_to(self.counters.scheduled(), send_buffer);
    }

    /// Some packets were stamped and not taken: goes back, then on to the first of them.
    #[cold]
    fn back_to(&mut self, mark: Option<Mark>) {
        if let Some((due_times, mark)) = self.due_times.as_mut().zip(mark) {
            due_times.back_to(mark);
            due_times.go_to(self.counters.settled());
        }
    }

    /// The kernel has no more room for what is due. In a flood nothing is due before it is written,
    /// so nothing is blocked.
    fn count_blocked(&mut self, send_buffer: &mut SendBuffer) {
        if self.due_times.is_some() {
            send_buffer.count_blocked(self.group, self.counters.count_blocked());
        }
    }

    fn skip_to(&mut self, place: u64, send_buffer: &mut SendBuffer) {
        send_buffer.count_skipped(self.group, self.counters.skip_to(place));
        if let Some(due_times) = &mut self.due_times {
            due_times.go_to(self.counters.settled());
        }
    }

    /// Puts the packets of the backlog into the send buffer, as many as one write may take.
    #[inline]
    fn stamp_due(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) -> Result<(), Box<Failure>> {
        send_buffer.clear();
        let mut stamps = self.packets.stamps(self.name(), self.counters.sent());
        let Some(due_times) = &mut self.due_times else {
            return Ok(());
        };
        due_times.go_to(self.counters.settled());
        let mut left = self
            .counters
            .backlog()
            .min(due_times.packets_per_write_max());
        while left > 0 {
            let (due_ns, packets) = due_times.take(left);
            stamps.push(packets, due_ns, now_ns.saturating_sub(due_ns), send_buffer)?;
            left -= packets;
        }
        Ok(())
    }

    /// What its packets name it; `None` when they carry no meaning.
    #[inline]
    fn name(&self) -> Option<u32> {
        self.credentials.is_some().then_some(self.index)
    }

    /// Writes the send buffer and counts what the kernel took of it. Returns whether it took all.
    #[inline]
    fn write(&mut self, send_buffer: &mut SendBuffer) -> io::Result<bool> {
        let size = self.packets.size();
        let taken = self.connection.send(send_buffer.bytes())?;
        let is_whole = taken == send_buffer.bytes().len();
        // No division where there is nothing to divide.
        let (whole, rest) = match is_whole {
            true => (send_buffer.packets(), 0),
            false => (taken / size.bytes(), taken % size.bytes()),
        };
        let (counters, asks) = (&mut self.counters, self.packets.ask_for_replies());
        send_buffer.replies_requested += match size == PacketSize::MIN {
            true => counters.count_sent(send_buffer.frames(whole).iter(), asks),
            false => counters.count_sent(send_buffer.headers(whole, size), asks),
        };
        send_buffer.count(whole);
        send_buffer.writes += u64::from(taken > 0);
        if rest > 0 {
            let (packet, lateness_ns) = send_buffer.stamped(whole, size);
            self.partial_write.begin(packet, rest, lateness_ns);
        }
        Ok(is_whole)
    }

    /// Packets of which a part was written: 1 or 0.
    fn unfinished(&self) -> u64 {
        u64::from(self.partial_write.is_some())
    }

    fn receive_refusal(&self) -> Option<Refused> {
        if self.echo.is_read_elsewhere {
            // The reader has it, or is about to, and brings it at its end.
            return None;
        }
        let mut frame: Frame = [0; FRAME_BYTES];
        let taken = self.connection.receive(&mut frame).ok()??;
        (taken == FRAME_BYTES).then(|| Refused::decode(&frame))?
    }
}

fn ended_on_purpose(refused: Refused) -> String {
    format!("the server ended the connection: {refused}")
}

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use metronome_os::clock::{self, SECOND_NS};
    use metronome_proto::{
        handshake::Refusal,
        load::Load,
        packet::{Packet, checksum, digest_with},
        profile::Profile,
        run_id::RunId,
        v1,
    };

    use super::*;
    use crate::stop_signal::StopSignal;

    const START_NS: u64 = 1_000;
    /// 1 MHz: place n is due n µs after the start.
    const SCHEDULE: Schedule = Schedule::constant(START_NS, 1_000_000_000, 1, 10_000_000);

    pub(super) fn client() -> (Client, TcpStream) {
        client_with(Packets::default())
    }

    pub(super) fn client_with(packets: Packets) -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline_ns = clock::now_ns() + 5 * SECOND_NS;
        let connection = Connection::open(
            listener.local_addr().unwrap(),
            deadline_ns,
            &StopSignal::without_lease(),
        )
        .unwrap();
        let hello = Hello {
            run: RunId::from_bits(7),
            agent: 0,
            client: 3,
            attempt: 1,
        };
        let mut client = Client::new(
            connection,
            3,
            Some(Credentials {
                hello,
                key: Key::from_bytes([7; 32]),
            }),
            1,
            packets,
        );
        client.set_schedule(SCHEDULE.into(), 0);
        let peer = listener.accept().unwrap().0;
        // A test that waits for bytes that never come shall fail.
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        (client, peer)
    }

    /// Every packet of `bytes`, which must be whole.
    fn packets(bytes: &[u8]) -> Vec<(Packet, Frame)> {
        let (frames, rest) = bytes.as_chunks::<FRAME_BYTES>();
        assert!(rest.is_empty(), "a partly written packet was not finished");
        frames
            .iter()
            .map(|frame| (Packet::decode(frame, &[]).unwrap(), *frame))
            .collect()
    }

    fn counts(client: &Client) -> v1::GeneratorCounts {
        client.record().counts.unwrap()
    }

    /// Random arrivals for 20 s.
    fn random(rate_millihertz: u64) -> Schedule {
        let load = Load {
            profile: Profile::Poisson { rate_millihertz },
            duration: std::time::Duration::from_secs(20),
            batch: 1,
            seed: 5,
        };
        load.schedule(START_NS, 3).unwrap()
    }

    /// Sends more and more, from `now_ns` on, until the kernel takes nothing; returns the last
    /// instant.
    fn fill(client: &mut Client, send_buffer: &mut SendBuffer, mut now_ns: u64) -> u64 {
        loop {
            let sent_before = client.sent();
            client.send_due_by(now_ns, send_buffer);
            if client.sent() == sent_before {
                return now_ns;
            }
            if !client.has_backlog() {
                now_ns += 1_000_000;
            }
        }
    }

    #[test]
    fn a_peer_that_reads_late_gets_whole_packets_in_order_without_gaps() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        let mut now_ns = fill(&mut client, &mut send_buffer, START_NS);
        let mut received = Vec::new();
        // An odd number of bytes makes room in the middle of a packet.
        for _ in 0..200 {
            let mut chunk = vec![0; 10_007];
            peer.read_exact(&mut chunk).unwrap();
            received.extend(chunk);
            now_ns = fill(&mut client, &mut send_buffer, now_ns);
        }
        client.skip_backlog(&mut send_buffer);
        while !client.finish_partial(&mut send_buffer).unwrap() {
            let mut chunk = vec![0; 4096];
            peer.read_exact(&mut chunk).unwrap();
            received.extend(chunk);
        }
        let record = client.record();
        drop(client);
        peer.read_to_end(&mut received).unwrap();

        let packets = packets(&received);
        let counts = record.counts.unwrap();
        assert_eq!(packets.len() as u64, counts.sent);
        assert_eq!(counts.scheduled, counts.sent + counts.skipped);
        assert_eq!(
            (send_buffer.scheduled, send_buffer.sent),
            (counts.scheduled, counts.sent)
        );
        assert_eq!(
            (send_buffer.skipped, send_buffer.blocked),
            (counts.skipped, counts.blocked)
        );
        assert_eq!(send_buffer.lateness.count(), counts.sent);
        assert!(
            counts.blocked > 0 && counts.blocked <= counts.scheduled,
            "{counts:?}"
        );
        let mut digest = 0;
        for (sequence, (packet, frame)) in packets.iter().enumerate() {
            assert_eq!((packet.client, packet.sequence), (3, sequence as u64));
            digest = digest_with(digest, packet.sequence, checksum(frame));
        }
        assert_eq!(digest, record.digest);
        // At 1 MHz the due time shows the place: places rise, and those left out were skipped.
        let places = packets
            .iter()
            .map(|(packet, _)| (packet.due_ns - START_NS) / 1_000);
        assert!(places.clone().is_sorted_by(|one, next| one < next));
        let left_out = places.zip(0..).map(|(place, sequence)| place - sequence);
        assert!(left_out.clone().is_sorted() && left_out.max() <= Some(counts.skipped));
    }

    #[test]
    fn random_arrivals_keep_their_due_times_whatever_the_kernel_takes_and_what_is_skipped() {
        let (mut client, mut peer) = client();
        let schedule = random(20_000_000);
        client.set_schedule(schedule.into(), 0);
        let mut send_buffer = SendBuffer::new();
        let mut received = Vec::new();
        let mut next = schedule.first();
        for round in 0..60 {
            if round == 40 {
                // The connection stands still for longer than a backlog may be.
                assert!(next.advance_beyond(
                    &schedule,
                    next.due_ns() + 2 * BACKLOG_NS_MAX,
                    1 << 20
                ));
            }
            loop {
                let sent_before = client.sent();
                client.send_due(next.place(), next.due_ns(), &mut send_buffer);
                if !client.has_backlog() {
                    (0..50).for_each(|_| next.advance(&schedule));
                } else if client.sent() == sent_before {
                    break;
                }
            }
            let mut chunk = vec![0; 10_007];
            peer.read_exact(&mut chunk).unwrap();
            received.extend(chunk);
        }
        client.skip_backlog(&mut send_buffer);
        while !client.finish_partial(&mut send_buffer).unwrap() {
            let mut chunk = vec![0; 4096];
            peer.read_exact(&mut chunk).unwrap();
            received.extend(chunk);
        }
        let counts = counts(&client);
        assert_eq!(counts.scheduled, counts.sent + counts.skipped);
        assert!(counts.skipped > 0 && counts.blocked > 0, "{counts:?}");
        drop(client);
        peer.read_to_end(&mut received).unwrap();
        let packets = packets(&received);
        assert_eq!(packets.len() as u64, counts.sent);
        // Each due time is that of a place, and places rise.
        let mut cursor = schedule.first();
        for (packet, _) in packets {
            while cursor.due_ns() < packet.due_ns {
                cursor.advance(&schedule);
            }
            assert_eq!(cursor.due_ns(), packet.due_ns);
            cursor.advance(&schedule);
        }
        assert!(cursor.place() <= counts.scheduled);
    }

    #[test]
    fn a_client_is_over_when_no_packet_of_its_schedule_is_left() {
        let (mut client, mut peer) = client();
        let schedule = random(1_000_000);
        client.set_schedule(schedule.into(), 0);
        let mut send_buffer = SendBuffer::new();
        let reading = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        let mut now_ns = START_NS;
        while now_ns < schedule.end_ns() {
            assert!(!client.is_over());
            now_ns += 50_000_000;
            client.send_due_by(now_ns, &mut send_buffer);
        }
        assert!(client.is_over());
        client.skip_backlog(&mut send_buffer);
        assert!(client.is_over());
        drop(client);
        assert!(reading.join().unwrap().is_ok());
    }

    #[test]
    fn the_start_is_one_frame_before_the_packets_that_is_no_packet() {
        let (mut client, mut peer) = client();
        client.set_schedule(SCHEDULE.into(), 7);
        let mut send_buffer = SendBuffer::new();
        client.send_start(START_NS, &mut send_buffer);
        client.send_due_by(START_NS + 7, &mut send_buffer);
        let mut frames = [[0; FRAME_BYTES]; 2];
        peer.read_exact(frames.as_flattened_mut()).unwrap();
        let start = packet::Start {
            client: 3,
            offset_ns: 7,
            start_ns: START_NS + 7,
        };
        assert_eq!(
            packet::Start::decode(&frames[0], PacketSize::MIN, &[]),
            Ok(start)
        );
        assert_eq!(
            Packet::decode(&frames[1], &[]).unwrap().due_ns,
            START_NS + 7
        );
        // The acknowledgement of bytes that were read may take a moment.
        let deadline_ns = clock::now_ns() + 10 * SECOND_NS;
        while !client.has_arrived() && clock::now_ns() < deadline_ns {
            std::thread::yield_now();
        }
        let record = client.record();
        assert_eq!(record.counts.unwrap().sent, 1);
        assert!(
            record
                .kernel_acknowledged_bytes
                .is_none_or(|bytes| bytes == 32)
        );
    }

    #[test]
    fn a_start_that_is_not_taken_whole_breaks_the_connection() {
        let (mut client, _peer) = client();
        let mut send_buffer = SendBuffer::new();
        while client.flood_send(1_000, START_NS, &mut send_buffer) == FloodSend::All {}
        client.send_start(START_NS, &mut send_buffer);
        let failure = client.record().failure.unwrap();
        assert_eq!(failure.code(), FailureCode::ConnectionBroken);
        assert!(
            failure.sentence.contains("of the 32 bytes of its start"),
            "{failure:?}"
        );
    }

    /// How many bytes come to a peer that reads only when the client has ended so, and what follows
    /// them, of as many as the kernel has taken.
    fn read_after(end: fn(&mut Client, &mut SendBuffer)) -> (usize, io::Result<usize>, usize) {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        fill(&mut client, &mut send_buffer, START_NS);
        let taken = client.sent() as usize * FRAME_BYTES;
        end(&mut client, &mut send_buffer);
        drop(client);
        let mut read = Vec::new();
        let result = peer.read_to_end(&mut read);
        (read.len(), result, taken)
    }

    #[test]
    fn what_the_kernel_holds_of_a_client_that_failed_or_was_left_is_not_sent() {
        let fail = |client: &mut Client, send_buffer: &mut SendBuffer| {
            client.fail(FailureCode::EndNotAcknowledged, "late", send_buffer);
        };
        let leave = |client: &mut Client, _: &mut SendBuffer| client.leave();
        for end in [fail as fn(&mut Client, &mut SendBuffer), leave] {
            let (read, result, taken) = read_after(end);
            assert!(read < taken, "{read} of {taken} bytes came");
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_client_that_was_left_when_all_had_arrived_ends_in_good_order() {
        let (mut client, mut peer) = client();
        client.send_due_by(START_NS, &mut SendBuffer::new());
        peer.read_exact(&mut [0; FRAME_BYTES]).unwrap();
        let deadline_ns = clock::now_ns() + 10 * SECOND_NS;
        while !client.has_arrived() && clock::now_ns() < deadline_ns {
            std::thread::yield_now();
        }
        client.leave();
        drop(client);
        assert_eq!(peer.read(&mut [0; FRAME_BYTES]).unwrap(), 0);
    }

    #[test]
    fn packets_overdue_for_longer_than_the_backlog_are_skipped_and_counted() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        let now_ns = fill(&mut client, &mut send_buffer, START_NS);
        let sent_before = client.sent();
        client.send_due_by(now_ns + 2 * BACKLOG_NS_MAX, &mut send_buffer);
        // Room for the packets after those skipped.
        peer.read_exact(&mut vec![0; 32 * sent_before as usize])
            .unwrap();
        let later_ns = now_ns + 2 * BACKLOG_NS_MAX + 1_000_000;
        client.send_due_by(later_ns, &mut send_buffer);
        client.send_due_by(later_ns, &mut send_buffer);
        let mut next = vec![0; FRAME_BYTES];
        let sent_after = client.sent();
        assert!(
            sent_after > sent_before + 1,
            "the connection takes packets again"
        );
        let mut received = vec![0; 32 * (sent_after - sent_before - 1) as usize];
        peer.read_exact(&mut next).unwrap();
        peer.read_exact(&mut received).unwrap();
        let (packet, _) = packets(&received)[0];
        assert_eq!(
            packet.sequence,
            sent_before + 1,
            "skipping makes no gap on the wire"
        );
        assert!(
            packet.due_ns + BACKLOG_NS_MAX + 2_000_000 >= later_ns,
            "only what is younger is sent"
        );
        assert!(counts(&client).skipped > 0 && send_buffer.skipped > 0);
    }

    #[test]
    fn what_the_kernel_has_no_room_for_when_it_is_due_is_blocked_once_each() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        client.send_due_by(START_NS, &mut send_buffer);
        assert_eq!(
            (client.sent(), counts(&client).blocked),
            (1, 0),
            "there is room"
        );
        let now_ns = fill(&mut client, &mut send_buffer, START_NS + 1_000_000);
        let v1::GeneratorCounts {
            scheduled,
            sent,
            blocked,
            ..
        } = counts(&client);
        assert_eq!(blocked, scheduled - sent);
        client.write_backlog(now_ns, &mut send_buffer);
        assert_eq!(
            counts(&client).blocked,
            blocked,
            "trying again is not another packet"
        );
        client.send_due_by(now_ns + 5_000, &mut send_buffer);
        assert_eq!(counts(&client).blocked, blocked + 5);
        // Once it has made up for that, there is room again.
        let mut chunk = vec![0; 32 * sent as usize];
        peer.read_exact(&mut chunk).unwrap();
        while client.has_backlog() {
            client.write_backlog(now_ns, &mut send_buffer);
        }
        client.send_due_by(now_ns + 6_000, &mut send_buffer);
        assert_eq!(counts(&client).blocked, blocked + 5);
    }

    #[test]
    fn a_packet_that_is_never_finished_was_skipped() {
        let (mut client, _peer) = client();
        let mut send_buffer = SendBuffer::new();
        // Frames fill the buffers exactly or not, as the kernel likes; so a partial write is made
        // by hand.
        fill(&mut client, &mut send_buffer, START_NS);
        client.skip_backlog(&mut send_buffer);
        client.counters.schedule(client.counters.settled() + 1);
        client.partial_write.begin(&[7; 32], 1, 0);
        let counts = counts(&client);
        assert_eq!(counts.scheduled, counts.sent + counts.skipped);
    }

    #[test]
    fn a_broken_connection_skips_the_rest_and_reports_why() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        client.send_due_by(START_NS, &mut send_buffer);
        std::io::Write::write_all(&mut peer, &Refusal::Ended.encode()).unwrap();
        // Closing with a packet unread resets the connection.
        drop(peer);
        let mut now_ns = START_NS;
        while !client.is_broken() {
            now_ns += 1_000;
            client.send_due_by(now_ns, &mut send_buffer);
        }
        client.send_due_by(now_ns + 1_000_000, &mut send_buffer);
        let (record, counts) = (client.record(), counts(&client));
        assert_eq!(counts.scheduled, counts.sent + counts.skipped);
        assert_eq!(Some(counts.scheduled), SCHEDULE.due_by(now_ns + 1_000_000));
        let failure = record.failure.unwrap();
        assert_eq!(failure.code(), FailureCode::RefusedEnded);
        assert_eq!(failure.figures["client"], 3_u32.into());
        assert!(
            record
                .kernel_acknowledged_bytes
                .is_some_and(|bytes| bytes <= 32 * counts.sent)
        );
        assert!(!client.has_backlog());
    }

    #[test]
    fn a_flood_that_breaks_off_in_a_partial_write_keeps_the_server_s_reason() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        while client.flood_send(1_000, START_NS, &mut send_buffer) == FloodSend::All {}
        client.partial_write.begin(&[7; 32], 1, 0);
        std::io::Write::write_all(&mut peer, &Refusal::Ended.encode()).unwrap();
        // Closing with packets unread resets the connection.
        drop(peer);
        for _ in 0..3 {
            assert_eq!(
                client.flood_send(1_000, START_NS, &mut send_buffer),
                FloodSend::Full
            );
        }
        let code = client.record().failure.map(|failure| failure.code());
        assert_eq!(code, Some(FailureCode::RefusedEnded));
    }
}
