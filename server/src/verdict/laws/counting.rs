//! The laws of what the workers counted: bytes, sequence numbers, histograms and sums.

use metronome_proto::{
    packet::FRAME_BYTES,
    v1::{LawStatus, ReasonCode},
};

use super::{
    law::{Checked, Law, sides},
    warm_up,
};
use crate::{
    model::{ClientEnd, PerTime, TimeKind, Times},
    verdict::{
        evidence::Evidence,
        rows::{Row, by_group, total},
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

/// The bytes of a client with a clean end are a hello of 32 bytes, and behind it whole frames of
/// the size of its packets: its start, its packets and its end. A packet that is absent may have
/// come as a frame that was none, or not at all.
pub(super) fn bytes_are_whole_frames(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::BytesDiffer,
        law: "bytes processed = hello + frames × packet size on a clean end",
        sides: "{bytes} = {of_frames}, and at most {of_absent} of absent packets",
        first: "{first_bytes} = {first_of_frames}, and at most {first_of_absent} of absent packets",
        missing: "no client has ended cleanly whose bytes are those of one connection",
    };
    let is_of_one_connection = evidence.counters.is_some_and(|it| it.second_records == 0);
    let bytes_of = |row: &Row<'_>| {
        let counted = row.counted.filter(|_| is_of_one_connection)?;
        let counts = counted.counts;
        let is_clean = counted.end == ClientEnd::Clean && counts.duplicated == 0;
        let is_whole = is_clean && counts.reordered == 0 && counted.reported_sent.is_some();
        let size = u128::from(row.group.packet_size.bytes() as u64);
        let others = 1 + u128::from(counted.start.is_some());
        let frames = u128::from(counts.received) + others;
        let of_frames = FRAME_BYTES as u128 + size * frames;
        let of_absent = size * u128::from(row.absent()?);
        is_whole.then_some((u128::from(counted.bytes), of_frames, of_absent, size))
    };
    let named = |bytes: u128, of_frames: u128, of_absent: u128| {
        figures([
            ("bytes", bytes.into()),
            ("of_frames", of_frames.into()),
            ("of_absent", of_absent.into()),
        ])
    };
    let sums = rows.iter().filter_map(bytes_of);
    let (bytes, of_frames, of_absent) = sums.fold((0, 0, 0), |sum, of| {
        (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2)
    });
    let holds = |row: &Row<'_>| {
        let (bytes, of_frames, of_absent, size) = bytes_of(row)?;
        let more = bytes.checked_sub(of_frames);
        Some(more.is_some_and(|more| more <= of_absent && more.is_multiple_of(size)))
    };
    law.for_every_client(rows, named(bytes, of_frames, of_absent), holds, |row| {
        bytes_of(row).map_or_else(Figures::new, |(bytes, of_frames, of_absent, _)| {
            named(bytes, of_frames, of_absent)
        })
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
/// received but those of the warm-up: for transit and latency those of agents that share our clock,
/// no others; for lateness and spread all, but those of a flood, in which no packet is late. The
/// first packet of a client has no spread, nor has one after a long silence. The histograms of each
/// group hold those of its clients.
pub(super) fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "histogram counts = received − warm-up",
        sides: "{lateness}, {transit}, {latency}, {spread} = {timed_lateness}, {timed_transit}, \
                {timed_latency}, {timed_spread} = {paced}, {on_our_clock}, {on_our_clock}, at most \
                {comparable}, and {warm_up} of the warm-up; {one_way}, {queueing} = \
                {timed_one_way}, {timed_queueing}, at most {by_lines}",
        first: "{first_lateness}, {first_transit}, {first_latency}, {first_spread} = \
                {first_timed_lateness}, {first_timed_transit}, {first_timed_latency}, \
                {first_timed_spread} = {first_paced}, {first_on_our_clock}, {first_on_our_clock}, \
                at most {first_comparable}, and {first_warm_up} of the warm-up; \
                {first_one_way}, {first_queueing} = {first_timed_one_way}, \
                {first_timed_queueing}, at most {first_by_lines}",
        missing: NO_WORKER_RECORD,
    };
    let Some(counters) = evidence.counters else {
        return law.not_checkable();
    };
    let of = HistogramCounts::of_client;
    let of_run = HistogramCounts::of_all(&counters.times, rows);
    let agree = |row: &Row<'_>| {
        let is_of_the_plan = warm_up::is_the_plans(evidence.plan, row)?;
        Some(of(row)?.agree() && is_of_the_plan)
    };
    let checked = law.for_every_client(rows, of_run.figures(), agree, |row| {
        of(row).unwrap_or_default().figures()
    });
    if checked.status == LawStatus::Broken {
        return checked;
    }
    // The sums can differ although each client's agree, and even when there is none.
    if !of_run.agree() {
        return law.of_run(false, of_run.figures());
    }
    let mut groups = by_group(rows).filter_map(|rows| {
        let index = rows[0].group.index;
        let times = counters.times_of_groups.get(index)?;
        Some((rows, HistogramCounts::of_all(times, rows)))
    });
    let Some((rows, of_group)) = groups.find(|(_, of)| !of.agree()) else {
        return checked;
    };
    let mut figures = of_group.figures();
    figures.insert("group".into(), rows[0].group.name.as_str().into());
    let sides = format!("{} in group {{group}}", law.sides);
    law.broken_by_a_part(&sides, figures)
}

/// How many times the histograms hold and must hold.
#[derive(Clone, Copy, Default)]
struct HistogramCounts {
    held: PerTime<u128>,
    /// Counted with the packets.
    timed: PerTime<u128>,
    /// Packets received after the warm-up of clients with a schedule …
    paced: u128,
    /// … those of them that are not the first of their client …
    comparable: u128,
    /// … and those of agents that share our clock.
    on_our_clock: u128,
    /// Packets received after the warm-up of agents whose offset was measured: those that were read
    /// while there was a line between the clocks have times by it.
    by_lines: u128,
    /// Packets that were faster than the floor of their path, and so have a time above it of 0.
    below_floor: u128,
    /// Packets received in the warm-up: no histogram has them.
    warm_up: u128,
}

impl HistogramCounts {
    fn of_client(row: &Row<'_>) -> Option<Self> {
        let counted = row.counted?;
        let measured = u128::from(row.measured_received()?);
        let paced = if row.is_paced() { measured } else { 0 };
        // With a warm-up before it, the first packet of those is not the client's first.
        let behind_the_first = u128::from(counted.counts.received.saturating_sub(1));
        Some(Self {
            held: counted.histogram_counts.map(u128::from),
            timed: counted.timed.map(u128::from),
            paced,
            comparable: paced.min(behind_the_first),
            on_our_clock: if row.is_recorded_on_our_clock() {
                measured
            } else {
                0
            },
            by_lines: if row.is_recorded_by_lines() {
                measured
            } else {
                0
            },
            below_floor: counted.counts.below_floor.unwrap_or(0).into(),
            warm_up: counted.counts.warm_up.unwrap_or(0).into(),
        })
    }

    /// Those of several clients, whose times these are.
    fn of_all(times: &Times, rows: &[Row<'_>]) -> Self {
        let clients = rows.iter().filter_map(Self::of_client);
        let counted = clients.fold(Self::default(), |sum, of| Self {
            held: sum.held,
            timed: TimeKind::ALL.map(|kind| sum.timed[kind] + of.timed[kind]),
            paced: sum.paced + of.paced,
            comparable: sum.comparable + of.comparable,
            on_our_clock: sum.on_our_clock + of.on_our_clock,
            by_lines: sum.by_lines + of.by_lines,
            below_floor: sum.below_floor + of.below_floor,
            warm_up: sum.warm_up + of.warm_up,
        });
        Self {
            held: TimeKind::ALL.map(|kind| times[kind].count().into()),
            ..counted
        }
    }

    fn agree(&self) -> bool {
        let (paced, ours) = (self.paced, self.on_our_clock);
        let PerTime([lateness, transit, latency, spread, one_way, queueing]) = self.timed;
        self.held == self.timed
            && [lateness, transit, latency] == [paced, ours, ours]
            && spread <= self.comparable
            && one_way <= self.by_lines
            && queueing <= one_way
            && self.below_floor <= queueing
    }

    fn figures(&self) -> Figures {
        let right = self.paced + 2 * self.on_our_clock;
        let free = [TimeKind::Spread, TimeKind::OneWay, TimeKind::Queueing];
        let right = right + free.map(|kind| self.timed[kind]).into_iter().sum::<u128>();
        let mut both = sides(self.held.0.iter().sum(), right);
        both.append(&mut figures([
            ("lateness", self.held[TimeKind::Lateness].into()),
            ("transit", self.held[TimeKind::Transit].into()),
            ("latency", self.held[TimeKind::Latency].into()),
            ("spread", self.held[TimeKind::Spread].into()),
            ("one_way", self.held[TimeKind::OneWay].into()),
            ("queueing", self.held[TimeKind::Queueing].into()),
            ("timed_lateness", self.timed[TimeKind::Lateness].into()),
            ("timed_transit", self.timed[TimeKind::Transit].into()),
            ("timed_latency", self.timed[TimeKind::Latency].into()),
            ("timed_spread", self.timed[TimeKind::Spread].into()),
            ("timed_one_way", self.timed[TimeKind::OneWay].into()),
            ("timed_queueing", self.timed[TimeKind::Queueing].into()),
            ("by_lines", self.by_lines.into()),
            ("below_floor", self.below_floor.into()),
            ("paced", self.paced.into()),
            ("comparable", self.comparable.into()),
            ("on_our_clock", self.on_our_clock.into()),
            ("warm_up", self.warm_up.into()),
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
