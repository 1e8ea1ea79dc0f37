//! What the fuzzers in fuzz/ may call: all that another host or another process lays before the
//! server, as plain bytes and numbers. Behind the feature `fuzzing`; no executable has it.

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metronome_os::channel::Channel;
use metronome_proto::{
    handshake::{Hello, Key},
    packet::{FRAME_BYTES, Frame},
    plan::Plan,
    rate::Rate,
    run_id::RunId,
    v1,
};
use zerocopy::FromBytes as _;

use crate::{
    control,
    ledger::{
        Account, AgentKey, BUFFER_BYTES, Dimensions, FromWorker, Gate, Gates, Ink, Ledger,
        MESSAGE_BYTES, Pen, RUNS_MAX, Slot, Stage, ToWorker, place_rest, resume, work,
    },
    master::fuzzing::{inherit, keep_books},
    verdict::{AgentAccount, Evidence, conclude},
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

/// Bytes of a message between master and worker.
pub const HAND_OVER_BYTES: usize = MESSAGE_BYTES;

/// Most bytes of one receive, with those of a split frame in front.
pub const RECEIVE_BYTES_MAX: usize = BUFFER_BYTES;

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
            first_client: 0,
            clients: 8,
            shares_clock: true,
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

/// The ledger as a broken worker may have left it: words at any places of a slot, the rest zero.
/// The master recovers, books and judges it; the agent's own record is as given.
pub fn recover_book_and_judge(words: &[(u32, u64)], left: u16, told: v1::ClientRecord) {
    let mut bytes = vec![0; size_of::<Slot>()];
    for (place, word) in words {
        let at = *place as usize % (bytes.len() / 8) * 8;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let Ok(slot) = Slot::read_from_bytes(&bytes).map(Box::new) else {
        return;
    };
    let Some(mut account) = slot.account() else {
        return;
    };
    let taken = account.bytes.checked_add(u64::from(left));
    if taken.is_some() && account.is_possible() && account.stage != Stage::Closed {
        let Ok(other) = Ledger::create(Dimensions { slots: 1 }) else {
            return;
        };
        let gate = Gate {
            gates: &Gates::new(false),
            ledger: &other,
            slot: 0,
            generation: 1,
        };
        let room = BUFFER_BYTES - usize::from(account.rest_bytes);
        resume(
            &slot,
            &mut account,
            usize::from(left).min(room),
            1,
            &gate,
            &Ink,
        );
        assert!(
            account.is_possible(),
            "what could be became what cannot be: {account:?}"
        );
    }
    let record = keep_books(&account, &slot, taken);
    let mut agent = AgentAccount::new("fuzz".into(), 0, 1, account.shares_clock);
    agent.take(v1::ClientRecords {
        run_id: String::new(),
        clients: vec![told],
    });
    let plan = Plan {
        clients: 1,
        rate: Rate::Millihertz(1_000),
        duration: Duration::from_secs(1),
        batch: 1,
        phase: v1::Phase::Staggered,
        threads: 1,
        agents: Vec::new(),
        target: String::new(),
    };
    let start_at_ns = Some(slot.read_ns());
    let evidence = Evidence {
        plan: &plan,
        agents: &[agent],
        record: Some(&record),
        start_at_ns,
        stopped: None,
        notes: &[],
    };
    let _ = conclude(&evidence);
}

/// What a predecessor hands over in an upgrade, whole and as its master's part alone, is read and
/// taken over or refused. `socket` makes connections to go with it.
pub fn inherit_estate(bytes: &[u8], mut socket: impl FnMut() -> OwnedFd) {
    if let Some(master) = control::fuzzing::revive_and_end(bytes) {
        inherit(&master, &mut socket);
    }
    inherit(bytes, &mut socket);
}

/// Reads a message as a worker and as the master; what is one, says the same when it is sent on.
pub fn read_hand_over(message: &[u8; HAND_OVER_BYTES]) {
    if let Ok(message) = ToWorker::decode(message) {
        let again = ToWorker::decode(&message.encode());
        assert_eq!(format!("{again:?}"), format!("Ok({message:?})"));
    }
    if let Ok(message) = FromWorker::decode(message) {
        assert_eq!(FromWorker::decode(&message.encode()), Ok(message));
    }
}

/// One end of a channel, and the socket of the other, into which anything may be written.
#[derive(Debug)]
pub struct HandOver(Channel);

impl HandOver {
    /// A channel.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        Channel::pair().map(|(ours, theirs)| (Self(ours), theirs))
    }

    /// Receives as master and worker do.
    pub fn receive(&self) -> io::Result<([u8; HAND_OVER_BYTES], Option<OwnedFd>)> {
        let mut message = [0; HAND_OVER_BYTES];
        self.0
            .receive(&mut message)
            .map(|descriptor| (message, descriptor))
    }
}
