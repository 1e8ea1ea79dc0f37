//! One simulated device: its connection, its backlog, and the counters of what it has
//! sent.
//!
//! The account knows two numbers of a packet. Its place in the *schedule* counts every packet that
//! was ever due; its *sequence* on the wire counts only those sent, so the wire has no gaps. They
//! part when packets are skipped: `place = sequence + skipped so far`.
//!
//! There is no queue: the backlog follows from the schedule. A packet is stamped right before its
//! own write. Of a write that the kernel takes in part, only a packet that was cut in the middle is
//! kept; the others are stamped anew.

use std::io;

use metronome_os::clock::SECOND_NS;
use metronome_proto::{
    packet::{FRAME_BYTES, Frame, Packet, checksum, digest_with},
    schedule::Schedule,
    seal::{Hello, Key, Refusal},
    v1,
};

use crate::{
    load::send_buffer::{SendBuffer, packets_per_write_max},
    net::{connection::Connection, error_text::within_sentence},
};

/// Packets that wait for longer than this are skipped, ns: the connection takes less than the schedule
/// gives, and an unbounded backlog would measure nothing but itself.
pub(crate) const BACKLOG_NS_MAX: u64 = SECOND_NS;

/// While a client has a backlog, its connection is tried again at least this often.
pub(crate) const RETRY_NS: u64 = 1_000_000;

/// What a client proves itself with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials {
    /// Who it said it is.
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
    index: u32,
    attempts: u32,
    /// What the peer's kernel had acknowledged before the first packet.
    acknowledged_before: Option<u64>,
    schedule: Schedule,
    /// Packets of the schedule whose turn has come.
    offered: u64,
    /// Packets whose 32 bytes the kernel has all taken.
    sent: u64,
    /// Places of the schedule given up.
    skipped: u64,
    /// Places whose turn came while the kernel had no room.
    blocked: u64,
    /// Places before this one are counted in `blocked` if they belong there.
    blocked_until: u64,
    digest: u64,
    partial_write: Option<PartialWrite>,
    /// What went behind the packets: the end frame and the FIN.
    closing_bytes: u64,
    acknowledged: Option<u64>,
    kernel_acknowledged_bytes: Option<u64>,
    error: Option<String>,
}

/// What became of a write of a flood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FloodSend {
    /// The kernel took everything.
    All,
    /// The connection has no more room, or is broken.
    Full,
}

/// A packet of which the kernel has taken only the first bytes: the rest must follow before
/// anything else.
#[derive(Clone, Copy, Debug)]
struct PartialWrite {
    frame: Frame,
    taken: usize,
    lateness_ns: u64,
}

impl Client {
    /// A client whose connection is ready for packets.
    pub(crate) fn new(
        connection: Connection,
        index: u32,
        credentials: Option<Credentials>,
        attempts: u32,
    ) -> Self {
        let acknowledged_before = connection.acknowledged_bytes();
        let schedule = Schedule {
            start_ns: 0,
            rate_mhz: 1,
            batch: 1,
            packets: 0,
        };
        Self {
            connection,
            credentials,
            index,
            attempts,
            acknowledged_before,
            schedule,
            offered: 0,
            sent: 0,
            skipped: 0,
            blocked: 0,
            blocked_until: 0,
            digest: 0,
            partial_write: None,
            closing_bytes: 0,
            acknowledged: None,
            kernel_acknowledged_bytes: None,
            error: None,
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

    /// Packets written whole.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives the client its schedule, its phase included. Before the first packet only, and never
    /// in a flood.
    pub(crate) fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// Whether packets are due that could not be written yet.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.error.is_none() && (self.handled() < self.offered || self.partial_write.is_some())
    }

    /// Whether its connection has ended before its time.
    pub(crate) fn is_broken(&self) -> bool {
        self.error.is_some()
    }

    /// The first `packets` of the schedule are due: writes what is left of them, in at most two
    /// writes. What the kernel does not take stays in the backlog.
    #[inline]
    pub(crate) fn send_due(&mut self, packets: u64, now_ns: u64, send_buffer: &mut SendBuffer) {
        self.offered = self.offered.max(packets);
        self.write_backlog(now_ns, send_buffer);
    }

    /// As [`Client::send_due`] with all that is due by `now_ns`.
    pub(crate) fn send_due_by(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        self.send_due(self.schedule.due_by(now_ns), now_ns, send_buffer);
    }

    /// Writes so many packets that are due at this very moment, behind the rest of a partly
    /// written one. What the kernel does not take was never due.
    pub(crate) fn flood_send(
        &mut self,
        packets: u64,
        now_ns: u64,
        send_buffer: &mut SendBuffer,
    ) -> FloodSend {
        let outcome = if self.is_broken() {
            Ok(FloodSend::Full)
        } else {
            self.try_flood_send(packets, now_ns, send_buffer)
        };
        outcome.unwrap_or_else(|error| {
            self.broke(&error, send_buffer);
            FloodSend::Full
        })
    }

    /// Writes the rest of a partly written packet, if there is one. Returns whether some is left.
    pub(crate) fn retry_partial(&mut self, send_buffer: &mut SendBuffer) -> bool {
        let is_finished = self.finish_partial(send_buffer).unwrap_or_else(|error| {
            self.broke(&error, send_buffer);
            true
        });
        !is_finished
    }

    /// Tries again to write the backlog.
    pub(crate) fn write_backlog(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        if self.is_broken() {
            return self.skip_to(self.offered, send_buffer);
        }
        if let Err(error) = self.try_write(now_ns, send_buffer) {
            self.broke(&error, send_buffer);
        }
    }

    /// Skips the backlog. A partly written packet stays: the peer has its first bytes.
    pub(crate) fn skip_backlog(&mut self, send_buffer: &mut SendBuffer) {
        let unfinished = u64::from(self.partial_write.is_some());
        self.skip_to(self.offered - unfinished, send_buffer);
    }

    /// Writes the rest of a partly written packet, if there is one. Returns whether that is done.
    pub(crate) fn finish_partial(&mut self, send_buffer: &mut SendBuffer) -> io::Result<bool> {
        let Some(partial_write) = &mut self.partial_write else {
            return Ok(true);
        };
        partial_write.taken += self
            .connection
            .send(&partial_write.frame[partial_write.taken..])?;
        if partial_write.taken < FRAME_BYTES {
            return Ok(false);
        }
        let PartialWrite {
            frame, lateness_ns, ..
        } = *partial_write;
        self.partial_write = None;
        self.count(&frame, lateness_ns, send_buffer);
        send_buffer.writes += 1;
        Ok(true)
    }

    /// The connection is of no more use: all that is due, now and later, is skipped. The first reason
    /// stays.
    pub(crate) fn break_off(&mut self, reason: &str, send_buffer: &mut SendBuffer) {
        if self.is_broken() {
            return;
        }
        // A server that ends a connection by its own will says why in its last frame.
        let last_word = self.last_word();
        self.error = Some(last_word.map_or_else(
            || reason.to_owned(),
            |refusal| format!("the server refused the connection: {}", refusal.reason()),
        ));
        self.close_account();
        self.partial_write = None;
        send_buffer.broken += 1;
        self.skip_to(self.offered, send_buffer);
    }

    /// The server's authenticated count came. Whether it is the right one is for the server to judge, from
    /// both ends' figures.
    pub(crate) fn acknowledge(&mut self, received: u64) {
        self.acknowledged = Some(received);
    }

    /// The kernel took this many bytes behind the packets, a FIN counted as one.
    pub(crate) fn note_closing(&mut self, bytes: usize) {
        self.closing_bytes += bytes as u64;
    }

    /// Notes what the peer's kernel has acknowledged, while the socket can still tell.
    pub(crate) fn close_account(&mut self) {
        let acknowledged = self
            .connection
            .acknowledged_bytes()
            .zip(self.acknowledged_before);
        if let Some((now, before)) = acknowledged {
            // Packets come first on the wire, so what is beyond them is of the end, but no more
            // than was sent of that: a kernel that tells more contradicts us, which must show.
            let told = now.saturating_sub(before);
            let beyond = told.saturating_sub(self.sent * FRAME_BYTES as u64);
            self.kernel_acknowledged_bytes = Some(told - beyond.min(self.closing_bytes));
        }
    }

    /// The account as the API tells it.
    pub(crate) fn record(&self) -> v1::ClientRecord {
        v1::ClientRecord {
            client: self.index,
            scheduled: self.offered,
            sent: self.sent,
            // A packet of which only a part was written was not sent either.
            skipped: self.skipped + u64::from(self.partial_write.is_some()),
            digest: self.digest,
            acknowledged: self.acknowledged,
            kernel_acknowledged_bytes: self.kernel_acknowledged_bytes,
            attempts: self.attempts,
            error: self.error.clone().unwrap_or_default(),
            blocked: self.blocked,
        }
    }

    fn broke(&mut self, error: &io::Error, send_buffer: &mut SendBuffer) {
        self.break_off(
            &format!("the connection broke: {}", within_sentence(error)),
            send_buffer,
        );
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
        for n in 0..packets {
            send_buffer.push(self.stamp(self.sent + n, now_ns, 0), 0);
        }
        let given = send_buffer.bytes().len();
        let taken = self.connection.send(send_buffer.bytes())?;
        self.account(taken, send_buffer);
        self.offered = self.handled() + u64::from(self.partial_write.is_some());
        Ok(if taken < given {
            FloodSend::Full
        } else {
            FloodSend::All
        })
    }

    /// Places of the schedule that are settled, one way or the other.
    #[inline]
    fn handled(&self) -> u64 {
        self.sent + self.skipped
    }

    #[inline]
    fn try_write(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) -> io::Result<()> {
        if self.partial_write.is_some() && !self.finish_partial(send_buffer)? {
            self.note_blocked();
            return Ok(());
        }
        if self.handled() == self.offered {
            return Ok(());
        }
        self.skip_stale(now_ns, send_buffer);
        self.stamp_due(now_ns, send_buffer);
        let given = send_buffer.bytes().len();
        let taken = self.connection.send(send_buffer.bytes())?;
        self.account(taken, send_buffer);
        if taken < given {
            self.note_blocked();
        }
        Ok(())
    }

    /// The kernel has no more room, so the whole backlog waits for it: each place counts once, the
    /// first time.
    fn note_blocked(&mut self) {
        self.blocked += self
            .offered
            .saturating_sub(self.handled().max(self.blocked_until));
        self.blocked_until = self.offered;
    }

    #[inline]
    fn skip_stale(&mut self, now_ns: u64, send_buffer: &mut SendBuffer) {
        let oldest_ns = self.schedule.due_at(self.handled());
        if now_ns.saturating_sub(oldest_ns) > BACKLOG_NS_MAX {
            let stale = self.schedule.due_by(now_ns - BACKLOG_NS_MAX);
            self.skip_to(stale.min(self.offered), send_buffer);
        }
    }

    fn skip_to(&mut self, place: u64, send_buffer: &mut SendBuffer) {
        let given_up = place.saturating_sub(self.handled());
        self.skipped += given_up;
        send_buffer.skipped += given_up;
    }

    /// Puts the packets of the backlog into the send buffer, as many as one write may take.
    #[inline]
    fn stamp_due(&self, now_ns: u64, send_buffer: &mut SendBuffer) {
        send_buffer.clear();
        let first = self.handled();
        let count = (self.offered - first).min(packets_per_write_max(self.schedule.batch));
        for n in 0..count {
            let due_ns = self.schedule.due_at(first + n);
            let lateness_ns = now_ns.saturating_sub(due_ns);
            send_buffer.push(self.stamp(self.sent + n, due_ns, lateness_ns), lateness_ns);
        }
    }

    #[inline]
    fn stamp(&self, sequence: u64, due_ns: u64, lateness_ns: u64) -> Frame {
        let lateness_ns = u32::try_from(lateness_ns).unwrap_or(u32::MAX);
        match self.credentials {
            None => RAW,
            Some(_) => Packet {
                flags: 0,
                client: self.index,
                sequence,
                due_ns,
                lateness_ns,
            }
            .encode(),
        }
    }

    /// The kernel has taken `taken` bytes of the send buffer.
    #[inline]
    fn account(&mut self, taken: usize, send_buffer: &mut SendBuffer) {
        send_buffer.writes += u64::from(taken > 0);
        let (whole, rest) = (taken / FRAME_BYTES, taken % FRAME_BYTES);
        for (frame, sequence) in send_buffer.frames(whole).iter().zip(self.sent..) {
            self.digest = digest_with(self.digest, sequence, checksum(frame));
        }
        self.sent += whole as u64;
        send_buffer.count(whole);
        if rest > 0 {
            let (frame, lateness_ns) = send_buffer.stamped(whole);
            self.partial_write = Some(PartialWrite {
                frame,
                taken: rest,
                lateness_ns,
            });
        }
    }

    #[inline]
    fn count(&mut self, frame: &Frame, lateness_ns: u64, send_buffer: &mut SendBuffer) {
        self.digest = digest_with(self.digest, self.sent, checksum(frame));
        self.sent += 1;
        send_buffer.count_one(lateness_ns);
    }

    fn last_word(&self) -> Option<Refusal> {
        let mut frame: Frame = [0; FRAME_BYTES];
        match self.connection.receive(&mut frame) {
            Ok(Some(FRAME_BYTES)) => Refusal::decode(&frame),
            _ => None,
        }
    }
}

/// What raw clients send: as the seed's client does.
const RAW: Frame = [b'X'; FRAME_BYTES];

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use metronome_proto::run_id::RunId;

    use super::*;
    use crate::stop_signal::StopSignal;
    use metronome_os::clock;

    const START_NS: u64 = 1_000;
    /// 1 MHz: place n is due n µs after the start.
    const SCHEDULE: Schedule = Schedule {
        start_ns: START_NS,
        rate_mhz: 1_000_000_000,
        batch: 1,
        packets: 10_000_000,
    };

    fn client() -> (Client, TcpStream) {
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
        );
        client.set_schedule(SCHEDULE);
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
            .map(|frame| (Packet::decode(frame).unwrap(), *frame))
            .collect()
    }

    /// Offers more and more, from `now_ns` on, until the kernel takes nothing; returns the last
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
        assert_eq!(packets.len() as u64, record.sent);
        assert_eq!(record.scheduled, record.sent + record.skipped);
        assert_eq!(
            (send_buffer.sent, send_buffer.skipped),
            (record.sent, record.skipped)
        );
        assert_eq!(send_buffer.lateness.count(), record.sent);
        assert!(
            record.blocked > 0 && record.blocked <= record.scheduled,
            "{record:?}"
        );
        let mut digest = 0;
        for (sequence, (packet, frame)) in packets.iter().enumerate() {
            assert_eq!((packet.client, packet.sequence), (3, sequence as u64));
            digest = digest_with(digest, packet.sequence, checksum(frame));
        }
        assert_eq!(digest, record.digest);
        assert!(packets.is_sorted_by_key(|(packet, _)| packet.due_ns));
    }

    #[test]
    fn what_is_owed_for_longer_than_the_backlog_is_skipped_and_counted() {
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
        let record = client.record();
        assert!(record.skipped > 0 && send_buffer.skipped > 0);
    }

    #[test]
    fn what_the_kernel_has_no_room_for_when_it_is_due_is_blocked_once_each() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        client.send_due_by(START_NS, &mut send_buffer);
        assert_eq!(
            (client.sent(), client.record().blocked),
            (1, 0),
            "there is room"
        );
        let now_ns = fill(&mut client, &mut send_buffer, START_NS + 1_000_000);
        let (offered, sent, blocked) = (client.offered, client.sent(), client.record().blocked);
        assert_eq!(blocked, offered - sent);
        client.write_backlog(now_ns, &mut send_buffer);
        assert_eq!(
            client.record().blocked,
            blocked,
            "trying again is not another packet"
        );
        client.send_due_by(now_ns + 5_000, &mut send_buffer);
        assert_eq!(client.record().blocked, blocked + 5);
        // Once it has made up for that, there is room again.
        let mut chunk = vec![0; 32 * sent as usize];
        peer.read_exact(&mut chunk).unwrap();
        while client.has_backlog() {
            client.write_backlog(now_ns, &mut send_buffer);
        }
        client.send_due_by(now_ns + 6_000, &mut send_buffer);
        assert_eq!(client.record().blocked, blocked + 5);
    }

    #[test]
    fn a_packet_that_is_never_finished_was_skipped() {
        let (mut client, _peer) = client();
        let mut send_buffer = SendBuffer::new();
        // Frames fill the buffers exactly or not, as the kernel likes; so a partial write is made by hand.
        fill(&mut client, &mut send_buffer, START_NS);
        client.skip_backlog(&mut send_buffer);
        client.offered = client.handled() + 1;
        client.partial_write = Some(PartialWrite {
            frame: RAW,
            taken: 1,
            lateness_ns: 0,
        });
        let record = client.record();
        assert_eq!(record.scheduled, record.sent + record.skipped);
    }

    #[test]
    fn what_the_kernel_acknowledges_is_told_as_it_is_but_for_the_end() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        client.send_due_by(START_NS + 9_000, &mut send_buffer);
        assert_eq!(client.connection.send(&[7; 40]).unwrap(), 40);
        let mut received = [0; 10 * 32 + 40];
        peer.read_exact(&mut received).unwrap();
        std::io::Write::write_all(&mut peer, &[1]).unwrap();
        // The answer carries the acknowledgement of all that was read.
        while client.connection.receive(&mut [0; 1]).unwrap().is_none() {}
        for (closing_bytes, told) in [
            (0, 360),
            (32, 328),
            (8, 352),
            (33, 327),
            (40, 320),
            (50, 320),
        ] {
            client.closing_bytes = 0;
            client.note_closing(closing_bytes);
            client.close_account();
            assert_eq!(
                client.record().kernel_acknowledged_bytes,
                Some(told),
                "{closing_bytes}"
            );
        }
    }

    #[test]
    fn a_broken_connection_skips_the_rest_and_says_why() {
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
        let record = client.record();
        assert_eq!(record.scheduled, record.sent + record.skipped);
        assert_eq!(record.scheduled, SCHEDULE.due_by(now_ns + 1_000_000));
        assert_eq!(
            record.error,
            "the server refused the connection: the run is over"
        );
        assert!(
            record
                .kernel_acknowledged_bytes
                .is_some_and(|bytes| bytes <= 32 * record.sent)
        );
        assert_eq!(send_buffer.broken, 1);
        assert!(!client.has_backlog());
    }

    #[test]
    fn a_flood_that_breaks_off_in_a_partial_write_keeps_the_server_s_reason_and_counts_once() {
        let (mut client, mut peer) = client();
        let mut send_buffer = SendBuffer::new();
        while client.flood_send(1_000, START_NS, &mut send_buffer) == FloodSend::All {}
        client.partial_write = Some(PartialWrite {
            frame: RAW,
            taken: 1,
            lateness_ns: 0,
        });
        std::io::Write::write_all(&mut peer, &Refusal::Ended.encode()).unwrap();
        // Closing with packets unread resets the connection.
        drop(peer);
        for _ in 0..3 {
            assert_eq!(
                client.flood_send(1_000, START_NS, &mut send_buffer),
                FloodSend::Full
            );
        }
        assert_eq!(
            (client.record().error.as_str(), send_buffer.broken),
            ("the server refused the connection: the run is over", 1)
        );
    }
}
