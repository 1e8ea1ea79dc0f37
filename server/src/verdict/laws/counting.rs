//! The laws of what the workers counted: bytes, sequence numbers, histograms and sums.

use metronome_proto::{
    profile::Profile,
    v1::{LawStatus, ReasonCode},
};

use super::law::{Checked, Law, sides};
use crate::{
    model::{PerTime, TimeKind},
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

/// A packet that came corrupt is a gap, and nothing else is.
pub(super) fn sequence_is_whole(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::SequenceBroken,
        law: "gaps ≤ corrupt, duplicated = reordered = 0",
        sides: "{gaps} ≤ {corrupt}, {duplicated}, {reordered}",
        first: "{first_gaps} ≤ {first_corrupt}, {first_duplicated}, {first_reordered}",
        missing: NO_WORKER_RECORD,
    };
    let named = |[gaps, corrupt, duplicated, reordered]: [u128; 4]| {
        figures([
            ("gaps", gaps.into()),
            ("corrupt", corrupt.into()),
            ("duplicated", duplicated.into()),
            ("reordered", reordered.into()),
        ])
    };
    let of = |row: &Row<'_>| {
        let counts = row.counted?.counts;
        Some([
            counts.gaps,
            counts.corrupt,
            counts.duplicated,
            counts.reordered,
        ])
    };
    let sums = [0, 1, 2, 3].map(|kind| total(rows, |row| Some(of(row)?[kind])));
    let is_whole = |row: &Row<'_>| {
        let [gaps, corrupt, duplicated, reordered] = of(row)?;
        Some(gaps <= corrupt && (duplicated, reordered) == (0, 0))
    };
    law.for_every_client(rows, named(sums), is_whole, |row| {
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

/// Each histogram holds as many times as were counted with the packets. These are the packets
/// received: for transit and latency those of agents that share our clock, no others; for lateness
/// and spread all, but those of a flood, in which no packet is late. The first packet of a client
/// has no spread, nor has one after a long silence.
pub(super) fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "histogram counts = received",
        sides: "{lateness}, {transit}, {latency}, {spread} = {timed_lateness}, {timed_transit}, \
                {timed_latency}, {timed_spread} = {paced}, {on_our_clock}, {on_our_clock}, at most \
                {comparable}",
        first: "{first_lateness}, {first_transit}, {first_latency}, {first_spread} = \
                {first_timed_lateness}, {first_timed_transit}, {first_timed_latency}, \
                {first_timed_spread} = {first_paced}, {first_on_our_clock}, {first_on_our_clock}, \
                at most {first_comparable}",
        missing: NO_WORKER_RECORD,
    };
    let Some(counters) = evidence.counters else {
        return law.not_checkable();
    };
    let is_paced = evidence.plan.first_group().profile != Profile::Flood;
    let received = |row: &Row<'_>, counts: bool| {
        let received = row.counted?.counts.received;
        Some(if counts { received } else { 0 })
    };
    let of_run = HistogramCounts {
        held: TimeKind::ALL.map(|kind| counters.times[kind].count().into()),
        timed: TimeKind::ALL.map(|kind| total(rows, |row| Some(row.counted?.timed[kind]))),
        paced: total(rows, |row| received(row, is_paced)),
        comparable: total(rows, |row| Some(received(row, is_paced)?.saturating_sub(1))),
        on_our_clock: total(rows, |row| received(row, row.is_recorded_on_our_clock())),
    };
    let of = |row: &Row<'_>| {
        let counted = row.counted?;
        Some(HistogramCounts {
            held: counted.histogram_counts.map(u128::from),
            timed: counted.timed.map(u128::from),
            paced: received(row, is_paced)?.into(),
            comparable: received(row, is_paced)?.saturating_sub(1).into(),
            on_our_clock: received(row, row.is_recorded_on_our_clock())?.into(),
        })
    };
    let agree = |row: &Row<'_>| of(row).map(|counts| counts.agree());
    let checked = law.for_every_client(rows, of_run.figures(), agree, |row| {
        of(row).unwrap_or_default().figures()
    });
    // The sums can differ although each client's agree, and even when there is none.
    if of_run.agree() || checked.status == LawStatus::Broken {
        return checked;
    }
    law.of_run(false, of_run.figures())
}

/// How many times the histograms hold and must hold.
#[derive(Clone, Copy, Default)]
struct HistogramCounts {
    held: PerTime<u128>,
    /// Counted with the packets.
    timed: PerTime<u128>,
    /// Packets received of clients with a schedule …
    paced: u128,
    /// … those of them that are not the first of their client …
    comparable: u128,
    /// … and those of agents that share our clock.
    on_our_clock: u128,
}

impl HistogramCounts {
    fn agree(&self) -> bool {
        let (paced, ours) = (self.paced, self.on_our_clock);
        let PerTime([one_way_and_lateness @ .., spread]) = self.timed;
        self.held == self.timed
            && one_way_and_lateness == [paced, ours, ours]
            && spread <= self.comparable
    }

    fn figures(&self) -> Figures {
        let right = self.paced + 2 * self.on_our_clock + self.timed[TimeKind::Spread];
        let mut both = sides(self.held.0.iter().sum(), right);
        both.append(&mut figures([
            ("lateness", self.held[TimeKind::Lateness].into()),
            ("transit", self.held[TimeKind::Transit].into()),
            ("latency", self.held[TimeKind::Latency].into()),
            ("spread", self.held[TimeKind::Spread].into()),
            ("timed_lateness", self.timed[TimeKind::Lateness].into()),
            ("timed_transit", self.timed[TimeKind::Transit].into()),
            ("timed_latency", self.timed[TimeKind::Latency].into()),
            ("timed_spread", self.timed[TimeKind::Spread].into()),
            ("paced", self.paced.into()),
            ("comparable", self.comparable.into()),
            ("on_our_clock", self.on_our_clock.into()),
        ]));
        both
    }
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
