//! The worker's own steps on a batch that lies in the ledger, without a socket: for measuring what
//! each of them costs.

use std::{io, time::Duration};

use metronome_proto::{
    handshake::{Hello, Key},
    packet::{FRAME_BYTES, Frame},
    profile::Profile,
    run_id::RunId,
};

use crate::{
    ipc::{AdmissionKey, AdmissionKeys, ConnectionAdmission},
    ledger::{
        BUFFER_BYTES, ConnectionCounters, Dimensions, Ledger, ReleaseStore, Stage, process_batch,
    },
    model::ClockRelation,
};

/// Packets of the largest batch.
pub const PACKETS_MAX: usize = BUFFER_BYTES / FRAME_BYTES;

/// Index of the one client.
pub const CLIENT: u16 = 3;

/// A verified client, and a batch of its first packets that has been received and not processed.
#[derive(Debug)]
pub struct Batch {
    ledger: Ledger,
    admission_keys: AdmissionKeys,
    /// The counters after the hello: each processing of the batch begins with them.
    counters: ConnectionCounters,
    bytes: usize,
}

impl Batch {
    /// Takes a hello, and then receives frames: 1 to [`PACKETS_MAX`], of client [`CLIENT`],
    /// sequence from 0, with this profile in writes of one packet.
    pub fn received(profile: Profile, frames: &[Frame]) -> io::Result<Self> {
        let ledger = Ledger::create(Dimensions { slots: 1 })?;
        let mut admission_keys = AdmissionKeys::new(false);
        let (run, key) = (RunId::from_bits(5), [9; 32]);
        admission_keys.admit(AdmissionKey {
            row: 0,
            run,
            agent: 0,
            key: Key::from_bytes(key),
            clients: 0..8,
            clock: ClockRelation::Same,
            schedule: profile.schedule(0, Duration::from_secs(3_600), 1),
            is_static: false,
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
            admission_keys,
            counters: ConnectionCounters::default(),
            bytes: 0,
        };
        batch.receive(&[hello]);
        batch.counters = batch.processed(1);
        if batch.counters.stage != Stage::Packets {
            return Err(io::Error::other("the hello was not taken"));
        }
        batch.receive(frames);
        Ok(batch)
    }

    fn receive(&mut self, frames: &[Frame]) {
        for (position, frame) in frames.iter().enumerate() {
            self.ledger.slots()[0]
                .buffer
                .set_frame(position, frame, &ReleaseStore);
        }
        self.bytes = frames.len() * FRAME_BYTES;
    }

    /// Frames, checks, counts and commits the batch, as a worker does after a receive. Returns the
    /// packets counted.
    #[must_use]
    pub fn process(&self, read_ns: u64) -> u64 {
        self.processed(read_ns).counts.received
    }

    fn processed(&self, read_ns: u64) -> ConnectionCounters {
        let mut counters = self.counters;
        let admission = ConnectionAdmission {
            admission_keys: &self.admission_keys,
            ledger: &self.ledger,
            slot: 0,
            generation: 1,
        };
        process_batch(
            &self.ledger.slots()[0],
            &mut counters,
            self.bytes,
            read_ns,
            &admission,
            &ReleaseStore,
        );
        counters
    }

    /// Commits the counters, as the end of every batch does.
    pub fn commit(&self) {
        self.ledger.slots()[0].commit(&self.counters, &ReleaseStore);
    }

    /// Counts a time in one of the ledger's histograms.
    pub fn record(&self, bucket: usize) {
        self.ledger.slots()[0].record(0, bucket, 1, &ReleaseStore);
    }
}
