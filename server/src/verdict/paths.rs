//! The paths between agents and the server as a report has them, and how far apart the starts of
//! the agents lay. Times are ns.

use metronome_proto::{histogram::Histogram, v1};

use crate::model::{AgentRecords, PathFigures, StartSkew};

/// The probes of some agents together.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    pub(super) sent: u64,
    /// Those without a round trip. `None` where an agent claims fewer than were answered.
    pub(super) missing: Option<u64>,
    /// From the sending of a probe to the reading of its answer.
    pub(super) round_trips: Histogram,
}

impl Probes {
    /// Those of all agents that are not on the server's clock. `None` where there is no such agent,
    /// or one of them does not probe.
    pub(super) fn of(agents: &[AgentRecords]) -> Option<Self> {
        let mut others = agents
            .iter()
            .filter(|agent| !agent.is_on_our_clock())
            .peekable();
        others.peek()?;
        others.try_fold(Self::none(), |sum, agent| {
            Some(sum.with(agent.path.as_ref()?))
        })
    }

    fn none() -> Self {
        Self {
            sent: 0,
            missing: Some(0),
            round_trips: Histogram::default(),
        }
    }

    fn with(mut self, path: &PathFigures) -> Self {
        self.sent = self.sent.saturating_add(path.probes_sent);
        let missing = path.probes_sent.checked_sub(path.probe_rtt.count());
        self.missing = self
            .missing
            .zip(missing)
            .map(|(sum, of)| sum.saturating_add(of));
        self.round_trips.merge(&path.probe_rtt);
        self
    }

    /// Their round trips. `None` without one.
    pub(super) fn to_proto(&self) -> Option<v1::Distribution> {
        Some(v1::Distribution {
            missing: self.missing,
            ..self.round_trips.distribution(true)?
        })
    }
}

/// The path of one agent.
pub(super) fn path(path: &PathFigures) -> v1::Path {
    v1::Path {
        probes_sent: path.probes_sent,
        probes_answered: path.probes_answered,
        probe_rtt: Probes::none().with(path).to_proto(),
        contradictions: path.contradictions,
        tcp: None,
    }
}

/// How much later each agent began than the one that was the first, and how far off that can be:
/// it is not known for certain which one was. Empty where the start of one is not known, and where
/// there is nothing to compare.
pub(super) fn start_skews(agents: &[AgentRecords]) -> Vec<StartSkew> {
    let starts: Option<Vec<_>> = agents.iter().map(|agent| agent.start_skew).collect();
    let starts = starts.filter(|starts| starts.len() > 1).unwrap_or_default();
    let least = |of: fn(&StartSkew) -> i128| starts.iter().map(of).min().unwrap_or(0);
    let first_ns = least(|of| of.ns.into());
    let earliest_ns = least(|of| i128::from(of.ns) - i128::from(of.bound_ns));
    let latest_ns = least(|of| i128::from(of.ns) + i128::from(of.bound_ns));
    let of_first_ns = (first_ns - earliest_ns).max(latest_ns - first_ns);
    let behind = |of: &StartSkew| StartSkew {
        ns: i64::try_from(i128::from(of.ns) - first_ns).unwrap_or(i64::MAX),
        bound_ns: u64::try_from(i128::from(of.bound_ns) + of_first_ns).unwrap_or(u64::MAX),
    };
    starts.iter().map(behind).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AgentShare, ClockRelation};

    fn agent(clock: ClockRelation) -> AgentRecords {
        AgentRecords::new("a".into(), AgentShare::of(0..1, clock))
    }

    fn probing(sent: u64, answered: u64) -> AgentRecords {
        let mut figures = PathFigures {
            probes_sent: sent,
            probes_answered: answered,
            ..PathFigures::default()
        };
        (0..answered).for_each(|_| figures.probe_rtt.record(100_000));
        let mut agent = agent(ClockRelation::Offset);
        agent.path = Some(figures);
        agent
    }

    #[test]
    fn the_probes_of_a_run_are_those_of_all_agents_on_other_clocks_or_they_are_not_known() {
        let same = || agent(ClockRelation::Same);
        assert!(Probes::of(&[same()]).is_none());
        let two = Probes::of(&[same(), probing(10, 9), probing(5, 5)]).unwrap();
        assert_eq!((two.sent, two.missing), (15, Some(1)));
        let shown = two.to_proto().unwrap();
        assert_eq!((shown.count, shown.missing), (14, Some(1)));
        for silent in [ClockRelation::Unknown, ClockRelation::Offset] {
            assert!(Probes::of(&[probing(10, 9), agent(silent)]).is_none());
        }
        let none = Probes::of(&[probing(10, 0)]).unwrap();
        assert_eq!((none.missing, none.to_proto()), (Some(10), None));
        // An agent that claims fewer than were answered.
        assert_eq!(
            path(&probing(1, 2).path.unwrap())
                .probe_rtt
                .unwrap()
                .missing,
            None
        );
    }

    fn starting(starts: &[Option<(i64, u64)>]) -> Vec<AgentRecords> {
        let of = |start: &Option<(i64, u64)>| {
            let mut agent = agent(ClockRelation::Same);
            agent.start_skew = start.map(|(ns, bound_ns)| StartSkew { ns, bound_ns });
            agent
        };
        starts.iter().map(of).collect()
    }

    #[test]
    fn starts_are_compared_where_all_of_them_are_known() {
        let skews = |starts: &[_]| start_skews(&starting(starts));
        assert_eq!(skews(&[Some((5, 1))]), []);
        assert_eq!(skews(&[Some((5, 1)), None]), []);
        let of = |ns, bound_ns| StartSkew { ns, bound_ns };
        assert_eq!(skews(&[Some((7, 0)), Some((5, 0))]), [of(2, 0), of(0, 0)]);
        let far = skews(&[Some((i64::MIN, u64::MAX)), Some((i64::MAX, u64::MAX))]);
        assert_eq!(far[1], of(i64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn the_true_skew_lies_within_its_bound(
            starts in prop::collection::vec((-1_000..1_000_i64, 0..500_u64, 0..=1_000_u64), 2..6),
        ) {
            let known = starts.iter().map(|(ns, bound_ns, _)| Some((*ns, *bound_ns)));
            let skews = start_skews(&starting(&known.collect::<Vec<_>>()));
            let true_ns = |&(ns, bound_ns, at): &(i64, u64, u64)| {
                let off_ns = 2 * bound_ns * at / 1_000;
                ns - bound_ns.cast_signed() + off_ns.cast_signed()
            };
            let first_ns = starts.iter().map(true_ns).min().unwrap();
            for (start, skew) in starts.iter().zip(skews) {
                let truth_ns = true_ns(start) - first_ns;
                prop_assert!(truth_ns.abs_diff(skew.ns) <= skew.bound_ns, "{skew:?} {truth_ns}");
            }
        }
    }
}
