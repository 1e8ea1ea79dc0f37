//! What agents have reported, summed since the server's start. Counters only rise.
//!
//! Agents are not trusted: their figures come here bounded by what their shares allow, since a sum
//! keeps a wrong one for ever.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1;

use crate::metrics::AgentFigures;

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(crate) struct AgentCounters(Mutex<AgentSums>);

/// The sums as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AgentSums {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    /// Agents that left while a run depended on them.
    pub(crate) agents_lost: u64,
    /// Those connected, by name.
    pub(crate) agents: BTreeMap<String, AgentFigures>,
}

impl AgentCounters {
    /// An agent has connected: its series begin.
    pub(super) fn agent_connected(&self, agent: &str) {
        // One that comes back to a server that was upgraded has its series already.
        self.lock().agents.entry(agent.to_owned()).or_default();
    }

    /// An agent is gone, and with it its series. `is_lost` when a run still depended on it.
    pub(crate) fn agent_left(&self, agent: &str, is_lost: bool) {
        let mut sums = self.lock();
        sums.agents.remove(agent);
        sums.agents_lost += u64::from(is_lost);
    }

    /// The series of some agents end: they did not come back to a server that was upgraded.
    pub(crate) fn forget_agents(&self, is_gone: impl Fn(&str) -> bool) {
        self.lock().agents.retain(|agent, _| !is_gone(agent));
    }

    /// An agent has written and skipped so many packets more, within its share.
    pub(crate) fn agent_sent(&self, agent: &str, sent: u64, skipped: u64) {
        let mut sums = self.lock();
        sums.sent = sums.sent.saturating_add(sent);
        sums.skipped = sums.skipped.saturating_add(skipped);
        if let Some(figures) = sums.agents.get_mut(agent) {
            figures.sent = figures.sent.saturating_add(sent);
            figures.skipped = figures.skipped.saturating_add(skipped);
        }
    }

    /// An agent has reported what its share of a run has cost, within what is possible, and has
    /// sent so many packets there. A cost that is not known adds nothing, and neither do the
    /// packets that it was for: a quotient of the two is that of the same runs.
    pub(crate) fn agent_finished(&self, agent: &str, finished: &v1::Finished, sent: u64) {
        let mut sums = self.lock();
        let Some(figures) = sums.agents.get_mut(agent) else {
            return;
        };
        if let Some(cpu_ns) = finished.cpu_ns.and_then(|nanos| u64::try_from(nanos).ok()) {
            figures.cpu_ns = figures.cpu_ns.saturating_add(cpu_ns);
            figures.cpu_packets = figures.cpu_packets.saturating_add(sent);
        }
        if let Some(writes) = finished.writes {
            figures.writes = figures.writes.saturating_add(writes);
            figures.writes_packets = figures.writes_packets.saturating_add(sent);
        }
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> AgentSums {
        self.lock().clone()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: AgentSums) {
        *self.lock() = sums;
    }

    fn lock(&self) -> MutexGuard<'_, AgentSums> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_s_series_end_with_it_and_the_sums_stay() {
        let counters = AgentCounters::default();
        counters.agent_connected("a");
        counters.agent_sent("a", 5, 1);
        counters.agent_sent("b", 7, 0);
        let sums = counters.sums();
        assert_eq!((sums.sent, sums.skipped, sums.agents.len()), (12, 1, 1));
        assert_eq!(sums.agents["a"].sent, 5);
        counters.agent_left("a", true);
        let sums = counters.sums();
        assert_eq!((sums.sent, sums.agents.len(), sums.agents_lost), (12, 0, 1));
    }

    #[test]
    fn what_is_not_known_of_a_run_adds_neither_its_cost_nor_its_packets() {
        let counters = AgentCounters::default();
        counters.agent_connected("a");
        let finished = |cpu_ns, writes| v1::Finished {
            cpu_ns,
            writes,
            ..v1::Finished::default()
        };
        counters.agent_finished("a", &finished(Some(500), None), 5);
        counters.agent_finished("a", &finished(None, Some(2)), 7);
        counters.agent_finished("b", &finished(Some(1), Some(1)), 1);
        let expected = AgentFigures {
            cpu_ns: 500,
            cpu_packets: 5,
            writes: 2,
            writes_packets: 7,
            ..AgentFigures::default()
        };
        assert_eq!(counters.sums().agents["a"], expected);
    }

    #[test]
    fn no_claim_of_an_agent_makes_a_sum_fall() {
        let counters = AgentCounters::default();
        counters.agent_sent("a", u64::MAX, u64::MAX);
        counters.agent_sent("a", u64::MAX, 1);
        assert_eq!(counters.sums().sent, u64::MAX);
    }

    #[test]
    fn a_server_that_takes_over_continues_counting() {
        let (old, new) = (AgentCounters::default(), AgentCounters::default());
        old.agent_connected("a");
        old.agent_sent("a", 5, 1);
        new.restore(old.sums());
        new.agent_connected("a");
        new.agent_sent("a", 1, 0);
        let sums = new.sums();
        assert_eq!((sums.sent, sums.agents["a"].sent), (6, 6));
        new.forget_agents(|agent| agent == "a");
        assert!(new.sums().agents.is_empty());
    }
}
