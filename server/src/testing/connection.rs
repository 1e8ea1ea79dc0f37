//! The bytes of one connection, received by workers that may die after any store to the ledger.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metronome_proto::{
    handshake::{Hello, Key, Nonce},
    load::Load,
    packet::{FRAME_BYTES, Frame, Start},
    packet_size::PacketSize,
    profile::Profile,
    run_id::RunId,
    v1,
};

use crate::{
    ipc::{AdmissionKey, AdmissionKeys, ConnectionAdmission},
    ledger::{
        ClientLoad, CommitWriter, ConnectionCounters, Dimensions, HISTOGRAMS, Ledger, RUNS_MAX,
        ReleaseStore, Stage, place_partial_frame, process_batch, replay,
    },
    model::ClockRelation,
};

/// Seals the frames of the one client that is admitted.
pub const KEY: [u8; 32] = [9; 32];

/// The one client that is admitted.
pub const HELLO: Hello = Hello {
    run: RunId::from_bits(5),
    agent: 0,
    client: 3,
    attempt: 1,
};

/// The key of the static run, of which every client below 8 is admitted.
pub const STATIC_KEY: [u8; 32] = [7; 32];

/// The load of the one client: a packet every µs, and a million of them.
pub const LOAD: Load = Load {
    profile: Profile::Constant {
        rate_millihertz: 1_000_000_000,
    },
    duration: Duration::from_secs(1),
    batch: 1,
    seed: 1,
};

/// Packets due before this time are in no histogram, ns.
pub const WARM_UP_NS: u64 = 5_000;

/// When and how the one client starts.
pub const START: Start = Start {
    client: HELLO.client as u32,
    offset_ns: 1_000,
    start_ns: 1_000,
};

/// The rows of the static run and of the run in the client table.
const STATIC_ROW: usize = 0;
const ROW: u32 = 1;

/// A connection and the ledger it is counted in.
#[derive(Debug)]
pub struct Connection {
    ledger: Ledger,
    admission_keys: AdmissionKeys,
    connection_counters: ConnectionCounters,
    taken: u64,
    now_ns: u64,
}

/// The counters of a connection in the ledger.
#[derive(Debug)]
pub struct Counted {
    pub is_opening: bool,
    pub is_challenged: bool,
    pub is_client: bool,
    pub is_probes: bool,
    pub is_raw: bool,
    pub is_refused: bool,
    pub bytes: u64,
    pub partial_frame_bytes: usize,
    pub counts: v1::ReceiverCounts,
    pub next_sequence: u64,
    pub digest: u64,
    /// From a verified end.
    pub reported_sent: Option<u64>,
    /// How many times its histograms must hold, and how many they hold.
    pub timed: [u64; HISTOGRAMS],
    pub histogram_counts: [u64; HISTOGRAMS],
    /// Everything that it is to be sent.
    pub replies: Vec<Frame>,
}

impl Connection {
    /// A new connection, with room for one raw client. The packets of the one client have 32 bytes.
    pub fn open() -> io::Result<Self> {
        Self::open_for(PacketSize::MIN)
    }

    /// The same for packets of this size.
    pub fn open_for(packet_size: PacketSize) -> io::Result<Self> {
        let ledger = Ledger::create(Dimensions { slots: 1 })?;
        ledger.raw_client_limit().store(1, Ordering::Release);
        let mut admission_keys = AdmissionKeys::new(true);
        admission_keys.admit(AdmissionKey {
            row: ROW,
            run: HELLO.run,
            agent: HELLO.agent,
            key: Key::from_bytes(KEY),
            clients: 0..8,
            clock: ClockRelation::Same,
            load: Some(ClientLoad {
                packet_size,
                load: LOAD,
                warm_up_ns: WARM_UP_NS,
            }),
            group: 0,
            is_static: false,
        });
        admission_keys.admit(AdmissionKey {
            row: STATIC_ROW as u32,
            run: RunId::from_bits(0),
            agent: 0,
            key: Key::from_bytes(STATIC_KEY),
            clients: 0..8,
            clock: ClockRelation::Same,
            load: None,
            group: 0,
            is_static: true,
        });
        Ok(Self {
            ledger,
            admission_keys,
            connection_counters: ConnectionCounters::default(),
            taken: 0,
            now_ns: 0,
        })
    }

    /// The same, as if nothing had come yet. Cheaper than a new one.
    pub fn open_again(&mut self) -> io::Result<()> {
        (self.connection_counters, self.taken) = (ConnectionCounters::default(), 0);
        self.ledger.clear_client_table(ROW as usize)?;
        self.ledger.clear_client_table(STATIC_ROW)?;
        self.ledger.clear_client_table(RUNS_MAX)?;
        self.ledger.clear_slot(0)
    }

    /// What the server has drawn for this connection, before anything was received.
    pub fn draw(&mut self, nonce: Nonce) {
        self.ledger.slots()[0].header.set_server_nonce(nonce);
    }

    /// Receives bytes, at most a buffer, and works them off. The worker dies after so many stores
    /// to the ledger; then another does what is left, and it may die as well before a third does.
    pub fn receive(&mut self, bytes: &[u8], stores_before_deaths: &[usize]) {
        self.now_ns += 1_000;
        self.fill_buffer(bytes);
        self.taken += bytes.len() as u64;
        let is_replayed = |attempt: usize| attempt > 0;
        let lives = stores_before_deaths.iter().copied().chain([usize::MAX]);
        for (attempt, stores) in lives.enumerate() {
            let left = (self.taken - self.connection_counters.bytes) as usize;
            if left > 0 || bytes.is_empty() {
                self.live(left, &Mortal(Cell::new(stores)), is_replayed(attempt));
            }
        }
    }

    fn live(&mut self, left: usize, writer: &Mortal, is_replayed: bool) {
        let mut connection_counters = self.connection_counters;
        let admission = ConnectionAdmission {
            admission_keys: &self.admission_keys,
            ledger: &self.ledger,
            slot: 0,
            generation: 1,
        };
        let slot = &self.ledger.slots()[0];
        // Whether it died is seen from the ledger, as the master sees it.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let counters = &mut connection_counters;
            if is_replayed {
                return replay(slot, counters, left, self.now_ns, &admission, writer);
            }
            let mut check = slot.load_check(counters);
            let read = (left, self.now_ns);
            process_batch(slot, counters, &mut check, read, &admission, writer);
        }));
        self.connection_counters = slot.counters().unwrap_or(self.connection_counters);
    }

    fn fill_buffer(&self, bytes: &[u8]) {
        let slot = &self.ledger.slots()[0];
        let at = place_partial_frame(slot, &self.connection_counters, &ReleaseStore);
        for (position, byte) in (at..).zip(bytes) {
            let word = &slot.buffer.0[position / 8];
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[position % 8] = *byte;
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    /// What the ledger holds now.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let (connection_counters, slot) = (&self.connection_counters, &self.ledger.slots()[0]);
        Counted {
            is_opening: connection_counters.stage == Stage::Opening,
            is_challenged: connection_counters.stage == Stage::Challenged,
            is_client: connection_counters.is_client(),
            is_probes: connection_counters.is_probes,
            is_raw: connection_counters.is_raw,
            is_refused: connection_counters.stage == Stage::Refused,
            bytes: connection_counters.bytes,
            partial_frame_bytes: usize::from(connection_counters.partial_frame_bytes),
            counts: connection_counters.counts,
            next_sequence: connection_counters.next_sequence,
            digest: connection_counters.digest,
            reported_sent: connection_counters
                .has_end
                .then_some(connection_counters.reported_sent),
            timed: connection_counters.timed.0,
            histogram_counts: std::array::from_fn(|histogram| slot.count(histogram)),
            replies: (0..connection_counters.reply_bytes_queued)
                .step_by(FRAME_BYTES)
                .map(|at| slot.reply(at))
                .collect(),
        }
    }
}

/// Dies after so many stores. `resume_unwind` calls no panic hook: to a fuzzer this is no crash.
struct Mortal(Cell<usize>);

impl CommitWriter for Mortal {
    fn store(&self, cell: &AtomicU64, value: u64) {
        let left = self
            .0
            .get()
            .checked_sub(1)
            .unwrap_or_else(|| resume_unwind(Box::new("died")));
        self.0.set(left);
        ReleaseStore.store(cell, value);
    }
}
