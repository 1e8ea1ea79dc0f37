//! The ledger: what the workers have counted, in memory that outlives any of them.
//!
//! Each connection has a [`Slot`]; one process at a time writes to it. A batch goes like this:
//!
//! 1. the worker receives into the slot's buffer, which is shared memory;
//! 2. it stores the time of the read;
//! 3. it records every packet's times in the slot's histograms, in order, one store each;
//! 4. it writes the whole [`ConnectionCounters`] into the idle one of two copies;
//! 5. it flips one index. From here on the batch is counted.
//!
//! A worker may die between any two stores. What it had taken off the socket is then in the buffer
//! and the kernel knows how much it is; how many packets of the batch stand in a histogram already
//! is (sum of its buckets) − (packets committed). So [`work::replay`] completes the batch exactly
//! once, in whichever process. That is the whole law: `counters`, `work` and `pen` are pure and are
//! tested with a death at every store.
//!
//! The master trusts none of it: indices are checked, nothing is followed, nothing is waited for.

mod authenticate;
mod commit_writer;
mod counters;
mod layout;
mod slowest;
mod work;

use std::{io, os::fd::OwnedFd};

pub(crate) use authenticate::{Authenticate, Authenticated};
pub(crate) use commit_writer::{CommitWriter, ReleaseStore};
pub(crate) use counters::{ConnectionCounters, End, Stage};
pub(crate) use layout::{BUFFER_BYTES, LAYOUT, REPLY_QUEUE_FRAMES, Slot, WorkerLine};
pub(crate) use slowest::KEPT as SLOWEST_KEPT;
pub(crate) use work::{place_partial_frame, process_batch, refuse, replay};

use metronome_os::memory::SharedArray;

use layout::{ClientTable, Workers};

/// Runs that can be admitted at the same time, the static run among them.
pub(crate) const RUNS_MAX: usize = 16;

/// Worker processes that a ledger has room for.
pub(crate) const WORKERS_MAX: usize = 256;

/// The shared memory of one server: workers' lines, slots, seats.
#[derive(Debug)]
pub(crate) struct Ledger {
    workers: SharedArray<Workers>,
    slots: SharedArray<Slot>,
    clients: SharedArray<ClientTable>,
}

/// The three descriptors that a worker needs to open the ledger, and the sizes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Dimensions {
    /// Connections at a time, verified or not.
    pub(crate) slots: u32,
}

impl Ledger {
    /// An empty ledger.
    pub(crate) fn create(dimensions: Dimensions) -> io::Result<Self> {
        Ok(Self {
            workers: SharedArray::create("metronome-workers", 1)?,
            slots: SharedArray::create("metronome-slots", dimensions.slots as usize)?,
            clients: SharedArray::create("metronome-clients", RUNS_MAX + 1)?,
        })
    }

    /// The ledger that the master has created.
    pub(crate) fn open(
        dimensions: Dimensions,
        [workers, slots, places]: [OwnedFd; 3],
    ) -> io::Result<Self> {
        Ok(Self {
            workers: SharedArray::open(workers, 1)?,
            slots: SharedArray::open(slots, dimensions.slots as usize)?,
            clients: SharedArray::open(places, RUNS_MAX + 1)?,
        })
    }

    /// What [`Ledger::open`] takes, in its order.
    pub(crate) fn descriptors(&self) -> [std::os::fd::BorrowedFd<'_>; 3] {
        use std::os::fd::AsFd as _;
        [
            self.workers.as_fd(),
            self.slots.as_fd(),
            self.clients.as_fd(),
        ]
    }

    /// All slots. An index into them may come from another process: use `get`.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.all()
    }

    /// The line of a worker.
    pub(crate) fn worker(&self, index: usize) -> &WorkerLine {
        &self.workers.all()[0].lines[index]
    }

    /// Makes a slot as new and gives its memory back. Only when no worker has it.
    pub(crate) fn clear_slot(&self, index: usize) -> io::Result<()> {
        self.slots.clear(index)
    }

    /// Makes the seats of a run's row free. Only when no worker verifies hellos of it.
    pub(crate) fn clear_client_table(&self, row: usize) -> io::Result<()> {
        self.clients.clear(row)
    }

    /// Row `RUNS_MAX` has the seats of raw clients.
    pub(crate) fn client_table(&self, row: usize) -> Option<&[std::sync::atomic::AtomicU64]> {
        self.clients.all().get(row).map(|row| &row.places[..])
    }

    /// Raw clients that may be there at a time; the master lowers it while runs hold the places.
    pub(crate) fn raw_client_limit(&self) -> &std::sync::atomic::AtomicU64 {
        &self.workers.all()[0].raw_client_limit
    }
}
