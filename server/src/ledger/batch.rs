//! Processing a batch: from received bytes to committed counters. No clock, no socket.
//!
//! Everything is a function of the counters as last committed, the bytes, the time of the read and
//! the answers of an [`Authenticate`], so a process that takes over comes to the same counters as
//! the one that died. Whatever is added here must keep that, or a replay would count something
//! else.

use metronome_proto::{
    handshake::Refusal,
    limits::DURATION_MAX,
    packet::{self, FLAG_ECHO, FRAME_BYTES, Frame, Kind, Packet, Start},
    packet_size::PacketSize,
};

use super::{
    authenticate::Authenticate,
    commit_writer::CommitWriter,
    counters::{ConnectionCounters, Stage},
    frames::Space,
    load_check::LoadCheck,
    pace::Paced,
    reach,
    replies::{queue_reply, refuse, reply_to},
    slot::Slot,
    time_recorder::TimeRecorder,
};
use crate::model::{ClientStart, ClockLine, PerTime, TimeKind};

/// Puts the bytes of a split frame in front of where the next bytes are received.
///
/// Returns the byte of the buffer to receive into. The first frame of the batch then begins with
/// the buffer, whatever was split.
#[inline]
pub(crate) fn place_partial_frame(
    slot: &Slot,
    counters: &ConnectionCounters,
    writer: &impl CommitWriter,
) -> usize {
    let bytes = usize::from(counters.partial_frame_bytes);
    if bytes == 0 {
        return 0;
    }
    if counters.packet_size == PacketSize::MIN {
        slot.buffer.set_frame(0, &counters.partial_frame(), writer);
    } else {
        slot.put_partial_frame(counters.partial_frame_place, bytes, writer);
    }
    bytes
}

/// Processes the bytes that were received behind the partial frame at `read_ns`, `taken` of them,
/// and commits. `check` is that of the counters.
#[inline]
pub(crate) fn process_batch(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    check: &mut LoadCheck,
    (taken, read_ns): (usize, u64),
    admission: &impl Authenticate,
    writer: &impl CommitWriter,
) {
    begin_batch(slot, counters, read_ns, admission, writer);
    let times = TimeRecorder::new(slot, writer, PerTime::default());
    let line = line_of_batch(slot, counters);
    Batch {
        line: line.as_ref(),
        counters,
        check,
        read_ns,
        times,
    }
    .process(taken, admission);
    slot.commit(counters, writer);
}

/// Stores what the times of the batch in the buffer depend on, before any of them: a replay then
/// records the same. The bytes are there already, since the kernel put them there.
#[inline]
pub(super) fn begin_batch(
    slot: &Slot,
    counters: &ConnectionCounters,
    read_ns: u64,
    admission: &impl Authenticate,
    writer: &impl CommitWriter,
) {
    if counters.clock.has_lines()
        && let Some(present) = admission.line_of(counters)
    {
        slot.update_line(present, writer);
    }
    slot.set_read_ns(read_ns, writer);
}

/// By which line its times are taken, of a client on another clock.
#[inline]
pub(super) fn line_of_batch(slot: &Slot, counters: &ConnectionCounters) -> Option<ClockLine> {
    if counters.clock.has_lines() {
        slot.line()
    } else {
        None
    }
}

/// A batch that is being processed. `counters` change here alone and reach the ledger with the
/// commit; histograms and replies are stored on the way.
pub(super) struct Batch<'a, W> {
    pub(super) counters: &'a mut ConnectionCounters,
    pub(super) check: &'a mut LoadCheck,
    pub(super) read_ns: u64,
    /// By which its times between two clocks are taken.
    pub(super) line: Option<&'a ClockLine>,
    pub(super) times: TimeRecorder<'a, W>,
}

impl<W: CommitWriter> Batch<'_, W> {
    /// Counts the whole frames, and keeps the bytes of one that is split.
    pub(super) fn process(&mut self, taken: usize, admission: &impl Authenticate) {
        let total = usize::from(self.counters.partial_frame_bytes) + taken;
        let recorded_before = self.recorded();
        self.check
            .begin_batch(reach::of_batch(self.counters, self.read_ns));
        if let Some(pace) = &mut self.counters.pace {
            pace.begin_batch(self.read_ns);
        }
        let mut at = 0;
        if self.counters.awaits_hello() {
            at = self.take_opening(total, admission);
        }
        if self.counters.packet_size == PacketSize::MIN {
            at = self.take_headers(at, total, admission);
        } else {
            at = self.take_with_payload(at, total, admission);
        }
        self.times.flush(self.line.is_some());
        if let Some(pace) = &mut self.counters.pace {
            pace.end_batch(self.check.next());
        }
        if self.counters.is_client() {
            self.count_timed(self.recorded().wrapping_sub(recorded_before));
        }
        if at < total || self.counters.partial_frame_bytes > 0 {
            self.keep_partial_frame(at, total - at, admission);
        }
        self.counters.bytes += taken as u64;
        self.counters.reads += u64::from(taken > 0);
        self.counters.last_batch_ns = self.read_ns;
    }

    /// Takes the frames up to the hello and that: what comes behind it may have another size.
    /// Returns the byte of the buffer at which they end.
    #[cold]
    fn take_opening(&mut self, total: usize, admission: &impl Authenticate) -> usize {
        let mut position = 0;
        while position < total / FRAME_BYTES && self.counters.awaits_hello() {
            let frame = self.times.slot.buffer.frame(position);
            self.take_other(&frame, admission);
            position += 1;
        }
        position * FRAME_BYTES
    }

    /// Takes the whole frames of 32 bytes from byte `at` of the buffer on. Returns the byte at
    /// which they end.
    #[inline]
    fn take_headers(&mut self, at: usize, total: usize, admission: &impl Authenticate) -> usize {
        let buffer = &self.times.slot.buffer;
        let whole = total / FRAME_BYTES;
        let mut position = at / FRAME_BYTES;
        while position < whole {
            let taken = self.take(&buffer.frame(position), &[], admission);
            position += 1;
            if let Some(packet) = taken
                && position < whole
            {
                position += self.take_train(&packet, position..whole);
            }
        }
        whole * FRAME_BYTES
    }

    /// The same for frames of more bytes.
    #[inline(never)]
    fn take_with_payload(
        &mut self,
        mut at: usize,
        total: usize,
        admission: &impl Authenticate,
    ) -> usize {
        let buffer = &self.times.slot.buffer;
        let (size, mut space) = (self.counters.packet_size.bytes(), Space::new());
        while at + size <= total {
            let whole = buffer.bytes(at, size, &mut space);
            if let Some((frame, rest)) = whole.split_first_chunk() {
                let _ = self.take(frame, rest, admission);
            }
            at += size;
        }
        at
    }

    /// Keeps the bytes of a frame that is split, or that there are none.
    #[cold]
    fn keep_partial_frame(&mut self, at: usize, bytes: usize, admission: &impl Authenticate) {
        let (slot, counters) = (self.times.slot, &mut *self.counters);
        let mut space = Space::new();
        let partial = slot.buffer.bytes(at, bytes, &mut space);
        if counters.packet_size == PacketSize::MIN {
            let mut frame = [0; FRAME_BYTES];
            frame[..bytes].copy_from_slice(partial);
            counters.set_partial_frame(&frame, bytes);
            if counters.stage == Stage::Opening {
                self.take_first_bytes(&frame, bytes, admission);
            }
            return;
        }
        // That of the hello may lie there.
        counters.set_partial_frame(&[0; FRAME_BYTES], 0);
        if bytes > 0 {
            // The place that counts stays whole until the commit, and a replay reads it again.
            let place = counters.partial_frame_place.other();
            slot.set_partial_frame(place, partial, self.times.writer);
            (counters.partial_frame_place, counters.partial_frame_bytes) = (place, bytes as u16);
        }
    }

    /// Packets whose times are recorded: all but those of the warm-up.
    #[inline]
    fn recorded(&self) -> u64 {
        let counts = &self.counters.counts;
        counts.received.wrapping_sub(counts.warm_up.unwrap_or(0))
    }

    /// Counts how many times the histograms hold, once for all recorded packets of the batch: with
    /// a schedule each has its lateness recorded, on the same clock its transit and latency. Not
    /// every packet has a spread.
    #[inline]
    fn count_timed(&mut self, packets: u64) {
        let PerTime([lateness, transit, latency, ..]) = &mut self.counters.timed;
        if self.counters.pace.is_some() {
            *lateness += packets;
        }
        if self.counters.clock.is_same() {
            *transit += packets;
            *latency += packets;
        }
    }

    /// Takes a frame: its header, and what follows that. Returns a packet that others may be
    /// counted with.
    #[inline]
    fn take(
        &mut self,
        frame: &Frame,
        rest: &[u8],
        admission: &impl Authenticate,
    ) -> Option<Packet> {
        if self.counters.stage == Stage::Packets {
            return self.take_client_frame(frame, rest, admission);
        }
        self.take_other(frame, admission);
        None
    }

    #[inline(never)]
    fn take_other(&mut self, frame: &Frame, admission: &impl Authenticate) {
        match self.counters.stage {
            Stage::Opening => self.take_first(frame, admission),
            Stage::Challenged => {
                let challenges = self.times.slot.header.challenges();
                self.take_hello(frame, challenges.as_ref(), admission);
            }
            Stage::Raw => self.count_packets(1),
            Stage::Probes => self.take_probe(frame),
            Stage::Ended => self.counters.counts.corrupt += 1,
            Stage::Packets | Stage::Refused | Stage::Closed => {}
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        refuse(self.times.slot, self.counters, refusal, self.times.writer);
    }

    pub(super) fn queue_reply(&mut self, frame: &Frame) {
        queue_reply(self.times.slot, self.counters, frame, self.times.writer);
    }

    #[inline]
    fn take_client_frame(
        &mut self,
        frame: &Frame,
        rest: &[u8],
        admission: &impl Authenticate,
    ) -> Option<Packet> {
        match Packet::decode(frame, rest) {
            Ok(packet)
                if packet.client == u32::from(self.counters.client)
                    && self.counters.takes_packets() =>
            {
                let is_in_order = self.take_packet(&packet, packet::checksum(frame));
                let may_begin_train = is_in_order && packet.flags & FLAG_ECHO == 0;
                may_begin_train.then_some(packet)
            }
            _ => {
                self.take_no_packet(frame, rest, admission);
                None
            }
        }
    }

    /// By when it is due, or in a flood by when it is read.
    #[inline]
    pub(super) fn is_in_warm_up(&self, packet: &Packet) -> bool {
        let counters = &*self.counters;
        if counters.pace.is_some() {
            return self.check.is_in_warm_up(packet.due_ns);
        }
        let is_first = counters.counts.received == 0;
        let first_read_ns = if is_first {
            self.read_ns
        } else {
            counters.first_read_ns
        };
        let first_on_another = (!counters.clock.is_same()).then_some(first_read_ns);
        self.check
            .is_read_in_warm_up(self.read_ns, first_on_another)
    }

    /// Takes a packet. Returns whether it is counted and came behind all before it.
    #[inline]
    fn take_packet(&mut self, packet: &Packet, checksum: u32) -> bool {
        let is_in_warm_up = self.is_in_warm_up(packet);
        let counters = &mut *self.counters;
        let is_in_order = packet.sequence >= counters.next_sequence;
        if !is_in_order {
            // Either it fills a gap that a later packet had left, or it was here before.
            if counters.counts.gaps == 0 {
                counters.counts.duplicated += 1;
                return false;
            }
            counters.counts.gaps -= 1;
            counters.counts.reordered += 1;
        } else {
            counters.counts.gaps += packet.sequence - counters.next_sequence;
            counters.next_sequence = packet.sequence.saturating_add(1);
        }
        counters.digest = packet::digest_with(counters.digest, packet.sequence, checksum);
        if counters.counts.received == 0 {
            (counters.first_due_ns, counters.first_read_ns) = (packet.due_ns, self.read_ns);
        }
        counters.last_due_ns = packet.due_ns;
        self.count_read_before_written(packet, 1);
        let paced = self.paced(packet, is_in_order, is_in_warm_up);
        let pace = self.counters.pace.as_mut();
        let spread_ns =
            pace.and_then(|pace| pace.take(&paced, self.check, &mut self.counters.counts));
        self.count_packets(1);
        if packet.flags & FLAG_ECHO != 0 {
            reply_to(packet, self.times.slot, self.counters, self.times.writer);
        }
        self.record(packet, 1, is_in_warm_up, spread_ns);
        is_in_order
    }

    /// Which never happens, so that the count costs a packet nothing but the comparison.
    #[inline]
    pub(super) fn count_read_before_written(&mut self, packet: &Packet, packets: u64) {
        if self.counters.clock.is_same() && self.read_ns < written_ns(packet) {
            *self.counters.counts.read_before_written.get_or_insert(0) += packets;
        }
    }

    /// A packet as far as its pace needs it.
    #[inline]
    pub(super) fn paced(&self, packet: &Packet, is_in_order: bool, is_in_warm_up: bool) -> Paced {
        let counters = &*self.counters;
        let start_ns = counters.start.unwrap_or_default().start_ns;
        Paced {
            due_ns: packet.due_ns.wrapping_sub(start_ns),
            first_due_ns: counters.first_due_ns.wrapping_sub(start_ns),
            read_ns: self.read_ns.wrapping_sub(counters.first_read_ns),
            is_in_order,
            is_in_warm_up,
            clock: counters.clock,
        }
    }

    /// Records the times of so many packets from this one on, which are all the same.
    #[inline]
    pub(super) fn record(
        &mut self,
        packet: &Packet,
        packets: u64,
        is_in_warm_up: bool,
        spread_ns: Option<u64>,
    ) {
        let counters = &mut *self.counters;
        if is_in_warm_up {
            *counters.counts.warm_up.get_or_insert(0) += packets;
            return;
        }
        if spread_ns.is_some() {
            counters.timed[TimeKind::Spread] += packets;
        }
        let lateness = (counters.pace.is_some()).then_some(u64::from(packet.lateness_ns));
        let (read_ns, clock) = (self.read_ns, counters.clock);
        self.times
            .record((packet, packets), read_ns, clock, [lateness, spread_ns]);
        if let Some(line) = self.line {
            self.record_between_clocks(line, written_ns(packet), packets);
        }
    }

    /// Records and counts what the line has of packets that were written at this reading of the
    /// agent's clock.
    #[inline(never)]
    fn record_between_clocks(&mut self, line: &ClockLine, written_ns: u64, packets: u64) {
        if let Some(one_way_ns) = line.one_way_ns(written_ns, self.read_ns) {
            self.counters.timed[TimeKind::OneWay] += packets;
            self.times
                .record_alike(TimeKind::OneWay, one_way_ns, packets);
        }
        if let Some(queueing) = line.queueing_ns(written_ns, self.read_ns) {
            self.counters.timed[TimeKind::Queueing] += packets;
            self.times
                .record_alike(TimeKind::Queueing, queueing.ns, packets);
            let below_floor = self.counters.counts.below_floor.get_or_insert(0);
            *below_floor += packets * u64::from(queueing.is_below);
        }
    }

    #[cold]
    fn take_no_packet(&mut self, frame: &Frame, rest: &[u8], admission: &impl Authenticate) {
        match packet::kind(frame) {
            Some(Kind::Start) => self.take_start(frame, rest),
            Some(Kind::End) => self.take_end(frame, rest, admission),
            _ => self.counters.counts.corrupt += 1,
        }
    }

    /// Takes the one start of a client with a load. Any other frame that claims to be one is
    /// corrupt, as a packet before it is: no run with such a client is valid.
    fn take_start(&mut self, frame: &Frame, rest: &[u8]) {
        let counters = &mut *self.counters;
        let start = Start::decode(frame, counters.packet_size, rest)
            .ok()
            .filter(|start| {
                start.client == u32::from(counters.client)
                    && u128::from(start.offset_ns) < DURATION_MAX.as_nanos()
                    && !counters.takes_packets()
            });
        let Some(Start {
            offset_ns,
            start_ns,
            ..
        }) = start
        else {
            counters.counts.corrupt += 1;
            return;
        };
        let start = ClientStart {
            start_ns,
            offset_ns,
        };
        counters.start = Some(start);
        self.check.start(start);
    }

    fn take_end(&mut self, frame: &Frame, rest: &[u8], admission: &impl Authenticate) {
        let (hello, size) = (self.counters.hello(), self.counters.packet_size);
        let challenges = self.times.slot.header.challenges();
        let key = admission.key_of(self.counters, challenges.as_ref());
        let end = key.and_then(|key| Some((hello.open_end(frame, size, rest, &key)?, key)));
        let Some((sent, key)) = end else {
            self.counters.counts.corrupt += 1;
            return;
        };
        self.counters.reported_sent = sent;
        self.counters.has_end = true;
        self.counters.stage = Stage::Ended;
        self.queue_reply(&hello.end_ack(self.counters.counts.received, &key));
    }

    #[inline]
    pub(super) fn count_packets(&mut self, packets: u64) {
        if self.counters.counts.received == 0 {
            self.counters.first_read_ns = self.read_ns;
        }
        self.counters.counts.received += packets;
        self.counters.last_read_ns = self.read_ns;
    }
}

/// When a packet was written, on its sender's clock.
#[inline]
fn written_ns(packet: &Packet) -> u64 {
    packet.due_ns.saturating_add(u64::from(packet.lateness_ns))
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        counters::CounterList as _,
        handshake::Key,
        load::Load,
        packet::{MAGIC, Probe},
        profile::Profile,
        v1::ReceiverCounts,
    };
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::{
            BUFFER_BYTES, HISTOGRAMS, REPLY_QUEUE_FRAMES,
            commit_writer::ReleaseStore,
            load_words::ClientLoad,
            world::{
                CLIENT, World, conversation, hello, key, packet, packet_due, replies, reply, start,
                start_at, without_lines,
            },
        },
        model::ClockRelation,
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_a_stream_is_split_the_counters_are_the_same(
            cuts in prop::collection::vec(1..200_usize, 1..40),
        ) {
            let world = World::new();
            let (mut counters, bytes) = (ConnectionCounters::default(), conversation(20));
            let (mut left, mut cuts, mut now_ns) = (&bytes[..], cuts.into_iter().cycle(), 10_000);
            while !left.is_empty() {
                let (batch, behind) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
                now_ns += 1;
                world.batch(&mut counters, batch, now_ns, &ReleaseStore);
                prop_assert_eq!(world.slot().counters(), Some(counters));
                prop_assert!(counters.is_possible());
                left = behind;
            }
            prop_assert_eq!(
                (counters.stage, counters.counts.received, counters.reported_sent),
                (Stage::Ended, 20, 20)
            );
            prop_assert_eq!(
                (
                    counters.counts.gaps,
                    counters.counts.duplicated,
                    counters.counts.reordered,
                    counters.counts.corrupt
                ),
                (0, 0, 0, 0)
            );
            prop_assert_eq!(
                (counters.bytes, counters.partial_frame_bytes),
                (bytes.len() as u64, 0)
            );
            prop_assert_eq!(world.replies(&counters), replies(20));
            prop_assert_eq!(world.sums(), without_lines([20, 20, 20, 19]));
        }

        #[test]
        fn any_bytes_are_survived_and_histograms_count_the_packets(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            ours: bool,
        ) {
            let world = World::new();
            let mut counters = ConnectionCounters::default();
            if ours {
                world.batch(&mut counters, &conversation(3)[..128], 1, &ReleaseStore);
            }
            world.batch(&mut counters, &bytes, 2, &ReleaseStore);
            prop_assert!(counters.is_possible());
            let counted = if counters.is_client() {
                counters.counts.received
            } else {
                0
            };
            let compared = counted.saturating_sub(1);
            let timed = without_lines([counted, counted, counted, compared]);
            prop_assert_eq!((world.sums(), counters.timed.0), (timed, timed));
        }

        #[test]
        fn sequences_in_any_order_add_up(
            order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(),
            lost in 0..12_usize,
            twice in 0..12_usize,
        ) {
            let world = World::new();
            let mut counters = ConnectionCounters::default();
            let opening = [hello().encode(&key()), start()].concat();
            world.batch(&mut counters, &opening, 1, &ReleaseStore);
            let sent: Vec<u64> = order
                .iter()
                .copied()
                .filter(|sequence| *sequence != lost as u64)
                .collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|sequence| packet(*sequence)).collect();
            world.batch(&mut counters, &bytes, 2, &ReleaseStore);
            prop_assert_eq!(counters.counts.received, 11);
            let missing = if counters.next_sequence == 12 { 1 } else { 0 };
            prop_assert_eq!((counters.counts.gaps, counters.counts.duplicated), (missing, 0));
            if counters.counts.gaps == 0 {
                world.batch(
                    &mut counters,
                    &packet(sent[twice % sent.len()]),
                    3,
                    &ReleaseStore,
                );
                prop_assert_eq!((counters.counts.received, counters.counts.duplicated), (11, 1));
            }
        }
    }

    #[test]
    fn what_is_left_out_or_comes_again_is_counted_in_64_bits() {
        let world = World::new();
        let mut counters = world.client_after(7, [0; 4]);
        let ahead = 7 + (1 << 32) + 5;
        world.batch(&mut counters, &packet(ahead), 1_100, &ReleaseStore);
        assert_eq!(
            (
                counters.counts.received,
                counters.counts.gaps,
                counters.next_sequence
            ),
            (8, (1 << 32) + 5, ahead + 1)
        );
        let many = u64::from(u32::MAX);
        (
            counters.counts.gaps,
            counters.counts.duplicated,
            counters.counts.reordered,
            counters.counts.corrupt,
        ) = (0, many, many, many);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode(&[]);
        world.batch(
            &mut counters,
            &[packet(3), foreign].concat(),
            1_200,
            &ReleaseStore,
        );
        assert_eq!(
            (counters.counts.duplicated, counters.counts.corrupt),
            (1 << 32, 1 << 32)
        );
        counters.counts.gaps = 1;
        world.batch(&mut counters, &packet(3), 1_300, &ReleaseStore);
        assert_eq!(
            (counters.counts.gaps, counters.counts.reordered),
            (0, 1 << 32)
        );
        assert_eq!(world.slot().counters(), Some(counters));
    }

    #[test]
    fn a_client_without_a_schedule_has_no_lateness_no_spread_and_no_places() {
        let world = World::with(ClockRelation::Same, None);
        let mut counters = ConnectionCounters::default();
        let bytes = [&conversation(20)[..32], &conversation(20)[64..]].concat();
        world.batch(&mut counters, &bytes, 100_000, &ReleaseStore);
        let expected = ReceiverCounts {
            received: 20,
            read_before_written: Some(0),
            warm_up: Some(0),
            replies_wanted: Some(7),
            replies_dropped: Some(0),
            ..ReceiverCounts::default()
        };
        assert_eq!((counters.counts, counters.least_ns()), (expected, None));
        assert_eq!(
            (counters.timed.0, world.sums()),
            (without_lines([0, 20, 20, 0]), without_lines([0, 20, 20, 0]))
        );
        assert_eq!(world.slot().counters(), Some(counters));
    }

    #[test]
    fn wherever_the_zero_of_the_senders_clock_lies_its_packets_are_measured_alike() {
        const MS: u64 = 1_000_000;
        let load = ClientLoad {
            packet_size: metronome_proto::packet_size::PacketSize::MIN,
            load: Load {
                profile: Profile::constant(100_000),
                duration: Duration::from_millis(40),
                batch: 1,
                seed: 1,
            },
            warm_up_ns: 0,
        };
        let zeros = [0, (1 << 63) - 1, (1 << 63) + 100_000 * MS, u64::MAX - 5];
        // Delays of 3, 1, 7 and 40 ms more or less than the difference of the clocks.
        let delays_ns = [3 * MS, MS, 7 * MS, 40 * MS];
        for zero_ns in zeros {
            let world = World::with(ClockRelation::Unknown, Some(load));
            let mut counters = ConnectionCounters::default();
            let read_ns = 9_000 * MS;
            let started = ClientStart {
                start_ns: zero_ns,
                offset_ns: 5 * MS,
            };
            let frames = [hello().encode(&key()), start_at(started)].concat();
            world.batch(&mut counters, &frames, read_ns, &ReleaseStore);
            assert_eq!(counters.start, Some(started));
            for (sequence, delay_ns) in delays_ns.into_iter().enumerate() {
                let after_ns = sequence as u64 * 10 * MS;
                let packet = packet_due(sequence as u64, zero_ns.wrapping_add(after_ns));
                let read_ns = read_ns + after_ns + delay_ns;
                world.batch(&mut counters, &packet, read_ns, &ReleaseStore);
            }
            let expected = ReceiverCounts {
                received: 4,
                in_time: Some(3),
                read_before_written: None,
                replies_wanted: Some(1),
                below_floor: None,
                ..ReceiverCounts::zero()
            };
            assert_eq!(counters.counts, expected, "{zero_ns}");
            assert_eq!(
                counters.least_ns(),
                Some(-2 * MS.cast_signed()),
                "{zero_ns}"
            );
            assert_eq!(counters.timed.0, without_lines([4, 0, 0, 3]));
        }
    }

    #[test]
    fn the_times_of_a_connection_are_those_of_its_first_and_its_last_packet() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        let bytes = conversation(5);
        let batches = [
            (10_000, &bytes[..64]),
            (20_000, &bytes[64..128]),
            (30_000, &bytes[128..224]),
            (40_000, &bytes[224..]),
        ];
        for (read_ns, batch) in batches {
            world.batch(&mut counters, batch, read_ns, &ReleaseStore);
        }
        assert_eq!(
            (counters.first_due_ns, counters.last_due_ns),
            (1_000, 5_000)
        );
        assert_eq!(
            (
                counters.first_read_ns,
                counters.last_read_ns,
                counters.last_batch_ns
            ),
            (20_000, 30_000, 40_000)
        );
        assert_eq!(counters.least_ns(), Some(-1_000), "of the second packet");
    }

    #[test]
    fn a_packet_is_read_before_it_was_written_only_on_one_clock_and_from_1_ns_on() {
        // Packet 0 is due at 1,000 ns and 7 ns late.
        let cases = [
            (ClockRelation::Same, 1_006, Some(1)),
            (ClockRelation::Same, 1_007, Some(0)),
            (ClockRelation::Unknown, 1_006, None),
        ];
        for (clock, read_ns, expected) in cases {
            let world = World::on(clock);
            let mut counters = ConnectionCounters::default();
            let bytes = [hello().encode(&key()), start(), packet(0)].concat();
            world.batch(&mut counters, &bytes, read_ns, &ReleaseStore);
            assert_eq!(counters.counts.received, 1);
            assert_eq!(counters.counts.read_before_written, expected, "{read_ns}");
        }
    }

    #[test]
    fn what_comes_behind_the_end_is_corrupt_and_is_no_packet() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        let bytes = [conversation(2), packet(2).to_vec(), packet(3).to_vec()].concat();
        world.batch(&mut counters, &bytes, 10_000, &ReleaseStore);
        assert_eq!(
            (
                counters.stage,
                counters.counts.received,
                counters.counts.corrupt
            ),
            (Stage::Ended, 2, 2)
        );
        assert_eq!(world.replies(&counters), replies(2));
    }

    #[test]
    fn a_read_is_a_batch_that_brought_bytes() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        let bytes = conversation(4);
        for batch in [&bytes[..1], &[], &bytes[1..50], &bytes[50..]] {
            world.batch(&mut counters, batch, 1, &ReleaseStore);
        }
        assert_eq!((counters.reads, counters.counts.received), (3, 4));
    }

    #[test]
    fn a_raw_client_is_counted_in_whole_packets_from_its_first_byte_on() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, b"X", 1, &ReleaseStore);
        assert_eq!(
            (
                counters.stage,
                counters.counts.received,
                counters.partial_frame_bytes
            ),
            (Stage::Raw, 0, 1)
        );
        world.batch(&mut counters, &[b'X'; 100], 2, &ReleaseStore);
        assert_eq!(
            (
                counters.counts.received,
                counters.partial_frame_bytes,
                counters.bytes
            ),
            (3, 5, 101)
        );
        assert_eq!(world.sums(), [0; HISTOGRAMS]);
        let mut at_once = ConnectionCounters::default();
        world.batch(&mut at_once, &[b'X'; 64], 3, &ReleaseStore);
        assert_eq!((at_once.stage, at_once.counts.received), (Stage::Raw, 2));
    }

    #[test]
    fn half_a_magic_decides_nothing_and_a_wrong_second_byte_makes_it_raw() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &MAGIC[..1], 1, &ReleaseStore);
        assert_eq!(counters.stage, Stage::Opening);
        world.batch(&mut counters, b"X", 2, &ReleaseStore);
        assert_eq!(counters.stage, Stage::Raw);
    }

    #[test]
    fn what_is_refused_gets_one_refusal_and_its_bytes_are_dropped() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        let forged = hello().encode(&Key::from_bytes([1; 32]));
        world.batch(
            &mut counters,
            &[&forged[..], &packet(0), &packet(1)].concat(),
            1,
            &ReleaseStore,
        );
        assert_eq!(
            (
                counters.stage,
                counters.counts.received,
                counters.reply_bytes_queued
            ),
            (Stage::Refused, 0, 32)
        );
        assert_eq!(world.replies(&counters), [Refusal::Hello.encode()]);
    }

    #[test]
    fn a_packet_of_another_client_an_end_with_a_wrong_tag_and_a_probe_are_corrupt() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &hello().encode(&key()), 1, &ReleaseStore);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode(&[]);
        let forged_end = hello().end(0, PacketSize::MIN, &Key::from_bytes([1; 32]));
        let probe = Probe { sequence: 0 }.encode();
        let bytes = [foreign, forged_end, probe].concat();
        world.batch(&mut counters, &bytes, 2, &ReleaseStore);
        assert_eq!(
            (
                counters.stage,
                counters.counts.received,
                counters.counts.corrupt
            ),
            (Stage::Packets, 0, 3)
        );
    }

    #[test]
    fn a_peer_that_reads_no_reply_loses_replies_and_still_gets_its_end_ack() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &conversation(1500), 1, &ReleaseStore);
        assert_eq!(
            (counters.counts.received, counters.stage),
            (1500, Stage::Ended)
        );
        let last = world.slot().reply(counters.reply_bytes_queued - 1);
        assert_eq!(hello().open_end_ack(&last, &key()), Some(1500));
        let queued = ((REPLY_QUEUE_FRAMES - 1) * FRAME_BYTES) as u64;
        assert_eq!(counters.reply_bytes_queued, queued, "with the end-ack");
        let counts = counters.counts;
        let counted = (counts.replies_wanted, counts.replies_dropped);
        assert_eq!(counted, (Some(500), Some(500 - 253)), "one is the ack");
        assert!(hello().is_acked_by(&world.slot().reply(0), &key()));
    }

    #[test]
    fn what_the_kernel_has_taken_leaves_room_for_replies() {
        let world = World::new();
        let mut counters = world.client_after(1_000, [0; 4]);
        let before = counters.reply_bytes_queued;
        assert_eq!(before, counters.reply_bytes_sent);
        world.batch(&mut counters, &packet(1_000), 2_000_000, &ReleaseStore);
        assert_eq!(counters.reply_bytes_queued - before, FRAME_BYTES as u64);
        assert_eq!(world.slot().reply(before), reply(1_000));
    }

    #[test]
    fn a_split_packet_and_all_bytes_that_fit_behind_it_are_one_batch() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(
            &mut counters,
            &[hello().encode(&key()), start()].concat(),
            1,
            &ReleaseStore,
        );
        let packets = (BUFFER_BYTES / FRAME_BYTES) as u64;
        let bytes: Vec<u8> = (0..packets).flat_map(packet).collect();
        world.batch(&mut counters, &bytes[..7], 2, &ReleaseStore);
        world.batch(&mut counters, &bytes[7..], 3, &ReleaseStore);
        assert_eq!(
            (counters.counts.received, counters.partial_frame_bytes),
            (packets, 0)
        );
    }

    #[test]
    fn a_full_buffer_of_packets_is_one_batch() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(
            &mut counters,
            &[hello().encode(&key()), start()].concat(),
            1,
            &ReleaseStore,
        );
        let packets = (BUFFER_BYTES / FRAME_BYTES) as u64;
        let bytes: Vec<u8> = (0..packets).flat_map(packet).collect();
        world.batch(&mut counters, &bytes, 2, &ReleaseStore);
        assert_eq!(
            (counters.counts.received, counters.partial_frame_bytes),
            (packets, 0)
        );
        assert_eq!(
            world.sums(),
            without_lines([packets, packets, packets, packets - 1])
        );
    }

    /// A client at 1 kHz for 10 ms in writes of two, 1 ms of it the offset of its start, in a run
    /// with a warm-up of 4 ms.
    const WARM: ClientLoad = ClientLoad {
        packet_size: metronome_proto::packet_size::PacketSize::MIN,
        load: Load {
            profile: Profile::Constant {
                rate_millihertz: 1_000_000,
            },
            duration: Duration::from_millis(10),
            batch: 2,
            seed: 1,
        },
        warm_up_ns: 4_000_000,
    };
    const WARM_START: ClientStart = ClientStart {
        start_ns: 1 << 40,
        offset_ns: 1_000_000,
    };

    fn due_ms(ms: u64) -> u64 {
        WARM_START.start_ns + ms * 1_000_000
    }

    #[test]
    fn a_packet_of_the_warm_up_is_in_all_counts_and_in_no_histogram() {
        for (profile, on) in [
            (WARM.load.profile, ClockRelation::Same),
            (Profile::constant(1_000_000), ClockRelation::Unknown),
        ] {
            let load = Load {
                profile,
                ..WARM.load
            };
            let world = World::with(on, Some(ClientLoad { load, ..WARM }));
            let mut counters = ConnectionCounters::default();
            // The write at 0 and half of that at 2 ms, at 4 and 8 ms; left out are the other half,
            // and 6 ms.
            let due_times = [0, 0, 2, 4, 4, 8].map(due_ms);
            let packets = (0..).zip(due_times);
            let packets: Vec<u8> = packets
                .flat_map(|(sequence, due_ns)| packet_due(sequence, due_ns))
                .collect();
            let frames = [hello().encode(&key()), start_at(WARM_START)].concat();
            let bytes = [frames, packets].concat();
            world.batch(&mut counters, &bytes, due_ms(9), &ReleaseStore);
            let counts = counters.counts;
            assert_eq!((counts.received, counts.warm_up), (6, Some(3)));
            let left_out = (counts.left_out, counts.warm_up_left_out);
            assert_eq!(left_out, (Some(3), Some(1)));
            assert_eq!(counts.off_schedule, Some(0));
            assert_eq!(counts.in_time, Some(6));
            let one_way = 3 * u64::from(on.is_same());
            let timed = without_lines([3, one_way, one_way, 3]);
            assert_eq!((counters.timed.0, world.sums()), (timed, timed));
            let slowest = world.slot().slowest().map(|slow| slow.sequence);
            assert!(slowest.eq([3, 4, 5]));
            assert!(counters.is_possible());
        }
    }

    /// A packet of a flood is due when its sender claims.
    #[test]
    fn a_packet_of_a_flood_is_in_the_warm_up_by_when_it_is_read_whatever_it_claims() {
        let flood = Load {
            profile: Profile::Flood,
            ..WARM.load
        };
        let run_start_ns = WARM_START.start_ns - WARM_START.offset_ns;
        for (on, warm_up) in [(ClockRelation::Same, 3), (ClockRelation::Unknown, 4)] {
            for claimed_ns in [run_start_ns, run_start_ns + WARM.warm_up_ns, u64::MAX] {
                let load = ClientLoad {
                    load: flood,
                    ..WARM
                };
                let world = World::with(on, Some(load));
                let mut counters = ConnectionCounters::default();
                let frames = [hello().encode(&key()), start_at(WARM_START)].concat();
                world.batch(&mut counters, &frames, run_start_ns - 1, &ReleaseStore);
                // The warm-up is of 4 ms: after the start on our clock, else after the first read.
                let reads_ns = [500_000, 1_000_000, 3_999_999, 4_000_000, 4_500_000];
                for (sequence, after_ns) in (0..).zip(reads_ns) {
                    let packet = packet_due(sequence, claimed_ns);
                    world.batch(
                        &mut counters,
                        &packet,
                        run_start_ns + after_ns,
                        &ReleaseStore,
                    );
                }
                assert_eq!(counters.counts.received, 5);
                assert_eq!(
                    counters.counts.warm_up,
                    Some(warm_up),
                    "{on:?}: {claimed_ns}"
                );
                let one_way = if on.is_same() { 5 - warm_up } else { 0 };
                assert_eq!(counters.timed.0, without_lines([0, one_way, one_way, 0]));
                assert_eq!(world.sums(), counters.timed.0);
                let places = (counters.counts.left_out, counters.counts.warm_up_left_out);
                assert_eq!(places, (None, None));
                assert!(counters.is_possible());
            }
        }
    }

    #[test]
    fn a_packet_before_the_start_and_a_start_that_is_none_are_corrupt() {
        let [day_ns, other] = [DURATION_MAX.as_nanos() as u64, 0];
        let too_late = ClientStart {
            offset_ns: day_ns,
            ..WARM_START
        };
        let foreign = Start {
            client: u32::from(CLIENT) + 1,
            offset_ns: other,
            start_ns: 1,
        };
        let latest = ClientStart {
            offset_ns: day_ns - 1,
            ..WARM_START
        };
        let mut damaged = start();
        damaged[30] ^= 1;
        let frames = [
            packet_due(0, due_ms(0)),
            start_at(too_late),
            foreign.encode(PacketSize::MIN),
            damaged,
        ];
        let world = World::with(ClockRelation::Same, Some(WARM));
        let mut counters = ConnectionCounters::default();
        let hello = hello().encode(&key());
        world.batch(&mut counters, &hello, 1, &ReleaseStore);
        world.batch(&mut counters, frames.as_flattened(), 2, &ReleaseStore);
        let counts = counters.counts;
        assert_eq!((counts.received, counts.corrupt), (0, 4));
        assert_eq!(counters.start, None);
        let frames = [
            start_at(latest),
            start_at(WARM_START),
            packet_due(0, due_ms(0)),
        ];
        world.batch(&mut counters, frames.as_flattened(), 3, &ReleaseStore);
        let counts = counters.counts;
        assert_eq!(
            (counts.received, counts.corrupt),
            (1, 5),
            "the second start"
        );
        assert_eq!((counters.start, counters.group), (Some(latest), 2));
        let world = World::with(ClockRelation::Same, None);
        let mut counters = ConnectionCounters::default();
        let frames = [hello, start(), packet(0)];
        world.batch(&mut counters, frames.as_flattened(), 2, &ReleaseStore);
        let counts = counters.counts;
        assert_eq!(
            (counts.received, counts.corrupt),
            (1, 1),
            "no plan has sent it"
        );
    }

    #[test]
    fn where_the_memory_of_the_load_is_damaged_no_packet_is_on_a_schedule() {
        let world = World::with(ClockRelation::Same, Some(WARM));
        let mut counters = ConnectionCounters::default();
        let frames = [hello().encode(&key()), start_at(WARM_START)];
        world.batch(&mut counters, frames.as_flattened(), 2, &ReleaseStore);
        let no_load = ClientLoad {
            warm_up_ns: u64::MAX,
            ..WARM
        };
        world.slot().set_load(&no_load, &ReleaseStore);
        let packets = [packet_due(0, due_ms(0)), packet_due(1, due_ms(0))];
        world.batch(&mut counters, packets.as_flattened(), 3, &ReleaseStore);
        assert_eq!(counters.counts.off_schedule, Some(2));
        assert!(counters.is_possible());
    }
}
