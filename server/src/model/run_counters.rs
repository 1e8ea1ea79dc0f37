//! What was counted of all runs, of clients outside of them, and of connections that were refused.
//!
//! Only the data: how they are counted is the master's. An upgrade hands them over as they are, so
//! a change of a field here is a change of the upgrade's format.

use std::collections::{BTreeMap, VecDeque};

use metronome_proto::{run_id::RunId, v1};
use serde::{Deserialize, Serialize};

use super::{
    client_readings::ClientReadings,
    counter_list,
    counters::{ClientCounters, TotalCounters, WorkerTotals},
    incident::Incident,
    server::{RawClientCounters, RawCounters},
    slow_packet::SlowestPacket,
    times::{TimeKind, Times},
    work::Work,
};

/// The counters of the connections that have ended, by run and in sum.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RunCounters {
    pub(crate) runs: BTreeMap<RunId, OpenRun>,
    pub(crate) accepted: u64,
    pub(crate) refused_full: u64,
    pub(crate) refused_hello: u64,
    pub(crate) refused_late: u64,
    pub(crate) refused_raw: u64,
    pub(crate) raw: RawCounters,
    pub(crate) raw_ended: VecDeque<RawClientCounters>,
    /// Sums over the clients that have ended, of all runs.
    pub(crate) totals: TotalCounters,
}

/// Sums over the clients of one group of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct GroupCounters {
    #[serde(with = "counter_list")]
    pub(crate) counts: v1::ReceiverCounts,
    pub(crate) times: Times,
}

/// The counters of an admitted run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OpenRun {
    /// Clients that it has places for.
    pub(crate) clients_max: u32,
    /// Row of its clients in the ledger.
    pub(crate) row: usize,
    /// The workers as they were when the run was admitted.
    pub(crate) baseline: Vec<WorkerTotals>,
    /// A client of another run or a raw client has had a connection in the time of this run.
    pub(crate) is_shared: bool,
    /// By index, with the last attempt that was recorded.
    pub(crate) clients: BTreeMap<u32, (u8, ClientCounters)>,
    /// Connections of a client that had sent packets on another one before.
    pub(crate) second_records: u64,
    pub(crate) times: Times,
    #[serde(with = "counter_list")]
    pub(crate) counts: v1::ReceiverCounts,
    /// In the order of the plan.
    pub(crate) groups: Vec<GroupCounters>,
    /// What each worker has done for the run.
    pub(crate) work: Vec<Work>,
    pub(crate) recovered_packets: u64,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) slowest: Vec<SlowestPacket>,
    /// The time of which each client's p99 is read: the first of latency, spread and one-way that
    /// all its clients have.
    pub(crate) client_time: Option<TimeKind>,
    /// How each client stood then. It stays with its process.
    #[serde(skip)]
    pub(crate) client_readings: ClientReadings,
}

impl RunCounters {
    /// Rows of the ledger that the admitted runs have.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.runs.values().map(|counted| counted.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_admitted_run_has_its_row() {
        let run = |row| OpenRun {
            clients_max: 1,
            row,
            baseline: Vec::new(),
            is_shared: false,
            clients: BTreeMap::new(),
            second_records: 0,
            times: Times::default(),
            counts: v1::ReceiverCounts::default(),
            groups: Vec::new(),
            work: Vec::new(),
            recovered_packets: 0,
            incidents: Vec::new(),
            slowest: Vec::new(),
            client_time: None,
            client_readings: ClientReadings::default(),
        };
        let mut counters = RunCounters::default();
        assert_eq!(counters.rows().count(), 0);
        counters.runs = [(1, 7), (2, 3)]
            .map(|(id, row)| (RunId::from_bits(id), run(row)))
            .into();
        assert_eq!(counters.rows().collect::<Vec<_>>(), [7, 3]);
    }
}
