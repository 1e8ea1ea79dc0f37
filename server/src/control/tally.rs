//! What the control plane counts for monitoring: agents' figures, runs, calls. Counters only rise.
//!
//! Agents are not trusted: their figures come in here as they are told, bounded by their parts, and
//! nothing but a graph depends on them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metronome_proto::{histogram::Histogram, v1};
use metronome_telemetry::rpc_status;
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::metrics::{AgentFigures, ControlFigures};

/// Every verdict that a run may have.
const VERDICTS: [&str; 3] = ["valid", "partial", "invalid"];

/// The sums as a successor gets them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Legacy {
    sent: u64,
    skipped: u64,
    lost: u64,
    /// As [`VERDICTS`].
    runs_ended: [u64; 3],
    agents_lost: u64,
    agents: Vec<(String, AgentFigures)>,
    /// Method, status, times.
    calls: Vec<(String, String, Histogram)>,
}

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    sent: u64,
    skipped: u64,
    lost: u64,
    runs_ended: BTreeMap<&'static str, u64>,
    agents_lost: u64,
    agents: BTreeMap<String, AgentFigures>,
    calls: BTreeMap<(String, &'static str), Histogram>,
}

impl Tally {
    /// An agent attends: its series begin.
    pub(super) fn agent_attends(&self, agent: &str) {
        // One that comes back to a server that was upgraded has its series already.
        self.lock().agents.entry(agent.to_owned()).or_default();
    }

    /// An agent is gone, and with it its series. `lost` when a run still counted on it.
    pub(super) fn agent_leaves(&self, agent: &str, lost: bool) {
        let mut sums = self.lock();
        sums.agents.remove(agent);
        sums.agents_lost += u64::from(lost);
    }

    /// The series of some agents end: they did not come back to a server that was upgraded.
    pub(super) fn forget_agents(&self, is_gone: impl Fn(&str) -> bool) {
        self.lock().agents.retain(|agent, _| !is_gone(agent));
    }

    /// An agent has written and skipped so many packets more.
    pub(super) fn agent_sent(&self, agent: &str, sent: u64, skipped: u64) {
        let mut sums = self.lock();
        sums.sent = sums.sent.saturating_add(sent);
        sums.skipped = sums.skipped.saturating_add(skipped);
        if let Some(figures) = sums.agents.get_mut(agent) {
            figures.sent = figures.sent.saturating_add(sent);
            figures.skipped = figures.skipped.saturating_add(skipped);
        }
    }

    /// An agent has reported what its part in a run has cost.
    pub(super) fn agent_finished(&self, agent: &str, finished: &v1::Finished) {
        if let Some(figures) = self.lock().agents.get_mut(agent) {
            figures.cpu_ns = figures.cpu_ns.saturating_add(finished.cpu_ns);
            figures.writes = figures.writes.saturating_add(finished.writes);
        }
    }

    /// A run has ended.
    pub(super) fn run_ended(&self, verdict: &'static str, lost: u64) {
        let mut sums = self.lock();
        *sums.runs_ended.entry(verdict).or_default() += 1;
        sums.lost = sums.lost.saturating_add(lost);
    }

    /// A call was answered.
    pub(super) fn call_answered(&self, method: &str, status: &'static str, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.lock()
            .calls
            .entry((method.to_owned(), status))
            .or_default()
            .record(took_ns);
    }

    /// All of it, and `runs_active`.
    pub(super) fn figures(&self, runs_active: usize) -> ControlFigures {
        let sums = self.lock();
        // A verdict that no run has had yet is 0, not absent: a graph of its rate begins there.
        let verdict =
            |verdict: &'static str| (verdict, sums.runs_ended.get(verdict).copied().unwrap_or(0));
        ControlFigures {
            sent: sums.sent,
            skipped: sums.skipped,
            lost: sums.lost,
            runs_ended: VERDICTS.map(verdict).to_vec(),
            runs_active: runs_active as u64,
            agents_lost: sums.agents_lost,
            agents: sums
                .agents
                .iter()
                .map(|(name, figures)| (name.clone(), *figures))
                .collect(),
            calls: sums
                .calls
                .iter()
                .map(|((method, status), times)| (method.clone(), *status, times.clone()))
                .collect(),
        }
    }

    /// All of it, for a successor.
    pub(super) fn legacy(&self) -> Legacy {
        let sums = self.lock();
        let call = |((method, status), times): (&(String, &'static str), &Histogram)| {
            (method.clone(), (*status).to_owned(), times.clone())
        };
        Legacy {
            sent: sums.sent,
            skipped: sums.skipped,
            lost: sums.lost,
            runs_ended: VERDICTS.map(|verdict| sums.runs_ended.get(verdict).copied().unwrap_or(0)),
            agents_lost: sums.agents_lost,
            agents: sums
                .agents
                .iter()
                .map(|(name, figures)| (name.clone(), *figures))
                .collect(),
            calls: sums.calls.iter().map(call).collect(),
        }
    }

    /// Goes on counting where another server left off.
    pub(super) fn inherit(&self, legacy: Legacy) {
        let mut sums = self.lock();
        sums.sent = legacy.sent;
        sums.skipped = legacy.skipped;
        sums.lost = legacy.lost;
        sums.runs_ended = VERDICTS.into_iter().zip(legacy.runs_ended).collect();
        sums.agents_lost = legacy.agents_lost;
        sums.agents = legacy.agents.into_iter().collect();
        for (method, status, times) in legacy.calls {
            // One that only the other version knew is not told any more.
            let status = (0..=16)
                .map(|code| rpc_status(Code::from(code)))
                .find(|known| *known == status);
            if let Some(status) = status {
                sums.calls.insert((method, status), times);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_s_series_end_with_it_and_the_sums_stay() {
        let tally = Tally::default();
        tally.agent_attends("a");
        tally.agent_sent("a", 5, 1);
        tally.agent_sent("b", 7, 0);
        let figures = tally.figures(2);
        assert_eq!(
            (
                figures.sent,
                figures.skipped,
                figures.agents.len(),
                figures.runs_active
            ),
            (12, 1, 1, 2)
        );
        assert_eq!(figures.agents[0].1.sent, 5);
        tally.agent_leaves("a", true);
        let figures = tally.figures(0);
        assert_eq!(
            (figures.sent, figures.agents.len(), figures.agents_lost),
            (12, 0, 1)
        );
    }

    #[test]
    fn no_claim_of_an_agent_makes_a_sum_fall() {
        let tally = Tally::default();
        tally.agent_sent("a", u64::MAX, u64::MAX);
        tally.agent_sent("a", u64::MAX, 1);
        assert_eq!(tally.figures(0).sent, u64::MAX);
    }

    #[test]
    fn a_successor_goes_on_counting() {
        let tally = Tally::default();
        tally.agent_attends("a");
        tally.agent_sent("a", 5, 1);
        tally.run_ended("partial", 3);
        tally.call_answered("s/M", rpc_status(Code::Ok), Duration::from_millis(1));
        let successor = Tally::default();
        successor.inherit(tally.legacy());
        assert_eq!(successor.legacy(), tally.legacy());
        successor.agent_attends("a");
        successor.agent_sent("a", 1, 0);
        let figures = successor.figures(0);
        assert_eq!(
            (figures.sent, figures.agents[0].1.sent, figures.calls.len()),
            (6, 6, 1)
        );
        successor.forget_agents(|agent| agent == "a");
        assert!(successor.figures(0).agents.is_empty());
    }

    #[test]
    fn every_verdict_is_told_from_the_beginning() {
        let tally = Tally::default();
        tally.run_ended("valid", 3);
        let figures = tally.figures(0);
        assert_eq!(
            figures.runs_ended,
            [("valid", 1), ("partial", 0), ("invalid", 0)]
        );
        assert_eq!(figures.lost, 3);
    }
}
