//! What all runs of a server share: their agents, the master, the history, and who may start one.

use std::sync::Arc;

use metronome_proto::{
    limits::REQUEST_ID_BYTES_MAX,
    run_id::RunId,
    v1::{self, Failure, FailureCode, OutcomeStatus},
};
use metronome_telemetry::sanitise;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::{
    active::ActiveRuns, exemplars::TracedPackets, history::RunHistory,
    outcome_counters::OutcomeCounters, reply_counters::ReplyCounters,
    verdict_counters::VerdictCounters,
};
use crate::{
    config::Secret,
    control::{
        agents::{AgentCounters, Registry},
        feed::Feed,
        master_client::MasterClient,
        own_pauses::OwnPauses,
        server_info::ServerInfo,
        status,
    },
    store::Store,
    upgrade::Upgrade,
};

/// The runs of a server, and what they work with.
pub(crate) struct RunManager {
    pub(super) server: Arc<ServerInfo>,
    /// The agents' keys are derived from it.
    pub(super) secret: Secret,
    pub(super) master_client: MasterClient,
    pub(super) registry: Arc<Registry>,
    pub(super) agent_counters: Arc<AgentCounters>,
    pub(super) upgrade: Arc<Upgrade>,
    pub(crate) active: ActiveRuns,
    pub(crate) feed: Arc<Feed>,
    pub(crate) history: RunHistory,
    pub(crate) verdict_counters: Arc<VerdictCounters>,
    pub(crate) outcome_counters: Arc<OutcomeCounters>,
    pub(crate) reply_counters: Arc<ReplyCounters>,
    pub(crate) traced_packets: Arc<TracedPackets>,
    pub(crate) pauses: Arc<OwnPauses>,
    /// Cancelled when no run is started any more.
    pub(crate) draining: CancellationToken,
    /// Held from the look for a request_id to the run that has it.
    starting: Mutex<()>,
}

impl RunManager {
    pub(crate) fn new(
        server: Arc<ServerInfo>,
        secret: Secret,
        master_client: MasterClient,
        registry: Arc<Registry>,
        agent_counters: Arc<AgentCounters>,
        store: Store,
        upgrade: Arc<Upgrade>,
    ) -> Self {
        Self {
            server,
            secret,
            master_client,
            feed: Arc::clone(&registry.feed),
            registry,
            agent_counters,
            upgrade,
            active: ActiveRuns::default(),
            history: RunHistory::new(store),
            verdict_counters: Arc::default(),
            outcome_counters: Arc::default(),
            reply_counters: Arc::default(),
            traced_packets: Arc::default(),
            pauses: Arc::default(),
            draining: CancellationToken::new(),
            starting: Mutex::default(),
        }
    }

    /// No run is started while the guard lives. A start that was under way has become a run by the
    /// time that it is returned, or has failed.
    pub(crate) async fn block_starts(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().await
    }

    /// One run from where its newest state is: while it lives from memory, then from the history.
    pub(crate) async fn find(&self, id: RunId) -> Result<v1::Run, Failure> {
        if let Some(run) = self.in_memory(id) {
            return Ok(run);
        }
        self.history
            .read(move |store| store.run(id))
            .await?
            .ok_or_else(|| status::unknown_run(id))
    }

    /// The run that was made with this request_id, from where its newest state is.
    pub(crate) async fn find_by_request_id(&self, request_id: &str) -> Result<v1::Run, Failure> {
        let asked = request_id.to_owned();
        let stored = self
            .history
            .read(move |store| store.by_request_id(&asked))
            .await?
            .ok_or_else(|| unknown_request_id(request_id))?;
        let id = status::parse_run_id(&stored.run_id)?;
        Ok(self.in_memory(id).unwrap_or(stored))
    }

    /// Publishes the end of a run: the objectives that it did not hold, and then the run itself.
    pub(super) fn publish_end(&self, id: RunId, run: &v1::Run) {
        let outcome = run.report.as_ref().and_then(|of| of.outcome.as_ref());
        let objectives = outcome.into_iter().flat_map(|of| &of.objectives);
        for objective in objectives.filter(|of| of.status() == OutcomeStatus::NotHeld) {
            let failed = v1::ThresholdFailed {
                run_id: run.run_id.clone(),
                objective: Some(objective.clone()),
                ended_run: false,
            };
            self.feed.threshold_failed(id, failed);
        }
        self.feed.run_ended(id, run.clone());
    }

    /// A run that lives here, or has ended and is not stored yet.
    pub(crate) fn in_memory(&self, id: RunId) -> Option<v1::Run> {
        let active = self.active.find(id).map(|active| active.run());
        active.or_else(|| {
            self.history
                .find_unstored(id)
                .map(|unstored| unstored.run.clone())
        })
    }
}

fn unknown_request_id(request_id: &str) -> Failure {
    let shown = sanitise::printable(request_id, REQUEST_ID_BYTES_MAX);
    let sentence = format!("there is no run with the request_id {shown:?}");
    Failure::new(FailureCode::RunUnknown, sentence).with("request_id", shown)
}
