//! The laws that hold what one end counted against what the other end reported.

use std::collections::BTreeSet;

use super::law::{Checked, compare, for_every_client};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
};

/// The workers' own figures alone: no word of the agent's record is needed.
pub(super) fn end_agrees_with_counters(rows: &[Row<'_>]) -> Checked {
    let figures_of = |row: &Row<'_>| {
        let counted = row.counted?;
        Some([
            counted.reported_sent?,
            counted.counts.received,
            counted.next_sequence,
        ])
    };
    let sums = [0, 1, 2].map(|index| {
        total(rows, |row| {
            figures_of(row).map_or(0, |figures| figures[index])
        })
    });
    let law = "end count = received = next sequence";
    let figures = format!("{} = {} = {}", sums[0], sums[1], sums[2]);
    let holds = |row: &Row<'_>| {
        figures_of(row)
            .is_none_or(|[reported, received, next]| reported == received && received == next)
    };
    for_every_client(law, "END_MISCOUNTED", figures, rows, holds, |row| {
        figures_of(row).map_or(String::new(), |[reported, received, next]| {
            format!("{reported}, {received} and {next}")
        })
    })
}

pub(super) fn end_agrees_with_agent(rows: &[Row<'_>]) -> Checked {
    // Of both, or there is nothing to compare.
    let both = |row: &Row<'_>| Some((row.reported?.sent, row.counted?.reported_sent?));
    compare("end count = sent", "END_DIFFERS", rows, both)
}

pub(super) fn end_ack_agrees_with_counters(rows: &[Row<'_>]) -> Checked {
    let both = |row: &Row<'_>| Some((row.reported?.acknowledged?, row.counted?.counts.received));
    compare("end-ack count = received", "END_ACK_DIFFERS", rows, both)
}

pub(super) fn digests_agree(rows: &[Row<'_>]) -> Checked {
    let law = "digest sent = digest received on a clean end";
    let both = |row: &Row<'_>| {
        Some((row.reported?.digest, row.counted?.digest)).filter(|_| row.exchanged_ends())
    };
    let same = |row: &Row<'_>| both(row).is_none_or(|(sent, received)| sent == received);
    let compared = rows.iter().filter(|row| both(row).is_some()).count();
    let figures = format!(
        "{} of {compared} clients",
        rows.iter()
            .filter(|row| both(row).is_some() && same(row))
            .count()
    );
    for_every_client(law, "DIGESTS_DIFFER", figures, rows, same, |row| {
        both(row).map_or(String::new(), |(sent, received)| {
            format!("{sent:016x} and {received:016x}")
        })
    })
}

pub(super) fn records_belong(evidence: &Evidence<'_>) -> Checked {
    let reported: u128 = evidence
        .agents
        .iter()
        .map(|agent| u128::from(agent.strays()))
        .sum();
    let mut seen = BTreeSet::new();
    let is_stray = |client: u32| client >= evidence.plan.clients || !seen.insert(client);
    let clients = evidence
        .counters
        .iter()
        .flat_map(|counters| &counters.clients)
        .map(|count| count.client);
    let counted = clients.map(is_stray).filter(|stray| *stray).count();
    let mut figures = format!("{reported} stray from agents, {counted} from workers");
    if let Some(agent) = evidence.agents.iter().find(|agent| agent.strays() > 0) {
        figures += &format!("; first {}", agent.name);
    }
    let law = "one record per client and end";
    Checked {
        law,
        code: "RECORDS_CONTRADICT",
        holds: reported == 0 && counted == 0,
        figures,
    }
}
