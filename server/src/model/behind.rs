//! What the clients of an agent have not written when it was due, by group, as it reports that
//! while a run goes on. Whether a threshold is certain to be missed rests on it.
//!
//! An agent is not trusted: what is of a group that it has no clients of is no report of this
//! protocol, and no figure falls, nor is above what can have been due. What it reports at its end
//! is of each client, and stands alone then.

use std::collections::BTreeMap;

use metronome_proto::{plan::Plan, v1};

use super::AgentShare;

/// Packets that were not written when they were due.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Behind {
    /// Never written.
    pub(crate) skipped: u64,
    /// Blocked by a full send buffer: skipped or sent in the end.
    pub(crate) blocked: u64,
}

/// Those of one agent, by the groups' indices in the plan.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BehindOfGroups(BTreeMap<usize, Behind>);

impl BehindOfGroups {
    /// Takes what was checked by [`check_behind`]. A group of the plan can have had at most so many
    /// packets due by now.
    pub(crate) fn take(
        &mut self,
        reported: &[v1::GroupBehind],
        plan: &Plan,
        most: impl Fn(usize) -> u64,
    ) {
        for of_group in reported {
            let mut groups = plan.groups.iter();
            let Some(index) = groups.position(|group| group.name == of_group.group) else {
                continue;
            };
            let most = most(index);
            let known = self.0.entry(index).or_default();
            known.skipped = of_group.skipped.min(most).max(known.skipped);
            known.blocked = of_group.blocked.min(most).max(known.blocked);
        }
    }

    /// Those of a group: none where nothing was reported.
    pub(crate) fn of(&self, group: usize) -> Behind {
        self.0.get(&group).copied().unwrap_or_default()
    }
}

/// Whether each is of a group that the agent has clients of, each group once. An error is what is
/// wrong with the message.
pub(crate) fn check_behind(
    reported: &[v1::GroupBehind],
    share: &AgentShare,
) -> Result<(), &'static str> {
    for (index, of) in reported.iter().enumerate() {
        if !share.shares.iter().any(|it| it.group == of.group) {
            return Err("it reports skipped packets of a group that it has no clients of");
        }
        if reported[..index].iter().any(|it| it.group == of.group) {
            return Err("it reports the skipped packets of a group twice in a message");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::ClockRelation,
        testing::{group_of, plan_of},
    };

    fn reported(group: &str, skipped: u64, blocked: u64) -> v1::GroupBehind {
        v1::GroupBehind {
            group: group.into(),
            skipped,
            blocked,
        }
    }

    #[test]
    fn only_groups_that_an_agent_has_clients_of_are_reported_and_each_once() {
        let mut share = AgentShare::of(0..2, ClockRelation::Same);
        share.shares[0].group = "mine".into();
        assert!(check_behind(&[], &share).is_ok());
        assert!(check_behind(&[reported("mine", 1, 2)], &share).is_ok());
        assert!(check_behind(&[reported("others", 1, 2)], &share).is_err());
        let twice = [reported("mine", 1, 2), reported("mine", 1, 2)];
        assert!(check_behind(&twice, &share).is_err());
    }

    proptest! {
        #[test]
        fn no_figure_falls_and_none_is_above_what_can_have_been_due(
            reports in prop::collection::vec((any::<u64>(), 0..50_u64, 0..30_u64), 1..20),
        ) {
            let plan = plan_of(vec![group_of("one", 2), group_of("two", 2)]);
            let mut behind = BehindOfGroups::default();
            let mut most = 0;
            for (skipped, blocked, more) in reports {
                most += more;
                let before = behind.of(1);
                behind.take(&[reported("two", skipped, blocked)], &plan, |_| most);
                let after = behind.of(1);
                prop_assert!(after.skipped >= before.skipped && after.blocked >= before.blocked);
                prop_assert!(after.skipped <= most && after.blocked <= most);
                prop_assert_eq!(behind.of(0), Behind::default());
            }
        }
    }
}
