//! The laws that hold what one end counted against what the other end reported.

use std::collections::BTreeSet;

use metronome_proto::v1::ReasonCode;

use super::law::{Checked, Law};
use crate::{
    model::{AgentRecords, ClientCounters},
    verdict::{
        evidence::Evidence,
        rows::{Row, total},
        sentence::figures,
    },
};

/// The workers' own figures alone: no word of the agent's record is needed. A packet that came
/// corrupt or is a gap was not received, and any frame may have been one.
pub(super) fn end_agrees_with_counters(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::EndMiscounted,
        law: "received ≤ next sequence ≤ end count ≤ received + absent",
        sides: "{received}, {next_sequence}, {end_count}, {absent} absent",
        first: "{first_received}, {first_next_sequence}, {first_end_count}, {first_absent} absent",
        missing: "no end of a client has arrived",
    };
    let counts_of = |row: &Row<'_>| {
        let counted = row.counted?;
        let counts = counted.counts;
        let (next, end_count) = (counted.next_sequence, counted.reported_sent?);
        Some([counts.received, next, end_count, row.absent()?])
    };
    let named = |[received, next_sequence, end_count, absent]: [u128; 4]| {
        figures([
            ("received", received.into()),
            ("next_sequence", next_sequence.into()),
            ("end_count", end_count.into()),
            ("absent", absent.into()),
        ])
    };
    let sums = [0, 1, 2, 3].map(|side| total(rows, |row| Some(counts_of(row)?[side])));
    let holds = |row: &Row<'_>| {
        let [received, next_sequence, end_count, absent] = counts_of(row)?;
        let most = received.saturating_add(absent);
        Some(received <= next_sequence && next_sequence <= end_count && end_count <= most)
    };
    law.for_every_client(rows, named(sums), holds, |row| {
        named(counts_of(row).unwrap_or_default().map(u128::from))
    })
}

pub(super) fn end_agrees_with_agent(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::EndDiffers,
        law: "end count = sent",
        sides: "{left} = {right}",
        first: "{first_left} and {first_right}",
        missing: "there is no client whose end has arrived and whose agent has reported it",
    };
    law.compare(rows, |row| Some((row.counted?.reported_sent?, row.sent()?)))
}

pub(super) fn end_ack_agrees_with_counters(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::EndAckDiffers,
        law: "end-ack count = received",
        sides: "{left} = {right}",
        first: "{first_left} and {first_right}",
        missing: "no end-ack of a client that the workers have counted was reported",
    };
    law.compare(rows, |row| {
        Some((row.reported?.acknowledged?, row.counted?.counts.received))
    })
}

pub(super) fn digests_agree(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::DigestsDiffer,
        law: "digest sent = digest received on a clean end",
        sides: "{clients_equal} of {clients} clients",
        first: "{first_left} and {first_right}",
        missing: "no client has exchanged ends of which no packet is absent",
    };
    // A packet that is absent is missing in what was received.
    let both = |row: &Row<'_>| {
        let counted = row.counted.filter(|_| row.absent() == Some(0))?;
        Some((row.reported?.digest, counted.digest)).filter(|_| row.exchanged_ends())
    };
    let same = |row: &Row<'_>| both(row).map(|(sent, received)| sent == received);
    let equal = rows.iter().filter(|row| same(row) == Some(true)).count();
    let of_run = figures([("clients_equal", equal.into())]);
    law.for_every_client(rows, of_run, same, |row| {
        let (sent, received) = both(row).unwrap_or_default();
        figures([
            ("left", format!("{sent:016x}").into()),
            ("right", format!("{received:016x}").into()),
        ])
    })
}

/// Each end's records alone: it is checked when there is a record of either.
pub(super) fn records_belong(evidence: &Evidence<'_>) -> Checked {
    let law = Law {
        code: ReasonCode::RecordsContradict,
        law: "one record per client and end",
        sides: "{strays_agents} stray from agents, {strays_workers} from workers",
        first: "",
        missing: "neither end has a record of a client",
    };
    let counted = || {
        let counters = evidence.counters.iter();
        counters.flat_map(|counters| &counters.clients)
    };
    let strays = evidence.agents.iter().map(AgentRecords::strays);
    let from_agents: u128 = strays.map(u128::from).sum();
    let has_record = |agent: &AgentRecords| agent.records().next().is_some();
    if from_agents == 0 && counted().next().is_none() && !evidence.agents.iter().any(has_record) {
        return law.not_checkable();
    }
    let mut seen = BTreeSet::new();
    let is_stray = |counted: &&ClientCounters| {
        counted.client >= evidence.plan.clients() || !seen.insert(counted.client)
    };
    let second = evidence
        .counters
        .iter()
        .map(|of| u128::from(of.second_records));
    let from_workers = counted().filter(is_stray).count() as u128 + second.sum::<u128>();
    let mut of_run = figures([
        ("strays_agents", from_agents.into()),
        ("strays_workers", from_workers.into()),
    ]);
    let stray = evidence.agents.iter().find(|agent| agent.strays() > 0);
    let first = stray.map(|agent| agent.name.as_str());
    let sides = match first {
        Some(agent) => {
            of_run.insert("agent".into(), agent.into());
            "{strays_agents} stray from agents, first {agent}, {strays_workers} from workers"
        }
        None => law.sides,
    };
    Law { sides, ..law }.of_run(from_agents == 0 && from_workers == 0, of_run)
}
