//! Runs that another process has begun: resumed here where they stood, their agents expected back.

use std::{sync::Arc, time::Duration};

use metronome_proto::{
    limits::LEASE,
    v1::{Failure, FailureCode},
};
use metronome_telemetry::TraceContext;
use tokio::{sync::mpsc, time};
use tracing::Instrument as _;

use super::{
    driver::{Driver, DriverInput},
    manager::RunManager,
    start::INBOX_MAX,
    trace_report,
};
use crate::upgrade::RestoredRun;

/// The load of an agent ends when its lease does; after that it has nothing to come back for.
const RETURN_MAX: Duration = LEASE;

/// Resumes the runs. From here on each lives by itself.
pub(crate) fn resume_runs(runs: &Arc<RunManager>, restored: Vec<RestoredRun>) {
    let count = restored.len();
    restored.into_iter().for_each(|run| resume_one(runs, run));
    if count > 0 {
        tracing::info!(runs = count, "runs go on here");
    }
    tokio::spawn(expect_agents(Arc::clone(runs)));
}

fn resume_one(runs: &Arc<RunManager>, restored: RestoredRun) {
    let RestoredRun {
        id,
        plan,
        run,
        state_machine,
        agents,
        reported,
        paths,
        series,
        snapshot,
        traceparent,
        tracestate,
    } = restored;
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    for (index, agent_records) in agents
        .iter()
        .enumerate()
        .filter(|(_, agent_records)| agent_records.failure().is_none())
    {
        runs.registry.expect(
            &agent_records.name,
            id,
            index,
            (agent_records.share.clients(), agent_records.share.clock),
            &sender,
        );
    }
    let span = tracing::info_span!("run", run_id = %id);
    let parent = TraceContext {
        traceparent,
        tracestate,
    };
    parent.continue_in(&span);
    trace_report::begin(&span, &plan, agents.len());
    let input = DriverInput {
        id,
        plan,
        run,
        agents,
        inbox,
        span: span.clone(),
    };
    let driver = Driver::new(runs, input, Some(snapshot.clone()));
    tokio::spawn(
        driver
            .resume(state_machine, (reported, paths), (snapshot, series))
            .instrument(span),
    );
}

/// Agents that do not come back in time are lost to their runs.
async fn expect_agents(runs: Arc<RunManager>) {
    time::sleep(RETURN_MAX).await;
    for (agent, lost) in runs.registry.give_up_expecting() {
        runs.agent_counters.agent_left(&agent, !lost.is_empty());
        for assignment in lost {
            let sentence = "it did not come back within 3 s after the server was upgraded";
            let failure = Failure::new(FailureCode::AgentLost, sentence);
            assignment.report(failure).await;
        }
    }
    // Those that had no assignment and have not come back either.
    let connected = runs.registry.list();
    runs.agent_counters
        .forget_agents(|name| connected.iter().all(|agent| agent.name != name));
}
