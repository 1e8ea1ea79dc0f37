//! Which figures the points of a series keep at the end of a run: those that the report has, and of
//! which all points together are what it has. Pure.
//!
//! What is counted while a run goes on is not always what counts: its end may set a counter anew or
//! unset it, an agent may be lost with its last figures or have reported others before, and the
//! clock of one may turn out to be another. A point that still had the earlier figure would
//! contradict the verdict.

use metronome_proto::{
    counters::CounterList,
    histogram::count_min,
    v1::{self, Buckets, Distribution, Metric, SeriesPoint},
};

const P99_PPM: u32 = 990_000;

/// Unsets all other figures.
pub(super) fn keep(points: &mut [SeriesPoint], report: &v1::Report) {
    let counts = report.counts.unwrap_or_default();
    keep_counts(points, |of| &mut of.receiver, counts.receiver);
    keep_counts(points, |of| &mut of.generator, counts.generator);
    let times = report.times.clone().unwrap_or_default();
    for (time, of_run) in by_time(&times) {
        keep_time(points, time, of_run.as_ref());
    }
    for point in points {
        point.clients = point.clients.take().filter(|of| has_p99(&times, of.time()));
    }
}

/// Unsets the times of a point of a run in progress that the run does not have by now.
pub(super) fn keep_known(point: &mut SeriesPoint, so_far: &v1::Times) {
    for (time, of_run) in by_time(so_far) {
        let time = time(point);
        *time = time.take().filter(|_| of_run.is_some());
    }
    point.clients = point.clients.take().filter(|of| has_p99(so_far, of.time()));
}

/// One time of a point.
type TimeOfPoint = fn(&mut SeriesPoint) -> &mut Option<Buckets>;

/// Each time of a point, with that of the run.
fn by_time(times: &v1::Times) -> [(TimeOfPoint, &Option<Distribution>); 8] {
    [
        (|of| &mut of.lateness, &times.lateness),
        (|of| &mut of.transit, &times.transit),
        (|of| &mut of.latency, &times.latency),
        (|of| &mut of.spread, &times.spread),
        (|of| &mut of.one_way, &times.one_way),
        (|of| &mut of.queueing, &times.queueing),
        (|of| &mut of.rtt_from_due, &times.rtt_from_due),
        (|of| &mut of.rtt_from_write, &times.rtt_from_write),
    ]
}

/// Counter by counter. Points before the first report of an agent have none, and need none.
fn keep_counts<L: CounterList>(
    points: &mut [SeriesPoint],
    counts: fn(&mut SeriesPoint) -> &mut Option<L>,
    of_run: Option<L>,
) {
    let each = points.iter_mut().filter_map(|point| *counts(point));
    let sum = each.reduce(|sum, one| sum.plus(&one));
    for point in points {
        let counts = counts(point);
        *counts = (|| counts.take()?.agreed(&sum?, &of_run?))();
    }
}

/// All times of a kind, or none of them.
fn keep_time(points: &mut [SeriesPoint], time: TimeOfPoint, of_run: Option<&Distribution>) {
    let counts = points
        .iter_mut()
        .filter_map(|point| time(point).as_ref())
        .flat_map(|times| times.counts.iter());
    let sum = counts.fold(0_u64, |sum, count| sum.saturating_add(*count));
    if of_run.is_none_or(|of_run| of_run.count != sum) {
        points.iter_mut().for_each(|point| *time(point) = None);
    }
}

/// Whether the run has the p99 of this time, or only too few packets for that. Where it has packets
/// enough and no p99, that is not known: too many are missing or were compared with no other.
fn has_p99(of_run: &v1::Times, time: Metric) -> bool {
    let of_run = match time {
        Metric::Latency => &of_run.latency,
        Metric::Spread => &of_run.spread,
        Metric::OneWay => &of_run.one_way,
        _ => &None,
    };
    of_run.as_ref().is_some_and(|times| {
        times.count < count_min(P99_PPM) || times.quantiles.iter().any(|of| of.ppm == P99_PPM)
    })
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{ClientTimes, Counts, GeneratorCounts, ReceiverCounts};
    use proptest::prelude::*;

    use super::*;

    fn kept(mut points: Vec<SeriesPoint>, counts: Counts, times: v1::Times) -> Vec<SeriesPoint> {
        let report = v1::Report {
            counts: Some(counts),
            times: Some(times),
            ..v1::Report::default()
        };
        keep(&mut points, &report);
        points
    }

    fn receiver(words: [u64; 16]) -> ReceiverCounts {
        let mut all = [0; metronome_proto::counters::WORDS];
        all.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        ReceiverCounts::from_words(&all)
    }

    proptest! {
        #[test]
        fn what_all_points_have_of_a_counter_together_is_the_report_s_or_nothing(
            points in prop::collection::vec(prop::array::uniform16(0..100_u64), 1..20),
            changed in prop::array::uniform16(prop::option::weighted(0.3, 0..2_u64)),
            unknown in prop::option::of(prop::array::uniform16(any::<bool>())),
        ) {
            let mut of_run = [0; 16];
            for words in &points {
                of_run.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
            }
            of_run.iter_mut().zip(changed).for_each(|(sum, more)| *sum += more.unwrap_or(0));
            let mut of_run = receiver(of_run);
            if unknown.is_some_and(|of| of[8]) {
                of_run.in_time = None;
            }
            let series = points.iter().map(|words| SeriesPoint {
                receiver: Some(receiver(*words)),
                ..SeriesPoint::default()
            });
            let counts = Counts { receiver: Some(of_run), ..Counts::default() };
            let series = kept(series.collect(), counts, v1::Times::default());
            let shown: Vec<_> = series.iter().filter_map(|point| point.receiver).collect();
            prop_assert!(shown.is_empty() || shown.len() == series.len());
            for (index, (name, known)) in of_run.values().enumerate() {
                let each = shown.iter().map(|of| of.values().nth(index).and_then(|of| of.1));
                let sum = each.sum::<Option<u64>>();
                prop_assert!(shown.is_empty() || sum.is_none() || sum == known, "{}", name);
                // What agrees is kept.
                let agrees = known.is_some() && changed[index].unwrap_or(0) == 0;
                prop_assert!(shown.is_empty() || !agrees || sum == known, "{}", name);
            }
        }
    }

    #[test]
    fn a_run_that_was_stopped_has_no_packets_in_time_in_any_point() {
        let point = SeriesPoint {
            receiver: Some(ReceiverCounts {
                received: 3,
                in_time: Some(3),
                ..ReceiverCounts::default()
            }),
            ..SeriesPoint::default()
        };
        let of_run = ReceiverCounts {
            received: 6,
            in_time: None,
            ..ReceiverCounts::default()
        };
        let counts = Counts {
            receiver: Some(of_run),
            ..Counts::default()
        };
        let points = kept(vec![point.clone(), point], counts, v1::Times::default());
        assert_eq!(points[1].receiver.map(|of| of.in_time), Some(None));
        assert_eq!(points[1].receiver.map(|of| of.received), Some(3));
    }

    #[test]
    fn what_agents_have_reported_and_the_report_contradicts_or_does_not_have_is_in_no_point() {
        let generator = |sent, replies_read| GeneratorCounts {
            scheduled: sent,
            sent,
            replies_read: Some(replies_read),
            ..GeneratorCounts::default()
        };
        let point = |generator| SeriesPoint {
            generator,
            ..SeriesPoint::default()
        };
        let points = || {
            vec![
                point(None),
                point(Some(generator(5, 1))),
                point(Some(generator(6, 2))),
            ]
        };
        let shown = |of_run| {
            let counts = Counts {
                generator: of_run,
                ..Counts::default()
            };
            let points = kept(points(), counts, v1::Times::default());
            points[2].generator.map(|of| (of.sent, of.replies_read))
        };
        assert_eq!(shown(Some(generator(11, 3))), Some((6, Some(2))));
        assert_eq!(
            shown(Some(generator(11, 2))),
            Some((6, None)),
            "one has lied"
        );
        assert_eq!(shown(Some(generator(10, 3))), None);
        assert_eq!(shown(None), None, "one was lost");
    }

    #[test]
    fn a_time_is_in_the_points_where_the_run_has_all_of_it() {
        let times = |count| {
            Some(Buckets {
                indices: vec![3],
                counts: vec![count],
            })
        };
        let points = || {
            vec![
                SeriesPoint {
                    latency: times(2),
                    spread: times(2),
                    ..SeriesPoint::default()
                };
                2
            ]
        };
        let of_run = |count| {
            Some(Distribution {
                count,
                ..Distribution::default()
            })
        };
        let shown = |latency| {
            let times = v1::Times {
                latency,
                ..v1::Times::default()
            };
            let points = kept(points(), Counts::default(), times);
            (points[0].latency.is_some(), points[0].spread.is_some())
        };
        assert_eq!(shown(of_run(4)), (true, false));
        assert_eq!(shown(of_run(3)), (false, false));
        assert_eq!(shown(None), (false, false));
    }

    #[test]
    fn the_p99_of_clients_is_shown_where_the_run_s_is_known_or_has_too_few_packets() {
        let p99 = || {
            vec![v1::Quantile {
                ppm: P99_PPM,
                ns: 1,
            }]
        };
        let shown = |count, quantiles| {
            let point = SeriesPoint {
                clients: Some(ClientTimes::empty(Metric::Spread, 3)),
                ..SeriesPoint::default()
            };
            let spread = Distribution {
                count,
                quantiles,
                ..Distribution::default()
            };
            let times = v1::Times {
                spread: Some(spread),
                ..v1::Times::default()
            };
            kept(vec![point], Counts::default(), times)[0]
                .clients
                .is_some()
        };
        assert!(shown(5_000, p99()));
        assert!(shown(999, Vec::new()));
        assert!(!shown(1_000, Vec::new()), "too much is missing");
        let none = v1::Times {
            latency: Some(Distribution::default()),
            ..v1::Times::default()
        };
        let point = SeriesPoint {
            clients: Some(ClientTimes::empty(Metric::Spread, 3)),
            ..SeriesPoint::default()
        };
        assert!(
            kept(vec![point], Counts::default(), none)[0]
                .clients
                .is_none()
        );
    }
}
