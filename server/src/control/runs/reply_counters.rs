//! Round trips of the runs of this server that have ended: those of packets summed since its start,
//! and those of each agent's probes in its last run, which a server that takes over begins without.
//!
//! Agents report them, so an invalid run, in which they may be anything, adds nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1;

use crate::model::RoundTrips;

/// The sums since the server's start, and the last probes of each agent.
#[derive(Debug, Default)]
pub(crate) struct ReplyCounters {
    sums: Mutex<ReplySums>,
    probes: Mutex<BTreeMap<String, v1::Distribution>>,
}

/// The sums as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplySums {
    pub(crate) round_trips: RoundTrips,
    /// Frames in the place of a reply that were none, of every run: at most one for each packet
    /// that was planned.
    pub(crate) unexpected: u64,
}

impl ReplyCounters {
    /// A run has ended: its round trips, where they are to be believed, and its frames in the place
    /// of a reply.
    pub(super) fn run_ended(&self, round_trips: Option<&RoundTrips>, unexpected: u64) {
        let mut sums = self.lock();
        if let Some(round_trips) = round_trips {
            sums.round_trips.merge(round_trips);
        }
        sums.unexpected = sums.unexpected.saturating_add(unexpected);
    }

    /// A run that is to be believed has ended: the probes of its agents, without the records of
    /// their distributions.
    pub(super) fn probes_ended(&self, agents: &[v1::AgentReport]) {
        let mut probes = self.lock_probes();
        for agent in agents {
            let times = agent.path.as_ref().and_then(|path| path.probe_rtt.clone());
            match times {
                None => drop(probes.remove(&agent.agent)),
                Some(mut times) => {
                    times.hdr_v2_deflated.clear();
                    probes.insert(agent.agent.clone(), times);
                }
            }
        }
    }

    /// The last probes of each connected agent. Those of the others are forgotten.
    pub(crate) fn probes(
        &self,
        is_connected: impl Fn(&str) -> bool,
    ) -> Vec<(String, v1::Distribution)> {
        let mut probes = self.lock_probes();
        probes.retain(|agent, _| is_connected(agent));
        let each = probes.iter();
        each.map(|(agent, times)| (agent.clone(), times.clone()))
            .collect()
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> ReplySums {
        self.lock().clone()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: ReplySums) {
        *self.lock() = sums;
    }

    fn lock(&self) -> MutexGuard<'_, ReplySums> {
        // No code between lock and unlock can leave it half changed.
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_probes(&self) -> MutexGuard<'_, BTreeMap<String, v1::Distribution>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_and_one_that_is_not_believed_adds_no_round_trip() {
        let counters = ReplyCounters::default();
        let mut round_trips = RoundTrips::default();
        round_trips.from_due.record(5_000);
        round_trips.from_write.record(4_000);
        counters.run_ended(Some(&round_trips), 0);
        counters.run_ended(Some(&round_trips), u64::MAX);
        counters.run_ended(None, 7);
        let sums = counters.sums();
        let counts = [&sums.round_trips.from_due, &sums.round_trips.from_write];
        assert_eq!(counts.map(|times| times.count()), [2, 2]);
        assert_eq!(sums.unexpected, u64::MAX);
        let other = ReplyCounters::default();
        other.restore(sums.clone());
        assert_eq!(other.sums(), sums);
    }

    #[test]
    fn an_agent_has_the_probes_of_its_last_run_as_long_as_it_is_connected() {
        let counters = ReplyCounters::default();
        let agent = |name: &str, count| v1::AgentReport {
            agent: name.into(),
            path: Some(v1::Path {
                probe_rtt: (count > 0).then(|| v1::Distribution {
                    count,
                    hdr_v2_deflated: vec![7],
                    ..v1::Distribution::default()
                }),
                ..v1::Path::default()
            }),
            ..v1::AgentReport::default()
        };
        let shown = |is_connected: fn(&str) -> bool| -> Vec<_> {
            let probes = counters.probes(is_connected).into_iter();
            probes
                .map(|(agent, of)| (agent, of.count, of.hdr_v2_deflated.len()))
                .collect()
        };
        let of = |agent: &str, count| (agent.to_owned(), count, 0);
        counters.probes_ended(&[agent("a", 5), agent("b", 6), agent("c", 7)]);
        counters.probes_ended(&[agent("b", 8), agent("c", 0)]);
        assert_eq!(shown(|_| true), [of("a", 5), of("b", 8)]);
        assert_eq!(shown(|agent| agent != "a"), [of("b", 8)]);
        assert_eq!(
            shown(|_| true),
            [of("b", 8)],
            "one that comes back begins anew"
        );
    }
}
