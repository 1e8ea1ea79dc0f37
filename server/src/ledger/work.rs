//! Working off a batch: from received bytes to a committed account. No clock, no socket.
//!
//! Everything is a function of the account as last committed, the bytes, the time of the read and
//! who may come in, so a process that takes over comes to the same account as the one that died.

use metronome_proto::{
    handshake::Refusal,
    histogram::bucket,
    packet::{self, FLAG_ECHO, FRAME_BYTES, Frame, Kind, MAGIC, Packet},
};

use super::{
    account::{Account, End, Stage},
    gate::Gate,
    layout::{OUTBOX_FRAMES, Slot},
    pen::Pen,
    slowest::SlowPacket,
};

/// Echoes may fill the outbox up to this; behind it there is room for the end-ack.
const ECHO_BYTES_MAX: u64 = ((OUTBOX_FRAMES - 2) * FRAME_BYTES) as u64;

/// Times of a packet, in the order of a slot's histograms.
const HISTOGRAMS: usize = 3;

/// Puts the rest of a split frame in front of where the next bytes are received.
///
/// Returns the byte of the buffer to receive into.
#[inline]
pub(crate) fn place_rest(slot: &Slot, account: &Account, pen: &impl Pen) -> usize {
    if account.rest_bytes > 0 {
        slot.buffer.set_frame(0, &account.rest_frame(), pen);
    }
    usize::from(account.rest_bytes)
}

/// Works off `taken` bytes that were received behind the rest at `read_ns`, and commits.
#[inline]
pub(crate) fn work(
    slot: &Slot,
    account: &mut Account,
    taken: usize,
    read_ns: u64,
    gate: &Gate<'_>,
    pen: &impl Pen,
) {
    slot.set_read_ns(read_ns, pen);
    let times = Times::new(slot, pen, [0; HISTOGRAMS]);
    Batch {
        account,
        read_ns,
        times,
    }
    .finish(taken, gate);
    slot.commit(account, pen);
}

/// Works off what a process had taken but not committed when it died, and commits.
///
/// `taken` comes from the kernel and is at most the buffer less the rest. A batch whose time of
/// reading was not stored any more gets `now_ns`.
pub(crate) fn resume(
    slot: &Slot,
    account: &mut Account,
    taken: usize,
    now_ns: u64,
    gate: &Gate<'_>,
    pen: &impl Pen,
) {
    let stored_ns = slot.read_ns();
    let read_ns = if stored_ns > account.worked_ns {
        stored_ns
    } else {
        now_ns
    };
    let recorded =
        std::array::from_fn(|histogram| slot.count(histogram).saturating_sub(account.packets));
    let times = Times::new(slot, pen, recorded);
    Batch {
        account,
        read_ns,
        times,
    }
    .finish(taken, gate);
    slot.commit(account, pen);
}

/// Refuses a connection: from here on its bytes are dropped. Not committed yet.
pub(crate) fn refuse(slot: &Slot, account: &mut Account, refusal: Refusal, pen: &impl Pen) {
    account.stage = Stage::Refused;
    account.end = End::Refused;
    account.refusal = refusal as u8;
    owe(slot, account, &refusal.encode(), pen);
}

fn owe(slot: &Slot, account: &mut Account, frame: &Frame, pen: &impl Pen) {
    slot.set_outgoing(account.owed, frame, pen);
    account.owed += FRAME_BYTES as u64;
}

struct Batch<'a, P> {
    account: &'a mut Account,
    read_ns: u64,
    times: Times<'a, P>,
}

impl<P: Pen> Batch<'_, P> {
    fn finish(&mut self, taken: usize, gate: &Gate<'_>) {
        let buffer = &self.times.slot.buffer;
        let total = usize::from(self.account.rest_bytes) + taken;
        let whole = total / FRAME_BYTES;
        for position in 0..whole {
            self.take(&buffer.frame(position), gate);
        }
        self.times.store();
        let rest = total % FRAME_BYTES;
        let rest_frame = if rest > 0 {
            buffer.frame(whole)
        } else {
            [0; FRAME_BYTES]
        };
        self.account.set_rest(&rest_frame, rest);
        if self.account.stage == Stage::Opening && cannot_become_ours(&rest_frame, rest) {
            self.take_raw(gate);
        }
        self.account.bytes += taken as u64;
        self.account.worked_ns = self.read_ns;
    }

    #[inline]
    fn take(&mut self, frame: &Frame, gate: &Gate<'_>) {
        match self.account.stage {
            Stage::Packets => self.take_client_frame(frame, gate),
            Stage::Opening => self.take_first(frame, gate),
            Stage::Raw => self.count_packet(),
            Stage::Ended => self.account.corrupt += 1,
            Stage::Refused | Stage::Closed => {}
        }
    }

    fn take_first(&mut self, frame: &Frame, gate: &Gate<'_>) {
        if cannot_become_ours(frame, FRAME_BYTES) {
            self.take_raw(gate);
            if self.account.stage == Stage::Raw {
                self.count_packet();
            }
            return;
        }
        match gate.hello(frame) {
            Ok((hello, shares_clock)) => {
                self.account.stage = Stage::Packets;
                self.account.run = hello.run.bits();
                self.account.agent = hello.agent;
                self.account.client = hello.client;
                self.account.attempt = hello.attempt;
                self.account.shares_clock = shares_clock;
                if let Some(key) = gate.gates.key_of(self.account) {
                    self.owe(&hello.ack(key));
                }
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        refuse(self.times.slot, self.account, refusal, self.times.pen);
    }

    fn owe(&mut self, frame: &Frame) {
        owe(self.times.slot, self.account, frame, self.times.pen);
    }

    fn take_raw(&mut self, gate: &Gate<'_>) {
        match gate.raw() {
            Ok(()) => {
                self.account.stage = Stage::Raw;
                self.account.is_raw = true;
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    #[inline]
    fn take_client_frame(&mut self, frame: &Frame, gate: &Gate<'_>) {
        match Packet::decode(frame) {
            Ok(packet) if packet.client == u32::from(self.account.client) => {
                self.take_packet(&packet, packet::checksum(frame));
                if packet.flags & FLAG_ECHO != 0 {
                    self.echo(frame);
                }
            }
            _ => self.take_end(frame, gate),
        }
    }

    #[inline]
    fn take_packet(&mut self, packet: &Packet, checksum: u32) {
        let account = &mut *self.account;
        if packet.sequence < account.next_sequence {
            // Either it fills a gap that a later packet had left, or it was here before.
            if account.gaps == 0 {
                account.duplicated += 1;
                return;
            }
            account.gaps -= 1;
            account.reordered += 1;
        } else {
            account.gaps += packet.sequence - account.next_sequence;
            account.next_sequence = packet.sequence.saturating_add(1);
        }
        account.digest = packet::digest_with(account.digest, packet.sequence, checksum);
        if account.packets == 0 {
            account.first_due_ns = packet.due_ns;
        }
        account.last_due_ns = packet.due_ns;
        let written_ns = packet.due_ns.saturating_add(u64::from(packet.lateness_ns));
        account.acausal += u64::from(account.shares_clock && self.read_ns < written_ns);
        self.count_packet();
        self.times
            .record(packet, self.read_ns, self.account.shares_clock);
    }

    /// Sends a packet back unchanged. A peer that does not read its echoes loses them, not the time
    /// of others: the packet counts all the same.
    fn echo(&mut self, frame: &Frame) {
        if self.account.owed - self.account.written < ECHO_BYTES_MAX {
            self.owe(frame);
        }
    }

    fn take_end(&mut self, frame: &Frame, gate: &Gate<'_>) {
        let hello = self.account.hello();
        let end = (packet::kind(frame) == Some(Kind::End))
            .then(|| gate.gates.key_of(self.account))
            .flatten()
            .and_then(|key| Some((hello.open_end(frame, key)?, key)));
        let Some((sent, key)) = end else {
            self.account.corrupt += 1;
            return;
        };
        self.account.told_sent = sent;
        self.account.has_end = true;
        self.account.stage = Stage::Ended;
        self.owe(&hello.end_ack(self.account.packets, key));
    }

    #[inline]
    fn count_packet(&mut self) {
        if self.account.packets == 0 {
            self.account.first_read_ns = self.read_ns;
        }
        self.account.packets += 1;
        self.account.last_read_ns = self.read_ns;
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
    pen: &'a P,
    /// Packets of this batch that each histogram has already.
    recorded: [u64; HISTOGRAMS],
    /// Of each histogram the bucket of the last packets and how many they are, not stored yet:
    /// packets of one write are as late as each other, and cost one store together. In the order of
    /// the packets all the same, so that whoever takes over knows from the counts alone which are
    /// stored.
    alike: [(usize, u64); HISTOGRAMS],
}

impl<'a, P: Pen> Times<'a, P> {
    fn new(slot: &'a Slot, pen: &'a P, recorded: [u64; HISTOGRAMS]) -> Self {
        Self {
            slot,
            pen,
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
            self.pen,
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
            self.slot.record(histogram, *last_bucket, *count, self.pen);
            (*last_bucket, *count) = (bucket, 0);
        }
        *count += 1;
    }

    /// Stores what is left.
    #[inline]
    fn store(&mut self) {
        for (histogram, (bucket, count)) in self.alike.into_iter().enumerate() {
            self.slot.record(histogram, bucket, count, self.pen);
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
        handshake::{Hello, Key},
        run_id::RunId,
    };
    use proptest::prelude::*;

    use super::{
        super::{AgentKey, BUFFER_BYTES, Dimensions, Gates, Ink, Ledger},
        *,
    };

    const RUN: RunId = RunId::from_bits(5);
    const CLIENT: u16 = 3;

    /// Dies (panics) when it has made all its stores.
    struct Mortal(Cell<usize>);

    impl Pen for Mortal {
        fn put(&self, cell: &AtomicU64, value: u64) {
            let left = self
                .0
                .get()
                .checked_sub(1)
                .unwrap_or_else(|| std::panic::resume_unwind(Box::new("died")));
            self.0.set(left);
            Ink.put(cell, value);
        }
    }

    struct World {
        ledger: Ledger,
        gates: Gates,
    }

    impl World {
        fn new() -> Self {
            let ledger = Ledger::create(Dimensions { slots: 2 }).unwrap();
            ledger.raw_seats().store(1, Ordering::Release);
            let mut gates = Gates::new(true);
            gates.admit(AgentKey {
                row: 0,
                run: RUN,
                agent: 0,
                key: key(),
                first_client: 0,
                clients: 8,
                shares_clock: true,
                standing: false,
            });
            Self { ledger, gates }
        }

        fn slot(&self) -> &Slot {
            &self.ledger.slots()[0]
        }

        fn gate(&self) -> Gate<'_> {
            Gate {
                gates: &self.gates,
                ledger: &self.ledger,
                slot: 0,
                generation: 1,
            }
        }

        /// Receives as the kernel does and works off the batch.
        fn batch(&self, account: &mut Account, bytes: &[u8], read_ns: u64, pen: &impl Pen) {
            receive(self.slot(), account, bytes);
            work(
                self.slot(),
                account,
                bytes.len(),
                read_ns,
                &self.gate(),
                pen,
            );
        }

        /// As [`World::batch`], but the process dies after `first` stores, and the one that resumes
        /// after `second`; a third does what is left. False when not even the first has died.
        fn die_twice(
            &self,
            account: &mut Account,
            bytes: &[u8],
            read_ns: u64,
            [first, second]: [usize; 2],
        ) -> bool {
            let before = account.bytes;
            let left = |account: &Account| bytes.len() - (account.bytes - before) as usize;
            let mut dying = *account;
            let first = Mortal(Cell::new(first));
            let died = catch_unwind(AssertUnwindSafe(|| {
                self.batch(&mut dying, bytes, read_ns, &first)
            }))
            .is_err();
            *account = self.slot().account().unwrap();
            assert!(died || left(account) == 0);
            if left(account) > 0 {
                let (mut dying, second) = (*account, Mortal(Cell::new(second)));
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    resume(
                        self.slot(),
                        &mut dying,
                        left(account),
                        read_ns,
                        &self.gate(),
                        &second,
                    );
                }));
                *account = self.slot().account().unwrap();
            }
            if left(account) > 0 {
                resume(
                    self.slot(),
                    account,
                    left(account),
                    read_ns,
                    &self.gate(),
                    &Ink,
                );
            }
            died
        }

        /// A client that has sent so many packets, and was sent as many bytes of echoes as it has
        /// sent.
        fn client_after(&self, packets: u64) -> Account {
            let bytes = (packets + 1) * FRAME_BYTES as u64;
            let account = Account {
                stage: Stage::Packets,
                run: RUN.bits(),
                client: CLIENT,
                attempt: 1,
                shares_clock: true,
                packets,
                next_sequence: packets,
                bytes,
                owed: bytes,
                written: bytes,
                worked_ns: 1_000,
                ..Account::default()
            };
            self.slot().commit(&account, &Ink);
            self.slot().start_counts_at(packets);
            account
        }

        fn outgoing(&self, account: &Account) -> Vec<Frame> {
            (0..account.owed / 32)
                .map(|frame| self.slot().outgoing(frame * 32))
                .collect()
        }

        fn sums(&self) -> [u64; 3] {
            std::array::from_fn(|histogram| self.slot().count(histogram))
        }
    }

    fn receive(slot: &Slot, account: &Account, bytes: &[u8]) {
        let at = place_rest(slot, account, &Ink);
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
        let mut bytes = hello().encode(&key()).to_vec();
        bytes.extend((0..packets).flat_map(packet));
        bytes.extend(hello().end(packets, &key()));
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_a_stream_is_split_the_account_is_the_same(cuts in prop::collection::vec(1..200_usize, 1..40)) {
            let world = World::new();
            let (mut account, bytes) = (Account::default(), conversation(20));
            let (mut left, mut cuts, mut now_ns) = (&bytes[..], cuts.into_iter().cycle(), 10_000);
            while !left.is_empty() {
                let (batch, behind) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
                now_ns += 1;
                world.batch(&mut account, batch, now_ns, &Ink);
                prop_assert_eq!(world.slot().account(), Some(account));
                prop_assert!(account.is_possible());
                left = behind;
            }
            prop_assert_eq!((account.stage, account.packets, account.told_sent), (Stage::Ended, 20, 20));
            prop_assert_eq!((account.gaps, account.duplicated, account.reordered, account.corrupt), (0, 0, 0, 0));
            prop_assert_eq!((account.bytes, account.rest_bytes), (bytes.len() as u64, 0));
            prop_assert_eq!(world.outgoing(&account), replies(20));
            prop_assert_eq!(world.sums(), [20; 3]);
        }

        #[test]
        fn any_bytes_are_survived_and_histograms_count_the_packets(bytes in prop::collection::vec(any::<u8>(), 0..400), ours: bool) {
            let world = World::new();
            let mut account = Account::default();
            if ours {
                world.batch(&mut account, &conversation(3)[..96], 1, &Ink);
            }
            world.batch(&mut account, &bytes, 2, &Ink);
            prop_assert!(account.is_possible());
            let counted = if account.is_client() { account.packets } else { 0 };
            prop_assert_eq!(world.sums(), [counted; 3]);
        }

        #[test]
        fn sequences_in_any_order_add_up(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(), lost in 0..12_usize, twice in 0..12_usize) {
            let world = World::new();
            let mut account = Account::default();
            world.batch(&mut account, &hello().encode(&key()), 1, &Ink);
            let sent: Vec<u64> = order.iter().copied().filter(|sequence| *sequence != lost as u64).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|sequence| packet(*sequence)).collect();
            world.batch(&mut account, &bytes, 2, &Ink);
            prop_assert_eq!(account.packets, 11);
            let missing = if account.next_sequence == 12 { 1 } else { 0 };
            prop_assert_eq!((account.gaps, account.duplicated), (missing, 0));
            if account.gaps == 0 {
                world.batch(&mut account, &packet(sent[twice % sent.len()]), 3, &Ink);
                prop_assert_eq!((account.packets, account.duplicated), (11, 1));
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
                let mut account = Account::default();
                for earlier in 0..batch {
                    world.batch(
                        &mut account,
                        &bytes[cut[earlier]..cut[earlier + 1]],
                        100 * (earlier as u64 + 1),
                        &Ink,
                    );
                }
                if !world.die_twice(
                    &mut account,
                    &bytes[cut[batch]..cut[batch + 1]],
                    5_000,
                    [first, second],
                ) {
                    break;
                }
                deaths += 1;
                for later in batch + 1..cut.len() - 1 {
                    world.batch(
                        &mut account,
                        &bytes[cut[later]..cut[later + 1]],
                        6_000 + later as u64,
                        &Ink,
                    );
                }
                assert_eq!(world.outgoing(&account), replies(6));
                let told = (
                    account.stage,
                    account.packets,
                    account.told_sent,
                    account.next_sequence,
                );
                assert_eq!(
                    told,
                    (Stage::Ended, 6, 6, 6),
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(
                    (
                        account.gaps,
                        account.duplicated,
                        account.reordered,
                        account.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    world.sums(),
                    [6; 3],
                    "batch {batch}, deaths after {first} and {second} stores"
                );
                assert_eq!(world.slot().account(), Some(account));
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
                let mut account = world.client_after(start);
                let before = account.owed;
                // In two batches, so that a packet is split.
                let (one, other) = bytes.split_at(100);
                let mut died = world.die_twice(&mut account, one, 5_000, stores);
                died |= world.die_twice(&mut account, other, 6_000, stores);
                if !died {
                    break;
                }
                deaths += 1;
                let end = start + PACKETS;
                let told = (
                    account.stage,
                    account.packets,
                    account.next_sequence,
                    account.told_sent,
                );
                assert_eq!(
                    told,
                    (Stage::Ended, end, end, end),
                    "{start}, deaths after {stores:?} stores"
                );
                assert_eq!(
                    (
                        account.gaps,
                        account.duplicated,
                        account.reordered,
                        account.corrupt
                    ),
                    (0, 0, 0, 0)
                );
                assert_eq!(
                    (account.digest, world.sums()),
                    (digest, [end; 3]),
                    "{start}, {stores:?}"
                );
                assert_eq!(
                    (account.bytes, account.rest_bytes),
                    ((end + 2) * FRAME_BYTES as u64, 0)
                );
                let replies = (before..account.owed)
                    .step_by(FRAME_BYTES)
                    .map(|at| world.slot().outgoing(at));
                let echoes = frames
                    .clone()
                    .filter(|sequence| sequence % 3 == 1)
                    .map(packet);
                let expected: Vec<Frame> = echoes.chain([hello().end_ack(end, &key())]).collect();
                assert_eq!(replies.collect::<Vec<_>>(), expected, "{start}, {stores:?}");
                assert!(account.is_possible());
                assert_eq!(world.slot().account(), Some(account));
            }
            assert!(deaths > 100, "only {deaths} deaths were tried");
        }
    }

    #[test]
    fn what_is_left_out_or_comes_again_is_counted_in_64_bits() {
        let world = World::new();
        let mut account = world.client_after(7);
        let ahead = 7 + (1 << 32) + 5;
        world.batch(&mut account, &packet(ahead), 1_100, &Ink);
        assert_eq!(
            (account.packets, account.gaps, account.next_sequence),
            (8, (1 << 32) + 5, ahead + 1)
        );
        let many = u64::from(u32::MAX);
        (
            account.gaps,
            account.duplicated,
            account.reordered,
            account.corrupt,
        ) = (0, many, many, many);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode();
        world.batch(&mut account, &[packet(3), foreign].concat(), 1_200, &Ink);
        assert_eq!((account.duplicated, account.corrupt), (1 << 32, 1 << 32));
        account.gaps = 1;
        world.batch(&mut account, &packet(3), 1_300, &Ink);
        assert_eq!((account.gaps, account.reordered), (0, 1 << 32));
        assert_eq!(world.slot().account(), Some(account));
    }

    #[test]
    fn a_raw_client_is_counted_in_whole_packets_from_its_first_byte_on() {
        let world = World::new();
        let mut account = Account::default();
        world.batch(&mut account, b"X", 1, &Ink);
        assert_eq!(
            (account.stage, account.packets, account.rest_bytes),
            (Stage::Raw, 0, 1)
        );
        world.batch(&mut account, &[b'X'; 100], 2, &Ink);
        assert_eq!(
            (account.packets, account.rest_bytes, account.bytes),
            (3, 5, 101)
        );
        assert_eq!(world.sums(), [0; 3]);
    }

    #[test]
    fn half_a_magic_decides_nothing_and_a_wrong_second_byte_makes_it_raw() {
        let world = World::new();
        let mut account = Account::default();
        world.batch(&mut account, &MAGIC[..1], 1, &Ink);
        assert_eq!(account.stage, Stage::Opening);
        world.batch(&mut account, b"X", 2, &Ink);
        assert_eq!(account.stage, Stage::Raw);
    }

    #[test]
    fn what_is_refused_gets_one_refusal_and_its_bytes_are_dropped() {
        let world = World::new();
        let mut account = Account::default();
        let forged = hello().encode(&Key::from_bytes([1; 32]));
        world.batch(
            &mut account,
            &[&forged[..], &packet(0), &packet(1)].concat(),
            1,
            &Ink,
        );
        assert_eq!(
            (account.stage, account.packets, account.owed),
            (Stage::Refused, 0, 32)
        );
        assert_eq!(world.outgoing(&account), [Refusal::Hello.encode()]);
    }

    #[test]
    fn a_packet_of_another_client_and_an_end_with_a_wrong_tag_are_corrupt() {
        let world = World::new();
        let mut account = Account::default();
        world.batch(&mut account, &hello().encode(&key()), 1, &Ink);
        let foreign = Packet {
            flags: 0,
            client: 4,
            sequence: 0,
            due_ns: 1,
            lateness_ns: 0,
        }
        .encode();
        let forged_end = hello().end(0, &Key::from_bytes([1; 32]));
        world.batch(&mut account, &[foreign, forged_end].concat(), 2, &Ink);
        assert_eq!(
            (account.stage, account.packets, account.corrupt),
            (Stage::Packets, 0, 2)
        );
    }

    #[test]
    fn a_peer_that_reads_no_echo_loses_echoes_and_still_gets_its_end_ack() {
        let world = World::new();
        let mut account = Account::default();
        world.batch(&mut account, &conversation(1500), 1, &Ink);
        assert_eq!((account.packets, account.stage), (1500, Stage::Ended));
        let last = world.slot().outgoing(account.owed - 1);
        assert_eq!(hello().open_end_ack(&last, &key()), Some(1500));
        assert!(account.owed <= (OUTBOX_FRAMES * FRAME_BYTES) as u64);
        assert!(hello().is_acked_by(&world.slot().outgoing(0), &key()));
    }

    #[test]
    fn a_full_buffer_of_packets_is_one_batch() {
        let world = World::new();
        let mut account = Account::default();
        world.batch(&mut account, &hello().encode(&key()), 1, &Ink);
        let packets = (BUFFER_BYTES / FRAME_BYTES) as u64;
        let bytes: Vec<u8> = (0..packets).flat_map(packet).collect();
        world.batch(&mut account, &bytes, 2, &Ink);
        assert_eq!((account.packets, account.rest_bytes), (packets, 0));
        assert_eq!(world.sums(), [packets; 3]);
    }
}
