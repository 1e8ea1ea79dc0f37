//! The master's books with a ledger in which anything may stand: for `crate::fuzzing`.

use metronome_proto::run_id::RunId;

use super::{
    books::{Books, Ended},
    request::{Admission, RunRecord, WorkerCount},
};
use crate::ledger::{Account, Slot};

/// Reads one client's record as the master does while its run goes on, books its end, and a second
/// attempt's, and closes the book.
pub(crate) fn keep_books(account: &Account, record: &Slot, bytes_taken: Option<u64>) -> RunRecord {
    let run = RunId::from_bits(account.run);
    let workers = [WorkerCount::default(); 2];
    let mut books = Books::default();
    books.open(&Admission { run, clients: 1, agents: Vec::new() }, 1, workers.to_vec());
    let peer = ([127, 0, 0, 1], 1).into();
    for worker in [Some(1), None] {
        books.credit(account, worker, account.packets);
        let _ = books.read_run(run, true, [(*account, record); 2].into_iter());
        let _ = books.read_totals([(*account, record); 2].into_iter());
        let _ = books.read_server([(*account, peer, 0); 2].into_iter());
        books.book(&Ended { account, record, peer, worker, bytes_taken });
    }
    books.runs.remove(&run).map(|book| book.into_record(&workers)).unwrap_or_default()
}
