//! The agents as they are listed, and what has changed of them: the one that changes an agent
//! publishes it, in the order of the changes.

use std::{
    collections::BTreeMap,
    mem,
    ops::{Deref, DerefMut},
    sync::MutexGuard,
};

use metronome_os::clock;
use metronome_proto::v1::{Agent, AgentChange, AgentChanged, AgentState};

use super::{agents_by_name::Agents, assignment::ConnectedAgent};
use crate::control::feed::Feed;

impl Agents {
    /// The agents that are listed, by name.
    pub(super) fn list(&self, now_ns: u64) -> Vec<Agent> {
        let shown = |agent: &ConnectedAgent| {
            agent.to_proto(self.unresponsive.has(&agent.info.name, now_ns))
        };
        self.connected.values().filter_map(shown).collect()
    }
}

/// The agents while they are changed: what has changed is published when this is dropped.
pub(super) struct Changing<'a> {
    agents: MutexGuard<'a, Agents>,
    feed: &'a Feed,
}

impl<'a> Changing<'a> {
    pub(super) fn new(agents: MutexGuard<'a, Agents>, feed: &'a Feed) -> Self {
        Self { agents, feed }
    }
}

impl Deref for Changing<'_> {
    type Target = Agents;

    fn deref(&self) -> &Agents {
        &self.agents
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Agents {
        &mut self.agents
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let now = self.agents.list(clock::now_ns());
        let now = now.into_iter().map(|agent| (agent.name.clone(), agent));
        let now: BTreeMap<_, _> = now.collect();
        let before = mem::replace(&mut self.agents.published, now);
        for changed in changes(&before, &self.agents.published) {
            self.feed.agent_changed(changed);
        }
    }
}

/// What has changed, by name: first who left, then who came or is another one.
fn changes(before: &BTreeMap<String, Agent>, now: &BTreeMap<String, Agent>) -> Vec<AgentChanged> {
    let changed = |change: AgentChange, agent: &Agent| AgentChanged {
        change: change.into(),
        agent: Some(agent.clone()),
    };
    let has_left = |agent: &&Agent| !now.contains_key(&agent.name);
    let left = before.values().filter(has_left);
    let left = left.map(|agent| changed(AgentChange::Disconnected, agent));
    let others = now.values().filter_map(|agent| {
        let Some(earlier) = before.get(&agent.name) else {
            return Some(changed(AgentChange::Connected, agent));
        };
        if is_same(earlier, agent) {
            None
        } else if agent.state() == AgentState::Unresponsive && earlier.state != agent.state {
            Some(changed(AgentChange::Unresponsive, agent))
        } else {
            Some(changed(AgentChange::Updated, agent))
        }
    });
    left.chain(others).collect()
}

/// Whether nothing has changed but how well the clock is known, which it is better all the time.
fn is_same(one: &Agent, other: &Agent) -> bool {
    let without_clock = |agent: &Agent| Agent {
        clock: None,
        ..agent.clone()
    };
    let relation = |agent: &Agent| {
        let relation = agent.clock.and_then(|clock| clock.relation);
        relation.map(|relation| mem::discriminant(&relation))
    };
    relation(one) == relation(other) && without_clock(one) == without_clock(other)
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{
        ClockRelation, OffsetClock, SameClock, UnknownClock, clock_relation::Relation,
    };

    use super::*;

    fn agent(name: &str) -> Agent {
        Agent {
            name: name.into(),
            clock: Some(ClockRelation {
                relation: Some(Relation::Offset(OffsetClock::default())),
            }),
            ..Agent::default()
        }
    }

    fn of(before: &[Agent], now: &[Agent]) -> Vec<(AgentChange, String)> {
        let [before, now] = [before, now].map(|agents| {
            let agents = agents.iter().cloned();
            agents.map(|agent| (agent.name.clone(), agent)).collect()
        });
        let changes = changes(&before, &now).into_iter();
        let changes = changes.map(|of| (of.change(), of.agent.unwrap().name));
        changes.collect()
    }

    #[test]
    fn who_came_who_left_and_who_is_another_one_is_a_change_each() {
        use AgentChange as C;
        let unresponsive = Agent {
            state: AgentState::Unresponsive.into(),
            ..agent("a")
        };
        let busy = Agent {
            run_ids: vec!["1".into()],
            ..agent("b")
        };
        let changed = of(
            &[agent("a"), agent("b"), agent("c"), agent("d")],
            &[unresponsive.clone(), busy, agent("d"), agent("e")],
        );
        let named = |change, name: &str| (change, name.to_owned());
        let expected = [
            named(C::Disconnected, "c"),
            named(C::Unresponsive, "a"),
            named(C::Updated, "b"),
            named(C::Connected, "e"),
        ];
        assert_eq!(changed, expected);
        assert_eq!(of(&[unresponsive], &[agent("a")]), [named(C::Updated, "a")]);
    }

    #[test]
    fn a_clock_that_is_known_better_is_no_change_and_another_relation_is_one() {
        let with = |relation| Agent {
            clock: Some(ClockRelation {
                relation: Some(relation),
            }),
            ..agent("a")
        };
        let better = with(Relation::Offset(OffsetClock {
            bound_ns: 7,
            ..OffsetClock::default()
        }));
        assert_eq!(of(&[agent("a")], &[better]), []);
        for other in [
            with(Relation::Unknown(UnknownClock::default())),
            with(Relation::Same(SameClock::default())),
        ] {
            assert_eq!(of(&[agent("a")], &[other]).len(), 1);
        }
    }
}
