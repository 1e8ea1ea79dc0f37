//! StartRun, from the request to a run that lives.

use std::sync::Arc;

use metronome_proto::{handshake::Key, run_id::RunId, v1};
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use super::{
    driver::{Driver, DriverInput},
    manager::RunManager,
    start_request::StartRequest,
    trace_report,
};
use crate::{
    control::{
        agents::{AssignError, AssignedAgent, FromAgent},
        status,
    },
    master::admission::{Admission, AdmitError},
    model::AgentRecords,
    store::InsertError,
    wall_clock,
};

/// Most agents in one run; an agent's index is 0 to 255.
const AGENTS_MAX: usize = 256;
/// Reports of agents that a run has not looked at yet.
pub(super) const INBOX_MAX: usize = 256;
/// Two runs of one millisecond share an id once in 65,536 times.
const ID_ATTEMPTS_MAX: u32 = 5;

/// Starts a run on a task of its own: a caller that goes away in the middle must not leave half a
/// run behind.
pub(crate) async fn start_run(
    runs: &Arc<RunManager>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Status> {
    let runs = Arc::clone(runs);
    let work = async move { start_or_find(&runs, request).await }.instrument(Span::current());
    tokio::spawn(work).await.map_err(|_| {
        status::plain(
            Code::Internal,
            "START_FAILED",
            "the run could not be started",
        )
    })?
}

/// Starts a run, or finds the one that the same request has started before.
async fn start_or_find(
    runs: &Arc<RunManager>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Status> {
    let request = StartRequest::check(request)?;
    // Before the wait for our turn, which an upgrade holds, and after it.
    runs.upgrade.refuse_start()?;
    let _one_at_a_time = runs.block_starts().await;
    if let Some(run) = find_earlier(runs, &request).await? {
        return Ok(run);
    }
    if runs.draining.is_cancelled() {
        let sentence = "the server is shutting down and starts no runs";
        return Err(status::plain(Code::Unavailable, "DRAINING", sentence));
    }
    runs.upgrade.refuse_start()?;
    for _ in 0..ID_ATTEMPTS_MAX {
        if let Some(run) = try_start(runs, &request).await? {
            return Ok(run);
        }
    }
    Err(status::plain(
        Code::Internal,
        "RUN_ID_TAKEN",
        "no free run id was found; check the clock and try again",
    ))
}

/// The run that was started with the same request_id, also before this server was.
async fn find_earlier(
    runs: &RunManager,
    request: &StartRequest,
) -> Result<Option<v1::Run>, Status> {
    if request.request_id.is_empty() {
        return Ok(None);
    }
    let request_id = request.request_id.clone();
    let stored = runs
        .history
        .read(move |store| store.by_request_id(&request_id))
        .await?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    if stored.plan.as_ref() != Some(&request.plan.to_proto()) {
        let sentence = format!(
            "request_id {} belongs to run {}, which has another plan; \
             use a new request_id for a new run",
            request.request_id, stored.run_id
        );
        return Err(status::plain(
            Code::AlreadyExists,
            "REQUEST_ID_TAKEN",
            &sentence,
        ));
    }
    // The stored row of a run that lives is how it began.
    let id = status::parse_run_id(&stored.run_id)?;
    runs.find(id).await.map(Some)
}

/// Sets apart the ids of runs that begin in one millisecond.
fn random_u16() -> Result<u16, Status> {
    getrandom::u32().map(|number| number as u16).map_err(|_| {
        status::plain(
            Code::Unavailable,
            "NO_RANDOM_BYTES",
            "the system gives no random bytes for the run's id",
        )
    })
}

/// Starts a run under a new id. `None` when that id was taken.
async fn try_start(
    runs: &Arc<RunManager>,
    request: &StartRequest,
) -> Result<Option<v1::Run>, Status> {
    let created_unix_ms = wall_clock::unix_ms();
    let id = RunId::new(created_unix_ms, random_u16()?);
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    let agents = runs
        .registry
        .assign(id, &request.plan.agents, request.plan.clients, &sender)
        .map_err(|error| no_agents(&error))?;
    let run = request.to_run(id, created_unix_ms);
    match admit_and_store(runs, id, &agents, &run).await {
        Ok(true) => {}
        unsettled => {
            runs.registry.release(id);
            // The record of a run that never began is not needed.
            drop(runs.master_client.close_run(id));
            return unsettled.map(|_| None);
        }
    }
    spawn(runs, id, request, run.clone(), &agents, inbox);
    Ok(Some(run))
}

/// From here on the run lives by itself.
fn spawn(
    runs: &Arc<RunManager>,
    id: RunId,
    request: &StartRequest,
    run: v1::Run,
    agents: &[AssignedAgent],
    inbox: mpsc::Receiver<FromAgent>,
) {
    let agent_records = |agent: &AssignedAgent| AgentRecords::new(agent.name.clone(), agent.share);
    let span = tracing::info_span!("run", run_id = %id);
    trace_report::begin(&span, &run.run_id, &request.plan, agents.len());
    let input = DriverInput {
        id,
        plan: request.plan.clone(),
        run,
        agents: agents.iter().map(agent_records).collect(),
        inbox,
        span: span.clone(),
    };
    let driver = Driver::new(runs, input, None);
    tokio::spawn(driver.drive().instrument(span));
}

/// Lets the clients in and writes the run to the history. False when its id was taken.
async fn admit_and_store(
    runs: &RunManager,
    id: RunId,
    agents: &[AssignedAgent],
    run: &v1::Run,
) -> Result<bool, Status> {
    if agents.len() > AGENTS_MAX {
        let sentence = format!(
            "{} agents are too many for one run; name at most {AGENTS_MAX} in the plan",
            agents.len()
        );
        return Err(status::precondition("TOO_MANY_AGENTS", "agents", &sentence));
    }
    let admitted = runs.master_client.admit(admission(runs, id, agents)).await;
    admitted
        .ok_or_else(status::master_is_gone)?
        .map_err(|error| full(&error))?;
    let row = run.clone();
    let inserted = runs
        .history
        .with_store(move |store| store.insert(&row))
        .await?;
    match inserted {
        Ok(()) => Ok(true),
        Err(InsertError::IdTaken) => Ok(false),
        Err(error @ InsertError::RequestTaken) => {
            // Another server that shares the database was faster by a moment.
            Err(status::plain(
                Code::Aborted,
                "REQUEST_ID_TAKEN",
                &format!("{error} by another server; try again"),
            ))
        }
        Err(error @ InsertError::Database(_)) => {
            tracing::error!("{error}");
            Err(status::plain(
                Code::Internal,
                "HISTORY_FAILED",
                &error.to_string(),
            ))
        }
    }
}

fn admission(runs: &RunManager, id: RunId, agents: &[AssignedAgent]) -> Admission {
    let admitted = |(index, agent): (u16, &AssignedAgent)| {
        let key = Key::derive(&runs.secret.0, id, index);
        (agent.share, key)
    };
    Admission {
        run: id,
        clients: agents.iter().map(|agent| agent.share.clients).sum(),
        agents: (0..).zip(agents).map(admitted).collect(),
    }
}

fn no_agents(error: &AssignError) -> Status {
    status::precondition(error.reason(), "agents", &error.to_string())
}

fn full(error: &AdmitError) -> Status {
    let (reason, subject) = match error {
        AdmitError::Full { .. } => ("CLIENTS_FULL", "--max-clients"),
        AdmitError::TooManyRuns { .. } => ("RUNS_FULL", "runs"),
    };
    status::quota(reason, subject, &error.to_string())
}
