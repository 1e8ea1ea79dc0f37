//! The bytes of one connection, received by workers that may die after any store to the ledger.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_proto::{
    packet::{FRAME_BYTES, Frame},
    run_id::RunId,
    seal::{Hello, Key},
};

use crate::{
    ledger::{
        Account, AgentKey, Dimensions, Gate, Gates, Ink, Ledger, Pen, RUNS_MAX, Stage, place_rest,
        resume, work,
    },
    model::AgentShare,
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

/// Of the run's seats.
const ROW: u32 = 1;

/// A connection and the ledger it is counted in.
#[derive(Debug)]
pub struct Connection {
    ledger: Ledger,
    gates: Gates,
    account: Account,
    taken: u64,
    now_ns: u64,
}

/// What the ledger says of a connection.
#[derive(Debug)]
pub struct Counted {
    pub is_opening: bool,
    pub is_client: bool,
    pub is_raw: bool,
    pub is_refused: bool,
    pub bytes: u64,
    pub rest_bytes: usize,
    pub packets: u64,
    pub next_sequence: u64,
    pub gaps: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub digest: u64,
    /// From a verified end.
    pub told_sent: Option<u64>,
    pub histogram_counts: [u64; 3],
    /// Everything that it is to be sent.
    pub replies: Vec<Frame>,
}

impl Connection {
    /// A new connection, with room for one raw client.
    pub fn open() -> io::Result<Self> {
        let ledger = Ledger::create(Dimensions { slots: 1 })?;
        ledger.raw_seats().store(1, Ordering::Release);
        let mut gates = Gates::new(true);
        gates.admit(AgentKey {
            row: ROW,
            run: HELLO.run,
            agent: HELLO.agent,
            key: Key::from_bytes(KEY),
            share: AgentShare::new(0, 8, true),
            standing: false,
        });
        Ok(Self {
            ledger,
            gates,
            account: Account::default(),
            taken: 0,
            now_ns: 0,
        })
    }

    /// The same, as if nothing had come yet. Cheaper than a new one.
    pub fn open_again(&mut self) -> io::Result<()> {
        (self.account, self.taken) = (Account::default(), 0);
        self.ledger.clear_row(ROW as usize)?;
        self.ledger.clear_row(RUNS_MAX)?;
        self.ledger.clear_slot(0)
    }

    /// Receives bytes, at most a buffer, and works them off. The worker dies after so many stores
    /// to the ledger; then another does what is left, and it may die as well before a third does.
    pub fn receive(&mut self, bytes: &[u8], stores_before_deaths: &[usize]) {
        self.now_ns += 1_000;
        self.fill_buffer(bytes);
        self.taken += bytes.len() as u64;
        let is_resumed = |attempt: usize| attempt > 0;
        let lives = stores_before_deaths.iter().copied().chain([usize::MAX]);
        for (attempt, stores) in lives.enumerate() {
            let left = (self.taken - self.account.bytes) as usize;
            if left > 0 || bytes.is_empty() {
                self.live(left, &Mortal(Cell::new(stores)), is_resumed(attempt));
            }
        }
    }

    fn live(&mut self, left: usize, pen: &Mortal, is_resumed: bool) {
        let mut account = self.account;
        let gate = Gate {
            gates: &self.gates,
            ledger: &self.ledger,
            slot: 0,
            generation: 1,
        };
        let slot = &self.ledger.slots()[0];
        // Whether it died is seen from the ledger, as the master sees it.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let take = if is_resumed { resume } else { work };
            take(slot, &mut account, left, self.now_ns, &gate, pen);
        }));
        self.account = slot.account().unwrap_or(self.account);
    }

    fn fill_buffer(&self, bytes: &[u8]) {
        let slot = &self.ledger.slots()[0];
        let at = place_rest(slot, &self.account, &Ink);
        for (position, byte) in (at..).zip(bytes) {
            let word = &slot.buffer.0[position / 8];
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[position % 8] = *byte;
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    /// What the ledger says now.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let (account, slot) = (&self.account, &self.ledger.slots()[0]);
        Counted {
            is_opening: account.stage == Stage::Opening,
            is_client: account.is_client(),
            is_raw: account.is_raw,
            is_refused: account.stage == Stage::Refused,
            bytes: account.bytes,
            rest_bytes: usize::from(account.rest_bytes),
            packets: account.packets,
            next_sequence: account.next_sequence,
            gaps: account.gaps,
            duplicated: account.duplicated,
            reordered: account.reordered,
            corrupt: account.corrupt,
            digest: account.digest,
            told_sent: account.has_end.then_some(account.told_sent),
            histogram_counts: std::array::from_fn(|histogram| slot.count(histogram)),
            replies: (0..account.owed)
                .step_by(FRAME_BYTES)
                .map(|at| slot.outgoing(at))
                .collect(),
        }
    }
}

/// Dies after so many stores. `resume_unwind` calls no panic hook: to a fuzzer this is no crash.
struct Mortal(Cell<usize>);

impl Pen for Mortal {
    fn put(&self, cell: &AtomicU64, value: u64) {
        let left = self
            .0
            .get()
            .checked_sub(1)
            .unwrap_or_else(|| resume_unwind(Box::new("died")));
        self.0.set(left);
        Ink.put(cell, value);
    }
}
