//! The shared memory of the ledger as a whole: the slots of the connections, the places of the
//! clients, the lines of the workers, and the tables of the runs.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::AtomicU64,
};

use metronome_os::memory::SharedArray;
use metronome_proto::{histogram::BUCKETS, limits::CLIENTS_MAX};
use zerocopy::FromBytes;

use super::{clock_lines::AgentLine, counters, frames::BUFFER_BYTES, slot::Slot};
use crate::model::ClockLine;

/// Runs that can be admitted at the same time, the static run among them.
pub(crate) const RUNS_MAX: usize = 16;

/// Worker processes that a ledger has room for.
pub(crate) const WORKERS_MAX: usize = 256;

/// Memories that make up a ledger, each with a descriptor of its own.
pub(crate) const MEMORIES: usize = 4;

/// Parts of a run between two changes of its load, the first of them included.
const EPOCHS_MAX: usize = 64;

/// Words of an epoch.
const EPOCH_WORDS: usize = 4;

/// Agents of a run.
const AGENTS_MAX: usize = metronome_proto::limits::AGENTS_MAX;

/// How a ledger lies in memory: what a process checks before it takes over the ledger of another
/// version. The first number is raised when the meaning changes and no size does.
pub(crate) const LAYOUT: [u64; 8] = [
    6,
    size_of::<Slot>() as u64,
    size_of::<Workers>() as u64,
    size_of::<ClientTable>() as u64,
    size_of::<RunTables>() as u64,
    counters::WORDS as u64,
    BUCKETS as u64,
    BUFFER_BYTES as u64,
];

/// The shared memory of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    workers: SharedArray<Workers>,
    slots: SharedArray<Slot>,
    clients: SharedArray<ClientTable>,
    runs: SharedArray<RunTables>,
}

/// The size of a ledger.
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
            runs: SharedArray::create("metronome-runs", RUNS_MAX)?,
        })
    }

    /// The ledger that the master has created.
    pub(crate) fn open(
        dimensions: Dimensions,
        [workers, slots, places, runs]: [OwnedFd; MEMORIES],
    ) -> io::Result<Self> {
        Ok(Self {
            workers: SharedArray::open(workers, 1)?,
            slots: SharedArray::open(slots, dimensions.slots as usize)?,
            clients: SharedArray::open(places, RUNS_MAX + 1)?,
            runs: SharedArray::open(runs, RUNS_MAX)?,
        })
    }

    /// The descriptors in the order in which [`Ledger::open`] takes them.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; MEMORIES] {
        [
            self.workers.as_fd(),
            self.slots.as_fd(),
            self.clients.as_fd(),
            self.runs.as_fd(),
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

    /// Clears a slot and gives its memory back. Only when no worker has it.
    pub(crate) fn clear_slot(&self, index: usize) -> io::Result<()> {
        self.slots.clear(index)
    }

    /// Frees the places of a run's clients. Only when no worker verifies hellos of the run.
    pub(crate) fn clear_client_table(&self, row: usize) -> io::Result<()> {
        self.clients.clear(row)
    }

    /// The places of a run's clients, by index. Row `RUNS_MAX` has those of the raw clients.
    pub(crate) fn client_table(&self, row: usize) -> Option<&[AtomicU64]> {
        self.clients.all().get(row).map(|row| &row.places[..])
    }

    /// Forgets the lines of a run's agents. Only when no worker reads a client of the run. Where
    /// their memory cannot be given back there is no line all the same: none of another run's
    /// agents may time a packet.
    pub(crate) fn clear_run_tables(&self, row: usize) {
        if self.runs.clear(row).is_err()
            && let Some(tables) = self.runs.all().get(row)
        {
            tables.lines.iter().for_each(AgentLine::forget);
        }
    }

    /// Stores by which line times of an agent's packets are taken from now on, or that there is
    /// none. The master alone calls it.
    pub(crate) fn set_agent_line(&self, row: usize, agent: u16, line: Option<&ClockLine>) {
        if let Some(place) = self.agent_line(row, agent) {
            place.set(line);
        }
    }

    /// The place of the connection that carries an agent's probes.
    pub(crate) fn probe_place(&self, row: usize, agent: u16) -> Option<&AtomicU64> {
        Some(&self.agent_line(row, agent)?.probes)
    }

    /// The place of an agent's line. The numbers may come from another process.
    #[inline]
    pub(crate) fn agent_line(&self, row: usize, agent: u16) -> Option<&AgentLine> {
        self.runs.all().get(row)?.lines.get(usize::from(agent))
    }

    /// Raw clients that may be connected at a time; the master lowers it while runs reserve places.
    pub(crate) fn raw_client_limit(&self) -> &AtomicU64 {
        &self.workers.all()[0].raw_client_limit
    }
}

/// Every worker's line, and the limit that all of them read.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(super) struct Workers {
    pub(super) lines: [WorkerLine; WORKERS_MAX],
    pub(super) raw_client_limit: AtomicU64,
}

/// Counters that a worker keeps of itself, in cache lines of its own, so that no other worker's
/// stores slow it.
#[derive(Debug, FromBytes)]
#[repr(C, align(128))]
pub(crate) struct WorkerLine {
    /// When the worker's loop last came round, ns.
    pub(crate) heartbeat_ns: AtomicU64,
    /// Reads that returned data, of all processes that had this line.
    pub(crate) reads: AtomicU64,
    /// Returns from the wait with at least one readable connection.
    pub(crate) wakeups: AtomicU64,
    /// Pauses between batched reads, and their sum, ns.
    pub(crate) pauses: AtomicU64,
    pub(crate) paused_ns: AtomicU64,
    /// Time in which it neither read nor waited although it should have come round, ns.
    pub(crate) away_ns: AtomicU64,
}

/// The clients of one run: a cell each, 0 or the `slot_token` of the connection that has the place.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(super) struct ClientTable {
    pub(super) places: [AtomicU64; CLIENTS_MAX as usize],
}

/// The tables of one run. Virtual memory only, as far as they are not used: of the changes of the
/// load, which are planned, and of agents on this host's clock.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
struct RunTables {
    /// Changes of the running load.
    epochs: [[AtomicU64; EPOCH_WORDS]; EPOCHS_MAX],
    /// By which line the times of each agent's packets are taken.
    lines: [AgentLine; AGENTS_MAX],
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn room_for_the_tables_of_runs_costs_no_memory_until_it_is_used() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let [.., runs] = ledger.descriptors();
        let status = rustix::fs::fstat(runs).unwrap();
        assert_eq!(status.st_size as usize, RUNS_MAX * size_of::<RunTables>());
        assert!(size_of::<RunTables>() >= AGENTS_MAX * 15 * 8 + 64 * 4 * 8);
        assert_eq!(status.st_blocks, 0);
    }

    #[test]
    fn every_run_and_the_raw_clients_have_a_row_of_places_in_whichever_process() {
        let dimensions = Dimensions { slots: 1 };
        let created = Ledger::create(dimensions).unwrap();
        let handed_over = created.descriptors();
        let handed_over = handed_over.map(|fd| fd.try_clone_to_owned().unwrap());
        let opened = Ledger::open(dimensions, handed_over).unwrap();
        for row in 0..=RUNS_MAX {
            let (here, there) = (created.client_table(row), opened.client_table(row));
            let (here, there) = (here.unwrap(), there.unwrap());
            assert_eq!(
                (here.len(), there.len()),
                (CLIENTS_MAX as usize, here.len())
            );
            here[3].store(row as u64 + 1, Ordering::Relaxed);
            assert_eq!(there[3].load(Ordering::Relaxed), row as u64 + 1);
        }
        assert!(created.client_table(RUNS_MAX + 1).is_none());
        assert!(opened.client_table(RUNS_MAX + 1).is_none());
        opened.clear_client_table(RUNS_MAX).unwrap();
        let [cleared, kept] = [RUNS_MAX, 0].map(|row| &created.client_table(row).unwrap()[3]);
        let read = |place: &AtomicU64| place.load(Ordering::Relaxed);
        assert_eq!((read(cleared), read(kept)), (0, 1));
        let generation = &opened.slots()[0].header.generation;
        generation.store(5, Ordering::Relaxed);
        created.clear_slot(0).unwrap();
        assert_eq!(read(generation), 0);
        created.raw_client_limit().store(2, Ordering::Relaxed);
        assert_eq!(opened.raw_client_limit().load(Ordering::Relaxed), 2);
    }
}
