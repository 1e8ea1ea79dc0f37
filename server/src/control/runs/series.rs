//! The series of a run that has ended, in pages that each fit a message. Pure.

use metronome_proto::{
    host_point,
    limits::PAGE_BYTES_MAX,
    series::in_pairs,
    v1::{self, SeriesPoint},
};
use prost::Message;

use crate::model::{AgentRecords, PacketSeries, RoundTrips, SinceStart, Times};

/// All pages together, bytes: what is longer is put together in pairs.
const BYTES_MAX: usize = 4 << 20;

/// What a series ends with.
pub(super) struct AtTheEnd<'a> {
    /// Since the start of the run, ns.
    pub(super) at_ns: i64,
    /// `None` where the workers' record is missing.
    pub(super) times: Option<&'a Times>,
    pub(super) round_trips: Option<RoundTrips>,
}

/// The pages of a series: what its packets did, then its processes. A time that the report does not
/// have no point has either.
pub(super) fn pages(
    packets: PacketSeries,
    last: AtTheEnd<'_>,
    report: &v1::Report,
    mut hosts: Vec<v1::HostSeries>,
) -> Vec<v1::Series> {
    let counts = report.counts.unwrap_or_default();
    let mut points = match counts.receiver.zip(last.times) {
        Some((receiver, times)) => packets.finish(SinceStart {
            at_ns: last.at_ns,
            receiver,
            generator: counts.generator,
            times,
            round_trips: last.round_trips,
        }),
        // What was seen until the record was lost.
        None => packets.points().to_vec(),
    };
    let times = report.times.clone().unwrap_or_default();
    let judged = judged_otherwise(&points, counts.receiver);
    for point in &mut points {
        keep_known(point, &times);
        let counts = point.receiver.iter_mut();
        counts.for_each(|counts| judged.iter().for_each(|unset| unset(counts)));
    }
    while bytes(&points) > BYTES_MAX / 2 && points.len() > 1 {
        points = in_pairs(&points);
    }
    while hosts.iter().map(|of| bytes(&of.points)).sum::<usize>() > BYTES_MAX / 2 {
        for host in &mut hosts {
            host.points = host_point::in_pairs(&host.points);
        }
        if hosts.iter().all(|of| of.points.len() <= 1) {
            break;
        }
    }
    let of_packets = in_pages(points).map(|points| v1::Series {
        points,
        ..v1::Series::default()
    });
    let of_hosts = hosts.into_iter().flat_map(|host| {
        in_pages(host.points).map(move |points| v1::Series {
            points: Vec::new(),
            hosts: vec![v1::HostSeries {
                role: host.role,
                name: host.name.clone(),
                points,
            }],
        })
    });
    of_packets.chain(of_hosts).collect()
}

/// The newest point of a run in progress, without the times that its snapshot does not have.
pub(super) fn latest(packets: &PacketSeries, of_run: &v1::Snapshot) -> Option<SeriesPoint> {
    let mut point = packets.points().last()?.clone();
    keep_known(&mut point, &of_run.times.clone().unwrap_or_default());
    let of_run = of_run.receiver.as_ref();
    if let Some(receiver) = &mut point.receiver {
        let is_known = of_run.is_some_and(|of| of.read_before_written.is_some());
        receiver.read_before_written = receiver.read_before_written.filter(|_| is_known);
    }
    Some(point)
}

/// All round trips, as the agents have reported them at their ends. `None` where one has not: what
/// it had reported before stands then.
pub(super) fn round_trips(agents: &[AgentRecords]) -> Option<RoundTrips> {
    agents.iter().try_fold(RoundTrips::default(), |sum, agent| {
        let reported = &agent.finished()?.round_trips;
        let mut groups = reported.iter().map(|of| &of.group);
        groups.try_fold(sum, |sum, group| sum.with(reported, group))
    })
}

/// Unsets one counter.
type Unset = fn(&mut v1::ReceiverCounts);

/// The counters that the end of a run may set anew, where it has: what was counted in each point is
/// not what counts.
fn judged_otherwise(points: &[SeriesPoint], of_run: Option<v1::ReceiverCounts>) -> Vec<Unset> {
    type Figure = fn(&v1::ReceiverCounts) -> Option<u64>;
    let judged: [(Figure, Unset); 4] = [
        (|of| of.in_time, |of| of.in_time = None),
        (
            |of| of.spread_understated,
            |of| of.spread_understated = None,
        ),
        (|of| of.spread_uncertain, |of| of.spread_uncertain = None),
        (
            |of| of.read_before_written,
            |of| of.read_before_written = None,
        ),
    ];
    let differs = |figure: Figure| {
        let each = points.iter().map(|point| figure(point.receiver.as_ref()?));
        let sum = each.sum::<Option<u64>>();
        sum != of_run.as_ref().and_then(figure)
    };
    let judged = judged.into_iter().filter(|(figure, _)| differs(*figure));
    judged.map(|(_, unset)| unset).collect()
}

/// Unsets the times that are not known of the run.
fn keep_known(point: &mut SeriesPoint, of_run: &v1::Times) {
    let known = |time: &mut Option<v1::Buckets>, of_run: &Option<v1::Distribution>| {
        *time = time.take().filter(|_| of_run.is_some());
    };
    known(&mut point.lateness, &of_run.lateness);
    known(&mut point.transit, &of_run.transit);
    known(&mut point.latency, &of_run.latency);
    known(&mut point.spread, &of_run.spread);
    known(&mut point.one_way, &of_run.one_way);
    known(&mut point.queueing, &of_run.queueing);
    known(&mut point.rtt_from_due, &of_run.rtt_from_due);
    known(&mut point.rtt_from_write, &of_run.rtt_from_write);
}

fn bytes(messages: &[impl Message]) -> usize {
    messages.iter().map(Message::encoded_len).sum()
}

/// The messages in pages: each has what fits a message of the API, lengths included.
fn in_pages<M: Message>(messages: Vec<M>) -> impl Iterator<Item = Vec<M>> {
    /// The tag and the length of a message in another one.
    const FRAME_BYTES: usize = 8;
    let mut left = messages.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut page = vec![left.next()?];
        let mut bytes = page[0].encoded_len() + FRAME_BYTES;
        while let Some(next) = left.next_if(|next| {
            bytes += next.encoded_len() + FRAME_BYTES;
            bytes <= PAGE_BYTES_MAX
        }) {
            page.push(next);
        }
        Some(page)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, buckets: u32) -> SeriesPoint {
        let times = v1::Buckets {
            indices: (0..buckets).collect(),
            counts: vec![u64::MAX >> 32; buckets as usize],
        };
        SeriesPoint {
            from_ns: second,
            span_ns: 1,
            latency: Some(times.clone()),
            spread: Some(times),
            ..SeriesPoint::default()
        }
    }

    fn paged(points: Vec<SeriesPoint>, times: v1::Times) -> Vec<v1::Series> {
        let report = v1::Report {
            times: Some(times),
            ..v1::Report::default()
        };
        let last = AtTheEnd {
            at_ns: 0,
            times: None,
            round_trips: None,
        };
        pages(PacketSeries::restored(points), last, &report, Vec::new())
    }

    #[test]
    fn each_page_fits_a_message_and_all_together_four_mebibytes() {
        let known = v1::Times {
            latency: Some(v1::Distribution::default()),
            spread: Some(v1::Distribution::default()),
            ..v1::Times::default()
        };
        for (points, buckets) in [(0, 0), (1, 3_456), (600, 10), (600, 3_456)] {
            let all: Vec<_> = (0..points).map(|second| point(second, buckets)).collect();
            let pages = paged(all, known.clone());
            let fits = |page: &v1::Series| page.encoded_len() <= PAGE_BYTES_MAX;
            assert!(pages.iter().all(fits), "{points} × {buckets}");
            assert!(bytes(&pages) <= BYTES_MAX);
            let count = |of: &SeriesPoint| of.latency.iter().flat_map(|of| &of.counts).sum::<u64>();
            let sum: u64 = pages.iter().flat_map(|page| &page.points).map(count).sum();
            assert_eq!(sum, points as u64 * u64::from(buckets) * (u64::MAX >> 32));
        }
    }

    #[test]
    fn a_counter_that_the_end_has_set_anew_is_in_no_point() {
        let counts = |in_time, spread_uncertain| v1::ReceiverCounts {
            in_time: Some(in_time),
            spread_uncertain: Some(spread_uncertain),
            ..v1::ReceiverCounts::default()
        };
        let points = [3, 4].map(|in_time| SeriesPoint {
            receiver: Some(counts(in_time, 1)),
            ..SeriesPoint::default()
        });
        let unset = |of_run| {
            let mut left = counts(3, 1);
            judged_otherwise(&points, of_run)
                .iter()
                .for_each(|unset| unset(&mut left));
            (left.in_time, left.spread_uncertain)
        };
        assert_eq!(unset(Some(counts(7, 2))), (Some(3), Some(1)));
        assert_eq!(unset(Some(counts(0, 2))), (None, Some(1)));
        assert_eq!(unset(None), (None, None));
    }

    #[test]
    fn a_time_that_the_run_does_not_have_no_point_has() {
        let known = v1::Times {
            spread: Some(v1::Distribution::default()),
            ..v1::Times::default()
        };
        let pages = paged(vec![point(0, 3)], known);
        let point = &pages[0].points[0];
        assert!(point.latency.is_none() && point.spread.is_some());
    }
}
