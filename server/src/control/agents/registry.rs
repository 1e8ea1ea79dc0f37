//! The agents: who is connected now, how to give them orders, and their assignments in runs.
//!
//! A assignment belongs to the agent, not to its stream: after an upgrade of the server the agents that
//! have assignments are expected back, and what they are ordered meanwhile waits for them.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{
    run_id::RunId,
    v1::{self, server_message},
};
use tokio::sync::mpsc;
use tonic::Status;

use crate::{control::agents::assign_clients::divide, model::AgentShare, wall_clock::timestamp};

/// Orders to an agent that it has not read yet; more than this and it is not reading at all.
pub(crate) const ORDERS_WAITING_MAX: usize = 64;

/// The stream of orders to one agent.
pub(crate) type Orders = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// An order as it goes over the stream.
pub(crate) fn order(message: server_message::Message) -> Result<v1::ServerMessage, Status> {
    Ok(v1::ServerMessage {
        message: Some(message),
    })
}

/// What an agent says of its assignment in a run.
#[derive(Debug)]
pub(crate) struct FromAgent {
    /// Index within the run.
    pub(crate) agent: usize,
    pub(crate) report: AgentReport,
}

/// The news itself.
#[derive(Debug)]
pub(crate) enum AgentReport {
    Prepared,
    Progress(v1::Progress),
    Records(v1::ClientRecords),
    Finished(v1::Finished),
    Failed(String),
    /// Its stream is gone, for this reason.
    Lost(String),
}

/// Who an agent is.
#[derive(Clone, Debug)]
pub(crate) struct AgentInfo {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connected_unix_ms: u64,
    pub(crate) shares_clock: bool,
    pub(crate) clients_max: u32,
    pub(crate) cores: u32,
}

/// An agent that was given a assignment in a run.
#[derive(Clone, Debug)]
pub(crate) struct AssignedAgent {
    pub(crate) name: String,
    pub(crate) first_client: u32,
    pub(crate) clients: u32,
    pub(crate) shares_clock: bool,
}

impl AssignedAgent {
    pub(crate) fn share(&self) -> AgentShare {
        AgentShare::new(self.first_client, self.clients, self.shares_clock)
    }
}

/// Why no agents could be found for a run; each is one sentence for the user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AssignError {
    #[error("no agent is connected; start one with `metronome-agent --server URL`")]
    NoAgent,
    #[error("agents named in the plan are not connected: {}; `benchctl agents` lists those that are", .0.join(", "))]
    NotConnected(Vec<String>),
    #[error(
        "{asked} clients are asked for and the agents ({agents}) can bring {free} more; ask for fewer, start another agent or raise --max-clients of an agent"
    )]
    TooFewClients {
        asked: u32,
        free: u32,
        agents: usize,
    },
}

impl AssignError {
    /// For programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoAgent => "NO_AGENT",
            Self::NotConnected(_) => "AGENT_NOT_CONNECTED",
            Self::TooFewClients { .. } => "AGENTS_FULL",
        }
    }
}

/// All agents, by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    agents: Mutex<Agents>,
}

#[derive(Debug, Default)]
struct Agents {
    attending: BTreeMap<String, Attending>,
    expected: BTreeMap<String, Expected>,
}

/// An agent that had a stream with the server before this one.
#[derive(Debug, Default)]
struct Expected {
    assignments: HashMap<RunId, Assignment>,
    orders: Vec<server_message::Message>,
}

/// Orders that wait for an agent that is expected back: a Stop for each run, and some to spare.
const ORDERS_EXPECTED_MAX: usize = 32;

#[derive(Debug)]
struct Attending {
    info: AgentInfo,
    orders: Orders,
    assignments: HashMap<RunId, Assignment>,
}

/// A assignment whose agent is gone, until its run is told.
#[derive(Debug)]
#[must_use]
pub(crate) struct LostAssignment(Assignment);

impl LostAssignment {
    pub(crate) async fn report(self, why: &str) {
        let Self(Assignment { agent, inbox, .. }) = self;
        // A run that no longer listens has ended.
        let _ = inbox
            .send(FromAgent {
                agent,
                report: AgentReport::Lost(why.to_owned()),
            })
            .await;
    }
}

/// An agent's assignment in a run.
#[derive(Debug)]
struct Assignment {
    /// Index within the run.
    agent: usize,
    clients: u32,
    inbox: mpsc::Sender<FromAgent>,
}

impl Attending {
    /// Clients that it can still bring.
    fn free(&self) -> u32 {
        let busy = self.assignments.values().fold(0_u32, |sum, assignment| {
            sum.saturating_add(assignment.clients)
        });
        self.info.clients_max.saturating_sub(busy)
    }
}

impl Registry {
    /// Lists an agent that says that it still has `runs`. `None` when the name is taken; else what
    /// it has lost of that which it was expected to bring back, for the caller to tell. Runs in
    /// which it has no assignment here it is told to stop: after a network that blinked, say, their load
    /// would take the next run's clients.
    pub(crate) fn join(
        &self,
        info: AgentInfo,
        orders: Orders,
        runs: &[RunId],
    ) -> Option<Vec<LostAssignment>> {
        let mut agents = self.lock();
        if agents.attending.contains_key(&info.name) {
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
            // What there is no room for ends by itself, when its lease does.
            let _ = orders.try_send(order(stop(*run)));
        }
        agents.attending.insert(
            info.name.clone(),
            Attending {
                info,
                orders,
                assignments,
            },
        );
        Some(lost.into_values().map(LostAssignment).collect())
    }

    /// An agent has a assignment in a run and no stream yet.
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

    /// Waits for nobody any more. Returns who has not come back, and what is lost with each.
    pub(crate) fn give_up_expecting(&self) -> Vec<(String, Vec<LostAssignment>)> {
        let expected = std::mem::take(&mut self.lock().expected);
        let lost = |agent: Expected| {
            agent
                .assignments
                .into_values()
                .map(LostAssignment)
                .collect()
        };
        expected
            .into_iter()
            .map(|(name, agent)| (name, lost(agent)))
            .collect()
    }

    /// Gives an agent an order about a run in which it has a assignment, without waiting. False when it
    /// cannot take it.
    pub(crate) fn order(&self, name: &str, run: RunId, message: server_message::Message) -> bool {
        let mut agents = self.lock();
        if let Some(agent) = agents.attending.get(name) {
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

    /// Takes an agent off the list and tells its runs. True when it had a assignment in one.
    pub(crate) async fn leave(&self, name: &str, why: &str) -> bool {
        let left = self.lock().attending.remove(name);
        let had_an_assignment = left
            .as_ref()
            .is_some_and(|agent| !agent.assignments.is_empty());
        for assignment in left
            .into_iter()
            .flat_map(|agent| agent.assignments.into_values())
        {
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
        let agents = &mut self.lock().attending;
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !agents.contains_key(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(AssignError::NotConnected(missing));
        }
        let is_asked = |name: &String| names.is_empty() || names.contains(name);
        let mut asked: Vec<_> = agents
            .iter_mut()
            .filter(|(name, _)| is_asked(name))
            .map(|(_, agent)| agent)
            .collect();
        if asked.is_empty() {
            return Err(AssignError::NoAgent);
        }
        let capacities: Vec<_> = asked.iter().map(|agent| agent.free()).collect();
        let free = capacities
            .iter()
            .fold(0_u32, |sum, free| sum.saturating_add(*free));
        let shares = divide(clients, &capacities).ok_or(AssignError::TooFewClients {
            asked: clients,
            free,
            agents: asked.len(),
        })?;
        let mut assigned: Vec<AssignedAgent> = Vec::new();
        for (attending, clients) in asked.iter_mut().zip(shares).filter(|(_, share)| *share > 0) {
            let first_client = assigned
                .last()
                .map_or(0, |last| last.first_client + last.clients);
            attending.assignments.insert(
                run,
                Assignment {
                    agent: assigned.len(),
                    clients,
                    inbox: inbox.clone(),
                },
            );
            assigned.push(AssignedAgent {
                name: attending.info.name.clone(),
                first_client,
                clients,
                shares_clock: attending.info.shares_clock,
            });
        }
        Ok(assigned)
    }

    /// Frees the agents of a run.
    pub(crate) fn release(&self, run: RunId) {
        let mut agents = self.lock();
        agents
            .attending
            .values_mut()
            .for_each(|agent| drop(agent.assignments.remove(&run)));
        agents
            .expected
            .values_mut()
            .for_each(|agent| drop(agent.assignments.remove(&run)));
    }

    /// Where news from an agent about a run goes, and its index there. `None`: it has no assignment in
    /// it, or no longer.
    pub(crate) fn inbox(&self, name: &str, run: RunId) -> Option<(mpsc::Sender<FromAgent>, usize)> {
        let agents = self.lock();
        let assignment = agents.attending.get(name)?.assignments.get(&run)?;
        Some((assignment.inbox.clone(), assignment.agent))
    }

    /// The runs in which an agent has a assignment.
    pub(crate) fn runs_of(&self, name: &str) -> Vec<String> {
        let agents = self.lock();
        agents
            .attending
            .get(name)
            .map(|agent| agent.assignments.keys().map(RunId::to_string).collect())
            .unwrap_or_default()
    }

    /// Ends every stream, with one sentence for the agents' logs.
    pub(crate) fn dismiss(&self, why: &str) {
        for agent in self.lock().attending.values() {
            let _ = agent.orders.try_send(Err(Status::unavailable(why)));
        }
    }

    /// As the API tells them.
    pub(crate) fn list(&self) -> Vec<v1::Agent> {
        self.lock().attending.values().map(describe).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Agents> {
        // No code between lock and unlock can leave it half changed.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(run: RunId) -> server_message::Message {
    server_message::Message::Stop(v1::Stop {
        run_id: run.to_string(),
    })
}

fn describe(agent: &Attending) -> v1::Agent {
    let info = &agent.info;
    let mut run_ids: Vec<_> = agent.assignments.keys().map(RunId::to_string).collect();
    run_ids.sort_unstable();
    v1::Agent {
        name: info.name.clone(),
        version: info.version.clone(),
        peer: info.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        connected_at: Some(timestamp(info.connected_unix_ms)),
        shares_clock: info.shares_clock,
        clients_max: info.clients_max,
        run_ids,
        cores: info.cores,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, clients_max: u32) -> AgentInfo {
        AgentInfo {
            name: name.into(),
            version: String::new(),
            peer: None,
            connected_unix_ms: 0,
            shares_clock: true,
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
            .map(|agent| (agent.name, agent.first_client, agent.clients))
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
    fn an_agent_is_told_to_stop_the_runs_that_it_brings_and_has_no_part_in() {
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
