//! The control plane's part of the state: what is neither a run nor the master's.

use metronome_proto::{histogram::Histogram, run_id::RunId, v1};
use serde::{Deserialize, Serialize};

use super::protobuf::Protobuf;
use crate::{metrics::AgentFigures, model::AgentPlace};

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct ControlState {
    /// When the first server of the chain of upgrades was started: a label, in ms since 1970.
    pub(crate) started_unix_ms: u64,
    /// The same instant on CLOCK_MONOTONIC, ns.
    pub(crate) started_ns: u64,
    pub(crate) counters: SavedCounters,
    /// The agents that are connected or expected back, by name.
    pub(crate) places: Vec<AgentPlace>,
    /// Oldest first.
    pub(crate) unstored: Vec<UnstoredReport>,
    /// Number of the newest event of the feed.
    pub(crate) newest_event: u64,
}

/// What the control plane counts for monitoring.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct SavedCounters {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
    /// Segments sent again: by agents, by the server.
    pub(crate) retransmitted: [u64; 2],
    /// By verdict: valid, partial, invalid.
    pub(crate) runs_ended: [u64; 3],
    /// By outcome: held, not held, not judged.
    pub(crate) runs_judged: [u64; 3],
    /// Objectives of these runs, by the same.
    pub(crate) objectives: [u64; 3],
    pub(crate) runs_failed: u64,
    pub(crate) agents_lost: u64,
    /// By the agents' names.
    pub(crate) agents: Vec<(String, AgentFigures)>,
    /// Method, status, durations.
    pub(crate) calls: Vec<(String, String, Histogram)>,
    pub(crate) replies_unexpected: u64,
    /// Round trips of the runs that have ended.
    pub(crate) rtt_from_due: Histogram,
    pub(crate) rtt_from_write: Histogram,
}

/// The report of a run that has ended and that the history could not take.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct UnstoredReport {
    pub(crate) id: RunId,
    run: Protobuf<v1::Run>,
    pages: Vec<Protobuf<v1::ClientRows>>,
    series: Vec<Protobuf<v1::Series>>,
}

impl UnstoredReport {
    pub(crate) fn new(
        id: RunId,
        run: v1::Run,
        pages: Vec<v1::ClientRows>,
        series: Vec<v1::Series>,
    ) -> Self {
        Self {
            id,
            run: Protobuf(run),
            pages: pages.into_iter().map(Protobuf).collect(),
            series: series.into_iter().map(Protobuf).collect(),
        }
    }

    /// The run, the pages of its clients and those of its series.
    pub(crate) fn into_parts(self) -> (v1::Run, Vec<v1::ClientRows>, Vec<v1::Series>) {
        let pages = self.pages.into_iter().map(|Protobuf(page)| page);
        let series = self.series.into_iter().map(|Protobuf(page)| page);
        (self.run.0, pages.collect(), series.collect())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::ResumeToken;

    pub(in super::super) fn control_state(seed: u64) -> ControlState {
        let page = v1::ClientRows {
            clients: vec![v1::ClientReport {
                client: seed as u32,
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
                retransmitted: [seed, 8],
                runs_ended: [1, 2, 3],
                runs_judged: [4, 5, 6],
                objectives: [7, 8, 9],
                runs_failed: 4,
                agents: vec![("a".into(), AgentFigures::default())],
                calls: vec![("s/M".into(), "OK".into(), durations.clone())],
                replies_unexpected: 5,
                rtt_from_due: durations.clone(),
                rtt_from_write: durations,
                ..SavedCounters::default()
            },
            places: vec![AgentPlace {
                name: "a".into(),
                resume_token: ResumeToken::new([seed as u8; 16]),
                is_unresponsive: seed.is_multiple_of(3),
            }],
            unstored: vec![UnstoredReport::new(
                RunId::from_bits(9),
                v1::Run::default(),
                vec![page],
                vec![v1::Series::default()],
            )],
            newest_event: seed,
        }
    }

    #[test]
    fn a_report_that_could_not_be_stored_keeps_its_pages() {
        let state = control_state(5);
        let (run, pages, series) = state.unstored[0].clone().into_parts();
        assert_eq!(run, v1::Run::default());
        assert_eq!(pages[0].clients[0].client, 5);
        assert_eq!(series, [v1::Series::default()]);
    }
}
