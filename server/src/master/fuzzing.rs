//! The master's books with a ledger in which anything may stand, and with a predecessor that may
//! say anything: for `crate::fuzzing`.

use std::os::fd::OwnedFd;

use metronome_proto::run_id::RunId;

use super::{
    books::{Books, Ended},
    estate::Estate,
    request::Admission,
    seats::Seats,
    workers::Worker,
};
use crate::{
    ledger::{ConnectionCounters, Slot},
    model::{FinalCounters, WorkerCounters},
};

/// Of the ledger that is taken over.
const SLOTS: u32 = 64;

/// Reads one client's record as the master does while its run goes on, books its end, and a second
/// attempt's, and closes the book.
pub(crate) fn keep_books(
    connection_counters: &ConnectionCounters,
    record: &Slot,
    bytes_taken: Option<u64>,
) -> FinalCounters {
    let run = RunId::from_bits(connection_counters.run);
    let workers = [WorkerCounters::default(); 2];
    let mut books = Books::default();
    books.open(
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
        books.credit(connection_counters, worker, connection_counters.packets);
        let _ = books.read_run(run, true, [(*connection_counters, record); 2].into_iter());
        let _ = books.read_totals([(*connection_counters, record); 2].into_iter());
        let _ = books.read_server([(*connection_counters, peer, 0); 2].into_iter());
        books.book(&Ended {
            connection_counters,
            record,
            peer,
            worker,
            bytes_taken,
        });
    }
    books
        .runs
        .remove(&run)
        .map(|book| book.into_record(&workers))
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
    for key in &estate.admission_keys {
        let _ = key.agent();
    }
    // One connection more or less than there are seats is refused; more than slots can never fit.
    let sockets = (0..estate.seats.len().min(SLOTS as usize))
        .map(|_| socket())
        .collect();
    if let Ok(seats) = Seats::inherit(SLOTS, &estate.generations, &estate.seats, sockets) {
        assert_eq!(seats.all().count(), estate.seats.len());
        assert_eq!(seats.reservations().len(), estate.seats.len());
    }
    for (index, legacy) in estate.workers.into_iter().enumerate() {
        let mut worker = Worker::new(index);
        worker.inherit(legacy);
        let _ = worker.is_in_crash_loop(u64::MAX);
        let _ = worker.legacy();
    }
    let mut books = estate.books;
    let _ = (books.reserved_clients(), books.has_closing());
    books.note_incident(1, "fuzzed", "it was");
    let _ = books.read_server(std::iter::empty());
    let _ = books.read_totals(std::iter::empty());
    let runs: Vec<RunId> = books.runs.keys().copied().collect();
    for run in runs {
        let _ = books.read_run(run, true, std::iter::empty());
        let _ = books
            .runs
            .remove(&run)
            .map(|book| book.into_record(&[WorkerCounters::default(); 2]));
    }
}
