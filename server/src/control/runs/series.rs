//! The series of a run that has ended, in pages that each fit a message. Pure.

use metronome_proto::{host_point, limits::PAGE_BYTES_MAX, series::in_pairs, v1};
use prost::Message;

use super::agreed;
use crate::model::{AgentRecords, FinalCounters, PacketSeries, RoundTrips, Seen, SinceStart};

/// All pages together, bytes: what is longer is put together in pairs.
const BYTES_MAX: usize = 4 << 20;

/// What a series ends with.
pub(super) struct AtTheEnd<'a> {
    /// Since the start of the run, ns.
    pub(super) at_ns: i64,
    /// `None` where the workers' record is missing.
    pub(super) record: Option<&'a FinalCounters>,
    pub(super) round_trips: Option<RoundTrips>,
}

/// The pages of a series: what its packets did, then its processes. No point has a figure that the
/// report does not have, or of which all points together are something else there.
pub(super) fn pages(
    packets: PacketSeries,
    last: AtTheEnd<'_>,
    report: &v1::Report,
    mut hosts: Vec<v1::HostSeries>,
) -> Vec<v1::Series> {
    let counts = report.counts.unwrap_or_default();
    let mut points = match counts.receiver.zip(last.record) {
        Some((receiver, record)) => packets.finish(SinceStart {
            at_ns: last.at_ns,
            receiver,
            generator: counts.generator,
            times: &record.times,
            round_trips: last.round_trips,
            seen: Seen {
                clients: record.client_times.clone(),
                ..Seen::default()
            },
        }),
        // What was seen until the record was lost.
        None => packets.points().to_vec(),
    };
    agreed::keep(&mut points, report);
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
pub(super) fn latest(packets: &PacketSeries, of_run: &v1::Snapshot) -> Option<v1::SeriesPoint> {
    let mut point = packets.points().last()?.clone();
    agreed::keep_known(&mut point, &of_run.times.clone().unwrap_or_default());
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
    use metronome_proto::v1::SeriesPoint;

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
            record: None,
            round_trips: None,
        };
        pages(PacketSeries::restored(points), last, &report, Vec::new())
    }

    #[test]
    fn each_page_fits_a_message_and_all_together_four_mebibytes() {
        for (points, buckets) in [(0, 0), (1, 3_456), (600, 10), (600, 3_456)] {
            let all = Some(v1::Distribution {
                count: points as u64 * u64::from(buckets) * (u64::MAX >> 32),
                ..v1::Distribution::default()
            });
            let known = v1::Times {
                latency: all.clone(),
                spread: all,
                ..v1::Times::default()
            };
            let all: Vec<_> = (0..points).map(|second| point(second, buckets)).collect();
            let pages = paged(all, known);
            let fits = |page: &v1::Series| page.encoded_len() <= PAGE_BYTES_MAX;
            assert!(pages.iter().all(fits), "{points} × {buckets}");
            assert!(bytes(&pages) <= BYTES_MAX);
            let count = |of: &SeriesPoint| of.latency.iter().flat_map(|of| &of.counts).sum::<u64>();
            let sum: u64 = pages.iter().flat_map(|page| &page.points).map(count).sum();
            assert_eq!(sum, points as u64 * u64::from(buckets) * (u64::MAX >> 32));
        }
    }
}
