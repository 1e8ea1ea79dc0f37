//! The round trips of packets that asked for a reply, as agents report them: checked when they
//! come, added up when they are shown. Times are ns.
//!
//! An agent reports buckets by group, all so far. It is not trusted: what is no distribution, or
//! is one of a group that the agent has no clients of or that asks for no replies, is no report of
//! this protocol. How many there may be is for the laws of the verdict.

use metronome_proto::{histogram::Histogram, plan::Plan, v1};

use super::AgentShare;

/// Both times of some packets. They have the same number of values when no agent lies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoundTrips {
    /// From due to the arrival of the reply.
    pub(crate) from_due: Histogram,
    /// From write to the arrival of the reply.
    pub(crate) from_write: Histogram,
}

impl RoundTrips {
    /// Those of one group as one agent has reported them. `None` where they are no distributions.
    fn of_report(reported: &v1::RoundTrips) -> Option<Self> {
        let histogram = |buckets: Option<&v1::Buckets>| Histogram::from_buckets(buckets?);
        Some(Self {
            from_due: histogram(reported.from_due.as_ref())?,
            from_write: histogram(reported.from_write.as_ref())?,
        })
    }

    /// Adds those of others.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.from_due.merge(&other.from_due);
        self.from_write.merge(&other.from_write);
    }

    /// Adds those of a group among what one agent has reported: none where it reports none of it.
    /// `None` where that is no distribution.
    pub(crate) fn with(mut self, reported: &[v1::RoundTrips], group: &str) -> Option<Self> {
        if let Some(of_group) = reported.iter().find(|of| of.group == group) {
            self.merge(&Self::of_report(of_group)?);
        }
        Some(self)
    }
}

/// Whether each is a pair of distributions, of a group of the plan that asks for replies and that
/// the agent has clients of, each group once. An error is what is wrong with the message.
pub(crate) fn check_round_trips(
    reported: &[v1::RoundTrips],
    plan: &Plan,
    share: &AgentShare,
) -> Result<(), &'static str> {
    for (index, of) in reported.iter().enumerate() {
        let asks = |group: &str| {
            let mut groups = plan.groups.iter();
            groups.any(|it| it.name == group && it.echo_every.is_some())
        };
        let is_its_own = share.shares.iter().any(|it| it.group == of.group);
        if !is_its_own || !asks(&of.group) {
            return Err("it reports round trips of a group that it asks for no replies in");
        }
        if reported[..index].iter().any(|it| it.group == of.group) {
            return Err("it reports the round trips of a group twice in a message");
        }
        if RoundTrips::of_report(of).is_none() {
            return Err("it reports round trips that are no distribution");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use metronome_proto::plan::{GROUP_DEFAULT, Group};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::ClockRelation,
        testing::{group_of, plan_of},
    };

    fn plan(echo_every: u32) -> Plan {
        let group = |name: &str| Group {
            echo_every: NonZeroU32::new(echo_every),
            ..group_of(name, 2)
        };
        plan_of(vec![group(GROUP_DEFAULT), group("others")])
    }

    fn reported(group: &str, values: &[u64]) -> v1::RoundTrips {
        let mut times = Histogram::default();
        values.iter().for_each(|ns| times.record(*ns));
        v1::RoundTrips {
            group: group.into(),
            from_due: Some(times.to_buckets()),
            from_write: Some(times.to_buckets()),
        }
    }

    fn check(reported: &[v1::RoundTrips], echo_every: u32) -> Result<(), &'static str> {
        let share = AgentShare::of(0..2, ClockRelation::Unknown);
        check_round_trips(reported, &plan(echo_every), &share)
    }

    #[test]
    fn only_distributions_of_groups_that_ask_and_are_its_own_are_taken_each_once() {
        let good = reported(GROUP_DEFAULT, &[1_000, 2_000]);
        assert_eq!(check(&[], 0), Ok(()));
        assert_eq!(check(std::slice::from_ref(&good), 5), Ok(()));
        assert!(
            check(std::slice::from_ref(&good), 0).is_err(),
            "it asks for none"
        );
        assert!(
            check(&[reported("others", &[])], 5).is_err(),
            "not its group"
        );
        assert!(check(&[reported("none", &[])], 5).is_err(), "no group");
        assert!(check(&[good.clone(), good.clone()], 5).is_err(), "twice");
        let spoilt = |spoil: fn(&mut v1::RoundTrips)| {
            let mut one = good.clone();
            spoil(&mut one);
            assert!(check(&[one], 5).is_err());
        };
        spoilt(|of| of.from_due = None);
        spoilt(|of| of.from_write = None);
        spoilt(|of| of.from_due.as_mut().unwrap().counts[0] = 0);
        spoilt(|of| of.from_write.as_mut().unwrap().indices[0] = u32::MAX);
        spoilt(|of| of.from_write.as_mut().unwrap().counts.clear());
    }

    #[test]
    fn those_of_several_agents_add_up_by_group() {
        let one = [reported("a", &[1_000]), reported("b", &[5_000; 3])];
        let other = [reported("b", &[7_000])];
        let sum = |group: &str| {
            let sum = RoundTrips::default().with(&one, group)?.with(&other, group);
            sum.map(|of| (of.from_due.count(), of.from_write.count()))
        };
        assert_eq!(sum("a"), Some((1, 1)));
        assert_eq!(sum("b"), Some((4, 4)));
        assert_eq!(sum("c"), Some((0, 0)));
        let malformed = [v1::RoundTrips {
            group: "a".into(),
            ..v1::RoundTrips::default()
        }];
        assert!(RoundTrips::default().with(&malformed, "a").is_none());
    }

    proptest! {
        #[test]
        fn whatever_buckets_come_are_taken_or_refused_and_their_sums_never_wrap(
            indices: Vec<u32>, counts: Vec<u64>, times in 1..4_usize,
        ) {
            let buckets = v1::Buckets { indices, counts };
            let of = v1::RoundTrips {
                group: GROUP_DEFAULT.into(),
                from_due: Some(buckets.clone()),
                from_write: Some(buckets),
            };
            let is_taken = check(std::slice::from_ref(&of), 1).is_ok();
            let sum = (0..times).try_fold(RoundTrips::default(), |sum, _| {
                sum.with(std::slice::from_ref(&of), GROUP_DEFAULT)
            });
            prop_assert_eq!(is_taken, sum.is_some());
            if let Some(sum) = sum {
                let each = of.from_due.unwrap().counts.iter().sum::<u64>();
                prop_assert!(sum.from_due.count() >= each);
            }
        }
    }
}
