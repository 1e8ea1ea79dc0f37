//! The agents connected now: who they are, how to give them orders, and their parts in runs.

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

use super::division::divide;
use crate::store::timestamp;

/// Orders to an agent that it has not read yet; more than this and it is not reading at all.
pub(super) const ORDERS_WAITING_MAX: usize = 64;

/// The stream of orders to one agent.
pub(super) type Orders = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// An order as it goes over the stream.
pub(super) fn order(message: server_message::Message) -> Result<v1::ServerMessage, Status> {
    Ok(v1::ServerMessage { message: Some(message) })
}

/// What an agent says of its part in a run.
#[derive(Debug)]
pub(super) struct FromAgent {
    /// Index within the run.
    pub(super) agent: usize,
    pub(super) news: News,
}

/// The news itself.
#[derive(Debug)]
pub(super) enum News {
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
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) connected_unix_ms: u64,
    pub(super) shares_clock: bool,
    pub(super) clients_max: u32,
    pub(super) cores: u32,
}

/// An agent that was given a part in a run.
#[derive(Clone, Debug)]
pub(super) struct Enlisted {
    pub(super) name: String,
    pub(super) orders: Orders,
    pub(super) first_client: u32,
    pub(super) clients: u32,
    pub(super) shares_clock: bool,
}

/// Why no agents could be found for a run; each is one sentence for the user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum EnlistError {
    #[error("no agent is connected; start one with `metronome-agent --server URL`")]
    NoAgent,
    #[error("agents named in the plan are not connected: {}; `benchctl agents` lists those that are", .0.join(", "))]
    NotConnected(Vec<String>),
    #[error(
        "{asked} clients are asked for and the agents ({agents}) can bring {free} more; ask for fewer, start another agent or raise --max-clients of an agent"
    )]
    TooFewClients { asked: u32, free: u32, agents: usize },
}

impl EnlistError {
    /// For programs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoAgent => "NO_AGENT",
            Self::NotConnected(_) => "AGENT_NOT_CONNECTED",
            Self::TooFewClients { .. } => "AGENTS_FULL",
        }
    }
}

/// All agents, by name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    agents: Mutex<BTreeMap<String, Attending>>,
}

#[derive(Debug)]
struct Attending {
    identity: Identity,
    orders: Orders,
    parts: HashMap<RunId, Part>,
}

/// An agent's part in a run.
#[derive(Debug)]
struct Part {
    /// Index within the run.
    agent: usize,
    clients: u32,
    inbox: mpsc::Sender<FromAgent>,
}

impl Attending {
    /// Clients that it can still bring.
    fn free(&self) -> u32 {
        let busy = self.parts.values().fold(0_u32, |sum, part| sum.saturating_add(part.clients));
        self.identity.clients_max.saturating_sub(busy)
    }
}

impl Registry {
    /// Lists an agent. False when the name is taken.
    pub(super) fn join(&self, identity: Identity, orders: Orders) -> bool {
        let mut agents = self.lock();
        if agents.contains_key(&identity.name) {
            return false;
        }
        agents.insert(identity.name.clone(), Attending { identity, orders, parts: HashMap::new() });
        true
    }

    /// Takes an agent off the list and tells its runs. True when it had a part in one.
    pub(super) async fn leave(&self, name: &str, why: &str) -> bool {
        let left = self.lock().remove(name);
        let had_a_part = left.as_ref().is_some_and(|agent| !agent.parts.is_empty());
        for part in left.into_iter().flat_map(|agent| agent.parts.into_values()) {
            let news = News::Lost(why.to_owned());
            // A run that no longer listens has ended.
            let _ = part.inbox.send(FromAgent { agent: part.agent, news }).await;
        }
        had_a_part
    }

    /// Finds agents for a run and gives each its part. Those without a client are left out.
    pub(super) fn enlist(
        &self,
        run: RunId,
        names: &[String],
        clients: u32,
        inbox: &mpsc::Sender<FromAgent>,
    ) -> Result<Vec<Enlisted>, EnlistError> {
        let mut agents = self.lock();
        let missing: Vec<_> = names.iter().filter(|name| !agents.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(EnlistError::NotConnected(missing));
        }
        let is_asked = |name: &String| names.is_empty() || names.contains(name);
        let mut asked: Vec<_> = agents.iter_mut().filter(|(name, _)| is_asked(name)).map(|(_, agent)| agent).collect();
        if asked.is_empty() {
            return Err(EnlistError::NoAgent);
        }
        let capacities: Vec<_> = asked.iter().map(|agent| agent.free()).collect();
        let free = capacities.iter().fold(0_u32, |sum, free| sum.saturating_add(*free));
        let shares = divide(clients, &capacities).ok_or(EnlistError::TooFewClients {
            asked: clients,
            free,
            agents: asked.len(),
        })?;
        let mut enlisted: Vec<Enlisted> = Vec::new();
        for (attending, clients) in asked.iter_mut().zip(shares).filter(|(_, share)| *share > 0) {
            let first_client = enlisted.last().map_or(0, |last| last.first_client + last.clients);
            attending.parts.insert(run, Part { agent: enlisted.len(), clients, inbox: inbox.clone() });
            enlisted.push(Enlisted {
                name: attending.identity.name.clone(),
                orders: attending.orders.clone(),
                first_client,
                clients,
                shares_clock: attending.identity.shares_clock,
            });
        }
        Ok(enlisted)
    }

    /// Frees the agents of a run.
    pub(super) fn release(&self, run: RunId) {
        for agent in self.lock().values_mut() {
            agent.parts.remove(&run);
        }
    }

    /// Where news from an agent about a run goes, and its index there. `None`: it has no part in it,
    /// or no longer.
    pub(super) fn inbox(&self, name: &str, run: RunId) -> Option<(mpsc::Sender<FromAgent>, usize)> {
        let agents = self.lock();
        let part = agents.get(name)?.parts.get(&run)?;
        Some((part.inbox.clone(), part.agent))
    }

    /// The runs in which an agent has a part.
    pub(super) fn runs_of(&self, name: &str) -> Vec<String> {
        self.lock().get(name).map(|agent| agent.parts.keys().map(RunId::to_string).collect()).unwrap_or_default()
    }

    /// Ends every stream.
    pub(super) fn dismiss(&self) {
        for agent in self.lock().values() {
            let _ = agent.orders.try_send(Err(Status::unavailable("the server is shutting down")));
        }
    }

    /// As the API tells them.
    pub(super) fn list(&self) -> Vec<v1::Agent> {
        self.lock().values().map(describe).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Attending>> {
        // No code between lock and unlock can leave it half changed.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(agent: &Attending) -> v1::Agent {
    let identity = &agent.identity;
    let mut run_ids: Vec<_> = agent.parts.keys().map(RunId::to_string).collect();
    run_ids.sort_unstable();
    v1::Agent {
        name: identity.name.clone(),
        version: identity.version.clone(),
        peer: identity.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        connected_at: Some(timestamp(identity.connected_unix_ms)),
        shares_clock: identity.shares_clock,
        clients_max: identity.clients_max,
        run_ids,
        cores: identity.cores,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(registry: &Registry, name: &str, clients_max: u32) -> bool {
        let identity = Identity {
            name: name.into(),
            version: String::new(),
            peer: None,
            connected_unix_ms: 0,
            shares_clock: true,
            clients_max,
            cores: 1,
        };
        registry.join(identity, mpsc::channel(1).0)
    }

    fn enlist(
        registry: &Registry,
        run: u64,
        names: &[&str],
        clients: u32,
    ) -> Result<Vec<(String, u32, u32)>, EnlistError> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let enlisted = registry.enlist(RunId::from_bits(run), &names, clients, &mpsc::channel(8).0)?;
        Ok(enlisted.into_iter().map(|agent| (agent.name, agent.first_client, agent.clients)).collect())
    }

    #[test]
    fn clients_are_divided_among_those_asked_for_or_all() {
        let registry = Registry::default();
        assert_eq!(enlist(&registry, 1, &[], 1), Err(EnlistError::NoAgent));
        assert!(join(&registry, "b", 10) && join(&registry, "a", 10) && join(&registry, "c", 10));
        assert!(!join(&registry, "a", 10), "the name is taken");
        let part = |name: &str, first, clients| (name.to_owned(), first, clients);
        assert_eq!(enlist(&registry, 1, &[], 5), Ok(vec![part("a", 0, 2), part("b", 2, 2), part("c", 4, 1)]));
        assert_eq!(enlist(&registry, 2, &["c", "a"], 3), Ok(vec![part("a", 0, 2), part("c", 2, 1)]));
        assert_eq!(
            enlist(&registry, 3, &["b", "x", "y"], 1),
            Err(EnlistError::NotConnected(vec!["x".into(), "y".into()]))
        );
        let full = EnlistError::TooFewClients { asked: 30, free: 22, agents: 3 };
        assert_eq!(enlist(&registry, 3, &[], 30), Err(full));
        registry.release(RunId::from_bits(1));
        registry.release(RunId::from_bits(2));
        assert_eq!(enlist(&registry, 3, &[], 30).map(|parts| parts.len()), Ok(3));
    }

    #[tokio::test]
    async fn an_agent_that_leaves_is_lost_to_its_runs_and_its_name_is_free() {
        let registry = Registry::default();
        assert!(join(&registry, "a", 10));
        let (sender, mut inbox) = mpsc::channel(8);
        registry.enlist(RunId::from_bits(1), &[], 2, &sender).unwrap();
        assert_eq!(registry.list()[0].run_ids, [RunId::from_bits(1).to_string()]);
        registry.leave("a", "gone").await;
        let FromAgent { agent: 0, news: News::Lost(why) } = inbox.recv().await.unwrap() else { panic!("not lost") };
        assert_eq!(why, "gone");
        assert!(registry.inbox("a", RunId::from_bits(1)).is_none());
        assert!(join(&registry, "a", 10));
    }
}
