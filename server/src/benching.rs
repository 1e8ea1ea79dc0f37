//! What the micro-benchmarks in benches/ may call: the worker's own steps on a batch that lies in
//! the ledger, without a socket. Behind the feature `benching`; no executable has it.

use std::io;

use metronome_proto::{
    handshake::{Hello, Key},
    packet::{FRAME_BYTES, Frame},
    run_id::RunId,
};

use crate::ledger::{
    Account, AgentKey, BUFFER_BYTES, Dimensions, Gate, Gates, Ink, Ledger, Stage, work,
};

/// Packets of the largest batch.
pub const PACKETS_MAX: usize = BUFFER_BYTES / FRAME_BYTES;

/// Index of the one client.
pub const CLIENT: u16 = 3;

/// A verified client, and a batch of its first packets that has been received and not worked off.
#[derive(Debug)]
pub struct Batch {
    ledger: Ledger,
    gates: Gates,
    /// After the hello: each working off begins here.
    account: Account,
    bytes: usize,
}

impl Batch {
    /// Takes a hello, and then receives frames: 1 to [`PACKETS_MAX`], of client [`CLIENT`],
    /// sequence from 0.
    pub fn received(frames: &[Frame]) -> io::Result<Self> {
        let ledger = Ledger::create(Dimensions { slots: 1 })?;
        let mut gates = Gates::new(false);
        let (run, key) = (RunId::from_bits(5), [9; 32]);
        gates.admit(AgentKey {
            row: 0,
            run,
            agent: 0,
            key: Key::from_bytes(key),
            first_client: 0,
            clients: 8,
            shares_clock: true,
            standing: false,
        });
        let hello = Hello {
            run,
            agent: 0,
            client: CLIENT,
            attempt: 1,
        }
        .encode(&Key::from_bytes(key));
        let mut batch = Self {
            ledger,
            gates,
            account: Account::default(),
            bytes: 0,
        };
        batch.receive(&[hello]);
        batch.account = batch.worked_off(1);
        if batch.account.stage != Stage::Packets {
            return Err(io::Error::other("the hello was not taken"));
        }
        batch.receive(frames);
        Ok(batch)
    }

    fn receive(&mut self, frames: &[Frame]) {
        for (position, frame) in frames.iter().enumerate() {
            self.ledger.slots()[0]
                .buffer
                .set_frame(position, frame, &Ink);
        }
        self.bytes = frames.len() * FRAME_BYTES;
    }

    /// Frames, checks, counts and commits the batch, as a worker does after a receive. Returns the
    /// packets counted.
    #[must_use]
    pub fn work_off(&self, read_ns: u64) -> u64 {
        self.worked_off(read_ns).packets
    }

    fn worked_off(&self, read_ns: u64) -> Account {
        let mut account = self.account;
        let gate = Gate {
            gates: &self.gates,
            ledger: &self.ledger,
            slot: 0,
            generation: 1,
        };
        work(
            &self.ledger.slots()[0],
            &mut account,
            self.bytes,
            read_ns,
            &gate,
            &Ink,
        );
        account
    }

    /// Commits the account, as the end of every batch does.
    pub fn commit(&self) {
        self.ledger.slots()[0].commit(&self.account, &Ink);
    }

    /// Counts a time in one of the ledger's histograms.
    pub fn record(&self, bucket: usize) {
        self.ledger.slots()[0].record(0, bucket, 1, &Ink);
    }
}
