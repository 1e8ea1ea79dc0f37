//! The worker's own steps on a batch that lies in the ledger, without a socket: for measuring what
//! each of them costs.

use std::{io, time::Duration};

use metronome_proto::{
    handshake::{Hello, Key},
    load::Load,
    packet::{FRAME_BYTES, Start},
    packet_size::PacketSize,
    profile::Profile,
    run_id::RunId,
};

use crate::{
    ipc::{AdmissionKey, AdmissionKeys, ConnectionAdmission},
    ledger::{
        BUFFER_BYTES, ClientLoad, CommitWriter as _, ConnectionCounters, Dimensions, Ledger,
        LoadCheck, ReleaseStore, Stage, process_batch,
    },
    model::ClockRelation,
};

/// Packets of the largest batch, of 32 bytes each.
pub const PACKETS_MAX: usize = BUFFER_BYTES / FRAME_BYTES;

/// Index of the one client.
pub const CLIENT: u16 = 3;

/// A verified client whose first packet is counted, and a batch of the packets behind that one,
/// received and not processed.
#[derive(Debug)]
pub struct Batch {
    ledger: Ledger,
    admission_keys: AdmissionKeys,
    counters: ConnectionCounters,
    check: LoadCheck,
    bytes: usize,
}

/// Counters, and the place of the next packet, with which a processing of the batch begins.
#[derive(Debug)]
pub struct Before(ConnectionCounters, LoadCheck);

/// The load of the one client.
#[must_use]
pub fn load_of(profile: Profile) -> Load {
    Load {
        profile,
        duration: Duration::from_secs(3_600),
        batch: 1,
        seed: 7,
    }
}

impl Batch {
    /// Takes a hello, the start at `start_ns` and the first packet, read at `first_read_ns`, and
    /// then receives the packets behind that, at most a buffer of them. All have this size and are
    /// of client [`CLIENT`], sequence from 0, with this profile for an hour in writes of one
    /// packet.
    pub fn received(
        (profile, size): (Profile, PacketSize),
        start_ns: u64,
        (first, first_read_ns): (&[u8], u64),
        packets: &[u8],
    ) -> io::Result<Self> {
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
            load: Some(ClientLoad {
                packet_size: size,
                load: load_of(profile),
                warm_up_ns: 0,
            }),
            group: 0,
            is_static: false,
        });
        let hello = Hello {
            run,
            agent: 0,
            client: CLIENT,
            attempt: 1,
        }
        .encode(&Key::from_bytes(key));
        let start = Start {
            client: CLIENT.into(),
            offset_ns: 0,
            start_ns,
        }
        .encode(size);
        let start = [&start[..], size.zeros()].concat();
        let mut batch = Self {
            ledger,
            admission_keys,
            counters: ConnectionCounters::default(),
            check: LoadCheck::default(),
            bytes: 0,
        };
        for (frame, read_ns) in [(&hello[..], 1), (&start, 2), (first, first_read_ns)] {
            batch.receive(frame);
            let mut before = batch.before();
            let _ = batch.process(&mut before, read_ns);
            (batch.counters, batch.check) = (before.0, before.1);
        }
        let counters = &batch.counters;
        if (counters.stage, counters.counts.received) != (Stage::Packets, 1) {
            return Err(io::Error::other(
                "the hello or the first packet was not taken",
            ));
        }
        batch.receive(packets);
        Ok(batch)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let words = &self.ledger.slots()[0].buffer.0;
        for (word, part) in words.iter().zip(bytes.chunks(size_of::<u64>())) {
            let mut value = [0; size_of::<u64>()];
            value[..part.len()].copy_from_slice(part);
            ReleaseStore.store(word, u64::from_ne_bytes(value));
        }
        self.bytes = bytes.len();
    }

    /// The counters of the client after its first packet.
    #[must_use]
    pub fn before(&self) -> Before {
        Before(self.counters, self.check.clone())
    }

    /// Frames, checks, counts and commits the batch, as a worker does after a receive. Returns the
    /// packets that are counted then, with the first one.
    #[must_use]
    pub fn process(&self, Before(counters, check): &mut Before, read_ns: u64) -> u64 {
        let admission = ConnectionAdmission {
            admission_keys: &self.admission_keys,
            ledger: &self.ledger,
            slot: 0,
            generation: 1,
        };
        process_batch(
            &self.ledger.slots()[0],
            counters,
            check,
            (self.bytes, read_ns),
            &admission,
            &ReleaseStore,
        );
        counters.counts.received
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
