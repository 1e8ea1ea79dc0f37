//! The reasons for which a run is partial: what is missing, and a stop before the end.

use metronome_proto::v1::{Reason, ReasonCode, VerdictStatus};

use super::reason::{caused_by, first_of, reason};
use crate::verdict::{
    client_failure::client_failure,
    evidence::Evidence,
    failed::stopped_by,
    objectives::shows_miss,
    punctuality::Punctualities,
    rows::Row,
    sentence::{Figures, figures},
};

pub(super) fn agents_lost(evidence: &Evidence<'_>) -> Option<Reason> {
    let lost = evidence
        .agents
        .iter()
        .filter_map(|agent| Some((agent, agent.missing()?)));
    let ((first, failure), count) = first_of(lost)?;
    let figures = figures([
        ("agents_lost", count.into()),
        ("agents", evidence.agents.len().into()),
        ("agent", first.name.as_str().into()),
        ("clients", first.share.clients().into()),
    ]);
    let template = "{agents_lost} of {agents} agents did not take the run to its end; the first is \
                    agent {agent} with {clients} clients";
    let code = ReasonCode::AgentLost;
    let lost = reason(code, VerdictStatus::Partial, template, figures);
    Some(caused_by(lost, failure))
}

/// Clients of agents that did report; those of lost agents are lost with them.
pub(super) fn clients_lost(rows: &[Row<'_>]) -> Option<Reason> {
    let lost = rows
        .iter()
        .filter(|row| row.agent.missing().is_none())
        .filter_map(|row| Some((row, client_failure(row)?)));
    let ((first, failure), count) = first_of(lost)?;
    let figures = figures([
        ("clients_lost", count.into()),
        ("clients", rows.len().into()),
        ("first_client", first.client.into()),
        ("agent", first.agent.name.as_str().into()),
    ]);
    let template = "{clients_lost} of {clients} clients are not known to have ended cleanly; the \
                    first is client {first_client} of agent {agent}";
    let code = ReasonCode::ClientLost;
    let lost = reason(code, VerdictStatus::Partial, template, figures);
    Some(caused_by(lost, failure))
}

pub(super) fn worker_record_missing(evidence: &Evidence<'_>) -> Option<Reason> {
    let template = "The workers' record of the run is missing, so that it is not known what was \
                    received.";
    let code = ReasonCode::WorkerRecordMissing;
    let is_missing = evidence.counters.is_none();
    is_missing.then(|| reason(code, VerdictStatus::Partial, template, Figures::new()))
}

/// One that a threshold has stopped is judged over what was scheduled until then, where the records
/// of the end show that it was missed. Where they do not, it is a run that was stopped.
pub(super) fn stopped(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctuality: &Punctualities,
) -> Option<Reason> {
    let cause = evidence.stopped?;
    let mut figures = figures([
        ("duration_ns", evidence.plan.duration.as_nanos().into()),
        ("cause", cause.word().unwrap_or("unspecified").into()),
    ]);
    let code = ReasonCode::Stopped;
    let template = if let Some(missed) = &evidence.missed {
        if shows_miss(evidence, rows, punctuality, missed) {
            return None;
        }
        figures.insert("threshold".into(), missed.threshold.to_string().into());
        "The run was stopped before its {duration_ns} were over, since by what was known then \
         {threshold} could not hold any more, which the records of its end do not show."
            .into()
    } else {
        let by = stopped_by(cause);
        format!("The run was stopped {by} before its {{duration_ns}} were over.")
    };
    Some(reason(code, VerdictStatus::Partial, &template, figures))
}
