//! The laws of what the workers counted: bytes, sequence numbers, histograms and sums.

use super::law::{Checked, compare, for_every_client};
use crate::verdict::{
    evidence::Evidence,
    rows::{Row, total},
};

/// The kernel's own count of what was taken off a socket, where it could be read.
pub(super) fn taken_is_counted(rows: &[Row<'_>]) -> Checked {
    let both = |row: &Row<'_>| {
        row.counted
            .and_then(|counted| Some((counted.bytes_taken?, counted.bytes)))
    };
    compare("bytes taken = bytes processed", "BYTES_DIFFER", rows, both)
}

pub(super) fn sequence_is_whole(rows: &[Row<'_>]) -> Checked {
    let of = |row: &Row<'_>| {
        row.counted.map_or([0; 3], |counted| {
            [
                counted.counts.gaps,
                counted.counts.duplicated,
                counted.counts.reordered,
            ]
        })
    };
    let sums = [0, 1, 2].map(|index| total(rows, |row| of(row)[index]));
    let figures = format!("{}, {}, {}", sums[0], sums[1], sums[2]);
    let law = "gaps = duplicated = reordered = 0";
    for_every_client(
        law,
        "SEQUENCE_BROKEN",
        figures,
        rows,
        |row| of(row) == [0; 3],
        |row| {
            let [gaps, duplicated, reordered] = of(row);
            format!("{gaps}, {duplicated}, {reordered}")
        },
    )
}

pub(super) fn nothing_is_corrupt(rows: &[Row<'_>]) -> Checked {
    let corrupt = |row: &Row<'_>| row.counted.map_or(0, |counted| counted.counts.corrupt);
    let figures = total(rows, corrupt).to_string();
    for_every_client(
        "corrupt = 0",
        "CORRUPT",
        figures,
        rows,
        |row| corrupt(row) == 0,
        |row| corrupt(row).to_string(),
    )
}

/// Lateness is counted of every packet; transit and latency of agents that share our clock, and of
/// no others.
pub(super) fn histograms_count_the_received(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = "histogram counts = received";
    let expected = |row: &Row<'_>| {
        let one_way = if row.agent.share.clock.is_same() {
            row.received()
        } else {
            0
        };
        [row.received(), one_way, one_way]
    };
    let counts = |row: &Row<'_>| {
        row.counted
            .map_or([0; 3], |counted| counted.histogram_counts)
    };
    let times = evidence.counters.map(|counters| &counters.times);
    let sums = times.map_or([0; 3], |times| {
        [&times.lateness, &times.transit, &times.latency].map(|of| of.count())
    });
    let sums_expected = [0, 1, 2].map(|index| total(rows, |row| expected(row)[index]));
    let figures = format!(
        "{}, {}, {} = {}, {}, {}",
        sums[0], sums[1], sums[2], sums_expected[0], sums_expected[1], sums_expected[2]
    );
    let mut checked = for_every_client(
        law,
        "HISTOGRAM_MISCOUNTED",
        figures,
        rows,
        |row| counts(row) == expected(row),
        |row| format!("{:?} and {} received", counts(row), row.received()),
    );
    checked.holds &= sums.map(u128::from) == sums_expected;
    checked
}

pub(super) fn clients_and_workers_agree(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let clients = total(rows, Row::received);
    let (workers, recovered) = evidence.counters.map_or((0, 0), |counters| {
        let workers: u128 = counters
            .workers
            .iter()
            .map(|worker| u128::from(worker.packets))
            .sum();
        (workers, u128::from(counters.recovered_packets))
    });
    Checked {
        law: "sum over clients = sum over workers + recovered",
        code: "SUMS_DIFFER",
        holds: clients == workers + recovered,
        figures: format!("{clients} = {workers} + {recovered}"),
    }
}
