//! The master's counters with a ledger in which anything may stand, and with a predecessor that may
//! say anything: for `crate::fuzzing`.

use std::os::fd::OwnedFd;

use metronome_proto::run_id::RunId;

use super::{
    connection_table::ConnectionTable,
    estate::Estate,
    request::{Admission, RunRecord, WorkerCount},
    run_counters::{ClosedConnection, RunCounters},
    worker_pool::Worker,
};
use crate::ledger::{Account, Slot};

/// Of the ledger that is taken over.
const SLOTS: u32 = 64;

/// Reads one client's record as the master does while its run goes on, records its end, and a second
/// attempt's, and closes the run.
pub(crate) fn keep_books(account: &Account, record: &Slot, bytes_taken: Option<u64>) -> RunRecord {
    let run = RunId::from_bits(account.run);
    let workers = [WorkerCount::default(); 2];
    let mut counters = RunCounters::default();
    counters.open(
        &Admission {
            run,
            clients: 1,
            agents: Vec::new(),
        },
        1,
        workers.to_vec(),
    );
    let peer = ([127, 0, 0, 1], 1).into();
    for worker in [Some(1), None] {
        counters.credit(account, worker, account.packets);
        let _ = counters.read_run(run, true, [(*account, record); 2].into_iter());
        let _ = counters.read_totals([(*account, record); 2].into_iter());
        let _ = counters.read_server([(*account, peer, 0); 2].into_iter());
        counters.record_closed(&ClosedConnection {
            account,
            record,
            peer,
            worker,
            bytes_taken,
        });
    }
    counters
        .runs
        .remove(&run)
        .map(|run| run.into_record(&workers))
        .unwrap_or_default()
}

/// Reads what a predecessor's master has said, and takes it over if it can be. What was read says
/// the same when it is handed on; `socket` makes connections to go with it.
pub(crate) fn inherit(bytes: &[u8], mut socket: impl FnMut() -> OwnedFd) {
    let Ok(estate) = Estate::decode(bytes) else {
        return;
    };
    let again = estate.encode().expect("what was read can be written");
    let read_again = Estate::decode(&again).expect("what was written can be read");
    assert_eq!(read_again.encode().expect("as before"), again);
    for key in &estate.gates {
        let _ = key.agent();
    }
    // One connection more or less than there are seats is refused; more than slots can never fit.
    let sockets = (0..estate.seats.len().min(SLOTS as usize))
        .map(|_| socket())
        .collect();
    if let Ok(seats) = ConnectionTable::restore(SLOTS, &estate.generations, &estate.seats, sockets)
    {
        assert_eq!(seats.all().count(), estate.seats.len());
        assert_eq!(seats.saved().len(), estate.seats.len());
    }
    for (index, saved) in estate.workers.into_iter().enumerate() {
        let mut worker = Worker::new(index);
        worker.restore(saved);
        let _ = worker.is_in_crash_loop(u64::MAX);
        let _ = worker.saved();
    }
    let mut counters = estate.counters;
    let _ = counters.reserved_clients();
    counters.note_incident(1, "fuzzed", "it was");
    let _ = counters.read_server(std::iter::empty());
    let _ = counters.read_totals(std::iter::empty());
    let runs: Vec<RunId> = counters.runs.keys().copied().collect();
    for run in runs {
        let _ = counters.read_run(run, true, std::iter::empty());
        let _ = counters
            .runs
            .remove(&run)
            .map(|run| run.into_record(&[WorkerCount::default(); 2]));
    }
}
