//! The end of a run: its report is made, stored and counted.

use metronome_proto::{
    plan::Plan,
    run_id::RunId,
    v1::{self, RunState},
};
use tracing::Span;

use super::{
    history::UnstoredRun, manager::RunManager, trace_report, verdict_counters::VerdictCounters,
};
use crate::{
    control::agents::AgentCounters,
    model::{AgentRecords, FinalCounters},
    store::Store,
    verdict::{Conclusion, Evidence, StopCause, conclude},
    wall_clock::{self, timestamp},
};

/// Client rows per message.
const CLIENTS_PER_PAGE: usize = 1000;

/// A run whose last event has happened, without its report.
pub(super) struct FinishedRun {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    pub(super) run: v1::Run,
    pub(super) agents: Vec<AgentRecords>,
    pub(super) record: Option<FinalCounters>,
    pub(super) start_at_ns: Option<u64>,
    /// Set when a stop came before the schedule was over.
    pub(super) stopped: Option<StopCause>,
    pub(super) span: Span,
}

/// Makes the report and stores it, on a thread that may block. `None` when there is none; else the
/// run with its report, kept in memory if the history could not be written.
pub(super) async fn conclude_and_store(
    runs: &RunManager,
    finished: FinishedRun,
    reported: &[(u64, u64)],
) -> Option<v1::Run> {
    let id = finished.id;
    let (notes, traced_packets) = (runs.server.notes.clone(), runs.server.traced_packets);
    let work = move |store: &Store| {
        let span = finished.span.clone();
        let (run, pages) = with_report(finished, &notes, traced_packets);
        let stored =
            tracing::info_span!(parent: &span, "store").in_scope(|| store.finish(&run, &pages));
        (run, pages, stored)
    };
    let Ok((run, pages, stored)) = runs.history.with_store(work).await else {
        tracing::error!("the report could not be made");
        return None;
    };
    count(
        &runs.agent_counters,
        &runs.verdict_counters,
        run.report.as_ref(),
        reported,
    );
    if let Err(error) = stored {
        tracing::error!("the report is kept in memory only, it cannot be stored: {error}");
        let unstored = UnstoredRun {
            run: run.clone(),
            pages,
        };
        runs.history.keep_unstored(id, unstored);
    }
    Some(run)
}

/// The run with its report, and the pages of its client rows.
fn with_report(
    finished: FinishedRun,
    notes: &[String],
    traced_packets: usize,
) -> (v1::Run, Vec<v1::ListClientsResponse>) {
    let FinishedRun {
        plan,
        mut run,
        agents,
        record,
        start_at_ns,
        stopped,
        span,
        ..
    } = finished;
    let evidence = Evidence {
        plan: &plan,
        agents: &agents,
        counters: record.as_ref(),
        start_at_ns,
        stopped,
        notes,
    };
    let conclusion = tracing::info_span!(parent: &span, "merge").in_scope(|| conclude(&evidence));
    trace_report::end(&span, &conclusion.report, record.as_ref(), traced_packets);
    let pages = pages(&conclusion);
    run.set_state(RunState::Ended);
    run.ended_at = Some(timestamp(wall_clock::unix_ms()));
    run.report = Some(conclusion.report);
    (run, pages)
}

fn pages(conclusion: &Conclusion) -> Vec<v1::ListClientsResponse> {
    let page = |clients: &[v1::ClientReport]| v1::ListClientsResponse {
        clients: clients.to_vec(),
    };
    conclusion
        .clients
        .chunks(CLIENTS_PER_PAGE)
        .map(page)
        .collect()
}

/// Counts a run that has ended, and what its agents' final reports add to their progress.
fn count(
    agents: &AgentCounters,
    verdicts: &VerdictCounters,
    report: Option<&v1::Report>,
    reported: &[(u64, u64)],
) {
    let Some(report) = report else { return };
    let verdict = report
        .verdict
        .as_ref()
        .map(v1::Verdict::status)
        .unwrap_or_default();
    let verdict = trace_report::in_words(verdict);
    let packets = report.packets.unwrap_or_default();
    // Signed: a trace would show other whole numbers as text.
    let (received, lost) = (packets.received.cast_signed(), packets.lost.cast_signed());
    tracing::info!(received, lost, "run has ended: {verdict}");
    for (agent, (sent, _)) in report.agents.iter().zip(reported) {
        agents.agent_sent(&agent.agent, agent.sent.saturating_sub(*sent), 0);
    }
    let skipped = reported
        .iter()
        .fold(0_u64, |sum, (_, skipped)| sum.saturating_add(*skipped));
    agents.agent_sent("", 0, packets.skipped.saturating_sub(skipped));
    verdicts.run_ended(verdict, packets.lost);
}
