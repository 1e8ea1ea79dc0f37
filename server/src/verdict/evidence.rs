//! What a verdict is made from.

use std::collections::BTreeMap;

use metronome_proto::{plan::Plan, v1};

use crate::model::{AgentRecords, FinalCounters, Times};

/// Everything that both ends report of a run at its end.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// By the agents' indices; their shares cover the plan's clients.
    pub(crate) agents: &'a [AgentRecords],
    /// `None` when the master did not send them in time.
    pub(crate) counters: Option<&'a FinalCounters>,
    /// What the processes and their hosts did: the server, then the agents, as far as it was seen.
    pub(crate) hosts: &'a [v1::HostSeries],
    /// HOST:PORT of the data port, as it listens.
    pub(crate) data_address: &'a str,
    /// When the first packet was due, ns of this host's CLOCK_MONOTONIC. `None`: never started.
    pub(crate) start_at_ns: Option<u64>,
    /// What stopped the run before its schedule was over. `None`: nothing did.
    pub(crate) stopped: Option<v1::StopCause>,
    /// The agents that finished before the schedule was over although nothing had stopped the run,
    /// by their indices, with how long after the first packet was due that was, ns of this host.
    pub(crate) finished_early: &'a BTreeMap<usize, u64>,
    /// Notes of the server about itself.
    pub(crate) notes: &'a [v1::Note],
}

impl Evidence<'_> {
    /// Whether every agent reads this host's clock, as far as that is known by now, so that one-way
    /// times are known of every packet.
    pub(super) fn is_one_clock(&self) -> bool {
        self.agents.iter().all(AgentRecords::is_on_our_clock)
    }

    /// The times of the clients of one group. `None` where they are not known.
    pub(super) fn times_of(&self, group: usize) -> Option<&Times> {
        let counters = self.counters?;
        if self.plan.groups.len() == 1 {
            return Some(&counters.times);
        }
        counters.times_of_groups.get(group)
    }

    /// Whether figures of a group need its name to be understood.
    pub(super) fn has_several_groups(&self) -> bool {
        self.plan.groups.len() > 1
    }
}
