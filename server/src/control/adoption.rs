//! Runs that another server has begun: taken up here where they stood, their agents expected back.

use std::{sync::Arc, time::Duration};

use metronome_telemetry as telemetry;
use tokio::{sync::mpsc, time};
use tracing::Instrument as _;

use crate::control::{
    agents::LEASE,
    estate::Revived,
    runs::{Driver, DriverInput, INBOX_MAX, begin_trace},
    shared::Shared,
};

/// The load of an agent ends when its lease does; after that it has nothing to come back for.
const RETURN_MAX: Duration = LEASE;

/// Takes the runs up. From here on each lives by itself.
pub(super) fn adopt(shared: &Arc<Shared>, runs: Vec<Revived>) {
    let count = runs.len();
    runs.into_iter().for_each(|run| adopt_one(shared, run));
    if count > 0 {
        tracing::info!(runs = count, "runs go on here");
    }
    tokio::spawn(expect_agents(Arc::clone(shared)));
}

fn adopt_one(shared: &Arc<Shared>, revived: Revived) {
    let Revived {
        id,
        plan,
        run,
        state_machine,
        accounts,
        told,
        snapshot,
        traceparent,
    } = revived;
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
    let span = tracing::info_span!("run", run_id = %id);
    telemetry::continue_from_traceparent(&span, &traceparent);
    begin_trace(&span, &run.run_id, &plan, accounts.len());
    let input = DriverInput {
        id,
        plan,
        run,
        accounts,
        inbox,
        span: span.clone(),
    };
    let driver = Driver::new(&shared.runs, input, Some(snapshot.clone()));
    tokio::spawn(
        driver
            .resume(state_machine, told, snapshot)
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
