//! The reasons for which a run is partial: what is missing, and a stop before the end.

use std::time::Duration;

use metronome_proto::v1::{Reason, VerdictStatus};

use super::sentence::{ended, reason};
use crate::verdict::{
    evidence::{Evidence, StopCause},
    rows::Row,
};

pub(super) fn agents_lost(evidence: &Evidence<'_>) -> Option<Reason> {
    if was_stopped_before_the_start(evidence) {
        return None;
    }
    let mut lost = evidence
        .agents
        .iter()
        .filter_map(|agent| Some((agent, agent.missing()?)));
    let (first, why) = lost.next()?;
    let others = lost.count();
    let mut text = format!(
        "Agent {} with {} clients went missing: {}",
        first.name,
        first.share.clients,
        ended(why)
    );
    if others > 0 {
        text += &format!(" So did {others} other agents.");
    }
    Some(reason("AGENT_LOST", VerdictStatus::Partial, text))
}

/// Clients of agents that did report; those of lost agents are lost with them.
pub(super) fn clients_lost(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    // A run that never started has no client to lose on the way.
    evidence.start_at_ns?;
    let mut lost = rows
        .iter()
        .filter(|row| row.agent.missing().is_none() && !row.ended_cleanly());
    let first = lost.next()?;
    let count = 1 + lost.count();
    let of = rows.len();
    let text = format!(
        "{count} of {of} clients did not end cleanly; the first is client {} of agent {}: {}",
        first.client,
        first.agent.name,
        ended(&first.error())
    );
    Some(reason("CLIENT_LOST", VerdictStatus::Partial, text))
}

pub(super) fn worker_record_missing(evidence: &Evidence<'_>) -> Option<Reason> {
    let text =
        "The workers' record of the run is missing: the server's master did not give it in time.";
    evidence
        .counters
        .is_none()
        .then(|| reason("WORKER_RECORD_MISSING", VerdictStatus::Partial, text.into()))
}

/// Agents that were still connecting have then failed because of the stop.
fn was_stopped_before_the_start(evidence: &Evidence<'_>) -> bool {
    evidence.stopped.is_some() && evidence.start_at_ns.is_none()
}

pub(super) fn stopped(evidence: &Evidence<'_>) -> Option<Reason> {
    let by = match evidence.stopped? {
        StopCause::Operator => "on request",
        StopCause::Shutdown => "because the server was shut down",
    };
    let planned = Duration::as_secs_f64(&evidence.plan.duration);
    let text = format!("The run was stopped {by} before its {planned} s were over.");
    Some(reason("STOPPED", VerdictStatus::Partial, text))
}
