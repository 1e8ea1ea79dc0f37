//! The agents by name, connected or expected back: who has which place.

use std::collections::BTreeMap;

use metronome_os::clock;
use metronome_proto::v1::{self, FailureCode};

use super::{
    assign_clients::{Candidate, Refusal},
    assignment::{ConnectedAgent, ExpectedAgent},
    messages::Orders,
    unresponsive::Unresponsive,
};
use crate::model::ResumeToken;

/// All agents. One name is in at most one of the two.
#[derive(Debug, Default)]
pub(super) struct Agents {
    pub(super) connected: BTreeMap<String, ConnectedAgent>,
    pub(super) expected: BTreeMap<String, ExpectedAgent>,
    pub(super) unresponsive: Unresponsive,
    /// They are like this in the last events about them.
    pub(super) published: BTreeMap<String, v1::Agent>,
}

impl Agents {
    /// The resume token of a name that is taken. `Some(None)`: no agent has it.
    pub(super) fn token_of(&self, name: &str) -> Option<Option<ResumeToken>> {
        let connected = self.connected.get(name);
        let connected = connected.map(|agent| Some(agent.resume_token));
        connected.or_else(|| self.expected.get(name).map(|agent| agent.resume_token))
    }

    /// What the agent of a name had, on whatever stream; its old stream ends.
    pub(super) fn give_up_place(&mut self, name: &str) -> ExpectedAgent {
        let expected = self.expected.remove(name);
        let Some(old) = self.connected.remove(name) else {
            return expected.unwrap_or_default();
        };
        old.replaced.cancel();
        ExpectedAgent {
            resume_token: Some(old.resume_token),
            assignments: old.assignments,
        }
    }

    /// Whether agents that are expected back could take a run that those connected cannot.
    pub(super) fn may_return(&self, refusal: &Refusal) -> bool {
        let names = &refusal.agents;
        match refusal.failure.code() {
            FailureCode::NoAgent | FailureCode::AgentsFull | FailureCode::AgentsUnresponsive => {
                names.is_empty()
                    && (!self.expected.is_empty()
                        || self.connected.values().any(ConnectedAgent::is_returning))
            }
            FailureCode::AgentNotConnected => names.iter().all(|name| {
                let connected = self.connected.get(name);
                connected.is_some_and(|agent| agent.clock.is_some() || agent.is_returning())
                    || self.expected.contains_key(name)
            }),
            _ => false,
        }
    }

    /// The agent of a stream, unless it is on another one.
    pub(super) fn on_stream(&mut self, name: &str, stream: &Orders) -> Option<&mut ConnectedAgent> {
        let agent = self.connected.get_mut(name)?;
        agent.orders.same_channel(stream).then_some(agent)
    }

    pub(super) fn remove_if_on(&mut self, name: &str, stream: &Orders) -> Option<ConnectedAgent> {
        self.on_stream(name, stream)?;
        self.unresponsive.note_left(name, clock::now_ns());
        self.connected.remove(name)
    }

    pub(super) fn candidate<'a>(&self, agent: &'a ConnectedAgent, now_ns: u64) -> Candidate<'a> {
        Candidate {
            name: &agent.info.name,
            free: agent.free(),
            capabilities: &agent.info.capabilities,
            is_unresponsive: self.unresponsive.has(&agent.info.name, now_ns),
        }
    }
}
