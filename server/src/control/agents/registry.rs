//! The agents that are connected now, how to give them orders, and their assignments in runs.
//!
//! An assignment belongs to the agent, not to its stream: after an upgrade of the server, agents
//! with assignments are expected back, and orders wait for them meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{
    run_id::RunId,
    v1::{self, server_message::Message},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    assign_clients::{AssignError, AssignedAgent, choose_agents},
    assignment::{AgentInfo, Assignment, ConnectedAgent, LostAssignment},
    messages::{FromAgent, Orders, order, stop},
};
use crate::model::AgentShare;

/// Orders that wait for an agent that is expected back: a Stop for each run, and some to spare.
const ORDERS_EXPECTED_MAX: usize = 32;

/// All agents, by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    agents: Mutex<Agents>,
}

#[derive(Debug, Default)]
struct Agents {
    connected: BTreeMap<String, ConnectedAgent>,
    expected: BTreeMap<String, ExpectedAgent>,
}

/// An agent that had a stream with the server before this one.
#[derive(Debug, Default)]
struct ExpectedAgent {
    assignments: HashMap<RunId, Assignment>,
    orders: Vec<Message>,
}

impl Registry {
    /// Lists an agent whose Register names `runs` as going on. `None` when the name is taken; else
    /// the assignments that it was expected to bring back and has not, for the caller to report.
    ///
    /// Runs in which it has no assignment here are stopped: after a short network failure, say,
    /// their load would take the place of the next run's clients.
    pub(crate) fn join(
        &self,
        info: AgentInfo,
        orders: Orders,
        runs: &[RunId],
    ) -> Option<Vec<LostAssignment>> {
        let mut agents = self.lock();
        if agents.connected.contains_key(&info.name) {
            return None;
        }
        let expected = agents.expected.remove(&info.name).unwrap_or_default();
        let (assignments, lost): (HashMap<_, _>, HashMap<_, _>) = expected
            .assignments
            .into_iter()
            .partition(|(run, _)| runs.contains(run));
        for message in expected.orders {
            // The stream is new and has room for all of them.
            let _ = orders.try_send(order(message));
        }
        for run in runs.iter().filter(|run| !assignments.contains_key(run)) {
            // An order for which there is no room is not needed: that load ends with its lease.
            let _ = orders.try_send(order(stop(*run)));
        }
        let name = info.name.clone();
        let agent = ConnectedAgent {
            info,
            orders,
            assignments,
        };
        agents.connected.insert(name, agent);
        Some(lost.into_values().map(LostAssignment).collect())
    }

    /// Expects an agent back that has an assignment in a run and no stream yet.
    pub(crate) fn expect(
        &self,
        name: &str,
        run: RunId,
        agent: usize,
        clients: u32,
        inbox: &mpsc::Sender<FromAgent>,
    ) {
        let assignment = Assignment {
            agent,
            clients,
            inbox: inbox.clone(),
        };
        self.lock()
            .expected
            .entry(name.to_owned())
            .or_default()
            .assignments
            .insert(run, assignment);
    }

    /// Expects no agent any longer. Returns those that have not come back, and what each has lost.
    pub(crate) fn give_up_expecting(&self) -> Vec<(String, Vec<LostAssignment>)> {
        let expected = std::mem::take(&mut self.lock().expected);
        let lost = |agent: ExpectedAgent| {
            let assignments = agent.assignments.into_values();
            assignments.map(LostAssignment).collect()
        };
        expected
            .into_iter()
            .map(|(name, agent)| (name, lost(agent)))
            .collect()
    }

    /// Gives an agent an order about a run in which it has an assignment, without waiting. False
    /// when it cannot take the order.
    pub(crate) fn order(&self, name: &str, run: RunId, message: Message) -> bool {
        let mut agents = self.lock();
        if let Some(agent) = agents.connected.get(name) {
            return agent.assignments.contains_key(&run)
                && agent.orders.try_send(order(message)).is_ok();
        }
        let Some(expected) = agents.expected.get_mut(name) else {
            return false;
        };
        let has_room =
            expected.assignments.contains_key(&run) && expected.orders.len() < ORDERS_EXPECTED_MAX;
        if has_room {
            expected.orders.push(message);
        }
        has_room
    }

    /// Takes an agent off the list and reports the loss to its runs. True when it had an
    /// assignment.
    pub(super) async fn leave(&self, name: &str, why: &str) -> bool {
        let left = self.lock().connected.remove(name);
        let assignments = left.map(|agent| agent.assignments).unwrap_or_default();
        let had_an_assignment = !assignments.is_empty();
        for assignment in assignments.into_values() {
            LostAssignment(assignment).report(why).await;
        }
        had_an_assignment
    }

    /// Finds agents for a run and gives each its assignment. Those without a client are left out.
    pub(crate) fn assign(
        &self,
        run: RunId,
        names: &[String],
        clients: u32,
        inbox: &mpsc::Sender<FromAgent>,
    ) -> Result<Vec<AssignedAgent>, AssignError> {
        let mut agents = self.lock();
        let capacities: Vec<_> = agents
            .connected
            .values()
            .map(|agent| (agent.info.name.as_str(), agent.free()))
            .collect();
        let chosen = choose_agents(&capacities, names, clients)?;
        let mut assigned: Vec<AssignedAgent> = Vec::new();
        let mut first_client = 0;
        for (name, clients) in chosen {
            let Some(agent) = agents.connected.get_mut(&name) else {
                continue;
            };
            let assignment = Assignment {
                agent: assigned.len(),
                clients,
                inbox: inbox.clone(),
            };
            agent.assignments.insert(run, assignment);
            assigned.push(AssignedAgent {
                name,
                share: AgentShare::new(first_client, clients, agent.info.clock),
            });
            first_client += clients;
        }
        Ok(assigned)
    }

    /// Ends the assignments of a run.
    pub(crate) fn release(&self, run: RunId) {
        let agents = &mut *self.lock();
        for agent in agents.connected.values_mut() {
            agent.assignments.remove(&run);
        }
        for agent in agents.expected.values_mut() {
            agent.assignments.remove(&run);
        }
    }

    /// Where an agent's reports about a run go, and its index there. `None` when it has no
    /// assignment in that run.
    pub(super) fn inbox(&self, name: &str, run: RunId) -> Option<(mpsc::Sender<FromAgent>, usize)> {
        let agents = self.lock();
        let assignment = agents.connected.get(name)?.assignments.get(&run)?;
        Some((assignment.inbox.clone(), assignment.agent))
    }

    /// The runs in which an agent has an assignment.
    pub(super) fn runs_of(&self, name: &str) -> Vec<String> {
        let agents = self.lock();
        agents
            .connected
            .get(name)
            .map(|agent| agent.assignments.keys().map(RunId::to_string).collect())
            .unwrap_or_default()
    }

    /// Ends every stream, with one sentence for the agents' logs.
    pub(crate) fn dismiss(&self, why: &str) {
        for agent in self.lock().connected.values() {
            let _ = agent.orders.try_send(Err(Status::unavailable(why)));
        }
    }

    /// The agents that are connected, as the API lists them.
    pub(crate) fn list(&self) -> Vec<v1::Agent> {
        let agents = self.lock();
        agents
            .connected
            .values()
            .map(ConnectedAgent::to_proto)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Agents> {
        // No code between lock and unlock can leave it half changed.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::messages::{AgentReport, stop},
        *,
    };
    use crate::model::ClockRelation;

    fn info(name: &str, clients_max: u32) -> AgentInfo {
        AgentInfo {
            name: name.into(),
            version: String::new(),
            peer: None,
            connected_unix_ms: 0,
            clock: ClockRelation::Same,
            clients_max,
            cores: 1,
        }
    }

    fn join(registry: &Registry, name: &str, clients_max: u32) -> bool {
        let info = info(name, clients_max);
        registry.join(info, mpsc::channel(1).0, &[]).is_some()
    }

    fn assign(
        registry: &Registry,
        run: u64,
        names: &[&str],
        clients: u32,
    ) -> Result<Vec<(String, u32, u32)>, AssignError> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let assigned =
            registry.assign(RunId::from_bits(run), &names, clients, &mpsc::channel(8).0)?;
        Ok(assigned
            .into_iter()
            .map(|agent| (agent.name, agent.share.first_client, agent.share.clients))
            .collect())
    }

    #[test]
    fn clients_are_divided_among_those_asked_for_or_all() {
        let registry = Registry::default();
        assert_eq!(assign(&registry, 1, &[], 1), Err(AssignError::NoAgent));
        assert!(join(&registry, "b", 10) && join(&registry, "a", 10) && join(&registry, "c", 10));
        assert!(!join(&registry, "a", 10), "the name is taken");
        let assignment = |name: &str, first, clients| (name.to_owned(), first, clients);
        assert_eq!(
            assign(&registry, 1, &[], 5),
            Ok(vec![
                assignment("a", 0, 2),
                assignment("b", 2, 2),
                assignment("c", 4, 1)
            ])
        );
        assert_eq!(
            assign(&registry, 2, &["c", "a"], 3),
            Ok(vec![assignment("a", 0, 2), assignment("c", 2, 1)])
        );
        assert_eq!(
            assign(&registry, 3, &["b", "x", "y"], 1),
            Err(AssignError::NotConnected(vec!["x".into(), "y".into()]))
        );
        let full = AssignError::TooFewClients {
            asked: 30,
            free: 22,
            agents: 3,
        };
        assert_eq!(assign(&registry, 3, &[], 30), Err(full));
        registry.release(RunId::from_bits(1));
        registry.release(RunId::from_bits(2));
        assert_eq!(
            assign(&registry, 3, &[], 30).map(|assignments| assignments.len()),
            Ok(3)
        );
    }

    #[tokio::test]
    async fn an_agent_that_leaves_is_lost_to_its_runs_and_its_name_is_free() {
        let registry = Registry::default();
        assert!(join(&registry, "a", 10));
        let (sender, mut inbox) = mpsc::channel(8);
        registry
            .assign(RunId::from_bits(1), &[], 2, &sender)
            .unwrap();
        assert_eq!(
            registry.list()[0].run_ids,
            [RunId::from_bits(1).to_string()]
        );
        registry.leave("a", "gone").await;
        let FromAgent {
            agent: 0,
            report: AgentReport::Lost(why),
        } = inbox.recv().await.unwrap()
        else {
            panic!("not lost")
        };
        assert_eq!(why, "gone");
        assert!(registry.inbox("a", RunId::from_bits(1)).is_none());
        assert!(join(&registry, "a", 10));
    }

    #[tokio::test]
    async fn an_agent_that_is_expected_back_finds_its_parts_and_the_orders_that_waited() {
        let registry = Registry::default();
        let (sender, mut inbox) = mpsc::channel(8);
        let [first, second] = [1, 2].map(RunId::from_bits);
        registry.expect("a", first, 0, 2, &sender);
        registry.expect("a", second, 1, 3, &sender);
        registry.expect("b", first, 4, 5, &sender);
        assert!(registry.order("a", first, stop(first)));
        assert!(
            !registry.order("a", RunId::from_bits(9), stop(first))
                && !registry.order("c", first, stop(first))
        );

        let (orders, mut heard) = mpsc::channel(8);
        let lost = registry.join(info("a", 10), orders, &[first]).unwrap();
        assert_eq!(
            heard.try_recv().unwrap().unwrap().message,
            Some(stop(first))
        );
        assert_eq!(registry.runs_of("a"), [first.to_string()]);
        assert!(registry.inbox("a", first).is_some() && registry.inbox("a", second).is_none());
        assert_eq!(lost.len(), 1, "it has come back without its second run");
        for lost in lost {
            lost.report("gone").await;
        }
        assert!(matches!(
            inbox.recv().await,
            Some(FromAgent {
                agent: 1,
                report: AgentReport::Lost(_)
            })
        ));

        let missing = registry.give_up_expecting();
        assert_eq!(
            missing
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert!(registry.give_up_expecting().is_empty());
        assert!(
            registry
                .join(info("b", 10), mpsc::channel(8).0, &[first])
                .unwrap()
                .is_empty()
        );
        assert!(registry.runs_of("b").is_empty());
    }

    #[test]
    fn an_agent_is_ordered_to_stop_the_runs_that_it_brings_and_has_no_assignment_in() {
        let registry = Registry::default();
        let [known, stale] = [1, 2].map(RunId::from_bits);
        registry.expect("a", known, 0, 2, &mpsc::channel(8).0);
        let (orders, mut heard) = mpsc::channel(8);
        assert!(
            registry
                .join(info("a", 10), orders, &[known, stale])
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            heard.try_recv().unwrap().unwrap().message,
            Some(stop(stale))
        );
        assert!(
            heard.try_recv().is_err(),
            "its assignment in the other goes on"
        );
    }
}
