//! StartRun, from the request to a run that lives.

use std::sync::Arc;

use metronome_os::random;
use metronome_proto::{handshake::Key, plan::Plan, run_id::RunId, v1};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use super::{
    answer,
    driver::Driver,
    identity,
    registry::{EnlistError, Enlisted, FromAgent},
    runs::{Active, View},
    shared::{Shared, unreadable},
    telling,
};
use crate::{
    master::request::{Admission, AdmitError, AdmittedAgent},
    store::{InsertError, timestamp},
    text,
    verdict::AgentAccount,
};

const REQUEST_ID_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 128;
/// Most agents in one run; an agent's index is 0 to 255.
const AGENTS_MAX: usize = 256;
/// News from agents that a run has not looked at yet.
pub(super) const INBOX_MAX: usize = 256;
/// Two runs of one millisecond share an id once in 65,536 times.
const ID_ATTEMPTS_MAX: u32 = 5;

/// A request whose every field is within its limits.
struct Asked {
    plan: Plan,
    request_id: String,
    label: String,
}

/// Starts a run on a task of its own: a caller that goes away in the middle must not leave half a
/// run behind.
pub(super) async fn start_run(
    shared: &Arc<Shared>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Status> {
    let shared = Arc::clone(shared);
    let work = async move { start_or_find(&shared, request).await }.instrument(Span::current());
    tokio::spawn(work).await.map_err(|_| {
        answer::plain(
            Code::Internal,
            "START_FAILED",
            "the run could not be started",
        )
    })?
}

/// Starts a run, or finds the one that the same request has started before.
async fn start_or_find(
    shared: &Arc<Shared>,
    request: v1::StartRunRequest,
) -> Result<v1::Run, Status> {
    let asked = check(request)?;
    // Before the wait for our turn, which an upgrade holds, and after it.
    shared.upgrade.refuse_start()?;
    let _one_at_a_time = shared.starting.lock().await;
    if let Some(run) = find_earlier(shared, &asked).await? {
        return Ok(run);
    }
    if shared.is_draining() {
        let sentence = "the server is shutting down and starts no runs";
        return Err(answer::plain(Code::Unavailable, "DRAINING", sentence));
    }
    shared.upgrade.refuse_start()?;
    for _ in 0..ID_ATTEMPTS_MAX {
        if let Some(run) = try_start(shared, &asked).await? {
            return Ok(run);
        }
    }
    Err(answer::plain(
        Code::Internal,
        "RUN_ID_TAKEN",
        "no free run id was found; check the clock and try again",
    ))
}

fn check(request: v1::StartRunRequest) -> Result<Asked, Status> {
    let plan = request
        .plan
        .ok_or_else(|| answer::bad_field("plan", "missing; say what to run"))?;
    let plan = Plan::try_from(&plan).map_err(|error| answer::bad_plan(&error))?;
    let id = request.request_id;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if id.len() > REQUEST_ID_BYTES_MAX || !id.bytes().all(is_allowed) {
        let problem = format!(
            "at most {REQUEST_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, _, . and - are allowed"
        );
        return Err(answer::bad_field("request_id", &problem));
    }
    if request.label.len() > LABEL_BYTES_MAX
        || text::printable(&request.label, LABEL_BYTES_MAX) != request.label
    {
        let problem =
            format!("at most {LABEL_BYTES_MAX} bytes without control characters are allowed");
        return Err(answer::bad_field("label", &problem));
    }
    Ok(Asked {
        plan,
        request_id: id,
        label: request.label,
    })
}

/// The run that was started with the same request_id, also before this server was.
async fn find_earlier(shared: &Shared, asked: &Asked) -> Result<Option<v1::Run>, Status> {
    if asked.request_id.is_empty() {
        return Ok(None);
    }
    let request_id = asked.request_id.clone();
    let stored = shared
        .with_store(move |store| store.by_request_id(&request_id))
        .await?;
    let Some(stored) = stored.map_err(|error| unreadable(&error))? else {
        return Ok(None);
    };
    if stored.plan.as_ref() != Some(&asked.plan.to_proto()) {
        let sentence = format!(
            "request_id {} belongs to run {}, which has another plan; use a new request_id for a new run",
            asked.request_id, stored.run_id
        );
        return Err(answer::plain(
            Code::AlreadyExists,
            "REQUEST_ID_TAKEN",
            &sentence,
        ));
    }
    // What is stored of a run that lives is how it began.
    let id = answer::parse_run_id(&stored.run_id)?;
    shared.find_run(id).await.map(Some)
}

/// Starts a run under a new id. `None` when that id was taken.
async fn try_start(shared: &Arc<Shared>, asked: &Asked) -> Result<Option<v1::Run>, Status> {
    let created_unix_ms = identity::unix_ms();
    let id = RunId::new(created_unix_ms, u16::from_le_bytes(random::bytes()));
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    let agents = shared
        .registry
        .enlist(id, &asked.plan.agents, asked.plan.clients, &sender)
        .map_err(|error| no_agents(&error))?;
    let run = describe(id, asked, created_unix_ms);
    match admit_and_store(shared, id, &agents, &run).await {
        Ok(true) => {}
        unsettled => {
            shared.registry.release(id);
            // Nobody waits for the record of a run that never was.
            drop(shared.data_plane.close_run(id));
            return unsettled.map(|_| None);
        }
    }
    spawn(shared, id, asked, run.clone(), &agents, inbox);
    Ok(Some(run))
}

/// From here on the run lives by itself.
fn spawn(
    shared: &Arc<Shared>,
    id: RunId,
    asked: &Asked,
    run: v1::Run,
    agents: &[Enlisted],
    inbox: mpsc::Receiver<FromAgent>,
) {
    let (stop, stops) = mpsc::channel(1);
    let snapshot = v1::Snapshot {
        run_id: run.run_id.clone(),
        state: run.state,
        ..v1::Snapshot::default()
    };
    let view = watch::Sender::new(View::Running {
        run: run.clone(),
        snapshot,
    });
    let (freeze, freezes) = mpsc::channel(1);
    shared
        .runs
        .add(id, Active::new(view.subscribe(), stop, freeze));
    let account = |agent: &Enlisted| {
        AgentAccount::new(
            agent.name.clone(),
            agent.first_client,
            agent.clients,
            agent.shares_clock,
        )
    };
    let span = tracing::info_span!("run", run_id = %id);
    telling::begin(&span, &run.run_id, &asked.plan, agents.len());
    let driver = Driver {
        shared: Arc::clone(shared),
        id,
        plan: asked.plan.clone(),
        run,
        accounts: agents.iter().map(account).collect(),
        inbox,
        stops,
        freezes,
        view,
        span: span.clone(),
    };
    tokio::spawn(driver.drive().instrument(span));
}

/// Lets the clients in and writes the run to the history. False when its id was taken.
async fn admit_and_store(
    shared: &Shared,
    id: RunId,
    agents: &[Enlisted],
    run: &v1::Run,
) -> Result<bool, Status> {
    if agents.len() > AGENTS_MAX {
        let sentence = format!(
            "{} agents are too many for one run; name at most {AGENTS_MAX} in the plan",
            agents.len()
        );
        return Err(answer::precondition("TOO_MANY_AGENTS", "agents", &sentence));
    }
    let admitted = shared.data_plane.admit(admission(shared, id, agents)).await;
    admitted
        .ok_or_else(master_is_gone)?
        .map_err(|error| full(&error))?;
    let row = run.clone();
    match shared.with_store(move |store| store.insert(&row)).await? {
        Ok(()) => Ok(true),
        Err(InsertError::IdTaken) => Ok(false),
        Err(error @ InsertError::RequestTaken) => {
            // Another server that shares the database was faster by a moment.
            Err(answer::plain(
                Code::Aborted,
                "REQUEST_ID_TAKEN",
                &format!("{error} by another server; try again"),
            ))
        }
        Err(error @ InsertError::Database(_)) => {
            tracing::error!("{error}");
            Err(answer::plain(
                Code::Internal,
                "HISTORY_FAILED",
                &error.to_string(),
            ))
        }
    }
}

fn admission(shared: &Shared, id: RunId, agents: &[Enlisted]) -> Admission {
    let admitted = |(index, agent): (u16, &Enlisted)| AdmittedAgent {
        key: Key::derive(&shared.secret.0, id, index),
        first_client: agent.first_client,
        clients: agent.clients,
        shares_clock: agent.shares_clock,
    };
    Admission {
        run: id,
        clients: agents.iter().map(|agent| agent.clients).sum(),
        agents: (0..).zip(agents).map(admitted).collect(),
    }
}

fn describe(id: RunId, asked: &Asked, created_unix_ms: u64) -> v1::Run {
    let request_id = if asked.request_id.is_empty() {
        format!("run-{id}")
    } else {
        asked.request_id.clone()
    };
    v1::Run {
        run_id: id.to_string(),
        request_id,
        plan: Some(asked.plan.to_proto()),
        state: v1::RunState::Preparing.into(),
        created_at: Some(timestamp(created_unix_ms)),
        ended_at: None,
        report: None,
        label: asked.label.clone(),
    }
}

fn no_agents(error: &EnlistError) -> Status {
    answer::precondition(error.reason(), "agents", &error.to_string())
}

fn full(error: &AdmitError) -> Status {
    let (reason, subject) = match error {
        AdmitError::Full { .. } => ("CLIENTS_FULL", "--max-clients"),
        AdmitError::TooManyRuns { .. } => ("RUNS_FULL", "runs"),
    };
    answer::quota(reason, subject, &error.to_string())
}

pub(super) fn master_is_gone() -> Status {
    answer::plain(
        Code::Unavailable,
        "MASTER_GONE",
        "the server's data plane does not answer",
    )
}
