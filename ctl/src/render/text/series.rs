//! What a run did, second by second: a row for each stretch of time, at most 60.

use metronome_proto::{
    quantity::{count, fixed, rate},
    series::{in_pairs, times},
    v1::{self, Distribution, HostPoint, HostSeries, SeriesPoint, SocketSample},
};

use super::{
    figures::{self, known},
    table::{Column, table},
};

/// Rows at most: longer series are put together in pairs.
const ROWS_MAX: usize = 60;

const P99_PPM: u32 = 990_000;

/// Fewer bytes than a segment of TCP has do not wait: they are on their way.
const WAITING_BYTES_MIN: u64 = 1_460;

/// One row.
struct Row {
    point: SeriesPoint,
    times: v1::Times,
    /// The share of a core that the busiest pacing thread and the busiest worker used, percent.
    pacing_percent: Option<f64>,
    worker_percent: Option<f64>,
}

/// The table of a run's series, or why there is none.
pub(crate) fn series(run: &v1::Run, series: &v1::Series, width: usize) -> String {
    let Some(report) = &run.report else {
        return "There is no series: the run has no report.\n".into();
    };
    if series.points.is_empty() {
        return "There is no series of this run.\n".into();
    }
    let mut points = series.points.clone();
    while points.len() > ROWS_MAX {
        points = in_pairs(&points);
    }
    let row = |point: SeriesPoint| Row {
        times: times(&point, report),
        pacing_percent: busiest(&series.hosts, v1::EnvironmentRole::Agent, "pacing-", &point),
        worker_percent: busiest(
            &series.hosts,
            v1::EnvironmentRole::Server,
            "worker-",
            &point,
        ),
        point,
    };
    let rows: Vec<_> = points.into_iter().map(row).collect();
    table(columns(&rows), width)
}

fn columns(rows: &[Row]) -> Vec<Column> {
    let has = |of: fn(&v1::Times) -> &Option<Distribution>| {
        rows.iter().any(|row| of(&row.times).is_some())
    };
    // What counts from due where that is known, else what needs no common clock.
    let (name, delay): (_, fn(&v1::Times) -> &Option<Distribution>) = if has(|of| &of.latency) {
        ("LATENCY", |of| &of.latency)
    } else if has(|of| &of.spread) {
        ("SPREAD", |of| &of.spread)
    } else {
        ("TRANSIT", |of| &of.transit)
    };
    let p99 = |of: &Option<Distribution>| known(of.as_ref().and_then(p99), figures::time);
    let longest = |of: &Option<Distribution>| known(of.as_ref().map(|of| of.max_ns), figures::time);
    let percent = |of: Option<f64>| known(of, |percent| format!("{} %", fixed(percent, 0)));
    let mut columns = vec![
        Column::text("FROM", rows, |row| seconds(row.point.from_ns)),
        Column::number("RECEIVED", rows, |row| {
            known(received(&row.point), |hz| rate(hz) + "/s")
        }),
        Column::number("LATE P99", rows, |row| p99(&row.times.lateness)).rank(3),
        Column::number(&format!("{name} P99"), rows, |row| p99(delay(&row.times))),
        Column::number("MAX", rows, |row| longest(delay(&row.times))).rank(1),
        Column::number("PACING", rows, |row| percent(row.pacing_percent)).rank(2),
        Column::number("WORKER", rows, |row| percent(row.worker_percent)).rank(2),
    ];
    // Where nothing was sent again and nothing waited there is nothing to see.
    let sockets: [(_, _, OfPoint); 3] = [
        ("RESENT", 1, resent),
        ("UNREAD", WAITING_BYTES_MIN, |of| {
            of.server_sockets?.unread_bytes_max
        }),
        ("UNACKED", WAITING_BYTES_MIN, |of| {
            of.agent_sockets?.unacknowledged_bytes_max
        }),
    ];
    for (head, least, figure) in sockets {
        let is_worth_it = |row: &Row| figure(&row.point).is_some_and(|figure| figure >= least);
        if rows.iter().any(is_worth_it) {
            let cell = |row: &Row| known(figure(&row.point), count);
            columns.push(Column::number(head, rows, cell).rank(4));
        }
    }
    columns
}

/// A figure of a point. `None` where it is not known.
type OfPoint = fn(&SeriesPoint) -> Option<u64>;

/// Segments that the sockets of both ends have sent again, as far as that is known.
fn resent(point: &SeriesPoint) -> Option<u64> {
    let of = |sockets: Option<SocketSample>| sockets?.retransmitted;
    match (of(point.server_sockets), of(point.agent_sockets)) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

fn seconds(ns: i64) -> String {
    format!("{} s", fixed(ns as f64 / 1e9, 1))
}

/// Packets per second. `None` of a point without a length.
fn received(point: &SeriesPoint) -> Option<f64> {
    let packets = point.receiver?.received as f64;
    (point.span_ns > 0).then(|| packets * 1e9 / point.span_ns as f64)
}

fn p99(of: &Distribution) -> Option<i64> {
    let quantile = of.quantiles.iter().find(|of| of.ppm == P99_PPM)?;
    Some(quantile.ns)
}

/// The share of a core that the busiest thread used in the stretch of a point, percent, by the
/// points of its process whose middle lies in it. `None` where there is none.
fn busiest(
    hosts: &[HostSeries],
    role: v1::EnvironmentRole,
    prefix: &str,
    point: &SeriesPoint,
) -> Option<f64> {
    let stretch = point.from_ns..point.from_ns.saturating_add(point.span_ns);
    let is_within = |of: &&HostPoint| stretch.contains(&of.from_ns.saturating_add(of.span_ns / 2));
    let processes = hosts.iter().filter(|of| of.role() == role);
    let used = processes
        .flat_map(|of| of.points.iter().filter(is_within))
        .flat_map(|of| {
            let threads = of
                .threads
                .iter()
                .filter(|thread| thread.name.starts_with(prefix));
            threads.map(|thread| thread.cpu_ns as f64 * 100.0 / of.span_ns.max(1) as f64)
        });
    used.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use metronome_proto::{counters::CounterList as _, histogram::Histogram};

    use super::*;

    fn run_with(times: v1::Times) -> v1::Run {
        v1::Run {
            report: Some(v1::Report {
                times: Some(times),
                ..v1::Report::default()
            }),
            ..v1::Run::default()
        }
    }

    fn point(second: i64, packets: u64, ns: u64) -> SeriesPoint {
        let mut times = Histogram::default();
        times.add_count(metronome_proto::histogram::bucket(ns), packets);
        SeriesPoint {
            from_ns: second * 1_000_000_000,
            span_ns: 1_000_000_000,
            receiver: Some(v1::ReceiverCounts {
                received: packets,
                ..v1::ReceiverCounts::zero()
            }),
            latency: (packets > 0).then(|| times.to_buckets()),
            ..SeriesPoint::default()
        }
    }

    fn host(role: v1::EnvironmentRole, thread: &str, cpu_ns: i64) -> HostSeries {
        HostSeries {
            role: role.into(),
            points: vec![HostPoint {
                from_ns: 1_010_000_000,
                span_ns: 980_000_000,
                threads: vec![v1::ThreadPoint {
                    name: thread.into(),
                    cpu_ns,
                    ..v1::ThreadPoint::default()
                }],
                ..HostPoint::default()
            }],
            ..HostSeries::default()
        }
    }

    #[test]
    fn a_row_has_what_is_known_of_its_second() {
        let quantiles = vec![v1::Quantile {
            ppm: P99_PPM,
            ns: 1,
        }];
        let known = Some(Distribution {
            quantiles,
            ..Distribution::default()
        });
        let run = run_with(v1::Times {
            latency: known,
            ..v1::Times::default()
        });
        let of = v1::Series {
            points: vec![
                point(0, 2_000, 50_000),
                point(1, 10, 900_000),
                point(2, 0, 0),
            ],
            hosts: vec![
                host(v1::EnvironmentRole::Server, "worker-1", 490_000_000),
                host(v1::EnvironmentRole::Agent, "pacing-0", 98_000_000),
            ],
        };
        let expected = "\
FROM   RECEIVED  LATE P99  LATENCY P99      MAX  PACING  WORKER
0.0 s   2,000/s         –      50.2 µs  50.2 µs       –       –
1.0 s      10/s         –            –   901 µs    10 %    50 %
2.0 s       0/s         –            –        –       –       –
";
        assert_eq!(series(&run, &of, 80), expected);
    }

    #[test]
    fn what_was_sent_again_and_what_waited_has_a_column_where_there_is_something_to_see() {
        let sockets = |retransmitted, bytes| {
            Some(SocketSample {
                sampled: 1,
                connections: 1,
                retransmitted,
                unread_bytes_max: Some(0),
                unacknowledged_bytes_max: Some(bytes),
                ..SocketSample::default()
            })
        };
        let of = v1::Series {
            points: vec![
                SeriesPoint {
                    server_sockets: sockets(Some(2), 0),
                    agent_sockets: sockets(Some(3), 4_096),
                    ..point(0, 10, 1)
                },
                SeriesPoint {
                    server_sockets: sockets(None, 7),
                    ..point(1, 10, 1)
                },
            ],
            hosts: Vec::new(),
        };
        let expected = "\
FROM   RECEIVED  LATE P99  TRANSIT P99  MAX  PACING  WORKER  RESENT  UNACKED
0.0 s      10/s         –            –    –       –       –       5    4,096
1.0 s      10/s         –            –    –       –       –       –        –
";
        assert_eq!(series(&run_with(v1::Times::default()), &of, 80), expected);
    }

    #[test]
    fn a_long_series_has_few_rows_and_none_is_a_sentence() {
        let run = run_with(v1::Times::default());
        let of = v1::Series {
            points: (0..600).map(|second| point(second, 1, 1)).collect(),
            hosts: Vec::new(),
        };
        let text = series(&run, &of, 80);
        assert!(
            (30..=ROWS_MAX + 1).contains(&text.lines().count()),
            "{text}"
        );
        assert!(text.contains('–'));
        for run in [run, v1::Run::default()] {
            let text = series(&run, &v1::Series::default(), 80);
            assert!(text.starts_with("There is no series"), "{text}");
        }
    }
}
