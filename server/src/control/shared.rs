//! The parts of a server, handed out to the API, to the end of the server and to an upgrade. Each
//! part owns its state; nothing is kept here.

use std::sync::Arc;

use super::{
    agents::Registry, master_client::MasterClient, monitor::Counters, runs::RunManager,
    server_info::ServerInfo,
};
use crate::{config::Secret, store::Store, upgrade::Upgrade};

/// The server behind the API.
pub(crate) struct Shared {
    pub(crate) server: Arc<ServerInfo>,
    pub(crate) master_client: MasterClient,
    pub(crate) registry: Arc<Registry>,
    pub(crate) runs: Arc<RunManager>,
    pub(crate) counters: Counters,
    pub(crate) upgrade: Arc<Upgrade>,
}

impl Shared {
    pub(crate) fn new(
        server: ServerInfo,
        secret: Secret,
        store: Store,
        master_client: MasterClient,
        upgrade: Upgrade,
    ) -> Self {
        let (server, upgrade) = (Arc::new(server), Arc::new(upgrade));
        let registry = Arc::<Registry>::default();
        let agent_counters = Arc::default();
        let runs = RunManager::new(
            Arc::clone(&server),
            secret,
            master_client.clone(),
            Arc::clone(&registry),
            Arc::clone(&agent_counters),
            store,
            Arc::clone(&upgrade),
        );
        let counters = Counters {
            agents: agent_counters,
            verdicts: Arc::clone(&runs.verdict_counters),
            outcomes: Arc::clone(&runs.outcome_counters),
            replies: Arc::clone(&runs.reply_counters),
            traced_packets: Arc::clone(&runs.traced_packets),
            calls: Arc::default(),
        };
        Self {
            server,
            master_client,
            registry,
            runs: Arc::new(runs),
            counters,
            upgrade,
        }
    }
}
