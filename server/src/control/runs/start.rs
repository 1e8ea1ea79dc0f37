//! StartRun, from the request to a run that lives.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use metronome_proto::{
    handshake::Key,
    limits::SEED_MAX,
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span};

use super::{
    driver::{Driver, DriverInput},
    history::logged,
    manager::RunManager,
    shares::share_of,
    start_request::StartRequest,
    trace_report,
};
use crate::{
    control::{
        agents::{AssignedAgent, FromAgent, Wanted},
        status,
    },
    master::admission::{Admission, AdmitError},
    model::AgentRecords,
    store::{InsertError, Store},
    wall_clock,
};

/// Reports of agents that a run has not looked at yet.
pub(super) const INBOX_MAX: usize = 256;
/// Two runs of one millisecond share an id once in 65,536 times.
const ID_ATTEMPTS_MAX: u32 = 5;

/// Starts a run on a task of its own: a caller that goes away in the middle must not leave half a
/// run behind.
pub(crate) async fn start_run(
    runs: &Arc<RunManager>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Failure> {
    let runs = Arc::clone(runs);
    let work = async move { start_or_find(&runs, request).await }.instrument(Span::current());
    tokio::spawn(work)
        .await
        .map_err(|_| status::internal("the run could not be started"))?
}

/// Starts a run, or finds the one that the same request has started before.
async fn start_or_find(
    runs: &Arc<RunManager>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Failure> {
    let mut request = StartRequest::check(request)?;
    // Before the wait for our turn, which an upgrade holds, and after it.
    refuse_in_upgrade(runs)?;
    let asked_at = Instant::now();
    let _one_at_a_time = runs.block_starts().await;
    runs.history.refuse_if_locked_since(asked_at)?;
    if let Some(run) = find_earlier(runs, &request).await? {
        return Ok(run);
    }
    fits_the_server(&request, runs.server.max_clients)?;
    if runs.draining.is_cancelled() {
        let sentence = "the server is shutting down and starts no runs";
        return Err(Failure::new(FailureCode::Draining, sentence));
    }
    refuse_in_upgrade(runs)?;
    runs.history.has_room()?;
    if request.plan.seed == 0 {
        request.plan.seed = random_seed()?;
    }
    for _ in 0..ID_ATTEMPTS_MAX {
        if let Some(run) = try_start(runs, &request).await? {
            return Ok(run);
        }
    }
    Err(status::internal(
        "no free run id was found; the clock may stand still",
    ))
}

/// More clients than the server can ever have: to wait for other runs cannot help.
fn fits_the_server(request: &StartRequest, max: u32) -> Result<(), Failure> {
    let clients = request.plan.clients();
    if clients <= max {
        return Ok(());
    }
    if request.plan.groups.len() == 1 {
        let problem = format!("{clients} is out of range; this server's --max-clients is {max}");
        return Err(status::out_of_range("plan.groups[0].clients", problem));
    }
    let problem = format!(
        "{clients} clients of all groups together are out of range; this server's --max-clients \
         is {max}"
    );
    Err(status::out_of_range("plan.groups", problem))
}

fn refuse_in_upgrade(runs: &RunManager) -> Result<(), Failure> {
    let refused = runs.upgrade.refuse_start();
    refused.map_err(|upgrading| status::upgrading(&upgrading))
}

/// The run that was started with the same request_id, also before this server was.
async fn find_earlier(
    runs: &RunManager,
    request: &StartRequest,
) -> Result<Option<v1::Run>, Failure> {
    if request.request_id.is_empty() {
        return Ok(None);
    }
    let request_id = request.request_id.clone();
    let stored = runs
        .history
        .read(move |store| store.by_request(&request_id))
        .await?;
    let Some((stored, digest)) = stored else {
        return Ok(None);
    };
    if digest.is_some_and(|digest| digest != request.digest) {
        let sentence = format!(
            "request_id {} belongs to run {}, which another request has started",
            request.request_id, stored.run_id
        );
        let failure = Failure::new(FailureCode::RequestIdTaken, sentence);
        return Err(failure
            .with("request_id", request.request_id.as_str())
            .with("run_id", stored.run_id));
    }
    // The stored row of a run that lives is how it began.
    let id = status::parse_run_id(&stored.run_id)?;
    Ok(Some(runs.in_memory(id).unwrap_or(stored)))
}

fn request_id_busy(request: &StartRequest) -> Failure {
    let sentence = "another server took the request_id at the same moment";
    let failure = Failure::new(FailureCode::RequestIdBusy, sentence);
    failure.with("request_id", request.request_id.as_str())
}

/// Sets apart the ids of runs that begin in one millisecond.
fn random_u16() -> Result<u16, Failure> {
    getrandom::u32()
        .map(|number| number as u16)
        .map_err(|_| status::internal("the system gives no random bytes for the run's id"))
}

/// What a plan without a seed gets, also one in which nothing is drawn: it repeats the run exactly.
fn random_seed() -> Result<u64, Failure> {
    getrandom::u64()
        .map(|number| (number & SEED_MAX).max(1))
        .map_err(|_| status::internal("the system gives no random bytes for the run's seed"))
}

/// Starts a run under a new id. `None` when that id was taken.
async fn try_start(
    runs: &Arc<RunManager>,
    request: &StartRequest,
) -> Result<Option<v1::Run>, Failure> {
    let created_unix_ms = wall_clock::unix_ms();
    // The newest id is above all others, also after the wall clock has stepped back.
    let newest = runs.history.read(Store::newest_id).await?;
    let id = RunId::after(newest, created_unix_ms, random_u16()?);
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    let wanted = Wanted::of(&request.plan);
    let assigned = runs.registry.assign(id, &wanted, &sender)?;
    let agents = records_of(&assigned, request, runs.server.data_address);
    let run = request.to_run(id, created_unix_ms);
    match admit_and_store(runs, request, id, &agents, &run).await {
        Ok(true) => {}
        unsettled => {
            runs.registry.release(id);
            // The record of a run that never began is not needed.
            drop(runs.master_client.close_run(id));
            return unsettled.map(|_| None);
        }
    }
    spawn(runs, id, request, run.clone(), agents, inbox);
    Ok(Some(run))
}

/// The agents of a run, of which none has reported yet.
fn records_of(
    assigned: &[AssignedAgent],
    request: &StartRequest,
    data_address: SocketAddr,
) -> Vec<AgentRecords> {
    let records = |agent: &AssignedAgent| {
        let share = share_of(agent, &request.plan, data_address);
        AgentRecords::new(agent.name.clone(), share)
    };
    assigned.iter().map(records).collect()
}

/// From here on the run lives by itself.
fn spawn(
    runs: &Arc<RunManager>,
    id: RunId,
    request: &StartRequest,
    run: v1::Run,
    agents: Vec<AgentRecords>,
    inbox: mpsc::Receiver<FromAgent>,
) {
    let span = tracing::info_span!("run", run_id = %id);
    trace_report::begin(&span, &request.plan, agents.len());
    let input = DriverInput {
        id,
        plan: request.plan.clone().described(),
        run,
        agents,
        inbox,
        span: span.clone(),
    };
    let driver = Driver::new(runs, input, None);
    tokio::spawn(driver.drive().instrument(span));
}

/// Lets the clients in and writes the run to the history. False when its id was taken.
async fn admit_and_store(
    runs: &RunManager,
    request: &StartRequest,
    id: RunId,
    agents: &[AgentRecords],
    run: &v1::Run,
) -> Result<bool, Failure> {
    let admitted = runs
        .master_client
        .admit(admission(runs, request, id, agents))
        .await;
    admitted
        .ok_or_else(status::master_is_gone)?
        .map_err(|error| full(&error))?;
    let (row, digest) = (run.clone(), request.digest);
    let inserted = runs
        .history
        .with_store(move |store| store.insert(&row, &digest))
        .await?;
    match inserted {
        Ok(()) => Ok(true),
        Err(InsertError::IdTaken) => Ok(false),
        Err(InsertError::RequestTaken) => Err(request_id_busy(request)),
        Err(InsertError::Database(failure)) => Err(logged(failure)),
    }
}

fn admission(
    runs: &RunManager,
    request: &StartRequest,
    id: RunId,
    agents: &[AgentRecords],
) -> Admission {
    let admitted = |(index, agent): (u16, &AgentRecords)| {
        let key = Key::derive(&runs.secret.0, id, index);
        (agent.share.clone(), key)
    };
    Admission {
        run: id,
        clients: agents.iter().map(|agent| agent.share.clients()).sum(),
        duration: request.plan.duration,
        warm_up: request.plan.warm_up,
        seed: request.plan.seed,
        groups: (request.plan.groups.iter())
            .map(|group| group.name.clone())
            .collect(),
        agents: (0..).zip(agents).map(admitted).collect(),
    }
}

fn full(error: &AdmitError) -> Failure {
    match *error {
        AdmitError::Full { asked, free, max } => {
            let sentence = format!(
                "{asked} clients are asked for, and {free} of --max-clients {max} are free"
            );
            Failure::new(FailureCode::ClientsFull, sentence)
                .with("clients", asked)
                .with("clients_free", free)
                .with("max_clients", max)
        }
        AdmitError::TooManyRuns { max } => {
            let sentence = format!("{max} runs are going on, which is the most");
            Failure::new(FailureCode::RunsFull, sentence).with("runs_max", max)
        }
    }
}
