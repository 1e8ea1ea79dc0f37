//! The metrics by group of a plan: those of runs that go on, and sums of those that have ended.
//!
//! What workers count is a gauge, since a sum over the runs that are going on falls when one of
//! them ends. These series end with the last run that has such a group, so they do not become ever
//! more.
//! Agents report by client, and that at the end: what they have sent is a counter, of runs that
//! have ended. The names of those are bounded where they are counted.

use metronome_proto::{
    histogram::Histogram,
    json::values::bound_is,
    v1::{Quantile, ReceiverCounts},
};

use super::{
    family::{
        Family, Kind,
        Unit::{Count, Seconds},
        labelled,
    },
    figures::{BoundFigure, ControlFigures, GroupFigures, GroupSums},
};
use crate::model::Times;

/// The families of groups.
pub(super) fn groups(control: &ControlFigures) -> Vec<Family> {
    [
        counted(control),
        ended(control),
        times(control),
        bounds(control),
    ]
    .concat()
}

fn counted(control: &ControlFigures) -> Vec<Family> {
    let of_each = |name, help, figure: fn(&ReceiverCounts) -> u64| {
        let values = control.groups.iter();
        labelled(
            Kind::Gauge,
            name,
            Count("{packet}"),
            help,
            values.map(|(group, of)| (vec![("group", group.clone())], figure(&of.counts) as f64)),
        )
    };
    vec![
        of_each(
            "metronome_group_packets_received",
            "Packets of a group that workers have counted, in runs that have not ended",
            |counts| counts.received,
        ),
        of_each(
            "metronome_group_packets_corrupt",
            "Frames of a group that failed a check, in runs that have not ended",
            |counts| counts.corrupt,
        ),
        of_each(
            "metronome_group_packets_missing",
            "Sequence numbers left out and not seen since, in runs that have not ended",
            |counts| counts.gaps,
        ),
    ]
}

fn ended(control: &ControlFigures) -> Vec<Family> {
    let of_each = |name, help, figure: fn(&GroupSums) -> u64| {
        let values = control.groups_ended.iter();
        labelled(
            Kind::Counter,
            name,
            Count("{packet}"),
            help,
            values.map(|(group, sums)| (vec![("group", group.clone())], figure(sums) as f64)),
        )
    };
    vec![
        of_each(
            "metronome_group_packets_scheduled",
            "Packets of a group that were due, as reported by agents, of runs that have ended",
            |sums| sums.scheduled,
        ),
        of_each(
            "metronome_group_packets_sent",
            "Packets of a group fully written, as reported by agents, of runs that have ended",
            |sums| sums.sent,
        ),
        of_each(
            "metronome_group_packets_skipped",
            "Packets of a group that were due and never written, of runs that have ended",
            |sums| sums.skipped,
        ),
        of_each(
            "metronome_group_packets_lost",
            "Packets of a group sent and not received, of runs that have ended",
            |sums| sums.lost,
        ),
    ]
}

/// Quantiles, not histograms: of runs that end, a histogram by group would fall.
fn times(control: &ControlFigures) -> Vec<Family> {
    let of_each = |name, help, histogram: fn(&Times) -> &Histogram| {
        let values = control.groups.iter().flat_map(|(group, of)| {
            let distribution = histogram(&of.times).distribution(false);
            let quantiles = distribution.map(|of| of.quantiles).unwrap_or_default();
            let labels = |of: &Quantile| {
                let quantile = f64::from(of.ppm) / 1e6;
                vec![("group", group.clone()), ("quantile", quantile.to_string())]
            };
            let sample = |of: Quantile| (labels(&of), of.ns as f64 / 1e9);
            quantiles.into_iter().map(sample).collect::<Vec<_>>()
        });
        labelled(Kind::Gauge, name, Seconds, help, values)
    };
    vec![
        of_each(
            "metronome_group_lateness",
            "From due to written, of a group in runs that have not ended",
            |times| &times.lateness,
        ),
        of_each(
            "metronome_group_transit",
            "From written to read, of a group in runs that have not ended",
            |times| &times.transit,
        ),
        of_each(
            "metronome_group_latency",
            "From due to read, of a group in runs that have not ended",
            |times| &times.latency,
        ),
        of_each(
            "metronome_group_spread",
            "From due to read above the client's least, of a group in runs that have not ended",
            |times| &times.spread,
        ),
        of_each(
            "metronome_group_one_way",
            "From written to read between clocks, of a group in runs that have not ended",
            |times| &times.one_way,
        ),
        of_each(
            "metronome_group_queueing",
            "From written to read above the least of the path, of a group in runs that go on",
            |times| &times.queueing,
        ),
    ]
}

/// How far off the times between clocks can be.
fn bounds(control: &ControlFigures) -> Vec<Family> {
    let of_each = |name, help, bound: fn(&GroupFigures) -> Option<BoundFigure>| {
        let values = control.groups.iter().filter_map(|(group, of)| {
            let bound = bound(of)?;
            let word = bound_is(bound.is_claimed);
            let labels = vec![("group", group.clone()), ("bound", word.to_owned())];
            Some((labels, bound.ns as f64 / 1e9))
        });
        labelled(Kind::Gauge, name, Seconds, help, values)
    };
    vec![
        of_each(
            "metronome_group_one_way_bound",
            "How far off one-way of a group can be, in either direction",
            |of| of.one_way_bound,
        ),
        of_each(
            "metronome_group_queueing_bound",
            "How far off queueing of a group can be, in either direction",
            |of| of.queueing_bound,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    fn control() -> ControlFigures {
        let mut figures = GroupFigures::default();
        figures.counts.received = 30;
        for time_ns in 0..30 {
            figures.times.lateness.record(1_000_000 + time_ns);
            figures.times.one_way.record(3_000_000 + time_ns);
        }
        figures.one_way_bound = Some(BoundFigure {
            ns: 2_000_000,
            is_claimed: true,
        });
        let sums = GroupSums {
            scheduled: 40,
            sent: 30,
            skipped: 10,
            lost: 2,
        };
        ControlFigures {
            groups: [("sensors".to_owned(), figures)].into(),
            groups_ended: vec![("feeds".into(), sums)],
            ..ControlFigures::default()
        }
    }

    #[test]
    fn a_group_has_its_counts_its_sums_and_the_quantiles_that_are_known() {
        let shown: Vec<_> = groups(&control())
            .into_iter()
            .flat_map(|family| {
                let of_sample = move |sample: super::super::Sample| {
                    let labels = sample.labels.into_iter().map(|(_, value)| value);
                    let Value::Number(number) = sample.value else {
                        panic!("not a number")
                    };
                    let labels = labels.collect::<Vec<_>>().join(" ");
                    format!("{} {labels} {number:.3}", family.name)
                };
                family.samples.into_iter().map(of_sample)
            })
            .collect();
        // 30 values give no p90; what was not measured has no series.
        let expected = [
            "metronome_group_packets_received sensors 30.000",
            "metronome_group_packets_corrupt sensors 0.000",
            "metronome_group_packets_missing sensors 0.000",
            "metronome_group_packets_scheduled feeds 40.000",
            "metronome_group_packets_sent feeds 30.000",
            "metronome_group_packets_skipped feeds 10.000",
            "metronome_group_packets_lost feeds 2.000",
            "metronome_group_lateness sensors 0.5 0.001",
            "metronome_group_one_way sensors 0.5 0.003",
            "metronome_group_one_way_bound sensors claimed 0.002",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_run_there_is_no_series() {
        let all = groups(&ControlFigures::default());
        assert!(all.iter().all(|family| family.samples.is_empty()));
    }
}
