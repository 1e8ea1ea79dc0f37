//! The notes that do not change a verdict, as full sentences.

use metronome_telemetry::sanitise;

use super::{
    evidence::Evidence,
    rows::{Row, total},
};
use crate::model::WorkerCounters;

/// A pacing thread that overslept for this long is worth a note.
const OVERSLEEP_NS_NOTABLE: u64 = 10_000_000;

/// Most notes; a run of 10,000 clients must fit one message.
const NOTES_MAX: usize = 50;

/// Notes as full sentences, at most 50.
pub(super) fn find(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes = evidence.notes.to_vec();
    let foreign: Vec<_> = evidence
        .agents
        .iter()
        .filter(|agent| !agent.share.clock.is_same())
        .map(|agent| agent.name.as_str())
        .collect();
    if !foreign.is_empty() {
        let names = foreign.join(", ");
        notes.push(format!(
            "One-way times are not shown: the clock of {names} is not the server's."
        ));
    }
    let skipped = total(rows, Row::skipped);
    if skipped > 0 {
        let scheduled = total(rows, Row::scheduled);
        notes.push(format!(
            "{skipped} of {scheduled} scheduled packets were skipped."
        ));
    }
    for agent in evidence.agents {
        let overslept_ns = agent
            .finished()
            .map_or(0, |finished| finished.oversleep_max_ns);
        if overslept_ns > OVERSLEEP_NS_NOTABLE {
            notes.push(format!(
                "A pacing thread of {} once overslept by {} ms.",
                agent.name,
                (overslept_ns / 1_000) as f64 / 1e3
            ));
        }
    }
    if let Some(counters) = evidence.counters {
        if counters.recovered_packets > 0 {
            let recovered = counters.recovered_packets;
            notes.push(format!(
                "{recovered} packets were recovered after a worker crash; each is counted once."
            ));
        }
        notes.extend(
            counters
                .incidents
                .iter()
                .map(|incident| sanitise::sentence(&incident.text)),
        );
        notes.extend(pauses(&counters.workers));
        let halves = counters
            .clients
            .iter()
            .filter(|count| count.partial_frame_bytes > 0)
            .count();
        if halves > 0 {
            notes.push(format!(
                "{halves} clients left a packet of which not all 32 bytes came."
            ));
        }
    }
    notes.truncate(NOTES_MAX);
    notes
}

/// The pauses of batched reads, which make read times late on purpose.
fn pauses(workers: &[WorkerCounters]) -> Option<String> {
    let sum = |figure: fn(&WorkerCounters) -> u64| {
        workers
            .iter()
            .map(|worker| u128::from(figure(worker)))
            .sum::<u128>()
    };
    let pauses = sum(|worker| worker.pauses);
    let mean_us = sum(|worker| worker.paused_ns) as f64 / 1e3 / pauses as f64;
    (pauses > 0).then(|| {
        format!(
            "Workers let packets gather in {pauses} pauses of {mean_us:.0} µs on average \
             (--rx-coalesce); a packet's transit and latency may hold one of them."
        )
    })
}
