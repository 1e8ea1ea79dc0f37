//! A ledger with one admitted client, for tests: batches that are received as the kernel does, and
//! replays of them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metronome_proto::{
    counters::CounterList as _,
    handshake::{Challenge, Challenges, Hello, Key, Nonce, PROBE_CLIENT, Refusal},
    load::Load,
    packet::{FLAG_ECHO, FRAME_BYTES, Frame, Packet, Reply, Start},
    packet_size::PacketSize,
    payload::write_pattern,
    profile::Profile,
    run_id::RunId,
    v1::ReceiverCounts,
};

use super::{
    AgentLine, Authenticate, Authenticated, Dimensions, Ledger,
    batch::{place_partial_frame, process_batch},
    commit_writer::{CommitWriter, ReleaseStore},
    counters::{ConnectionCounters, HISTOGRAMS, Stage},
    due_times::Reach,
    frames::REPLY_QUEUE_FRAMES,
    load_words::ClientLoad,
    pace::Pace,
    replay::replay,
    slot::Slot,
};
use crate::model::{ClientStart, ClockLine, ClockRelation, PerTime};

const RUN: RunId = RunId::from_bits(5);
const ROW: u16 = 1;
pub(super) const CLIENT: u16 = 3;

/// A packet every µs, for as long as can be.
pub(super) const LOAD: ClientLoad = ClientLoad {
    packet_size: PacketSize::MIN,
    load: Load {
        profile: Profile::Constant {
            rate_millihertz: 1_000_000_000,
        },
        duration: Duration::from_secs(24 * 60 * 60),
        batch: 1,
        seed: 1,
    },
    warm_up_ns: 0,
};

/// When a client of [`LOAD`] starts.
const START: ClientStart = ClientStart {
    start_ns: 1_000,
    offset_ns: 0,
};

/// Admits every client that has the key, and every raw client. It keeps no state, so that asking
/// again has the same answer.
struct WithKey {
    key: Key,
    clock: ClockRelation,
    load: Option<ClientLoad>,
    ledger: Arc<Ledger>,
}

impl Authenticate for WithKey {
    fn challenge(&self, challenge: &Frame) -> Result<Nonce, Refusal> {
        Challenge::decode(challenge)
            .and_then(|challenge| challenge.nonce)
            .ok_or(Refusal::Protocol)
    }

    fn client(
        &self,
        hello: &Frame,
        challenges: Option<&Challenges>,
    ) -> Result<Authenticated, Refusal> {
        let hello = Hello::open(hello, &self.key_with(challenges)).ok_or(Refusal::Hello)?;
        Ok(Authenticated {
            hello,
            is_probes: hello.client == PROBE_CLIENT,
            clock: self.clock,
            load: self.load,
            group: 2,
            row: ROW,
        })
    }

    fn line_of(&self, counters: &ConnectionCounters) -> Option<&AgentLine> {
        self.ledger.agent_line(counters.row.into(), counters.agent)
    }

    fn raw(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn key_of(&self, _: &ConnectionCounters, challenges: Option<&Challenges>) -> Option<Key> {
        Some(self.key_with(challenges))
    }
}

impl WithKey {
    fn key_with(&self, challenges: Option<&Challenges>) -> Key {
        challenges.map_or(self.key, |both| self.key.of_connection(both))
    }
}

/// A ledger with one admitted client.
pub(super) struct World {
    ledger: Arc<Ledger>,
    admission: WithKey,
}

impl World {
    pub(super) fn new() -> Self {
        Self::on(ClockRelation::Same)
    }

    /// The client's agent has such a clock.
    pub(super) fn on(clock: ClockRelation) -> Self {
        Self::with(clock, Some(LOAD))
    }

    /// The client has such a load.
    pub(super) fn with(clock: ClockRelation, load: Option<ClientLoad>) -> Self {
        let ledger = Ledger::create(Dimensions { slots: 2 }).unwrap();
        Self::of(clock, load, ledger)
    }

    /// The ledger is that of another process.
    pub(super) fn open(clock: ClockRelation, ledger: Ledger) -> Self {
        Self::of(clock, Some(LOAD), ledger)
    }

    fn of(clock: ClockRelation, load: Option<ClientLoad>, ledger: Ledger) -> Self {
        let ledger = Arc::new(ledger);
        Self {
            ledger: Arc::clone(&ledger),
            admission: WithKey {
                key: key(),
                clock,
                load,
                ledger,
            },
        }
    }

    /// The present line of the client's agent.
    pub(super) fn set_line(&self, line: Option<&ClockLine>) {
        self.ledger.set_agent_line(ROW.into(), hello().agent, line);
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.ledger.slots()[0]
    }

    /// Pages of the slots' memory that the system has allocated.
    pub(super) fn slot_pages(&self) -> u64 {
        let [_, slots, ..] = self.ledger.descriptors();
        let blocks = rustix::fs::fstat(slots).unwrap().st_blocks as u64;
        blocks * 512 / rustix::param::page_size() as u64
    }

    /// Receives as the kernel does and processes the batch.
    pub(super) fn batch(
        &self,
        counters: &mut ConnectionCounters,
        bytes: &[u8],
        read_ns: u64,
        writer: &impl CommitWriter,
    ) {
        fill(self.slot(), counters, bytes);
        let mut check = self.slot().load_check(counters);
        process_batch(
            self.slot(),
            counters,
            &mut check,
            (bytes.len(), read_ns),
            &self.admission,
            writer,
        );
        // How far a batch reaches is its own.
        check.begin_batch(Reach::MAX);
        let again = self.slot().load_check(counters);
        assert_eq!(check, again, "another process makes the same of the ledger");
    }

    /// Replays what a process has taken and not committed.
    pub(super) fn replay(
        &self,
        counters: &mut ConnectionCounters,
        taken: usize,
        now_ns: u64,
        writer: &impl CommitWriter,
    ) {
        let (slot, admission) = (self.slot(), &self.admission);
        replay(slot, counters, taken, now_ns, admission, writer);
    }

    /// A client that has sent so many packets, and was sent as many bytes as it has sent. Its
    /// histograms leave out `untimed` of the packets.
    pub(super) fn client_after(&self, packets: u64, untimed: [u64; 4]) -> ConnectionCounters {
        let timed = without_lines(untimed.map(|untimed| packets - untimed));
        let bytes = (packets + 1) * FRAME_BYTES as u64;
        let counters = ConnectionCounters {
            stage: Stage::Packets,
            run: RUN.bits(),
            client: CLIENT,
            attempt: 1,
            clock: ClockRelation::Same,
            counts: ReceiverCounts {
                received: packets,
                below_floor: None,
                ..ReceiverCounts::zero()
            },
            timed: PerTime(timed),
            has_load: true,
            start: Some(START),
            next_sequence: packets,
            bytes,
            reply_bytes_queued: bytes,
            reply_bytes_sent: bytes,
            last_batch_ns: 1_000,
            reads: packets,
            first_due_ns: due_ns(0),
            pace: Some(Pace::begin((packets, packets * 1_000), 0)),
            ..ConnectionCounters::default()
        };
        self.slot().set_load(&LOAD, &ReleaseStore);
        self.slot().commit(&counters, &ReleaseStore);
        self.slot().start_counts_at(&timed);
        counters
    }

    /// What the connection was sent, as far as the queue still holds it.
    pub(super) fn replies(&self, counters: &ConnectionCounters) -> Vec<Frame> {
        let frames = counters.reply_bytes_queued / FRAME_BYTES as u64;
        (frames.saturating_sub(REPLY_QUEUE_FRAMES as u64)..frames)
            .map(|frame| self.slot().reply(frame * FRAME_BYTES as u64))
            .collect()
    }

    /// The times of all histograms: which one, which bucket, how many.
    pub(super) fn times(&self) -> Vec<(usize, usize, u64)> {
        let of = |histogram| {
            let counts = self.slot().counts(histogram);
            counts.map(move |(bucket, count)| (histogram, bucket, count))
        };
        let all = (0..HISTOGRAMS).flat_map(of);
        all.filter(|(.., count)| *count > 0).collect()
    }

    /// How many times each histogram holds.
    pub(super) fn sums(&self) -> [u64; HISTOGRAMS] {
        std::array::from_fn(|histogram| self.slot().count(histogram))
    }
}

/// Times of each histogram of a client that has none by lines between two clocks.
pub(super) fn without_lines([lateness, transit, latency, spread]: [u64; 4]) -> [u64; HISTOGRAMS] {
    [lateness, transit, latency, spread, 0, 0]
}

pub(super) fn fill(slot: &Slot, counters: &ConnectionCounters, bytes: &[u8]) {
    let at = place_partial_frame(slot, counters, &ReleaseStore);
    for (offset, byte) in bytes.iter().enumerate() {
        let position = at + offset;
        let word = &slot.buffer.0[position / 8];
        let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
        value[position % 8] = *byte;
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

pub(super) fn key() -> Key {
    Key::from_bytes([9; 32])
}

pub(super) fn hello() -> Hello {
    Hello {
        run: RUN,
        agent: 0,
        client: CLIENT,
        attempt: 1,
    }
}

pub(super) fn start() -> Frame {
    start_at(START)
}

pub(super) fn start_at(start: ClientStart) -> Frame {
    let ClientStart {
        start_ns,
        offset_ns,
    } = start;
    Start {
        client: u32::from(CLIENT),
        offset_ns,
        start_ns,
    }
    .encode(PacketSize::MIN)
}

pub(super) fn packet(sequence: u64) -> Frame {
    packet_due(sequence, due_ns(sequence))
}

pub(super) fn packet_due(sequence: u64, due_ns: u64) -> Frame {
    unsealed(sequence, due_ns).encode(&[])
}

fn unsealed(sequence: u64, due_ns: u64) -> Packet {
    Packet {
        flags: if asks(&sequence) { FLAG_ECHO } else { 0 },
        client: u32::from(CLIENT),
        sequence,
        due_ns,
        lateness_ns: 7 + (sequence % 1_000) as u32 * 3000,
    }
}

/// The frames of a client whose packets have a size, and a payload that differs from packet to
/// packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames(pub(super) PacketSize);

impl Frames {
    pub(super) fn world(self) -> World {
        World::with(
            ClockRelation::Same,
            Some(ClientLoad {
                packet_size: self.0,
                ..LOAD
            }),
        )
    }

    pub(super) fn start(self) -> Vec<u8> {
        let ClientStart {
            start_ns,
            offset_ns,
        } = START;
        let start = Start {
            client: u32::from(CLIENT),
            offset_ns,
            start_ns,
        };
        [&start.encode(self.0)[..], self.0.zeros()].concat()
    }

    pub(super) fn packet(self, sequence: u64) -> Vec<u8> {
        let mut payload = vec![0; self.0.payload_bytes()];
        write_pattern(sequence, &mut payload);
        let header = unsealed(sequence, due_ns(sequence)).encode(&payload);
        [&header[..], &payload].concat()
    }

    pub(super) fn end(self, packets: u64) -> Vec<u8> {
        let end = hello().end(packets, self.0, &key());
        [&end[..], self.0.zeros()].concat()
    }

    pub(super) fn opening(self) -> Vec<u8> {
        [hello().encode(&key()).to_vec(), self.start()].concat()
    }

    pub(super) fn conversation(self, packets: u64) -> Vec<u8> {
        let sent = (0..packets).flat_map(|sequence| self.packet(sequence));
        [self.opening(), sent.collect(), self.end(packets)].concat()
    }
}

/// When a packet of [`LOAD`] is due.
fn due_ns(sequence: u64) -> u64 {
    1_000 + sequence * 1_000
}

/// The reply to a packet of [`LOAD`].
pub(super) fn reply(sequence: u64) -> Frame {
    let packet = Packet::decode(&packet(sequence), &[]).unwrap();
    Reply::to(&packet).encode()
}

/// Whether a packet asks for a reply.
pub(super) fn asks(sequence: &u64) -> bool {
    sequence % 3 == 1
}

/// What the client of a conversation is sent, of whatever size its packets are.
pub(super) fn replies(packets: u64) -> Vec<Frame> {
    let to_packets = (0..packets).filter(asks).map(reply);
    let (ack, end_ack) = (hello().ack(&key()), hello().end_ack(packets, &key()));
    std::iter::once(ack)
        .chain(to_packets)
        .chain([end_ack])
        .collect()
}

pub(super) fn conversation(packets: u64) -> Vec<u8> {
    let mut bytes = hello().encode(&key()).to_vec();
    bytes.extend(start());
    bytes.extend((0..packets).flat_map(packet));
    bytes.extend(hello().end(packets, PacketSize::MIN, &key()));
    bytes
}
