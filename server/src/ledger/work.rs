//! Working off a batch: from received bytes to a committed counters. No clock, no socket.
//!
//! Everything is a function of the counters as last committed, the bytes, the time of the read and
//! who may come in, so a process that takes over comes to the same counters as the one that died.

use metronome_proto::{
    histogram::bucket,
    packet::{self, FLAG_ECHO, FRAME_BYTES, Frame, Kind, MAGIC, Packet},
    seal::Refusal,
};

use super::{
    authenticate::{Authenticate, Authenticated},
    commit_writer::CommitWriter,
    counters::{ConnectionCounters, End, Stage},
    layout::{REPLY_QUEUE_FRAMES, Slot},
};
use crate::model::SlowPacket;

/// Echoes may fill the outbox up to this; behind it there is room for the end-ack.
const ECHO_BYTES_MAX: u64 = ((REPLY_QUEUE_FRAMES - 2) * FRAME_BYTES) as u64;

/// Times of a packet, in the order of a slot's histograms.
const HISTOGRAMS: usize = 3;

/// Puts the rest of a split frame in front of where the next bytes are received.
///
/// Returns the byte of the buffer to receive into.
#[inline]
pub(crate) fn place_partial_frame(
    slot: &Slot,
    counters: &ConnectionCounters,
    writer: &impl CommitWriter,
) -> usize {
    if counters.partial_frame_bytes > 0 {
        slot.buffer.set_frame(0, &counters.partial_frame(), writer);
    }
    usize::from(counters.partial_frame_bytes)
}

/// Works off `taken` bytes that were received behind the rest at `read_ns`, and commits.
#[inline]
pub(crate) fn process_batch(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    taken: usize,
    read_ns: u64,
    admission: &impl Authenticate,
    writer: &impl CommitWriter,
) {
    slot.set_read_ns(read_ns, writer);
    let times = Times::new(slot, writer, [0; HISTOGRAMS]);
    Batch {
        counters,
        read_ns,
        times,
    }
    .finish(taken, admission);
    slot.commit(counters, writer);
}

/// Works off what a process had taken but not committed when it died, and commits.
///
/// `taken` comes from the kernel and is at most the buffer less the rest. A batch whose time of
/// reading was not stored any more gets `now_ns`.
pub(crate) fn replay(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    taken: usize,
    now_ns: u64,
    admission: &impl Authenticate,
    writer: &impl CommitWriter,
) {
    let stored_ns = slot.read_ns();
    let read_ns = if stored_ns > counters.last_batch_ns {
        stored_ns
    } else {
        now_ns
    };
    let recorded =
        std::array::from_fn(|histogram| slot.count(histogram).saturating_sub(counters.packets));
    let times = Times::new(slot, writer, recorded);
    Batch {
        counters,
        read_ns,
        times,
    }
    .finish(taken, admission);
    slot.commit(counters, writer);
}

/// Refuses a connection: from here on its bytes are dropped. Not committed yet.
pub(crate) fn refuse(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    refusal: Refusal,
    writer: &impl CommitWriter,
) {
    counters.stage = Stage::Refused;
    counters.end = End::Refused;
    counters.refusal = refusal as u8;
    queue_reply(slot, counters, &refusal.encode(), writer);
}

fn queue_reply(
    slot: &Slot,
    counters: &mut ConnectionCounters,
    frame: &Frame,
    writer: &impl CommitWriter,
) {
    slot.set_reply(counters.reply_bytes_queued, frame, writer);
    counters.reply_bytes_queued += FRAME_BYTES as u64;
}

struct Batch<'a, P> {
    counters: &'a mut ConnectionCounters,
    read_ns: u64,
    times: Times<'a, P>,
}

impl<P: CommitWriter> Batch<'_, P> {
    fn finish(&mut self, taken: usize, admission: &impl Authenticate) {
        let buffer = &self.times.slot.buffer;
        let total = usize::from(self.counters.partial_frame_bytes) + taken;
        let whole = total / FRAME_BYTES;
        for position in 0..whole {
            self.take(&buffer.frame(position), admission);
        }
        self.times.store();
        let rest = total % FRAME_BYTES;
        let partial_frame = if rest > 0 {
            buffer.frame(whole)
        } else {
            [0; FRAME_BYTES]
        };
        self.counters.set_partial_frame(&partial_frame, rest);
        if self.counters.stage == Stage::Opening && cannot_become_ours(&partial_frame, rest) {
            self.take_raw(admission);
        }
        self.counters.bytes += taken as u64;
        self.counters.last_batch_ns = self.read_ns;
    }

    #[inline]
    fn take(&mut self, frame: &Frame, admission: &impl Authenticate) {
        match self.counters.stage {
            Stage::Packets => self.take_client_frame(frame, admission),
            Stage::Opening => self.take_first(frame, admission),
            Stage::Raw => self.count_packet(),
            Stage::Ended => self.counters.corrupt += 1,
            Stage::Refused | Stage::Closed => {}
        }
    }

    fn take_first(&mut self, frame: &Frame, admission: &impl Authenticate) {
        if cannot_become_ours(frame, FRAME_BYTES) {
            self.take_raw(admission);
            if self.counters.stage == Stage::Raw {
                self.count_packet();
            }
            return;
        }
        match admission.client(frame) {
            Ok(Authenticated {
                hello,
                shares_clock,
            }) => {
                self.counters.stage = Stage::Packets;
                self.counters.run = hello.run.bits();
                self.counters.agent = hello.agent;
                self.counters.client = hello.client;
                self.counters.attempt = hello.attempt;
                self.counters.shares_clock = shares_clock;
                if let Some(key) = admission.key_of(self.counters) {
                    self.queue_reply(&hello.ack(key));
                }
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        refuse(self.times.slot, self.counters, refusal, self.times.writer);
    }

    fn queue_reply(&mut self, frame: &Frame) {
        queue_reply(self.times.slot, self.counters, frame, self.times.writer);
    }

    fn take_raw(&mut self, admission: &impl Authenticate) {
        match admission.raw() {
            Ok(()) => {
                self.counters.stage = Stage::Raw;
                self.counters.is_raw = true;
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    #[inline]
    fn take_client_frame(&mut self, frame: &Frame, admission: &impl Authenticate) {
        match Packet::decode(frame) {
            Ok(packet) if packet.client == u32::from(self.counters.client) => {
                self.take_packet(&packet, packet::checksum(frame));
                if packet.flags & FLAG_ECHO != 0 {
                    self.echo(frame);
                }
            }
            _ => self.take_end(frame, admission),
        }
    }

    #[inline]
    fn take_packet(&mut self, packet: &Packet, checksum: u32) {
        let counters = &mut *self.counters;
        if packet.sequence < counters.next_sequence {
            // Either it fills a gap that a later packet had left, or it was here before.
            if counters.gaps == 0 {
                counters.duplicated += 1;
                return;
            }
            counters.gaps -= 1;
            counters.reordered += 1;
        } else {
            counters.gaps += packet.sequence - counters.next_sequence;
            counters.next_sequence = packet.sequence.saturating_add(1);
        }
        counters.digest = packet::digest_with(counters.digest, packet.sequence, checksum);
        if counters.packets == 0 {
            counters.first_due_ns = packet.due_ns;
        }
        counters.last_due_ns = packet.due_ns;
        let written_ns = packet.due_ns.saturating_add(u64::from(packet.lateness_ns));
        counters.read_before_sent += u64::from(counters.shares_clock && self.read_ns < written_ns);
        self.count_packet();
        self.times
            .record(packet, self.read_ns, self.counters.shares_clock);
    }

    /// Sends a packet back unchanged. A peer that does not read its echoes loses them, not the time
    /// of others: the packet counts all the same.
    fn echo(&mut self, frame: &Frame) {
        if self.counters.reply_bytes_queued - self.counters.reply_bytes_sent < ECHO_BYTES_MAX {
            self.queue_reply(frame);
        }
    }

    fn take_end(&mut self, frame: &Frame, admission: &impl Authenticate) {
        let hello = self.counters.hello();
        let end = (packet::kind(frame) == Some(Kind::End))
            .then(|| admission.key_of(self.counters))
            .flatten()
            .and_then(|key| Some((hello.open_end(frame, key)?, key)));
        let Some((sent, key)) = end else {
            self.counters.corrupt += 1;
            return;
        };
        self.counters.reported_sent = sent;
        self.counters.has_end = true;
        self.counters.stage = Stage::Ended;
        self.queue_reply(&hello.end_ack(self.counters.packets, key));
    }

    #[inline]
    fn count_packet(&mut self) {
        if self.counters.packets == 0 {
            self.counters.first_read_ns = self.read_ns;
        }
        self.counters.packets += 1;
        self.counters.last_read_ns = self.read_ns;
    }
}

/// Whether these bytes, the first of a connection, are those of no frame of ours.
fn cannot_become_ours(frame: &Frame, bytes: usize) -> bool {
    let known = bytes.min(MAGIC.len());
    frame[..known] != MAGIC[..known]
}

/// The slot's histograms, of which a process that died may have had some of this batch.
struct Times<'a, P> {
    slot: &'a Slot,
    writer: &'a P,
    /// Packets of this batch that each histogram has already.
    recorded: [u64; HISTOGRAMS],
    /// Of each histogram the bucket of the last packets and how many they are, not stored yet:
    /// packets of one write are as late as each other, and cost one store together. In the order of
    /// the packets all the same, so that whoever takes over knows from the counts alone which are
    /// stored.
    alike: [(usize, u64); HISTOGRAMS],
}

impl<'a, P: CommitWriter> Times<'a, P> {
    fn new(slot: &'a Slot, writer: &'a P, recorded: [u64; HISTOGRAMS]) -> Self {
        Self {
            slot,
            writer,
            recorded,
            alike: [(0, 0); HISTOGRAMS],
        }
    }

    #[inline]
    fn record(&mut self, packet: &Packet, read_ns: u64, shares_clock: bool) {
        let lateness_ns = u64::from(packet.lateness_ns);
        self.record_one(0, lateness_ns);
        let mut total_ns = lateness_ns;
        if shares_clock {
            let latency_ns = read_ns.saturating_sub(packet.due_ns);
            self.record_one(1, latency_ns.saturating_sub(lateness_ns));
            self.record_one(2, latency_ns);
            total_ns = latency_ns;
        }
        let Packet {
            sequence, due_ns, ..
        } = *packet;
        self.slot.keep_if_slow(
            &SlowPacket {
                sequence,
                due_ns,
                lateness_ns,
                read_ns,
                total_ns,
            },
            self.writer,
        );
    }

    #[inline]
    fn record_one(&mut self, histogram: usize, value_ns: u64) {
        match self.recorded[histogram].checked_sub(1) {
            Some(still_recorded) => self.recorded[histogram] = still_recorded,
            None => self.record_alike(histogram, bucket(value_ns)),
        }
    }

    #[inline]
    fn record_alike(&mut self, histogram: usize, bucket: usize) {
        let (last_bucket, count) = &mut self.alike[histogram];
        if *last_bucket != bucket {
            self.slot
                .record(histogram, *last_bucket, *count, self.writer);
            (*last_bucket, *count) = (bucket, 0);
        }
        *count += 1;
    }

    /// Stores what is left.
    #[inline]
    fn store(&mut self) {
        for (histogram, (bucket, count)) in self.alike.into_iter().enumerate() {
            self.slot.record(histogram, bucket, count, self.writer);
        }
        self.alike = [(0, 0); HISTOGRAMS];
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicU64, Ordering},
    };

    use metronome_proto::{
        run_id::RunId,
        seal::{Hello, Key},
    };
    use proptest::prelude::*;

    use super::{
        super::{BUFFER_BYTES, Dimensions, Ledger, ReleaseStore},
        *,
    };
    use crate::{
        ipc::{AdmissionKey, AdmissionKeys, ConnectionAdmission},
        model::AgentShare,
    };

    const RUN: RunId = RunId::from_bits(5);
    const CLIENT: u16 = 3;

    /// Dies (panics) when it has made all its stores.
    struct Mortal(Cell<usize>);

    impl CommitWriter for Mortal {
        fn store(&self, cell: &AtomicU64, value: u64) {
            let left = self
                .0
                .get()
                .checked_sub(1)
                .unwrap_or_else(|| std::panic::resume_unwind(Box::new("died")));
            self.0.set(left);
            ReleaseStore.store(cell, value);
        }
    }

    struct World {
        ledger: Ledger,
        admission_keys: AdmissionKeys,
    }

    impl World {
        fn new() -> Self {
            let ledger = Ledger::create(Dimensions { slots: 2 }).unwrap();
            ledger.raw_client_limit().store(1, Ordering::Release);
            let mut admission_keys = AdmissionKeys::new(true);
            admission_keys.admit(AdmissionKey {
                row: 0,
                run: RUN,
                agent: 0,
                key: key(),
                share: AgentShare::new(0, 8, true),
                is_static: false,
            });
            Self {
                ledger,
                admission_keys,
            }
        }

        fn slot(&self) -> &Slot {
            &self.ledger.slots()[0]
        }

        fn admission(&self) -> ConnectionAdmission<'_> {
            ConnectionAdmission {
                admission_keys: &self.admission_keys,
                ledger: &self.ledger,
                slot: 0,
                generation: 1,
            }
        }

        /// Receives as the kernel does and works off the batch.
        fn batch(
            &self,
            counters: &mut ConnectionCounters,
            bytes: &[u8],
            read_ns: u64,
            writer: &impl CommitWriter,
        ) {
            receive(self.slot(), counters, bytes);
            process_batch(
                self.slot(),
                counters,
                bytes.len(),
                read_ns,
                &self.admission(),
                writer,
            );
        }

        /// As [`World::batch`], but the process dies after `first` stores, and the one that resumes
        /// after `second`; a third does what is left. False when not even the first has died.
        fn die_twice(
            &self,
            counters: &mut ConnectionCounters,
            bytes: &[u8],
            read_ns: u64,
            [first, second]: [usize; 2],
        ) -> bool {
            let before = counters.bytes;
            let left =
                |counters: &ConnectionCounters| bytes.len() - (counters.bytes - before) as usize;
            let mut dying = *counters;
            let first = Mortal(Cell::new(first));
            let died = catch_unwind(AssertUnwindSafe(|| {
                self.batch(&mut dying, bytes, read_ns, &first)
            }))
            .is_err();
            *counters = self.slot().counters().unwrap();
            assert!(died || left(counters) == 0);
            if left(counters) > 0 {
                let (mut dying, second) = (*counters, Mortal(Cell::new(second)));
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    replay(
                        self.slot(),
                        &mut dying,
                        left(counters),
                        read_ns,
                        &self.admission(),
                        &second,
                    );
                }));
                *counters = self.slot().counters().unwrap();
            }
            if left(counters) > 0 {
                replay(
                    self.slot(),
                    counters,
                    left(counters),
                    read_ns,
                    &self.admission(),
                    &ReleaseStore,
                );
            }
            died
        }

        /// A client that has sent so many packets, and was sent as many bytes of echoes as it has
        /// sent.
        fn client_after(&self, packets: u64) -> ConnectionCounters {
            let bytes = (packets + 1) * FRAME_BYTES as u64;
            let counters = ConnectionCounters {
                stage: Stage::Packets,
                run: RUN.bits(),
                client: CLIENT,
                attempt: 1,
                shares_clock: true,
                packets,
                next_sequence: packets,
                bytes,
                reply_bytes_queued: bytes,
                reply_bytes_sent: bytes,
                last_batch_ns: 1_000,
                ..ConnectionCounters::default()
            };
            self.slot().commit(&counters, &ReleaseStore);
            self.slot().start_counts_at(packets);
            counters
        }

        fn reply(&self, counters: &ConnectionCounters) -> Vec<Frame> {
            (0..counters.reply_bytes_queued / 32)
                .map(|frame| self.slot().reply(frame * 32))
                .collect()
        }

        fn sums(&self) -> [u64; 3] {
            std::array::from_fn(|histogram| self.slot().count(histogram))
        }
    }

    fn receive(slot: &Slot, counters: &ConnectionCounters, bytes: &[u8]) {
        let at = place_partial_frame(slot, counters, &ReleaseStore);
        for (offset, byte) in bytes.iter().enumerate() {
            let position = at + offset;
            let word = &slot.buffer.0[position / 8];
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[position % 8] = *byte;
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    fn key() -> Key {
        Key::from_bytes([9; 32])
    }

    fn hello() -> Hello {
        Hello {
            run: RUN,
            agent: 0,
            client: CLIENT,
            attempt: 1,
        }
    }

    fn packet(sequence: u64) -> Frame {
        let due_ns = 1_000 + sequence * 100;
        let flags = if sequence % 3 == 1 { FLAG_ECHO } else { 0 };
        let lateness_ns = 7 + (sequence % 1_000) as u32 * 3000;
        Packet {
            flags,
            client: u32::from(CLIENT),
            sequence,
            due_ns,
            lateness_ns,
        }
        .encode()
    }

    /// What the client of a conversation is sent.
    fn replies(packets: u64) -> Vec<Frame> {
        let echoes = (0..packets)
            .filter(|sequence| sequence % 3 == 1)
            .map(packet);
        let (ack, end_ack) = (hello().ack(&key()), hello().end_ack(packets, &key()));
        std::iter::once(ack)
            .chain(echoes)
            .chain([end_ack])
            .collect()
    }

    fn conversation(packets: u64) -> Vec<u8> {
        let mut bytes = hello().seal(&key()).to_vec();
        bytes.extend((0..packets).flat_map(packet));
        bytes.extend(hello().end(packets, &key()));
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_a_stream_is_split_the_account_is_the_same(cuts in prop::collection::vec(1..200_usize, 1..40)) {
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
            prop_assert_eq!((counters.stage, counters.packets, counters.reported_sent), (Stage::Ended, 20, 20));
            prop_assert_eq!((counters.gaps, counters.duplicated, counters.reordered, counters.corrupt), (0, 0, 0, 0));
            prop_assert_eq!((counters.bytes, counters.partial_frame_bytes), (bytes.len() as u64, 0));
            prop_assert_eq!(world.reply(&counters), replies(20));
            prop_assert_eq!(world.sums(), [20; 3]);
        }

        #[test]
        fn any_bytes_are_survived_and_histograms_count_the_packets(bytes in prop::collection::vec(any::<u8>(), 0..400), ours: bool) {
            let world = World::new();
            let mut counters = ConnectionCounters::default();
            if ours {
                world.batch(&mut counters, &conversation(3)[..96], 1, &ReleaseStore);
            }
            world.batch(&mut counters, &bytes, 2, &ReleaseStore);
            prop_assert!(counters.is_possible());
            let counted = if counters.is_client() { counters.packets } else { 0 };
            prop_assert_eq!(world.sums(), [counted; 3]);
        }

        #[test]
        fn sequences_in_any_order_add_up(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(), lost in 0..12_usize, twice in 0..12_usize) {
            let world = World::new();
            let mut counters = ConnectionCounters::default();
            world.batch(&mut counters, &hello().seal(&key()), 1, &ReleaseStore);
            let sent: Vec<u64> = order.iter().copied().filter(|sequence| *sequence != lost as u64).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|sequence| packet(*sequence)).collect();
            world.batch(&mut counters, &bytes, 2, &ReleaseStore);
            prop_assert_eq!(counters.packets, 11);
            let missing = if counters.next_sequence == 12 { 1 } else { 0 };
            prop_assert_eq!((counters.gaps, counters.duplicated), (missing, 0));
            if counters.gaps == 0 {
                world.batch(&mut counters, &packet(sent[twice % sent.len()]), 3, &ReleaseStore);
                prop_assert_eq!((counters.packets, counters.duplicated), (11, 1));
            }
        }
    }

    /// The law of this product: a death at every single store of every batch, twice in a row.
    #[test]
    fn a_death_at_any_store_loses_nothing_and_counts_nothing_twice() {
        let bytes = conversation(6);
        let cut = [0, 45, 100, bytes.len()];
        let mut deaths = 0;
        for batch in 0..cut.len() - 1 {
            for (first, second) in (0..400)
                .flat_map(|first| [(first, usize::MAX), (first, 1), (first, 9), (first, 30)])
            {
                let world = World::new();
                let mut counters = ConnectionCounters::default();
                for earlier in 0..batch {
                    world.batch(
                        &mut counters,
                        &bytes[cut[earlier]..cut[earlier + 1]],
                        100 * (earlier as u64 + 1),
                        &ReleaseStore,
                    );
                }
                if !world.die_twice(
                    &mut counters,
                    &bytes[cut[batch]..cut[batch + 1]],
                    5_000,
                    [first, second],
                ) {
                    break;
                }
                deaths += 1;
                for later in batch + 1..cut.len() - 1 {
                    world.batch(
                        &mut counters,
                        &bytes[cut[later]..cut[later + 1]],
                        6_000 + later as u64,
                        &ReleaseStore,
                    );
                }
                assert_eq!(world.reply(&counters), replies(6));
                let told = (
                    counters.stage,
                    counters.packets,
                    counters.reported_sent,
                    counters.next_sequence,
                );
                assert_eq!(
                    told,
                    (Stage::Ended, 6, 6, 6),
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(
                    (
                        counters.gaps,
                        counters.duplicated,
                        counters.reordered,
                        counters.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    world.sums(),
                    [6; 3],
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(world.slot().counters(), Some(counters));
            }
        }
        assert!(deaths > 300, "only {deaths} deaths were tried");
    }

    /// Packets, sequences and the counts of histograms cross 2^32 with the first, the bytes of both
    /// directions with the second.
    #[test]
    fn counters_cross_32_bits_with_a_death_at_any_store_and_stay_exact() {
        const PACKETS: u64 = 6;
        for start in [(1 << 32) - 3, (1 << 32) / FRAME_BYTES as u64 - 4] {
            let frames = start..start + PACKETS;
            let add = |digest, sequence| {
                packet::digest_with(digest, sequence, packet::checksum(&packet(sequence)))
            };
            let digest = frames.clone().fold(0, add);
            let mut bytes: Vec<u8> = frames.clone().flat_map(packet).collect();
            bytes.extend(hello().end(start + PACKETS, &key()));
            let mut deaths = 0;
            for stores in (0..400).flat_map(|first| [[first, usize::MAX], [first, 1], [first, 20]])
            {
                let world = World::new();
                let mut counters = world.client_after(start);
                let before = counters.reply_bytes_queued;
                // In two batches, so that a packet is split.
                let (one, other) = bytes.split_at(100);
                let mut died = world.die_twice(&mut counters, one, 5_000, stores);
                died |= world.die_twice(&mut counters, other, 6_000, stores);
                if !died {
                    break;
                }
                deaths += 1;
                let end = start + PACKETS;
                let told = (
                    counters.stage,
                    counters.packets,
                    counters.next_sequence,
                    counters.reported_sent,
                );
                assert_eq!(
                    told,
                    (Stage::Ended, end, end, end),
                    "{start}, deaths after {stores:?} stores"
                );
                assert_eq!(
                    (
                        counters.gaps,
                        counters.duplicated,
                        counters.reordered,
                        counters.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    (counters.digest, world.sums()),
                    (digest, [end; 3]),
                    "{start}, {stores:?}"
                );
                assert_eq!(
                    (counters.bytes, counters.partial_frame_bytes),
                    ((end + 2) * FRAME_BYTES as u64, 0)
                );
                let replies = (before..counters.reply_bytes_queued)
                    .step_by(FRAME_BYTES)
                    .map(|at| world.slot().reply(at));
                let echoes = frames
                    .clone()
                    .filter(|sequence| sequence % 3 == 1)
                    .map(packet);
                let expected: Vec<Frame> = echoes.chain([hello().end_ack(end, &key())]).collect();
                assert_eq!(replies.collect::<Vec<_>>(), expected, "{start}, {stores:?}");
                assert!(counters.is_possible());
                assert_eq!(world.slot().counters(), Some(counters));
            }
            assert!(deaths > 100, "only {deaths} deaths were tried");
        }
    }

    #[test]
    fn what_is_left_out_or_comes_again_is_counted_in_64_bits() {
        let world = World::new();
        let mut counters = world.client_after(7);
        let ahead = 7 + (1 << 32) + 5;
        world.batch(&mut counters, &packet(ahead), 1_100, &ReleaseStore);
        assert_eq!(
            (counters.packets, counters.gaps, counters.next_sequence),
            (8, (1 << 32) + 5, ahead + 1)
        );
        let many = u64::from(u32::MAX);
        (
            counters.gaps,
            counters.duplicated,
            counters.reordered,
            counters.corrupt,
        ) = (0, many, many, many);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode();
        world.batch(
            &mut counters,
            &[packet(3), foreign].concat(),
            1_200,
            &ReleaseStore,
        );
        assert_eq!((counters.duplicated, counters.corrupt), (1 << 32, 1 << 32));
        counters.gaps = 1;
        world.batch(&mut counters, &packet(3), 1_300, &ReleaseStore);
        assert_eq!((counters.gaps, counters.reordered), (0, 1 << 32));
        assert_eq!(world.slot().counters(), Some(counters));
    }

    #[test]
    fn a_raw_client_is_counted_in_whole_packets_from_its_first_byte_on() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, b"X", 1, &ReleaseStore);
        assert_eq!(
            (
                counters.stage,
                counters.packets,
                counters.partial_frame_bytes
            ),
            (Stage::Raw, 0, 1)
        );
        world.batch(&mut counters, &[b'X'; 100], 2, &ReleaseStore);
        assert_eq!(
            (
                counters.packets,
                counters.partial_frame_bytes,
                counters.bytes
            ),
            (3, 5, 101)
        );
        assert_eq!(world.sums(), [0; 3]);
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
        let forged = hello().seal(&Key::from_bytes([1; 32]));
        world.batch(
            &mut counters,
            &[&forged[..], &packet(0), &packet(1)].concat(),
            1,
            &ReleaseStore,
        );
        assert_eq!(
            (
                counters.stage,
                counters.packets,
                counters.reply_bytes_queued
            ),
            (Stage::Refused, 0, 32)
        );
        assert_eq!(world.reply(&counters), [Refusal::Hello.encode()]);
    }

    #[test]
    fn a_packet_of_another_client_and_an_end_with_a_wrong_tag_are_corrupt() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &hello().seal(&key()), 1, &ReleaseStore);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode();
        let forged_end = hello().end(0, &Key::from_bytes([1; 32]));
        world.batch(
            &mut counters,
            &[foreign, forged_end].concat(),
            2,
            &ReleaseStore,
        );
        assert_eq!(
            (counters.stage, counters.packets, counters.corrupt),
            (Stage::Packets, 0, 2)
        );
    }

    #[test]
    fn a_peer_that_reads_no_echo_loses_echoes_and_still_gets_its_end_ack() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &conversation(1500), 1, &ReleaseStore);
        assert_eq!((counters.packets, counters.stage), (1500, Stage::Ended));
        let last = world.slot().reply(counters.reply_bytes_queued - 1);
        assert_eq!(hello().open_end_ack(&last, &key()), Some(1500));
        assert!(counters.reply_bytes_queued <= (REPLY_QUEUE_FRAMES * FRAME_BYTES) as u64);
        assert!(hello().is_acked_by(&world.slot().reply(0), &key()));
    }

    #[test]
    fn a_full_buffer_of_packets_is_one_batch() {
        let world = World::new();
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &hello().seal(&key()), 1, &ReleaseStore);
        let packets = (BUFFER_BYTES / FRAME_BYTES) as u64;
        let bytes: Vec<u8> = (0..packets).flat_map(packet).collect();
        world.batch(&mut counters, &bytes, 2, &ReleaseStore);
        assert_eq!(
            (counters.packets, counters.partial_frame_bytes),
            (packets, 0)
        );
        assert_eq!(world.sums(), [packets; 3]);
    }
}
