//! The laws of what the workers counted: bytes, sequence numbers, histograms and sums.

use metronome_proto::v1::{LawStatus, ReasonCode};

use super::law::{Checked, Law, sides};
use crate::{
    model::ClientCounters,
    verdict::{
        evidence::Evidence,
        rows::{Row, total},
        sentence::{Figures, figures},
    },
};

/// Why a law of the workers' figures cannot be checked.
const NO_WORKER_RECORD: &str = "the workers have no record of a client";

/// The kernel's own count of what was taken off a socket, where it could be read.
pub(super) fn taken_is_counted(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::BytesDiffer,
        law: "bytes taken = bytes processed",
        sides: "{left} = {right}",
        first: "{first_left} and {first_right}",
        missing: "there is no client of which the kernel's count of bytes is known",
    };
    law.compare(rows, |row| {
        let counted = row.counted?;
        Some((counted.bytes_taken?, counted.bytes))
    })
}

pub(super) fn sequence_is_whole(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::SequenceBroken,
        law: "gaps = duplicated = reordered = 0",
        sides: "{gaps}, {duplicated}, {reordered}",
        first: "{first_gaps}, {first_duplicated}, {first_reordered}",
        missing: NO_WORKER_RECORD,
    };
    let named = |[gaps, duplicated, reordered]: [u128; 3]| {
        figures([
            ("gaps", gaps.into()),
            ("duplicated", duplicated.into()),
            ("reordered", reordered.into()),
        ])
    };
    let of = |row: &Row<'_>| {
        let counts = row.counted?.counts;
        Some([counts.gaps, counts.duplicated, counts.reordered])
    };
    let sums = [0, 1, 2].map(|kind| total(rows, |row| Some(of(row)?[kind])));
    let of_run = {
        let mut both = sides(sums.iter().sum(), 0);
        both.append(&mut named(sums));
        both
    };
    let is_whole = |row: &Row<'_>| of(row).map(|counts| counts == [0; 3]);
    law.for_every_client(rows, of_run, is_whole, |row| {
        named(of(row).unwrap_or_default().map(u128::from))
    })
}

pub(super) fn nothing_is_corrupt(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::Corrupt,
        law: "corrupt = 0",
        sides: "{left}",
        first: "{first_left}",
        missing: NO_WORKER_RECORD,
    };
    law.compare(rows, |row| Some((row.counted?.counts.corrupt, 0)))
}

/// Lateness is counted of every packet; transit and latency of agents that share our clock, and of
/// no others.
pub(super) fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "histogram counts = received",
        sides: "{lateness}, {transit}, {latency} = {received}, {received_on_our_clock}, \
                {received_on_our_clock}",
        first: "{first_lateness}, {first_transit}, {first_latency} = {first_received}, \
                {first_received_on_our_clock}, {first_received_on_our_clock}",
        missing: NO_WORKER_RECORD,
    };
    let Some(counters) = evidence.counters else {
        return law.not_checkable();
    };
    let received = |row: &Row<'_>| Some(row.counted?.counts.received);
    let on_our_clock = |row: &Row<'_>| received(row).filter(|_| row.is_on_our_clock());
    let named = |[lateness, transit, latency]: [u64; 3], received: u128, on_our_clock: u128| {
        let mut both = sides(
            [lateness, transit, latency].map(u128::from).iter().sum(),
            received + 2 * on_our_clock,
        );
        both.append(&mut figures([
            ("lateness", lateness.into()),
            ("transit", transit.into()),
            ("latency", latency.into()),
            ("received", received.into()),
            ("received_on_our_clock", on_our_clock.into()),
        ]));
        both
    };
    let times = &counters.times;
    let sums = [&times.lateness, &times.transit, &times.latency].map(|times| times.count());
    let (all, ours) = (total(rows, received), total(rows, on_our_clock));
    let counts_each = |row: &Row<'_>| {
        let (received, ours) = (received(row)?, on_our_clock(row).unwrap_or(0));
        Some(row.counted?.histogram_counts == [received, ours, ours])
    };
    let of_run = named(sums, all, ours);
    let checked = law.for_every_client(rows, of_run.clone(), counts_each, |row| {
        let counts = |counted: &ClientCounters| counted.histogram_counts;
        named(
            row.counted.map(counts).unwrap_or_default(),
            received(row).unwrap_or(0).into(),
            on_our_clock(row).unwrap_or(0).into(),
        )
    });
    // The sums can differ although each client's agree, and even when there is none.
    if sums.map(u128::from) == [all, ours, ours] || checked.status == LawStatus::Broken {
        return checked;
    }
    law.of_run(false, of_run)
}

pub(super) fn clients_and_workers_agree(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::SumsDiffer,
        law: "sum over clients = sum over workers + recovered",
        sides: "{left} = {workers} + {recovered}",
        first: "",
        missing: "the workers' record of the run is missing",
    };
    let Some(counters) = evidence.counters else {
        return law.not_checkable();
    };
    let clients = total(rows, Row::received);
    let packets = counters.workers.iter();
    let workers: u128 = packets.map(|worker| u128::from(worker.packets)).sum();
    let recovered = u128::from(counters.recovered_packets);
    let mut of_run: Figures = sides(clients, workers + recovered);
    of_run.insert("workers".into(), workers.into());
    of_run.insert("recovered".into(), recovered.into());
    law.of_run(clients == workers + recovered, of_run)
}
