//! All that the control plane counts for monitoring, put together: figures for a report, and the
//! form in which they go to a server that takes over.

use std::{collections::BTreeMap, sync::Arc};

use metronome_proto::v1::{OutcomeStatus, VerdictStatus};

use super::call_counters::CallCounters;
use crate::{
    control::{
        agents::{AgentCounters, AgentSums},
        runs::{
            OutcomeCounters, OutcomeSums, ReplyCounters, ReplySums, TracedPackets, VERDICTS,
            VerdictCounters, VerdictSums,
        },
    },
    metrics::{ControlFigures, GroupFigures, OUTCOMES},
    model::RoundTrips,
    upgrade::SavedCounters,
};

/// The counters of agents, runs and calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) agents: Arc<AgentCounters>,
    pub(crate) verdicts: Arc<VerdictCounters>,
    /// A server that takes over gets the sums alone.
    pub(crate) outcomes: Arc<OutcomeCounters>,
    pub(crate) replies: Arc<ReplyCounters>,
    /// Not handed over: a server that takes over has its own.
    pub(crate) traced_packets: Arc<TracedPackets>,
    pub(crate) calls: Arc<CallCounters>,
}

impl Counters {
    /// All of them, with how many runs there are that have not ended, and that are not stored, and
    /// what is counted of the groups of the former.
    pub(super) fn figures(
        &self,
        runs_active: usize,
        runs_unstored: usize,
        groups: BTreeMap<String, GroupFigures>,
    ) -> ControlFigures {
        let (agents, verdicts) = (self.agents.sums(), self.verdicts.sums());
        let (replies, outcomes) = (self.replies.sums(), self.outcomes.sums());
        let outcome_words = || OUTCOMES.into_iter().filter_map(OutcomeStatus::word);
        let is_connected = |agent: &str| agents.agents.contains_key(agent);
        let probes = self.replies.probes(is_connected);
        ControlFigures {
            sent: agents.sent,
            skipped: agents.skipped,
            lost: verdicts.lost,
            retransmitted: verdicts.retransmitted,
            // A verdict that no run has had yet is 0, not absent: a graph of its rate begins there.
            runs_ended: VERDICTS
                .into_iter()
                .filter_map(VerdictStatus::word)
                .zip(verdicts.runs_ended)
                .collect(),
            runs_judged: outcome_words().zip(outcomes.runs).collect(),
            objectives: outcome_words().zip(outcomes.objectives).collect(),
            last_run: self.outcomes.last_run(),
            run_exemplars: self.outcomes.exemplars(),
            runs_failed: verdicts.runs_failed,
            runs_active: runs_active as u64,
            runs_unstored: runs_unstored as u64,
            groups,
            groups_ended: self.verdicts.groups(),
            agents_lost: agents.agents_lost,
            agents: agents.agents.into_iter().collect(),
            calls: self.calls.calls(),
            packets: self.traced_packets.exemplars(),
            replies_unexpected: replies.unexpected,
            round_trips: replies.round_trips,
            probes,
        }
    }

    /// All of them, for a server that takes over.
    pub(crate) fn save(&self) -> SavedCounters {
        let (agents, verdicts) = (self.agents.sums(), self.verdicts.sums());
        let calls = self.calls.calls().into_iter();
        let (replies, outcomes) = (self.replies.sums(), self.outcomes.sums());
        SavedCounters {
            runs_judged: outcomes.runs,
            objectives: outcomes.objectives,
            replies_unexpected: replies.unexpected,
            rtt_from_due: replies.round_trips.from_due,
            rtt_from_write: replies.round_trips.from_write,
            sent: agents.sent,
            skipped: agents.skipped,
            lost: verdicts.lost,
            retransmitted: verdicts.retransmitted,
            runs_ended: verdicts.runs_ended,
            runs_failed: verdicts.runs_failed,
            agents_lost: agents.agents_lost,
            agents: agents.agents.into_iter().collect(),
            calls: calls
                .map(|call| (call.method, call.status.to_owned(), call.times))
                .collect(),
        }
    }

    /// Continues counting where another server left off.
    pub(crate) fn restore(&self, saved: SavedCounters) {
        self.agents.restore(AgentSums {
            sent: saved.sent,
            skipped: saved.skipped,
            agents_lost: saved.agents_lost,
            agents: saved.agents.into_iter().collect(),
        });
        self.verdicts.restore(VerdictSums {
            runs_ended: saved.runs_ended,
            runs_failed: saved.runs_failed,
            lost: saved.lost,
            retransmitted: saved.retransmitted,
        });
        self.outcomes.restore(OutcomeSums {
            runs: saved.runs_judged,
            objectives: saved.objectives,
        });
        self.replies.restore(ReplySums {
            unexpected: saved.replies_unexpected,
            round_trips: RoundTrips {
                from_due: saved.rtt_from_due,
                from_write: saved.rtt_from_write,
            },
        });
        self.calls.restore(saved.calls);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::histogram::Histogram;
    use metronome_telemetry::rpc_status;
    use tonic::Code;

    use super::*;
    use crate::metrics::AgentFigures;

    #[test]
    fn a_server_that_takes_over_continues_counting() {
        let mut round_trips = Histogram::default();
        round_trips.record(9_000);
        let saved = SavedCounters {
            sent: 5,
            skipped: 1,
            lost: 3,
            retransmitted: [7, 8],
            runs_ended: [0, 1, 0],
            runs_judged: [1, 0, 0],
            objectives: [4, 2, 1],
            runs_failed: 4,
            agents_lost: 2,
            agents: vec![("a".into(), AgentFigures::default())],
            calls: Vec::new(),
            replies_unexpected: 6,
            rtt_from_due: round_trips.clone(),
            rtt_from_write: round_trips,
        };
        let old = Counters::default();
        old.restore(saved.clone());
        let took = Duration::from_millis(1);
        old.calls
            .call_answered("s/M", rpc_status(Code::Ok), took, None);
        let new = Counters::default();
        new.restore(old.save());
        assert_eq!(new.save(), old.save());
        assert_eq!(
            (new.save().agents, new.save().runs_ended),
            (saved.agents, [0, 1, 0])
        );
        let figures = new.figures(0, 0, BTreeMap::new());
        assert_eq!((figures.runs_failed, figures.calls.len()), (4, 1));
        let round_trips = figures.round_trips.from_write.count();
        assert_eq!((figures.replies_unexpected, round_trips), (6, 1));
        assert_eq!(figures.retransmitted, saved.retransmitted);
        let outcomes = [("held", 1), ("not_held", 0), ("not_judged", 0)];
        assert_eq!(figures.runs_judged, outcomes);
        let objectives = [("held", 4), ("not_held", 2), ("not_judged", 1)];
        assert_eq!(figures.objectives, objectives);
    }

    #[test]
    fn every_verdict_is_shown_from_the_beginning() {
        let saved = SavedCounters {
            lost: 3,
            runs_ended: [1, 0, 0],
            ..SavedCounters::default()
        };
        let counters = Counters::default();
        counters.restore(saved);
        let figures = counters.figures(2, 1, BTreeMap::new());
        assert_eq!(
            figures.runs_ended,
            [("valid", 1), ("partial", 0), ("invalid", 0)]
        );
        let runs = (figures.runs_active, figures.runs_unstored);
        assert_eq!((figures.lost, runs), (3, (2, 1)));
    }
}
