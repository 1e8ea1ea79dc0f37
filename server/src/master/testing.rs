//! The master's counters with a ledger in which anything may stand, and a master's state that may
//! be anything: for `crate::testing`.

use std::{os::fd::OwnedFd, time::Duration};

use metronome_proto::run_id::RunId;

use super::{
    admission::Admission, connection_table::ConnectionTable, run_counters::ClosedConnection,
    worker_pool::Worker,
};
use crate::{
    ledger::{ConnectionCounters, Slot},
    model::{
        FinalCounters, KernelFigures, LiveCounters, RunCounters, ServerStatus, TotalCounters, Work,
        WorkerTotals,
    },
    upgrade::MasterState,
};

/// Slots of the ledger that is taken over.
const SLOTS: u32 = 64;

/// What the control plane gets to see of a run, from its first reading to its end.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) live: Vec<LiveCounters>,
    pub(crate) totals: Vec<TotalCounters>,
    pub(crate) server: Vec<ServerStatus>,
    pub(crate) record: FinalCounters,
}

/// Reads one client's record as the master does while its run goes on, records its end, and a
/// second attempt's, and closes the run.
pub(crate) fn record_run(
    connection_counters: &ConnectionCounters,
    record: &Slot,
    bytes_taken: Option<u64>,
) -> Seen {
    let run = RunId::from_bits(connection_counters.run);
    let workers = [WorkerTotals::default(); 2];
    let mut counters = RunCounters::default();
    counters.open(
        &Admission {
            run,
            clients: 1,
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            seed: 1,
            groups: vec!["default".into()],
            agents: Vec::new(),
        },
        1,
        workers.to_vec(),
    );
    let peer = ([127, 0, 0, 1], 1).into();
    let mut seen = Seen::default();
    for worker in [Some(1), None] {
        counters.credit(
            connection_counters,
            worker,
            Work {
                packets: connection_counters.counts.received,
                reads: connection_counters.reads,
            },
        );
        let live = [(*connection_counters, record); 2];
        seen.live
            .extend(counters.read_run(run, true, live.into_iter()));
        seen.totals.push(counters.read_totals(live.into_iter()));
        let connections = [(*connection_counters, peer, 0); 2];
        seen.server
            .push(counters.read_server(connections.into_iter()));
        counters.record_closed(&ClosedConnection {
            connection_counters,
            record,
            peer,
            worker,
            kernel: KernelFigures {
                bytes_taken,
                tcp: None,
            },
        });
    }
    let run = counters.runs.remove(&run);
    seen.record = run.map_or_else(FinalCounters::default, |run| {
        run.into_record(&workers, false)
    });
    seen
}

/// Restores a master's state, if that can be done, and reads it. `socket` makes connections to go
/// with it.
pub(crate) fn restore_master(state: MasterState<'_>, mut socket: impl FnMut() -> OwnedFd) {
    for key in &state.admission_keys {
        let _ = key.restore();
    }
    // One connection more or less than the state describes is refused; more than slots can never
    // fit.
    let sockets = (0..state.connections.len().min(SLOTS as usize))
        .map(|_| socket())
        .collect();
    if let Ok(table) =
        ConnectionTable::restore(SLOTS, &state.generations, &state.connections, sockets)
    {
        assert_eq!(table.all().count(), state.connections.len());
        assert_eq!(table.saved().len(), state.connections.len());
    }
    for (index, saved) in state.workers.into_iter().enumerate() {
        let mut worker = Worker::new(index);
        worker.restore(saved);
        let _ = worker.is_in_crash_loop(u64::MAX);
        let _ = worker.saved();
    }
    let mut counters = state.counters.into_owned();
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
            .map(|run| run.into_record(&[WorkerTotals::default(); 2], false));
    }
}
