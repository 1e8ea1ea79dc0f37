//! The control plane's part of the state: what is neither a run nor the master's.

use metronome_proto::{histogram::Histogram, run_id::RunId, v1};
use serde::{Deserialize, Serialize};

use super::protobuf::Protobuf;
use crate::metrics::AgentFigures;

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ControlState {
    /// When the first server of the chain of upgrades was started: a label, in ms since 1970.
    pub(crate) started_unix_ms: u64,
    /// The same instant on CLOCK_MONOTONIC, ns.
    pub(crate) started_ns: u64,
    pub(crate) counters: SavedCounters,
    /// Oldest first.
    pub(crate) unstored: Vec<UnstoredReport>,
}

/// What the control plane counts for monitoring.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedCounters {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
    /// By verdict: valid, partial, invalid.
    pub(crate) runs_ended: [u64; 3],
    pub(crate) agents_lost: u64,
    /// By the agents' names.
    pub(crate) agents: Vec<(String, AgentFigures)>,
    /// Method, status, durations.
    pub(crate) calls: Vec<(String, String, Histogram)>,
}

/// The report of a run that has ended and that the history could not take.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct UnstoredReport {
    pub(crate) id: RunId,
    run: Protobuf<v1::Run>,
    pages: Vec<Protobuf<v1::ListClientsResponse>>,
}

impl UnstoredReport {
    pub(crate) fn new(id: RunId, run: v1::Run, pages: Vec<v1::ListClientsResponse>) -> Self {
        Self {
            id,
            run: Protobuf(run),
            pages: pages.into_iter().map(Protobuf).collect(),
        }
    }

    /// The run and the pages of its clients.
    pub(crate) fn into_parts(self) -> (v1::Run, Vec<v1::ListClientsResponse>) {
        let pages = self.pages.into_iter().map(|Protobuf(page)| page);
        (self.run.0, pages.collect())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn control_state(seed: u64) -> ControlState {
        let page = v1::ListClientsResponse {
            clients: vec![v1::ClientReport {
                sent: seed,
                ..v1::ClientReport::default()
            }],
        };
        let mut durations = Histogram::default();
        durations.record(seed);
        ControlState {
            started_unix_ms: seed,
            started_ns: 7,
            counters: SavedCounters {
                sent: seed,
                runs_ended: [1, 2, 3],
                agents: vec![("a".into(), AgentFigures::default())],
                calls: vec![("s/M".into(), "OK".into(), durations)],
                ..SavedCounters::default()
            },
            unstored: vec![UnstoredReport::new(
                RunId::from_bits(9),
                v1::Run::default(),
                vec![page],
            )],
        }
    }

    #[test]
    fn a_report_that_could_not_be_stored_keeps_its_pages() {
        let state = control_state(5);
        let (run, pages) = state.unstored[0].clone().into_parts();
        assert_eq!(run, v1::Run::default());
        assert_eq!(pages[0].clients[0].sent, 5);
    }
}
