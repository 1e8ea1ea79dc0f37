//! The round trips of a running run, as its agents have reported them so far. Pure.
//!
//! They are shown once every agent with clients that ask for replies has reported: some of them
//! would be read as all.

use metronome_proto::v1;

use crate::model::{AgentRecords, RoundTrips};

/// What is known of them.
#[derive(Debug)]
pub(super) struct LiveRoundTrips {
    /// By the agents' indices.
    agents: Vec<Reported>,
    /// What another server has shown, until all agents have reported to this one.
    shown_before: v1::Times,
}

#[derive(Debug)]
struct Reported {
    /// The groups that ask for replies and that it has clients of.
    groups: Vec<String>,
    /// All so far. `None` before its first report.
    round_trips: Option<Vec<v1::RoundTrips>>,
}

impl LiveRoundTrips {
    /// Those of these agents, of which none has reported.
    pub(super) fn new(agents: &[AgentRecords]) -> Self {
        let reported = |agent: &AgentRecords| {
            let shares = agent.share.shares.iter();
            let asking = shares.filter(|share| share.echo_every.is_some());
            Reported {
                groups: asking.map(|share| share.group.clone()).collect(),
                round_trips: None,
            }
        };
        Self {
            agents: agents.iter().map(reported).collect(),
            shown_before: v1::Times::default(),
        }
    }

    /// Goes on from what another server has shown.
    pub(super) fn resume(&mut self, shown: &v1::Times) {
        self.shown_before = v1::Times {
            rtt_from_due: shown.rtt_from_due.clone(),
            rtt_from_write: shown.rtt_from_write.clone(),
            ..v1::Times::default()
        };
    }

    /// Takes what an agent has reported. They only become more, so a report without any, behind
    /// one that had some, changes nothing.
    pub(super) fn take(&mut self, agent: usize, reported: Vec<v1::RoundTrips>) {
        if let Some(of) = self.agents.get_mut(agent)
            && (of.round_trips.is_none() || !reported.is_empty())
        {
            of.round_trips = Some(reported);
        }
    }

    /// The distributions of all of them; no other time is set.
    pub(super) fn shown(&self) -> v1::Times {
        let Some(all) = self.of_all() else {
            return self.shown_before.clone();
        };
        v1::Times {
            rtt_from_due: all.from_due.distribution(false),
            rtt_from_write: all.from_write.distribution(false),
            ..v1::Times::default()
        }
    }

    /// `None` before every agent has reported.
    pub(super) fn of_all(&self) -> Option<RoundTrips> {
        let mut each = self.agents.iter().flat_map(|agent| {
            let groups = agent.groups.iter();
            groups.map(|group| (group, agent.round_trips.as_ref()))
        });
        each.try_fold(RoundTrips::default(), |sum, (group, reported)| {
            sum.with(reported?, group)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use metronome_proto::{histogram::Histogram, plan::GROUP_DEFAULT};

    use super::*;
    use crate::model::{AgentShare, ClockRelation};

    fn agents(echo_every: [u32; 2]) -> [AgentRecords; 2] {
        echo_every.map(|every| {
            let mut share = AgentShare::of(0..1, ClockRelation::Unknown);
            share.shares[0].echo_every = NonZeroU32::new(every);
            AgentRecords::new("a".into(), share)
        })
    }

    fn reported(count: u64) -> Vec<v1::RoundTrips> {
        let mut times = Histogram::default();
        times.add_count(metronome_proto::histogram::bucket(10_000), count);
        vec![v1::RoundTrips {
            group: GROUP_DEFAULT.into(),
            from_due: Some(times.to_buckets()),
            from_write: Some(times.to_buckets()),
        }]
    }

    fn counts(of: &LiveRoundTrips) -> [Option<u64>; 2] {
        let shown = of.shown();
        let times = [shown.rtt_from_due, shown.rtt_from_write];
        times.map(|times| times.map(|of| of.count))
    }

    #[test]
    fn they_are_shown_once_each_agent_that_asks_has_reported() {
        let mut all = LiveRoundTrips::new(&agents([5, 5]));
        assert_eq!(counts(&all), [None; 2]);
        all.take(0, reported(3));
        assert_eq!(counts(&all), [None; 2]);
        all.take(1, Vec::new());
        assert_eq!(counts(&all), [Some(3); 2], "the other has read none yet");
        all.take(1, reported(4));
        all.take(0, Vec::new());
        all.take(7, reported(4));
        assert_eq!(counts(&all), [Some(7); 2]);
    }

    #[test]
    fn where_no_packet_asks_there_are_none() {
        let mut none = LiveRoundTrips::new(&agents([0, 0]));
        none.take(0, Vec::new());
        assert_eq!(counts(&none), [None; 2]);
        let mut one = LiveRoundTrips::new(&agents([0, 9]));
        one.take(1, reported(2));
        assert_eq!(counts(&one), [Some(2); 2], "the other asks for none");
    }

    #[test]
    fn what_another_server_has_shown_stays_until_every_agent_has_reported_again() {
        let mut old = LiveRoundTrips::new(&agents([1, 1]));
        old.take(0, reported(3));
        old.take(1, reported(4));
        let mut new = LiveRoundTrips::new(&agents([1, 1]));
        new.resume(&old.shown());
        new.take(0, reported(5));
        assert_eq!(counts(&new), [Some(7); 2]);
        new.take(1, reported(4));
        assert_eq!(counts(&new), [Some(9); 2]);
    }
}
