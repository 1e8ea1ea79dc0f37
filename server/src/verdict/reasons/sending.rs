//! The reasons for which the load was not what was asked for: packets that were not sent.

use metronome_proto::v1::{GeneratorCounts, Reason, ReasonCode, VerdictStatus};

use super::reason::{first_of, reason};
use crate::{
    model::CLOCK_DRIFT_PARTS,
    verdict::{
        evidence::Evidence,
        rows::{Row, total},
        sentence::{Figures, figures},
    },
};

pub(super) fn nothing_sent(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    // A run that was stopped before its first packet is one that was stopped.
    if evidence.stopped.is_some() || known_sent(rows) > 0 || !is_sent_known(evidence, rows) {
        return None;
    }
    let code = ReasonCode::NothingSent;
    let because = |template: &str| reason(code, VerdictStatus::Invalid, template, Figures::new());
    let plans_none = |row: &Row<'_>| row.planned.is_some_and(|planned| planned.most == 0);
    if !rows.iter().all(plans_none) {
        return Some(because("No packet was sent, so nothing was measured."));
    }
    // Each client has kept to its plan, so that there is no other reason.
    Some(Reason {
        remedy: "use a longer --duration or a higher rate; another --seed draws other arrivals"
            .into(),
        ..because(
            "The random arrivals of this plan have no packet with its seed, so nothing was sent or \
             measured.",
        )
    })
}

/// A flood has no schedule to fall short of: a client that its time never came to would hide.
pub(super) fn client_sent_nothing(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    if evidence.stopped.is_some() || known_sent(rows) == 0 {
        return None;
    }
    let floods = || rows.iter().filter(|row| !row.is_paced());
    let is_idle = |row: &&Row<'_>| counts_to_the_end(row).is_some_and(|counts| counts.sent == 0);
    let (first, count) = first_of(floods().filter(is_idle))?;
    let template = "{clients_idle} of {clients} clients sent nothing in this flood; the first is \
                    client {first_client} of agent {agent}.";
    let figures = figures([
        ("clients_idle", count.into()),
        ("clients", floods().count().into()),
        ("first_client", first.client.into()),
        ("agent", first.agent.name.as_str().into()),
    ]);
    let code = ReasonCode::ClientSentNothing;
    Some(reason(code, VerdictStatus::Invalid, template, figures))
}

/// A flood has no schedule that would be short when its agent ends it by itself. The server's clock
/// is the evidence: the agent gave its final report while the run still went on. No pause of either
/// host can make that earlier; only the clock of another host can run ahead. An agent without a
/// client that stayed had nothing left to do.
pub(super) fn flood_ended_early(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Option<Reason> {
    if evidence.stopped.is_some() {
        return None;
    }
    let flooded_to_the_end = |agent: usize| {
        let mut rows = rows.iter().filter(|row| row.agent_index == agent);
        rows.any(|row| !row.is_paced() && row.exchanged_ends())
    };
    let duration_ns = evidence.plan.duration.as_nanos();
    let least_ns = duration_ns - duration_ns / u128::from(CLOCK_DRIFT_PARTS);
    let early = evidence
        .finished_early
        .iter()
        .filter_map(|(index, elapsed_ns)| {
            let agent = evidence.agents.get(*index)?;
            let is_early = u128::from(*elapsed_ns) < least_ns
                && agent.missing().is_none()
                && flooded_to_the_end(*index);
            is_early.then_some((agent, *elapsed_ns))
        });
    let ((first, elapsed_ns), count) = first_of(early)?;
    let template = "{agents_early} of {agents} agents ended this flood by themselves; the first is \
                    agent {agent}, {elapsed_ns|duration_ns} after the start of a run of \
                    {duration_ns}.";
    let figures = figures([
        ("agents_early", count.into()),
        ("agents", evidence.agents.len().into()),
        ("agent", first.name.as_str().into()),
        ("elapsed_ns", elapsed_ns.into()),
        ("duration_ns", duration_ns.into()),
    ]);
    let code = ReasonCode::FloodEndedEarly;
    Some(reason(code, VerdictStatus::Invalid, template, figures))
}

/// What its agent reports of a client that stayed to the end.
fn counts_to_the_end(row: &Row<'_>) -> Option<GeneratorCounts> {
    row.generator().filter(|_| row.exchanged_ends())
}

/// Whether it is known how much was sent: every agent has counted it, or the workers have and no
/// agent is missing. Else what is missing is the reason.
fn is_sent_known(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> bool {
    let is_complete = || {
        evidence
            .agents
            .iter()
            .all(|agent| agent.missing().is_none())
    };
    rows.iter().all(|row| row.generator().is_some())
        || (evidence.counters.is_some() && is_complete())
}

/// Packets that are known to have been sent: a packet that was received was sent.
fn known_sent(rows: &[Row<'_>]) -> u128 {
    total(rows, |row| row.sent().max(row.received()))
}
