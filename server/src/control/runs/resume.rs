//! Runs that another process has begun: resumed here where they stood, their agents expected back.

use std::{sync::Arc, time::Duration};

use metronome_telemetry as telemetry;
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tracing::Instrument as _;

use crate::{
    control::{
        agents::LEASE,
        lifecycle::shared::Shared,
        runs::{
            active::{ActiveRun, RunView},
            driver::Driver,
            start::INBOX_MAX,
            trace_report,
        },
    },
    upgrade::RestoredRun,
};

/// The load of an agent ends when its lease does; after that it has nothing to come back for.
const RETURN_MAX: Duration = LEASE;

/// Resumes the runs. From here on each lives by itself.
pub(crate) fn resume(shared: &Arc<Shared>, runs: Vec<RestoredRun>) {
    let count = runs.len();
    runs.into_iter().for_each(|run| resume_one(shared, run));
    if count > 0 {
        tracing::info!(runs = count, "runs go on here");
    }
    tokio::spawn(expect_agents(Arc::clone(shared)));
}

fn resume_one(shared: &Arc<Shared>, restored: RestoredRun) {
    let RestoredRun {
        id,
        plan,
        run,
        state_machine,
        accounts,
        reported,
        snapshot,
        traceparent,
    } = restored;
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    for (index, account) in accounts
        .iter()
        .enumerate()
        .filter(|(_, account)| account.error().is_none())
    {
        shared
            .registry
            .expect(&account.name, id, index, account.share.clients, &sender);
    }
    let (stop, stops) = mpsc::channel(1);
    let (freeze, freezes) = mpsc::channel(1);
    let view = watch::Sender::new(RunView::Running {
        run: run.clone(),
        snapshot: snapshot.clone(),
    });
    shared
        .runs
        .add(id, ActiveRun::new(view.subscribe(), stop, freeze));
    let span = tracing::info_span!("run", run_id = %id);
    telemetry::continue_from_traceparent(&span, &traceparent);
    trace_report::begin(&span, &run.run_id, &plan, accounts.len());
    let driver = Driver {
        shared: Arc::clone(shared),
        id,
        plan,
        run,
        accounts,
        inbox,
        stops,
        freezes,
        view,
        span: span.clone(),
    };
    tokio::spawn(
        driver
            .go_on(state_machine, reported, snapshot)
            .instrument(span),
    );
}

/// Agents that do not come back in time are lost to their runs.
async fn expect_agents(shared: Arc<Shared>) {
    time::sleep(RETURN_MAX).await;
    for (agent, parts) in shared.registry.give_up_expecting() {
        shared.counters.agents.agent_left(&agent, !parts.is_empty());
        for lost in parts {
            lost.report("it did not come back within 3 s after the server was upgraded")
                .await;
        }
    }
    // Those that had no part and have not come back either.
    let attending = shared.registry.list();
    shared
        .counters
        .agents
        .forget_agents(|name| attending.iter().all(|agent| agent.name != name));
}
